//===- RouteOperations.cpp - the meaning of routing -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Operations.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

//===----------------------------------------------------------------------===//
// rondo.route
//===----------------------------------------------------------------------===//

/// `alpha * function(score)` of each column.
static std::vector<double> getGates(RouteOp op, ArrayRef<double> scores) {
  std::vector<double> gates(scores);
  double sum = 0;
  for (double &gate : gates) {
    switch (op.getFunction()) {
    case RouteFunction::Identity:
      break;
    case RouteFunction::Sigmoid:
      gate = 1 / (1 + std::exp(-gate));
      break;
    case RouteFunction::Tanh:
      gate = std::tanh(gate);
      break;
    case RouteFunction::Softmax:
      sum += gate = std::exp(gate - *llvm::max_element(scores));
      break;
    }
  }
  double alpha = op.getAlpha().convertToFloat();
  for (double &gate : gates)
    gate *= op.getFunction() == RouteFunction::Softmax ? alpha / sum : alpha;
  return gates;
}

/// A row that may go on.
struct Candidate {
  int64_t number;
  double gate;
};

/// Keeps the k candidates with the largest gates, of equal ones the first.
static void keepLargest(std::vector<Candidate> &candidates, int64_t k) {
  llvm::sort(candidates, [](const Candidate &a, const Candidate &b) {
    return a.gate != b.gate ? a.gate > b.gate : a.number < b.number;
  });
  if (static_cast<int64_t>(candidates.size()) > k)
    candidates.resize(k);
}

/// How many rows of a cohort of `rows` a visit of `capacity` takes.
static int64_t getCapacity(double capacity, int64_t rows) {
  return std::max<int64_t>(1, static_cast<int64_t>(capacity * rows));
}

/// The rule `choice`, for each row by itself.
static LogicalResult choose(RouteOp op, const Tensor &scores, Tensor &record,
                            Frame &frame) {
  std::vector<double> biases(scores.getWidth(), 0.0);
  if (op.getBiasesAttr()) {
    FailureOr<const Weights *> stored = frame.resolve(op, op.getBiasesAttr());
    if (failed(stored))
      return failure();
    biases.assign((*stored)->values.begin(), (*stored)->values.end());
  }
  for (int64_t row = 0; row < scores.getRows(); ++row) {
    std::vector<double> gates = getGates(op, scores.getRow(row));
    size_t best = 0;
    for (size_t i = 1; i < gates.size(); ++i)
      if (gates[i] + biases[i] > gates[best] + biases[best])
        best = i;
    record.at(row, kRecordDepth) = best;
    record.at(row, kRecordWeight) = op.getAdditive() ? 1 : gates[best];
    record.at(row, kRecordScore) = scores.at(row, 0);
    record.at(row, kRecordTaken) = 1;
  }
  return success();
}

LogicalResult rondo::interpreter::execute(RouteOp op, Frame &frame) {
  const Tensor &scores = frame.get(op.getScores());
  Tensor record = frame.get(op.getRecord());
  if (op.getRule() == RouteRule::Choice) {
    if (failed(choose(op, scores, record, frame)))
      return failure();
    frame.set(op.getNext(), std::move(record));
    return success();
  }
  int64_t visit = frame.point.side;
  if (op.getCapacities() &&
      visit >= static_cast<int64_t>(op.getCapacities()->size()))
    return op.emitOpError("has no capacity for side index ") << visit;
  std::map<int64_t, std::vector<Candidate>> cohorts; // by sequence
  std::map<int64_t, int64_t> sizes;
  for (auto [number, row] : llvm::enumerate(frame.machine.rows)) {
    double score = scores.at(number, 0);
    ++sizes[row.sequence];
    bool isCandidate = record.at(number, kRecordDepth) == visit - 1;
    record.at(number, kRecordScore) =
        isCandidate ? score : std::numeric_limits<double>::quiet_NaN();
    record.at(number, kRecordTaken) = 0;
    bool passes = op.getRule() == RouteRule::TopK || visit == 0 ||
                  score >= op.getThreshold()->convertToFloat();
    if (isCandidate && passes)
      cohorts[row.sequence].push_back(
          {static_cast<int64_t>(number), getGates(op, score).front()});
  }
  for (auto &[sequence, candidates] : cohorts) {
    if (op.getRule() == RouteRule::TopK)
      keepLargest(candidates,
                  getCapacity(op.getCapacities()->getValues<double>()[visit],
                              sizes[sequence]));
    for (const Candidate &candidate : candidates) {
      record.at(candidate.number, kRecordDepth) = visit;
      record.at(candidate.number, kRecordWeight) =
          op.getAdditive() ? 1 : candidate.gate;
      record.at(candidate.number, kRecordTaken) = 1;
    }
  }
  frame.set(op.getNext(), std::move(record));
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.select_rows, rondo.merge_rows
//===----------------------------------------------------------------------===//

LogicalResult rondo::interpreter::execute(SelectRowsOp op, Frame &frame) {
  const Tensor &input = frame.get(op.getInput());
  const Tensor &record = frame.get(op.getRecord());
  int64_t visit = frame.point.side;
  auto selection = std::make_shared<Selection>();
  for (auto [number, row] : llvm::enumerate(frame.machine.rows)) {
    if (!(record.at(number, kRecordDepth) >= visit))
      continue;
    selection->numbers.push_back(number);
    selection->rows.push_back(row);
    if (op.getPlaces() == Places::Dense)
      selection->rows.back().place =
          frame.machine.selected[{op, row.sequence, visit}]++;
  }
  Tensor result = input.takeRows(selection->numbers);
  frame.set(op.getResult(), std::move(result));
  frame.select(op.getResult(), selection);
  return success();
}

LogicalResult rondo::interpreter::execute(MergeRowsOp op, Frame &frame) {
  const Tensor &rows = frame.get(op.getRows());
  const Tensor &record = frame.get(op.getRecord());
  Tensor result = frame.get(op.getInput());
  auto put = [&](int64_t number, int64_t from) {
    double weight = record.at(number, kRecordWeight);
    for (int64_t i = 0; i < result.getWidth(); ++i)
      result.at(number, i) =
          op.getKind() == MergeKind::Add
              ? result.at(number, i) + weight * rows.at(from, i)
              : rows.at(from, i);
  };
  if (rows.selection) {
    for (auto [from, number] : llvm::enumerate(rows.selection->numbers))
      put(number, from);
  } else {
    for (int64_t number = 0; number < result.getRows(); ++number)
      if (record.at(number, kRecordTaken) != 0)
        put(number, number);
  }
  frame.set(op.getResult(), std::move(result));
  return success();
}
