//===- RondoRTToCPU.cpp - emit the SPMD functions of a CPU step --*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The result is one module of functions that every thread of the team runs.
// Module-level operations that describe the bundle (schedule, packed weights)
// stay: the bundle writer reads them.
//
//===----------------------------------------------------------------------===//
#include "StepFunctions.h"

#include "rondo/Conversion/Passes.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::cpu;

namespace rondo {
#define GEN_PASS_DEF_CONVERTRONDORTTOCPUPASS
#include "rondo/Conversion/Passes.h.inc"
} // namespace rondo

LogicalResult rondo::convertRondoRTToCPU(ModuleOp module) {
  FailureOr<ModuleFacts> facts = ModuleFacts::read(module);
  if (failed(facts))
    return failure();
  StepBodies bodies;
  SmallVector<rt::BodyOp> ops(module.getOps<rt::BodyOp>());
  for (rt::BodyOp body : ops) {
    func::FuncOp function = emitBody(body, *facts);
    if (body.getKind() == rt::BodyKind::Prelude)
      bodies.prelude = function;
    else if (body.getKind() == rt::BodyKind::Coda)
      bodies.coda = function;
    else {
      if (body.getSelected())
        bodies.selected.insert(bodies.blocks.size());
      bodies.blocks.push_back(function);
    }
  }
  if (!bodies.prelude || !bodies.coda)
    return module.emitError("expected a prelude and a coda");
  emitEntries(*facts, bodies);
  for (rt::BodyOp body : ops)
    body.erase();
  return success();
}

namespace {
struct ConvertRondoRTToCPUPass
    : public rondo::impl::ConvertRondoRTToCPUPassBase<ConvertRondoRTToCPUPass> {
  void runOnOperation() override {
    if (failed(convertRondoRTToCPU(getOperation())))
      signalPassFailure();
  }
};
} // namespace
