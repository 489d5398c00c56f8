//===- VerifyPhase.cpp - check the contract of a phase -----------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Pipelines/Pipelines.h"

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_VERIFYPHASEPASS
#include "rondo/Pipelines/Passes.h.inc"
} // namespace rondo

static constexpr std::pair<Phase, llvm::StringLiteral> kNames[] = {
    {Phase::Input, "input"},      {Phase::Rondo, "rondo"},
    {Phase::Step, "step"},        {Phase::Tiled, "tiled"},
    {Phase::Buffers, "buffers"},  {Phase::Target, "target"},
    {Phase::Artifact, "artifact"}};

StringRef rondo::stringifyPhase(Phase phase) {
  return llvm::find_if(kNames,
                       [&](auto &entry) { return entry.first == phase; })
      ->second;
}

std::optional<Phase> rondo::symbolizePhase(StringRef name) {
  for (auto &[phase, text] : kNames)
    if (text == name)
      return phase;
  return std::nullopt;
}

/// The phase that removes `op`: it is legal only before.
static std::optional<Phase> getRemovingPhase(Operation *op) {
  if (isa<BlockOp, ApplyOp, LoopOp>(op))
    return Phase::Step;
  if (isa<ParamOp>(op)) // names the archive's tensors for the bundle writer
    return std::nullopt;
  if (isa<RondoDialect>(op->getDialect()))
    return Phase::Tiled;
  if (isa<rt::ScheduleOp, rt::PackedOp, rt::VectorOp, rt::RopeTableOp>(op))
    return std::nullopt;
  if (isa<rt::RondoRTDialect>(op->getDialect()))
    return Phase::Target;
  return std::nullopt;
}

/// Whether `op` is what functions of phase target are made of.
static bool isTargetOp(Operation *op) {
  return isa<ModuleOp>(op) ||
         isa<arith::ArithDialect, func::FuncDialect, LLVM::LLVMDialect,
             math::MathDialect, scf::SCFDialect, vector::VectorDialect>(
             op->getDialect()) ||
         isa<ParamOp, rt::ScheduleOp, rt::PackedOp, rt::VectorOp,
             rt::RopeTableOp>(op);
}

/// Phase buffers has no tensors.
static bool hasTensor(Operation *op) {
  auto isTensor = [](Type type) { return isa<TensorType>(type); };
  return llvm::any_of(op->getOperandTypes(), isTensor) ||
         llvm::any_of(op->getResultTypes(), isTensor);
}

LogicalResult rondo::verifyPhase(ModuleOp module, Phase phase) {
  WalkResult result =
      module.walk<WalkOrder::PreOrder>([&](Operation *op) -> WalkResult {
        std::optional<Phase> removedAt = getRemovingPhase(op);
        if (removedAt && phase >= *removedAt)
          return op->emitOpError("is still here at phase ")
                 << stringifyPhase(phase) << "; phase "
                 << stringifyPhase(*removedAt) << " was to remove it";
        if (phase < Phase::Step && isa<rt::RondoRTDialect>(op->getDialect()))
          return op->emitOpError("is not known before phase step");
        if (phase >= Phase::Buffers && hasTensor(op))
          return op->emitOpError("has tensors at phase ")
                 << stringifyPhase(phase)
                 << "; phase buffers was to replace them";
        if (phase == Phase::Target && !isTargetOp(op))
          return op->emitOpError("is not target code");
        return WalkResult::advance();
      });
  return failure(result.wasInterrupted());
}

namespace {
struct VerifyPhasePass
    : public rondo::impl::VerifyPhasePassBase<VerifyPhasePass> {
  using VerifyPhasePassBase::VerifyPhasePassBase;

  void runOnOperation() override {
    std::optional<Phase> which = symbolizePhase(phase);
    if (!which || *which == Phase::Artifact) {
      getOperation().emitError("no phase of the IR is called '")
          << phase << "'";
      return signalPassFailure();
    }
    if (failed(verifyPhase(getOperation(), *which)))
      signalPassFailure();
  }
};
} // namespace
