//===- BufferPlan.h - places of rows in the arena ------------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The arena starts with the states, which live from body to body; behind them
// each body places what lives inside it. Two values share bytes when the stages
// from the one that writes to the last that reads do not overlap.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_BUFFERPLAN_H
#define RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_BUFFERPLAN_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "llvm/ADT/DenseMap.h"

namespace rondo::rt {

/// Bytes of the arena and of a thread's scratch while they are planned.
struct ArenaPlan {
  int64_t rows;          // most rows of a step
  int64_t context;       // longest sequence
  int64_t statesEnd = 0; // bytes
  int64_t arenaBytes = 0;
  int64_t scratchBytes = 0;
  llvm::DenseMap<int64_t, int64_t> states; // state -> offset
  /// Where selected rows are listed, if the model selects some.
  std::optional<int64_t> selection;

  /// Bytes of all rows of `lanes` f32 lanes.
  int64_t getRowsBytes(int64_t lanes) const;
};

/// Where the values of one body stand.
struct BodyBuffers {
  /// Argument or stage result -> offset in the arena.
  llvm::DenseMap<mlir::Value, int64_t> offsets;
  /// Result of the model -> its bytes from the start of a row of the logits.
  llvm::DenseMap<mlir::Value, int64_t> logits;
  /// Area that a pack or attend shares with the team -> offset.
  llvm::DenseMap<mlir::Operation *, int64_t> shared;
  /// Returned values that must be copied into their state at the end.
  llvm::SmallVector<std::pair<mlir::Value, int64_t>> copies;
};

/// Gives the states of all bodies their places, and the list of selected rows.
void planStates(mlir::ModuleOp module, ArenaPlan &plan);

/// Plans one body; emits an error if its states cannot be written in any order.
llvm::FailureOr<BodyBuffers> planBody(BodyOp body, ArenaPlan &plan);

/// Bytes in the arena that `op` (a pack, attend or route) shares with the team.
int64_t getSharedBytes(mlir::Operation *op, const ArenaPlan &plan,
                       int64_t valueLanes);

} // namespace rondo::rt

#endif // RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_BUFFERPLAN_H
