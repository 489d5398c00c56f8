//===- WeightPlan.h - places of packed weights ---------------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_WEIGHTPLAN_H
#define RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_WEIGHTPLAN_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

namespace rondo::rt {

/// Sets offset and stride of all packed weights of `module`, in the order in
/// which bodies read them: the weights of one layer are one forward stream, and
/// layers follow each other at a constant stride. Returns the bytes of all.
int64_t planWeights(mlir::ModuleOp module);

} // namespace rondo::rt

#endif // RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_WEIGHTPLAN_H
