//===- Passes.h - passes on the rondo dialect -------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Constructors and registration of the model-level passes; the transforms
// themselves are free functions in Transforms.h.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_TRANSFORMS_PASSES_H
#define RONDO_DIALECT_RONDO_TRANSFORMS_PASSES_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/Pass/Pass.h"

namespace rondo {

#define GEN_PASS_DECL
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_TRANSFORMS_PASSES_H
