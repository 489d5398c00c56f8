//===- Passes.td - passes on the rondo dialect -----------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_TRANSFORMS_PASSES
#define RONDO_DIALECT_RONDO_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

#endif // RONDO_DIALECT_RONDO_TRANSFORMS_PASSES
