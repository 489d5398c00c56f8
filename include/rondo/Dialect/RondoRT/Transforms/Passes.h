//===- Passes.h - passes inside the execution level -------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDORT_TRANSFORMS_PASSES_H
#define RONDO_DIALECT_RONDORT_TRANSFORMS_PASSES_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"

namespace rondo::rt {

/// Cuts `body` into stages; returns how many, 0 if it already has some.
llvm::FailureOr<int64_t> formStages(BodyOp body);

/// Tiles every stage of `module`.
llvm::LogicalResult tileStages(mlir::ModuleOp module);

/// Plans buffers, weights and scratch of `module`.
llvm::LogicalResult planBuffers(mlir::ModuleOp module);

#define GEN_PASS_DECL
#include "rondo/Dialect/RondoRT/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "rondo/Dialect/RondoRT/Transforms/Passes.h.inc"

} // namespace rondo::rt

#endif // RONDO_DIALECT_RONDORT_TRANSFORMS_PASSES_H
