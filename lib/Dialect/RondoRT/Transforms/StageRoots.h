//===- StageRoots.h - what a stage is that has no tiles ---------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Attention, embeddings and routing are one operation of the execution level,
// which divides its own work among the threads.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_STAGEROOTS_H
#define RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_STAGEROOTS_H

#include "ChunkEvaluator.h"

namespace rondo::rt {

/// Whether `op` is such an operation.
bool hasNoTiles(mlir::Operation *op);

/// Makes it at `builder` and returns its result; null after an error.
mlir::Value tileAlone(mlir::OpBuilder &builder, TilingContext &context,
                      mlir::Operation *op);

} // namespace rondo::rt

#endif // RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_STAGEROOTS_H
