//===- SelectedRows.cpp - which values are selected rows -------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "SelectedRows.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace rondo;

namespace {
/// Spreads the property from `rondo.select_rows` until nothing changes.
class Inference {
public:
  explicit Inference(ModuleOp module) : module(module) {
    do {
      changed = false;
      module.walk([&](Operation *op) { visit(op); });
    } while (changed);
  }

  bool contains(Value value) const { return selected.contains(value); }

private:
  void add(Value value) { changed |= selected.insert(value).second; }

  void spread(ValueRange from, ValueRange to) {
    for (auto [source, target] : llvm::zip(from, to))
      if (contains(source))
        add(target);
  }

  void visit(Operation *op) {
    if (auto select = dyn_cast<SelectRowsOp>(op))
      return add(select.getResult());
    if (auto apply = dyn_cast<ApplyOp>(op)) {
      auto block = module.lookupSymbol<BlockOp>(apply.getBlock());
      spread(apply.getInputs(), block.getBody().getArguments());
      return spread(block.getYieldedValues(), apply.getOutputs());
    }
    if (auto loop = dyn_cast<LoopOp>(op)) {
      spread(loop.getInits(), loop.getCarriedArgs());
      spread(loop.getYieldedValues(), loop.getCarriedArgs());
      return spread(loop.getYieldedValues(), loop.getResults());
    }
    if (isa<MergeRowsOp, BlockOp, func::FuncOp, YieldOp>(op))
      return;
    if (llvm::any_of(op->getOperands(),
                     [&](Value operand) { return contains(operand); }))
      for (Value result : op->getResults())
        add(result);
  }

  ModuleOp module;
  llvm::DenseSet<Value> selected;
  bool changed = false;
};

/// Whether `op` computes rows: is neither structure nor the end of selections.
bool isComputation(Operation *op) {
  return !isa<MergeRowsOp, ApplyOp, LoopOp, BlockOp, YieldOp, func::FuncOp,
              func::ReturnOp>(op) &&
         llvm::any_of(op->getOperandTypes(), isRowsType);
}

/// Whether `op` reads selected rows.
bool readsSelected(Operation *op, const Inference &inference) {
  return llvm::any_of(op->getOperands(), [&](Value operand) {
    return inference.contains(operand);
  });
}

LogicalResult verifyOperation(Operation *op, const Inference &inference) {
  if (!isComputation(op) || !readsSelected(op, inference))
    return success();
  for (Value operand : op->getOperands())
    if (isRowsType(operand.getType()) && !inference.contains(operand))
      return op->emitOpError("reads selected rows beside others; end them in "
                             "'rondo.merge_rows'");
  if (isa<TraceOp>(op))
    return op->emitOpError("traces selected rows; trace what "
                           "'rondo.merge_rows' makes of them");
  if (isa<SelectRowsOp>(op))
    return op->emitOpError("selects among selected rows; end them in "
                           "'rondo.merge_rows'");
  if (!op->getParentOfType<BlockOp>())
    return op->emitOpError("expected selected rows to be computed inside a "
                           "'rondo.block'");
  return success();
}

/// A call site gives a block the rows that the other ones give it.
LogicalResult verifySite(ApplyOp apply, const Inference &inference) {
  auto block = SymbolTable::lookupNearestSymbolFrom<BlockOp>(
      apply, apply.getBlockAttr());
  for (auto [input, argument] :
       llvm::zip(apply.getInputs(), block.getBody().getArguments()))
    if (inference.contains(argument) && !inference.contains(input))
      return apply.emitOpError("executes '")
             << apply.getBlock()
             << "' for all rows, but another place does for selected ones; "
                "write two blocks";
  return success();
}

/// A loop carries rows of one kind, and a model gives back all of them.
LogicalResult verifyEnds(Operation *op, const Inference &inference) {
  if (auto loop = dyn_cast<LoopOp>(op))
    for (auto [init, argument] :
         llvm::zip(loop.getInits(), loop.getCarriedArgs()))
      if (inference.contains(argument) && !inference.contains(init))
        return loop.emitOpError("starts with all rows and carries selected "
                                "ones; end them in 'rondo.merge_rows'");
  if (auto merge = dyn_cast<MergeRowsOp>(op))
    if (inference.contains(merge.getInput()) ||
        inference.contains(merge.getRecord()))
      return merge.emitOpError(
          "merges into selected rows; merge into all rows, "
          "by a record of all");
  if (isa<func::ReturnOp>(op) && readsSelected(op, inference))
    return op->emitOpError("returns selected rows; end them in "
                           "'rondo.merge_rows'");
  return success();
}

/// A window counts places, which are not positions where they are dense.
LogicalResult verifyWindow(AttendOp attend, ModuleOp module) {
  if (!attend.getWindow())
    return success();
  WalkResult result = module.walk([](SelectRowsOp select) {
    return select.getPlaces() == Places::Dense ? WalkResult::interrupt()
                                               : WalkResult::advance();
  });
  if (!result.wasInterrupted())
    return success();
  return attend.emitOpError("has a window, which counts positions, but its "
                            "rows are selected with dense places; leave the "
                            "window out");
}
} // namespace

llvm::FailureOr<SelectedRows> SelectedRows::infer(func::FuncOp model) {
  auto module = model->getParentOfType<ModuleOp>();
  Inference inference(module);
  SelectedRows rows;
  WalkResult result = module.walk([&](Operation *op) {
    if (failed(verifyOperation(op, inference)) ||
        failed(verifyEnds(op, inference)))
      return WalkResult::interrupt();
    if (auto apply = dyn_cast<ApplyOp>(op))
      if (failed(verifySite(apply, inference)))
        return WalkResult::interrupt();
    if (auto merge = dyn_cast<MergeRowsOp>(op))
      merge.setSelected(inference.contains(merge.getRows()));
    if (isComputation(op) && readsSelected(op, inference))
      rows.blocks.insert(op->getParentOfType<BlockOp>());
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  for (Operation *block : rows.blocks) {
    result = block->walk([&](Operation *op) {
      if (isComputation(op) && !readsSelected(op, inference)) {
        op->emitOpError("computes all rows in a block of selected rows; write "
                        "two blocks");
        return WalkResult::interrupt();
      }
      auto attend = dyn_cast<AttendOp>(op);
      return attend && failed(verifyWindow(attend, module))
                 ? WalkResult::interrupt()
                 : WalkResult::advance();
    });
    if (result.wasInterrupted())
      return failure();
  }
  return rows;
}
