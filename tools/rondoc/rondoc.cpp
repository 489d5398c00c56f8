//===- rondoc.cpp - the compiler ------------------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Driver/Compile.h"
#include "rondo/Driver/Options.h"

#include "llvm/Support/raw_ostream.h"

/// Unreported, a full disk behind standard output would be a fatal error of
/// LLVM at exit.
static int finishOutput(int status) {
  llvm::outs().flush();
  std::error_code code = llvm::outs().error();
  if (!code)
    return status;
  llvm::outs().clear_error();
  llvm::errs() << "rondoc: error: cannot write standard output: "
               << code.message() << "; redirect it elsewhere\n";
  return 1;
}

int main(int argc, char **argv) {
  rondo::CompileOptions options;
  if (std::optional<int> status = rondo::parseCommandLine(argc, argv, options))
    return finishOutput(*status);
  return finishOutput(rondo::compile(options));
}
