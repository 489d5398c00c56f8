//===- StepFunctions.h - functions that the runtime calls --------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDORTTOCPU_STEPFUNCTIONS_H
#define RONDO_LIB_CONVERSION_RONDORTTOCPU_STEPFUNCTIONS_H

#include "BodyEmitter.h"

#include "llvm/ADT/SmallSet.h"

namespace rondo::cpu {

/// Functions of the bodies; blocks by their number.
struct StepBodies {
  mlir::func::FuncOp prelude, coda;
  llvm::SmallVector<mlir::func::FuncOp> blocks;
  llvm::SmallSet<int64_t, 4> selected; // blocks of selected rows
};

/// Emits `rondo_full`, `rondo_prelude`, `rondo_depth_step` and `rondo_coda`.
void emitEntries(ModuleFacts &facts, const StepBodies &bodies);

} // namespace rondo::cpu

#endif // RONDO_LIB_CONVERSION_RONDORTTOCPU_STEPFUNCTIONS_H
