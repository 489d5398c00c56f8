//===- DepthMaps.cpp - what an execution sees of its block ----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Trip counts are static and small (depths times layers), so the range of a map
// is found by visiting every iteration: exact for `mod` and `floordiv` as well.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/DepthMaps.h"

#include "mlir/IR/AffineMap.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace rondo;

LoopOp rondo::getLoopOf(Value index) {
  auto argument = dyn_cast<BlockArgument>(index);
  if (!argument || argument.getArgNumber() != 0)
    return {};
  return dyn_cast<LoopOp>(argument.getOwner()->getParentOp());
}

/// All values of `index`; nullopt if it is neither an induction value nor a
/// constant.
static std::optional<IndexRange> getIndexRange(Value index) {
  if (LoopOp loop = getLoopOf(index))
    return IndexRange{0, int64_t(loop.getCount()) - 1};
  APInt constant;
  if (matchPattern(index, m_ConstantInt(&constant)))
    return IndexRange{constant.getSExtValue(), constant.getSExtValue()};
  return std::nullopt;
}

std::optional<IndexRange> rondo::getRange(AffineMap map, ValueRange indices) {
  SmallVector<IndexRange> digits;
  SmallVector<int64_t> point;
  for (Value index : indices) {
    std::optional<IndexRange> digit = getIndexRange(index);
    if (!digit)
      return std::nullopt;
    digits.push_back(*digit);
    point.push_back(digit->min);
  }
  std::optional<IndexRange> range;
  // Counts through all points like an odometer, the last index fastest.
  while (true) {
    int64_t value = map.compose(point).front();
    if (!range)
      range = IndexRange{value, value};
    range->min = std::min(range->min, value);
    range->max = std::max(range->max, value);
    size_t i = point.size();
    while (i > 0 && ++point[i - 1] > digits[i - 1].max) {
      --i;
      point[i] = digits[i].min;
    }
    if (i == 0)
      return range;
  }
}

SmallVector<ParamOp> rondo::getUsedParams(BlockOp block,
                                          SymbolTableCollection &symbols) {
  llvm::SetVector<ParamOp> params;
  std::optional<SymbolTable::UseRange> uses =
      SymbolTable::getSymbolUses(&block.getBody());
  if (!uses)
    return {};
  for (SymbolTable::SymbolUse use : *uses)
    if (auto param =
            symbols.lookupNearestSymbolFrom<ParamOp>(block, use.getSymbolRef()))
      params.insert(param);
  return params.takeVector();
}
