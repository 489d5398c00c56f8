//===- Pipelines.h - the phases of a compilation ----------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The contract of each phase is in docs/Architecture/Phases.md and is checked
// by `rondo-verify-phase` at its end.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_PIPELINES_PIPELINES_H
#define RONDO_PIPELINES_PIPELINES_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

#include <memory>
#include <optional>

namespace llvm {
class LLVMContext;
class Module;
} // namespace llvm

namespace rondo {

/// Levels of the IR, in order; `--compile-from` and `--compile-to` name them.
enum class Phase { Input, Rondo, Step, Tiled, Buffers, Target, Artifact };

/// The name of `phase` on the command line and in `rondo.phase`.
llvm::StringRef stringifyPhase(Phase phase);
/// The phase called `name`.
std::optional<Phase> symbolizePhase(llvm::StringRef name);

/// What the pipelines depend on beside the module.
struct PipelineOptions {
  /// The level of `-O`, 0 to 3. 0 keeps only what correctness needs.
  int optimization = 3;
};

/// Adds the passes that lower a module from the phase before `to` to `to`,
/// which is one of Rondo .. Target.
void buildPhasePipeline(mlir::OpPassManager &pm, Phase to,
                        const PipelineOptions &options);

void buildRondoPipeline(mlir::OpPassManager &pm,
                        const PipelineOptions &options);
void buildStepPipeline(mlir::OpPassManager &pm, const PipelineOptions &options);
void buildTiledPipeline(mlir::OpPassManager &pm,
                        const PipelineOptions &options);
void buildBuffersPipeline(mlir::OpPassManager &pm,
                          const PipelineOptions &options);
void buildTargetPipeline(mlir::OpPassManager &pm,
                         const PipelineOptions &options);

/// Registers `rondo-<phase>-pipeline` for rondo-opt.
void registerPipelines();

/// Checks the contract of `phase`; emits an error at what breaks it.
llvm::LogicalResult verifyPhase(mlir::ModuleOp module, Phase phase);

/// Translates a module at phase `target`; null after an error.
std::unique_ptr<llvm::Module> translateToLLVMIR(mlir::ModuleOp module,
                                                llvm::LLVMContext &context);

#define GEN_PASS_DECL
#include "rondo/Pipelines/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "rondo/Pipelines/Passes.h.inc"

} // namespace rondo

#endif // RONDO_PIPELINES_PIPELINES_H
