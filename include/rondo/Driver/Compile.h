//===- Compile.h - from a checkpoint to a bundle ----------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DRIVER_COMPILE_H
#define RONDO_DRIVER_COMPILE_H

#include "rondo/Driver/Options.h"

namespace rondo {

/// Compiles as asked. Reports what is wrong on standard error. Returns the exit
/// status: 0, 1 if the input or the model is at fault, or 2 if an output would
/// overwrite an input or another output that the command line names.
int compile(const CompileOptions &options);

} // namespace rondo

#endif // RONDO_DRIVER_COMPILE_H
