//===- StateOperations.cpp - the meaning of KV caches and traces ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Operations.h"

#include "llvm/Support/JSON.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

//===----------------------------------------------------------------------===//
// rondo.append
//===----------------------------------------------------------------------===//

/// Every row writes its key and value at its place in its sequence.
LogicalResult rondo::interpreter::execute(AppendOp op, Frame &frame) {
  const Tensor &key = frame.get(op.getKey());
  const Tensor &value = frame.get(op.getValue());
  int64_t slot = frame.point.slot + op.getCache();
  for (auto [i, row] : llvm::enumerate(frame.machine.rows))
    frame.machine.caches[{slot, row.sequence, row.place}] = {
        key.getRow(i).vec(), value.getRow(i).vec(), int64_t(op.getHeads())};
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.attend
//===----------------------------------------------------------------------===//

/// The first position that `row` does not see. With a full mask that is the end
/// of its sequence, all of which is in the present step.
static int64_t getEnd(AttendOp op, Row row, Frame &frame) {
  int64_t end = row.place + 1;
  if (op.getMask() == Mask::Full)
    for (const Row &other : frame.machine.rows)
      if (other.sequence == row.sequence)
        end = std::max(end, other.place + 1);
  return end;
}

/// What `row` may see, in order of places. Emits an error if something of it
/// was never written or has another shape than the query asks for.
static FailureOr<SmallVector<const CacheEntry *>> getSeen(AttendOp op, Row row,
                                                          Frame &frame) {
  int64_t slot = frame.point.slot + op.getCache();
  int64_t dim = op.getQuery().getType().getDimSize(1) / op.getHeads();
  int64_t first = 0;
  if (op.getWindow())
    first = std::max<int64_t>(0, row.place + 1 - *op.getWindow());
  SmallVector<const CacheEntry *> seen;
  int64_t end = getEnd(op, row, frame);
  for (int64_t position = first; position < end; ++position) {
    auto entry = frame.machine.caches.find({slot, row.sequence, position});
    if (entry == frame.machine.caches.end())
      return op.emitOpError("position ")
             << position << " of sequence " << row.sequence
             << " was not written to slot " << slot
             << "; put a 'rondo.append' to that slot in front, or give the "
                "rows of all positions";
    const CacheEntry &found = entry->second;
    int64_t heads = op.getKvHeads();
    if (found.heads != heads ||
        static_cast<int64_t>(found.key.size()) != heads * dim)
      return op.emitOpError("expected ")
             << heads << " heads of " << dim << " in slot " << slot << ", got "
             << found.heads << " of " << found.key.size() / found.heads
             << "; make 'heads' and widths agree with 'rondo.append'";
    seen.push_back(&found);
  }
  return seen;
}

/// Turns scores into weights that sum to 1.
static void applySoftmax(MutableArrayRef<double> scores) {
  double largest = *llvm::max_element(scores), sum = 0;
  for (double &score : scores)
    sum += score = std::exp(score - largest);
  for (double &score : scores)
    score /= sum;
}

/// softmax(scale * q k^T) v for one query head; keys and values are those of
/// the KV head that starts at element `first` of each entry.
static void attendHead(ArrayRef<double> query, double scale,
                       ArrayRef<const CacheEntry *> seen, int64_t first,
                       MutableArrayRef<double> result) {
  std::vector<double> weights;
  for (const CacheEntry *entry : seen) {
    double sum = 0;
    for (size_t i = 0; i < query.size(); ++i)
      sum += query[i] * entry->key[first + i];
    weights.push_back(scale * sum);
  }
  applySoftmax(weights);
  for (auto [weight, entry] : llvm::zip(weights, seen))
    for (size_t i = 0; i < result.size(); ++i)
      result[i] += weight * entry->value[first + i];
}

/// Query head h reads KV head h / (heads / kv_heads).
LogicalResult rondo::interpreter::execute(AttendOp op, Frame &frame) {
  const Tensor &query = frame.get(op.getQuery());
  Tensor result = frame.makeRows(op.getResult());
  int64_t heads = op.getHeads(), group = heads / op.getKvHeads();
  int64_t dim = query.getWidth() / heads;
  for (auto [i, row] : llvm::enumerate(frame.machine.rows)) {
    FailureOr<SmallVector<const CacheEntry *>> seen = getSeen(op, row, frame);
    if (failed(seen))
      return failure();
    for (int64_t head = 0; head < heads; ++head)
      attendHead(
          query.getRow(i).slice(head * dim, dim),
          op.getScale().convertToFloat(), *seen, head / group * dim,
          MutableArrayRef(result.values).slice((i * heads + head) * dim, dim));
  }
  frame.set(op.getResult(), std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.trace
//===----------------------------------------------------------------------===//

LogicalResult rondo::interpreter::execute(TraceOp op, Frame &frame) {
  if (!llvm::json::isUTF8(op.getName()))
    return op.emitOpError("has a name that is not UTF-8 and cannot stand in a "
                          "safetensors file; give it another name");
  frame.machine.traces.emplace_back(op, frame.get(op.getValue()));
  return success();
}
