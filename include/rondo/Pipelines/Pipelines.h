//===- Pipelines.h - the phases of a compilation ----------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_PIPELINES_PIPELINES_H
#define RONDO_PIPELINES_PIPELINES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"

#include <memory>

namespace llvm {
class LLVMContext;
class Module;
} // namespace llvm

namespace rondo {

/// Levels of the IR, in order; `--compile-from` and `--compile-to` name them.
enum class Phase { Input, Rondo, Step, Tiled, Buffers, Target, Artifact };

/// What the pipelines depend on beside the module.
struct PipelineOptions {
  /// The level of `-O`, 0 to 3.
  int optimization = 3;
};

/// Adds the passes that lower a module from the phase before `to` to `to`,
/// which is one of Rondo .. Target.
void buildPhasePipeline(mlir::OpPassManager &pm, Phase to,
                        const PipelineOptions &options);

/// Translates a module at phase `target`; null after an error.
std::unique_ptr<llvm::Module> translateToLLVMIR(mlir::ModuleOp module,
                                                llvm::LLVMContext &context);

} // namespace rondo

#endif // RONDO_PIPELINES_PIPELINES_H
