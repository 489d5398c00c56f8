//===- Inputs.h - arguments and rows of a run -------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_INTERPRETER_INPUTS_H
#define RONDO_LIB_INTERPRETER_INPUTS_H

#include "Machine.h"

namespace rondo::interpreter {

/// What a run is given, checked against the function.
struct Inputs {
  /// One for each argument; those with rows hold the rows of all steps.
  llvm::SmallVector<Tensor> arguments;
  std::vector<Row> rows;
  /// Numbers of the rows of each step, in ascending order.
  std::vector<std::vector<int64_t>> steps;
};

/// Whether the first dimension of `type` is rows.
bool hasRows(mlir::Type type);

/// Finds the tensors of the arguments of `function`, which its text calls
/// `names`, and of the rows. Emits an error at the function if one is missing,
/// left over, or of another shape or kind.
mlir::FailureOr<Inputs> bindInputs(mlir::func::FuncOp function,
                                   llvm::ArrayRef<std::string> names,
                                   const TensorMap &tensors);

} // namespace rondo::interpreter

#endif // RONDO_LIB_INTERPRETER_INPUTS_H
