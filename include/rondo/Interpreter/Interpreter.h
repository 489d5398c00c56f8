//===- Interpreter.h - the meaning of the rondo dialect, run ----*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Executes a function of a module at phase `input` or `rondo`, one operation
// after the other, with loops that read as the operations' definitions. It is
// what passes and compiled models are compared with; it is not fast.
// docs/Architecture/Interpreter.md says what is and what is not interpreted.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_INTERPRETER_INTERPRETER_H
#define RONDO_INTERPRETER_INTERPRETER_H

#include "rondo/Import/Archive.h"
#include "rondo/Interpreter/Tensor.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/SourceMgr.h"

namespace rondo {

/// How the numbers between operations are kept. Inside an operation everything
/// is computed in double precision either way.
enum class Precision {
  F64,
  /// The results of every operation are rounded to f32.
  F32,
};

/// A parsed module. The names that its text gives to arguments are no part of
/// the IR and are kept beside it.
struct Program {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  /// Names of the arguments by function, without '%'; empty where there is
  /// none.
  llvm::StringMap<std::vector<std::string>> argumentNames;
};

/// Loads the dialects that a program may hold, and those whose operations are
/// reported as not interpreted.
void loadInterpreterDialects(mlir::MLIRContext &context);

/// Parses and verifies the text in `sources`; emits an error if it is wrong.
mlir::FailureOr<Program> parseProgram(const llvm::SourceMgr &sources,
                                      mlir::MLIRContext &context);

/// What a run is like.
struct InterpreterOptions {
  Precision precision = Precision::F64;
  /// Name of the function to execute.
  std::string entry = "model";
};

/// Executes the function `options.entry`.
///
/// `inputs` holds a tensor for each argument under its name in the text or its
/// number; `tensor<?xi32>` arguments also take `tokens`, those with
/// `rondo.input` its name, and are zeros if nobody gives them and it says so.
/// For N rows it may hold the integers [N] `sequences` (default 0), `positions`
/// (default 0, 1, ... in each sequence), `token_types` (default 0) and `steps`
/// (default 0): rows of one step are executed together, steps in ascending
/// order on the same KV caches.
///
/// Returns results by the names that `rondo.output` gives them (every row of
/// those that are of a sequence's first row only), else the only one of `model`
/// as `logits`, else by number, and the value of the K-th execution of each
/// `rondo.trace "NAME"` as `NAME.K`. Rows are in the order of the inputs.
///
/// Parameters are read from `archives`, which hold every key of the module.
/// Emits an error at what is not interpreted or does not fit.
mlir::FailureOr<TensorMap> interpret(const Program &program,
                                     const ArchiveSet &archives,
                                     const TensorMap &inputs,
                                     const InterpreterOptions &options);

} // namespace rondo

#endif // RONDO_INTERPRETER_INTERPRETER_H
