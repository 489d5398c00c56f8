//===- DepthMaps.h - what an execution sees of its block --------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Helpers of verifiers and analyses about `rondo.apply`: the values its maps
// take, and the parameters its block uses.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_DEPTHMAPS_H
#define RONDO_DIALECT_RONDO_IR_DEPTHMAPS_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include <optional>

namespace rondo {

/// The smallest and the largest value that a map takes.
struct IndexRange {
  int64_t min;
  int64_t max;
};

/// The loop whose induction value `index` is; null if it is something else.
LoopOp getLoopOf(mlir::Value index);

/// The values of a map of one result over all iterations of the loops that
/// `indices` come from; nullopt if an index is neither an induction value nor a
/// constant.
std::optional<IndexRange> getRange(mlir::AffineMap map,
                                   mlir::ValueRange indices);

/// The parameters named inside `block`, each once, in order of first use.
llvm::SmallVector<ParamOp> getUsedParams(BlockOp block,
                                         mlir::SymbolTableCollection &symbols);

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_IR_DEPTHMAPS_H
