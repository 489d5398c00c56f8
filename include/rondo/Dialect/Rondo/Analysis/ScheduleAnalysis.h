//===- ScheduleAnalysis.h - the executions of a model, in order -*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Loops over depth have static counts, so a model function stands for a finite
// list of executions: the schedule. For
//
//   %y = rondo.loop %d to 2 carries(%h = %x) : T {
//     %a = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0) : (T) -> T
//     %b = rondo.apply @b(%a) at(%d) layer(1) side(d0) slot(d0 + 2) : (T) -> T
//     rondo.yield %b : T
//   }
//
// it is, as (layer, side, slot): (0, 0, 0), (1, 0, 2), (0, 1, 1), (1, 1, 3).
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_ANALYSIS_SCHEDULEANALYSIS_H
#define RONDO_DIALECT_RONDO_ANALYSIS_SCHEDULEANALYSIS_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace rondo {

/// One visit of one block.
struct Execution {
  /// The operation that is executed; several executions share it inside a loop.
  ApplyOp op;
  /// The values of its `at` operands.
  llvm::SmallVector<int64_t> indices;
  /// Entry of stacked parameters.
  int64_t layer;
  /// Entry of parameters that vary by depth.
  int64_t side;
  /// First KV slot; the block's `caches` says how many it owns.
  int64_t slot;
};

/// The executions of `model` in the order in which they run. An error is
/// emitted if an execution is not enclosed by loops of this dialect only, an
/// index is neither an induction value nor a constant, or a layer, side index
/// or slot is negative.
llvm::FailureOr<llvm::SmallVector<Execution>>
flattenSchedule(mlir::func::FuncOp model);

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_ANALYSIS_SCHEDULEANALYSIS_H
