//===- ModuleOptions.h - options as attributes of a module ------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What a user decides travels in the module, so that a dump is complete. A
// module that has settings already keeps them: a command line that says
// otherwise is an error, never a silent change.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DRIVER_MODULEOPTIONS_H
#define RONDO_LIB_DRIVER_MODULEOPTIONS_H

#include "rondo/Driver/Options.h"

namespace rondo {

/// Phase of a parsed module: what it says, else `given`, else `input`. An error
/// if the two disagree. The module says it afterwards.
mlir::FailureOr<Phase> settlePhase(mlir::ModuleOp module,
                                   std::optional<Phase> given);

/// Sets `rondo.options`, `rondo.target` and the storage of parameters from the
/// command line and its defaults, or checks those that the module has.
mlir::LogicalResult applyModuleOptions(mlir::ModuleOp module, Phase phase,
                                       const ModelOptions &options);

/// Whether the module is compiled without weights.
bool isWeightless(mlir::ModuleOp module, const ModelOptions &options);

/// The level of `-O`, 0 to 3, of a module that has its settings.
int getOptimization(mlir::ModuleOp module);

} // namespace rondo

#endif // RONDO_LIB_DRIVER_MODULEOPTIONS_H
