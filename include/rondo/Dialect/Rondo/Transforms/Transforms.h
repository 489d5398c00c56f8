//===- Transforms.h - rewrites of models as functions -----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the passes of Passes.td do, callable without a pass manager. What a
// function declines it says in a remark of the category of its pass's name.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_TRANSFORMS_TRANSFORMS_H
#define RONDO_DIALECT_RONDO_TRANSFORMS_TRANSFORMS_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/PatternMatch.h"

namespace rondo {

/// Checks the schedule of `model` against the KV policy of its module; emits an
/// error for the first rule that is broken. Changes nothing.
llvm::LogicalResult verifyKVPolicy(mlir::func::FuncOp model);

/// Keeps each entry of the stacked parameters of `module` once and composes the
/// `layer` maps of executions accordingly. Returns how many entries went.
int64_t mergeRepeatedEntries(mlir::ModuleOp module);

/// Turns repeated windows of operations of `block`, and of the loops made from
/// them, into loops. Returns how many loops were made.
int64_t rerollLayers(mlir::RewriterBase &rewriter, mlir::Block &block);

/// What `hoistDepthInvariants` did.
struct HoistCounts {
  /// Operations moved out of the loop.
  int64_t hoisted = 0;
  /// Carried values dropped because every iteration passes them on.
  int64_t elided = 0;
};

/// Moves pure operations that do not change with the iteration out of `loop`,
/// after dropping carried values that are not state. May replace the loop.
HoistCounts hoistDepthInvariants(mlir::RewriterBase &rewriter, LoopOp loop);

/// Makes linears of their own of the low-rank deltas of `linear`. Returns how
/// many there were.
int64_t lowerLora(mlir::RewriterBase &rewriter, LinearOp linear,
                  mlir::SymbolTableCollection &symbols);

/// Sets the arithmetic mode of `linear` if it has none: `exact`, or the fastest
/// of the weights' storage type if `fast`. Emits an error if they have several.
llvm::LogicalResult selectArithmetic(LinearOp linear, bool fast,
                                     mlir::SymbolTableCollection &symbols);

/// Merges the linears of `block` that read the same rows with the same mode and
/// storage type. Returns how many were merged into another.
int64_t fuseProjections(mlir::RewriterBase &rewriter, mlir::Block &block,
                        mlir::SymbolTableCollection &symbols);

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_TRANSFORMS_TRANSFORMS_H
