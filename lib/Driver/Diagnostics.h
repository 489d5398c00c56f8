//===- Diagnostics.h - what rondoc tells its user ---------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every line for the user has one form: `rondoc: error: where: what`. MLIR's
// diagnostics are brought into it, remarks are filtered.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DRIVER_DIAGNOSTICS_H
#define RONDO_LIB_DRIVER_DIAGNOSTICS_H

#include "mlir/IR/Diagnostics.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/Regex.h"

#include <optional>
#include <string>

namespace rondo {

/// Prints `rondoc: KIND: MESSAGE` to standard error, a line for each line of
/// the message.
void report(llvm::StringRef kind, llvm::StringRef message);

/// Reports an error and consumes it.
void reportError(llvm::Error error);

/// Prints a context's diagnostics while it lives.
class DiagnosticPrinter {
public:
  /// `remarks` is a regular expression that a remark's message has to match;
  /// without one remarks are dropped.
  DiagnosticPrinter(mlir::MLIRContext *ctx,
                    const std::optional<std::string> &remarks);

  /// Whether an error was printed.
  bool hasErrors() const { return errors; }

private:
  void print(mlir::Diagnostic &diagnostic);

  std::optional<llvm::Regex> remarks;
  bool errors = false;
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace rondo

#endif // RONDO_LIB_DRIVER_DIAGNOSTICS_H
