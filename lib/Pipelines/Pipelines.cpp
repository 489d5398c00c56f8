//===- Pipelines.cpp - the table of contents of the compiler -----*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One function a phase. Canonicalization and CSE are passes here and nowhere
// else; nothing depends on them for correctness.
//
//===----------------------------------------------------------------------===//
#include "rondo/Pipelines/Pipelines.h"

#include "rondo/Conversion/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/RondoRT/Transforms/Passes.h"

#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace rondo;

/// Ends a phase.
static void addVerifier(OpPassManager &pm, Phase phase) {
  VerifyPhasePassOptions options;
  options.phase = stringifyPhase(phase).str();
  pm.addPass(createVerifyPhasePass(options));
}

//===----------------------------------------------------------------------===//
// input -> rondo                                       --rondo-rondo-pipeline
//===----------------------------------------------------------------------===//

void rondo::buildRondoPipeline(OpPassManager &pm,
                               const PipelineOptions &options) {
  // First, on what the importer or a person wrote: later passes only move code
  // that has been found legal.
  pm.addPass(createVerifyKVPolicyPass());
  pm.addPass(createStripTracePass());
  if (options.optimization > 0) {
    pm.addPass(createRerollLayersPass());
    pm.addPass(createHoistDepthInvariantsPass());
  }
  pm.addPass(createMergeLoraPass());
  pm.addPass(createLowerLoraPass());
  // Before fusion: only projections of one mode share a pass over their input.
  pm.addPass(createSelectArithmeticPass());
  if (options.optimization > 0)
    pm.addPass(createFuseProjectionsPass());
  addVerifier(pm, Phase::Rondo);
}

//===----------------------------------------------------------------------===//
// rondo -> step                                         --rondo-step-pipeline
//===----------------------------------------------------------------------===//

void rondo::buildStepPipeline(OpPassManager &pm, const PipelineOptions &) {
  // From here on a loop over depth is a table: what wants to see loops ran
  // before.
  pm.addPass(createConvertRondoToRondoRTPass());
  pm.addNestedPass<rt::BodyOp>(rt::createFormStagesPass());
  addVerifier(pm, Phase::Step);
}

//===----------------------------------------------------------------------===//
// step -> tiled                                        --rondo-tiled-pipeline
//===----------------------------------------------------------------------===//

void rondo::buildTiledPipeline(OpPassManager &pm,
                               const PipelineOptions &options) {
  pm.addPass(rt::createTileStagesPass());
  if (options.optimization > 0)
    pm.addPass(createCSEPass());
  addVerifier(pm, Phase::Tiled);
}

//===----------------------------------------------------------------------===//
// tiled -> buffers                                   --rondo-buffers-pipeline
//===----------------------------------------------------------------------===//

void rondo::buildBuffersPipeline(OpPassManager &pm, const PipelineOptions &) {
  pm.addPass(rt::createPlanBuffersPass());
  addVerifier(pm, Phase::Buffers);
}

//===----------------------------------------------------------------------===//
// buffers -> target                                   --rondo-target-pipeline
//===----------------------------------------------------------------------===//

void rondo::buildTargetPipeline(OpPassManager &pm,
                                const PipelineOptions &options) {
  pm.addPass(createConvertRondoRTToCPUPass());
  if (options.optimization > 0) {
    pm.addPass(createCanonicalizerPass());
    pm.addPass(createCSEPass());
  }
  addVerifier(pm, Phase::Target);
}

//===----------------------------------------------------------------------===//
// All of them
//===----------------------------------------------------------------------===//

void rondo::buildPhasePipeline(OpPassManager &pm, Phase to,
                               const PipelineOptions &options) {
  switch (to) {
  case Phase::Rondo:
    return buildRondoPipeline(pm, options);
  case Phase::Step:
    return buildStepPipeline(pm, options);
  case Phase::Tiled:
    return buildTiledPipeline(pm, options);
  case Phase::Buffers:
    return buildBuffersPipeline(pm, options);
  case Phase::Target:
    return buildTargetPipeline(pm, options);
  case Phase::Input:
  case Phase::Artifact:
    break;
  }
  llvm_unreachable("phase without a pipeline");
}

void rondo::registerPipelines() {
  auto add = [](Phase phase, StringRef summary) {
    PassPipelineRegistration<>(
        ("rondo-" + stringifyPhase(phase) + "-pipeline").str(), summary,
        [phase](OpPassManager &pm) { buildPhasePipeline(pm, phase, {}); });
  };
  add(Phase::Rondo,
      "input -> rondo: verify, hoist, choose arithmetic, fuse projections");
  add(Phase::Step, "rondo -> step: bodies, schedule, stages");
  add(Phase::Tiled,
      "step -> tiled: layouts, packed weights, chunks of 32 lanes");
  add(Phase::Buffers, "tiled -> buffers: arena, scratch and weight offsets");
  add(Phase::Target, "buffers -> target: SPMD functions");
}
