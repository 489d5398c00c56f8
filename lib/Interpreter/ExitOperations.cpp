//===- ExitOperations.cpp - rondo.fill and rondo.exit ---------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Operations.h"

#include <cmath>

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

LogicalResult rondo::interpreter::execute(FillOp op, Frame &frame) {
  Tensor result = frame.makeRows(op.getResult());
  auto values = llvm::to_vector(op.getValues().getValues<float>());
  for (size_t i = 0; i < result.values.size(); ++i)
    result.values[i] = values[i % values.size()];
  frame.set(op.getResult(), std::move(result));
  return success();
}

LogicalResult rondo::interpreter::execute(ExitOp op, Frame &frame) {
  const Tensor &state = frame.get(op.getState());
  const Tensor &gate = frame.get(op.getGate());
  Tensor chosen = frame.get(op.getChosen());
  Tensor record = frame.get(op.getRecord());
  double threshold = op.getThreshold().convertToFloat();
  for (size_t row = 0; row < frame.machine.rows.size(); ++row) {
    double &depth = record.at(row, 0), &cumulative = record.at(row, 1),
           &survival = record.at(row, 2);
    if (!(cumulative >= threshold)) {
      for (int64_t i = 0; i < state.getWidth(); ++i)
        chosen.at(row, i) = state.getRow(row)[i];
      depth += 1;
    }
    double p = 1 / (1 + std::exp(-gate.getRow(row).front()));
    cumulative += p * survival;
    survival *= 1 - p;
  }
  frame.set(op.getNextChosen(), std::move(chosen));
  frame.set(op.getNextRecord(), std::move(record));
  return success();
}
