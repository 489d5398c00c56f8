//===- Diagnostics.h - what rondoc tells its user ---------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every line for the user has one form: `rondoc: error: where: what`. MLIR's
// diagnostics and the remarks of passes are brought into it.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DRIVER_DIAGNOSTICS_H
#define RONDO_LIB_DRIVER_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/Error.h"

namespace rondo {

/// Prints `rondoc: KIND: MESSAGE` to standard error, a line for each line of
/// the message.
void report(llvm::StringRef kind, llvm::StringRef message);

/// Reports an error and consumes it.
void reportError(llvm::Error error);

/// Prints a context's diagnostics while it lives.
class DiagnosticPrinter {
public:
  explicit DiagnosticPrinter(mlir::MLIRContext *ctx);

  /// Whether an error was printed.
  bool hasErrors() const { return errors; }

private:
  void print(mlir::Diagnostic &diagnostic);

  bool errors = false;
  mlir::ScopedDiagnosticHandler handler;
};

/// From now on prints what passes of `ctx` did and declined, a line for each
/// remark that has a match of `regex` in its text or in the name of its pass.
/// Passes run one after the other then, for one order of the lines.
void printRemarks(mlir::MLIRContext &ctx, llvm::StringRef regex);

} // namespace rondo

#endif // RONDO_LIB_DRIVER_DIAGNOSTICS_H
