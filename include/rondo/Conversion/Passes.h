//===- Passes.h - conversions between levels ------------------*- C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_CONVERSION_PASSES_H
#define RONDO_CONVERSION_PASSES_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"

namespace rondo {

/// Outlines bodies and flattens loops of `module`; see the pass of the same
/// name.
llvm::LogicalResult convertRondoToRondoRT(mlir::ModuleOp module);

/// Emits CPU code for the bodies of `module`; see the pass of the same name.
llvm::LogicalResult convertRondoRTToCPU(mlir::ModuleOp module);

#define GEN_PASS_DECL
#include "rondo/Conversion/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "rondo/Conversion/Passes.h.inc"

} // namespace rondo

#endif // RONDO_CONVERSION_PASSES_H
