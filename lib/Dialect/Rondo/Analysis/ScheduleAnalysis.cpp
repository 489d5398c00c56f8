//===- ScheduleAnalysis.cpp - the executions of a model, in order ---------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An interpreter of the loops alone: it walks the model function, keeps the
// values of induction variables and evaluates the maps of every `rondo.apply`.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/Analysis/ScheduleAnalysis.h"

#include "mlir/IR/AffineMap.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace rondo;

namespace {
/// Walks a model function once.
class Flattener {
public:
  /// Appends the executions of `block` and of the loops in it.
  LogicalResult visit(Block &block);

  SmallVector<Execution> takeExecutions() { return std::move(executions); }

private:
  LogicalResult visitLoop(LoopOp loop);
  LogicalResult visitApply(ApplyOp op);

  /// The present value of `index`; nullopt if it is not known.
  std::optional<int64_t> getValue(Value index);

  /// Values of the induction variables of the loops that are entered.
  DenseMap<Value, int64_t> inductionValues;
  SmallVector<Execution> executions;
};
} // namespace

std::optional<int64_t> Flattener::getValue(Value index) {
  if (auto it = inductionValues.find(index); it != inductionValues.end())
    return it->second;
  APInt constant;
  if (matchPattern(index, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  return std::nullopt;
}

LogicalResult Flattener::visitApply(ApplyOp op) {
  Execution execution;
  execution.op = op;
  for (Value index : op.getIndices()) {
    std::optional<int64_t> value = getValue(index);
    if (!value)
      return op.emitOpError("expected indices that are induction values or "
                            "constants, got ")
             << index;
    execution.indices.push_back(*value);
  }
  std::tuple<StringRef, AffineMap, int64_t *> maps[] = {
      {"layer", op.getLayer(), &execution.layer},
      {"side", op.getSide(), &execution.side},
      {"slot", op.getSlot(), &execution.slot}};
  for (auto [name, map, value] : maps) {
    *value = map.compose(execution.indices).front();
    if (*value < 0)
      return op.emitOpError("expected a ")
             << name << " that is not negative, got " << *value
             << " in execution " << executions.size();
  }
  executions.push_back(std::move(execution));
  return success();
}

LogicalResult Flattener::visitLoop(LoopOp loop) {
  for (int64_t i = 0, e = loop.getCount(); i < e; ++i) {
    inductionValues[loop.getInductionVar()] = i;
    if (failed(visit(loop.getBody().front())))
      return failure();
  }
  return success();
}

/// Checks that no execution hides in the regions of `op`.
static LogicalResult verifyNoApply(Operation &op) {
  WalkResult result = op.walk([&](ApplyOp apply) {
    apply.emitOpError("expected to be enclosed by 'rondo.loop' only, got '")
        << op.getName() << "'";
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

LogicalResult Flattener::visit(Block &block) {
  for (Operation &op : block) {
    if (auto loop = dyn_cast<LoopOp>(op)) {
      if (failed(visitLoop(loop)))
        return failure();
    } else if (auto apply = dyn_cast<ApplyOp>(op)) {
      if (failed(visitApply(apply)))
        return failure();
    } else if (failed(verifyNoApply(op))) {
      return failure();
    }
  }
  return success();
}

FailureOr<SmallVector<Execution>> rondo::flattenSchedule(func::FuncOp model) {
  Flattener flattener;
  for (Block &block : model.getBody())
    if (failed(flattener.visit(block)))
      return failure();
  return flattener.takeExecutions();
}
