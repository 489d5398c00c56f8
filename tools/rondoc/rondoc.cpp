//===- rondoc.cpp - the compiler ------------------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Driver/Compile.h"
#include "rondo/Driver/Options.h"

int main(int argc, char **argv) {
  rondo::CompileOptions options;
  if (std::optional<int> status = rondo::parseCommandLine(argc, argv, options))
    return *status;
  return rondo::compile(options);
}
