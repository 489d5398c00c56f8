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
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace rondo;

LoopOp rondo::getLoopOf(Value index) {
  auto argument = dyn_cast<BlockArgument>(index);
  if (!argument || argument.getArgNumber() != 0)
    return {};
  return dyn_cast<LoopOp>(argument.getOwner()->getParentOp());
}

std::optional<IndexRange> rondo::getRange(AffineMap map, ValueRange indices) {
  SmallVector<int64_t> counts;
  for (Value index : indices) {
    LoopOp loop = getLoopOf(index);
    if (!loop)
      return std::nullopt;
    counts.push_back(loop.getCount());
  }
  std::optional<IndexRange> range;
  SmallVector<int64_t> point(counts.size(), 0);
  // Counts through all points like an odometer, the last index fastest.
  while (true) {
    int64_t value = map.compose(point).front();
    if (!range)
      range = IndexRange{value, value};
    range->min = std::min(range->min, value);
    range->max = std::max(range->max, value);
    size_t digit = point.size();
    while (digit > 0 && ++point[digit - 1] == counts[digit - 1])
      point[--digit] = 0;
    if (digit == 0)
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
