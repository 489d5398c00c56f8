//===- Overwrites.h - outputs that would destroy inputs ---------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DRIVER_OVERWRITES_H
#define RONDO_DRIVER_OVERWRITES_H

#include "rondo/Driver/Options.h"

namespace rondo {

/// Where the phase `dumped` is written by `--dump-phases=folder`.
std::string getDumpPath(llvm::StringRef folder, Phase dumped);

/// Where `--perf-map` writes the symbols of the bundle `output`.
std::string getMapPath(llvm::StringRef output);

/// An error if an output of `options` is one of the inputs that they name, a
/// file of a folder that they name, or another output.
llvm::Error refuseOverwrites(const CompileOptions &options);

/// The same for the files that a module names: its archives, tokenizer and chat
/// template. `archives` are the ones that were opened.
llvm::Error refuseOverwrites(const CompileOptions &options,
                             mlir::ModuleOp module, const ArchiveSet &archives);

} // namespace rondo

#endif // RONDO_DRIVER_OVERWRITES_H
