//===- CommandLine.h - the options of rondo-interp --------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_INTERP_COMMANDLINE_H
#define RONDO_INTERP_COMMANDLINE_H

#include "rondo/Interpreter/Interpreter.h"

#include <optional>
#include <string>
#include <vector>

namespace rondo {

/// What a run is asked for.
struct InterpCommand {
  /// An MLIR file or `-`.
  std::string module;
  std::vector<std::string> archives;
  /// Empty: no inputs.
  std::string inputs;
  std::string outputs;
  InterpreterOptions options;
};

/// Reads a command line. Returns the exit status if the program has nothing
/// left to do: 0 after `--help` and `--version`, 2 after wrong use, which it
/// reports.
std::optional<int> parseCommandLine(int argc, char **argv,
                                    InterpCommand &command);

} // namespace rondo

#endif // RONDO_INTERP_COMMANDLINE_H
