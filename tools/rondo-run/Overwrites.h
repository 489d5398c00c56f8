//===- Overwrites.h - outputs that would destroy inputs ---------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_OVERWRITES_H
#define RONDO_RUN_OVERWRITES_H

#include "Options.h"

namespace rondo_run {

/// Throws UsageFailure if an output of `options` is the same file (device and
/// inode), whatever it is called, as one of the inputs or another output.
void refuseOverwrites(const Options &options);

} // namespace rondo_run

#endif // RONDO_RUN_OVERWRITES_H
