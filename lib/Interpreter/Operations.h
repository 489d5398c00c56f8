//===- Operations.h - one function for each operation -----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each function reads the operands of its operation from the frame and sets its
// results. An error is emitted at the operation. A new operation gets a
// function here and a case in Structure.cpp.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_INTERPRETER_OPERATIONS_H
#define RONDO_LIB_INTERPRETER_OPERATIONS_H

#include "Machine.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace rondo::interpreter {

// Structure: Structure.cpp.
llvm::LogicalResult execute(LoopOp op, Frame &frame);
llvm::LogicalResult execute(ApplyOp op, Frame &frame);

// Layers: LayerOperations.cpp.
llvm::LogicalResult execute(RowIdsOp op, Frame &frame);
llvm::LogicalResult execute(EmbedOp op, Frame &frame);
llvm::LogicalResult execute(LinearOp op, Frame &frame);
llvm::LogicalResult execute(ScaleOp op, Frame &frame);
llvm::LogicalResult execute(NormOp op, Frame &frame);
llvm::LogicalResult execute(ActivationOp op, Frame &frame);
llvm::LogicalResult execute(RopeOp op, Frame &frame);

// What has effects: StateOperations.cpp.
llvm::LogicalResult execute(FillOp op, Frame &frame);
llvm::LogicalResult execute(ExitOp op, Frame &frame);

// Which rows are computed: RouteOperations.cpp.
llvm::LogicalResult execute(RouteOp op, Frame &frame);
llvm::LogicalResult execute(SelectRowsOp op, Frame &frame);
llvm::LogicalResult execute(MergeRowsOp op, Frame &frame);

llvm::LogicalResult execute(AppendOp op, Frame &frame);
llvm::LogicalResult execute(AttendOp op, Frame &frame);
llvm::LogicalResult execute(TraceOp op, Frame &frame);

// Upstream: ElementwiseOperations.cpp.
llvm::LogicalResult execute(mlir::arith::ConstantOp op, Frame &frame);
/// Elementwise `arith` and `math` on f32; an error for anything else.
llvm::LogicalResult executeElementwise(mlir::Operation *op, Frame &frame);

/// Executes the operations of `block` and returns its terminator's operands.
/// The values of its arguments are set.
llvm::FailureOr<llvm::SmallVector<Tensor>> executeBlock(mlir::Block &block,
                                                        Frame &frame);

} // namespace rondo::interpreter

#endif // RONDO_LIB_INTERPRETER_OPERATIONS_H
