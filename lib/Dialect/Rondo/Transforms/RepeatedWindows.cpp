//===- RepeatedWindows.cpp - runs of like windows of operations -----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Windows are compared pairwise, each with its left neighbour; a run goes on
// while the step stays the same. All window sizes and positions are tried: the
// number of operations of a model function is small (layers times depths).
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/Transforms/RepeatedWindows.h"

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/DenseSet.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// Comparison of two neighbouring windows
//===----------------------------------------------------------------------===//

namespace {
/// Compares a window with the one behind it.
class WindowMatcher {
public:
  WindowMatcher(ArrayRef<Operation *> former, ArrayRef<Operation *> latter,
                WindowKind kind)
      : former(former), latter(latter), kind(kind) {}

  /// Whether the windows are alike; then the members below hold the step.
  bool match();

  WindowStep step;
  SmallVector<OpOperand *> operands;
  SmallVector<ApplyOp> applies;

private:
  bool matchOps(Operation *first, Operation *second);
  bool matchApplies(ApplyOp first, ApplyOp second);
  bool matchOperand(OpOperand &first, OpOperand &second);
  bool matchRegions(Operation *first, Operation *second);

  ArrayRef<Operation *> former, latter;
  WindowKind kind;
  /// Values of the former window to those of the latter.
  IRMapping values;
};
} // namespace

/// By how much `second` exceeds `first`; nullopt if that is not a constant.
static std::optional<int64_t> getDifference(AffineMap first, AffineMap second) {
  if (first.getNumDims() != second.getNumDims())
    return std::nullopt;
  AffineExpr difference =
      simplifyAffineExpr(second.getResult(0) - first.getResult(0),
                         first.getNumDims(), /*numSymbols=*/0);
  if (auto constant = dyn_cast<AffineConstantExpr>(difference))
    return constant.getValue();
  return std::nullopt;
}

bool WindowMatcher::matchApplies(ApplyOp first, ApplyOp second) {
  if (first.getBlockAttr() != second.getBlockAttr() ||
      first.getInputs().size() != second.getInputs().size())
    return false;
  auto layer = getDifference(first.getLayer(), second.getLayer());
  auto side = getDifference(first.getSide(), second.getSide());
  auto slot = getDifference(first.getSlot(), second.getSlot());
  if (!layer || !side || !slot ||
      (kind == WindowKind::SameLayers && *layer != 0))
    return false;
  step.strides.push_back({*layer, *side, *slot});
  applies.push_back(first);
  return true;
}

bool WindowMatcher::matchOperand(OpOperand &first, OpOperand &second) {
  if (Value own = values.lookupOrNull(first.get()))
    return own == second.get();
  operands.push_back(&first);
  if (first.get() == second.get()) {
    step.flows.push_back(std::nullopt);
    return true;
  }
  auto result = dyn_cast<OpResult>(second.get());
  if (!result)
    return false;
  auto it = llvm::find(former, result.getOwner());
  if (it == former.end())
    return false;
  step.flows.push_back(
      ResultRef{unsigned(it - former.begin()), result.getResultNumber()});
  return true;
}

bool WindowMatcher::matchRegions(Operation *first, Operation *second) {
  if (first->getNumRegions() != second->getNumRegions())
    return false;
  for (auto [a, b] : llvm::zip(first->getRegions(), second->getRegions())) {
    if (a.empty() && b.empty())
      continue;
    if (!a.hasOneBlock() || !b.hasOneBlock() ||
        a.getArgumentTypes() != b.getArgumentTypes())
      return false;
    values.map(a.getArguments(), b.getArguments());
    Block &left = a.front(), &right = b.front();
    if (left.getOperations().size() != right.getOperations().size())
      return false;
    for (auto [x, y] : llvm::zip(left, right))
      if (!matchOps(&x, &y))
        return false;
  }
  return true;
}

bool WindowMatcher::matchOps(Operation *first, Operation *second) {
  if (first->getName() != second->getName() ||
      first->getNumOperands() != second->getNumOperands() ||
      first->getNumSuccessors() != 0 ||
      first->getDiscardableAttrDictionary() !=
          second->getDiscardableAttrDictionary() ||
      first->getResultTypes() != second->getResultTypes())
    return false;
  if (auto apply = dyn_cast<ApplyOp>(first)) {
    if (!matchApplies(apply, cast<ApplyOp>(second)))
      return false;
  } else if (!first->getName().compareOpProperties(
                 first->getPropertiesStorage(),
                 second->getPropertiesStorage())) {
    return false;
  }
  for (auto [a, b] : llvm::zip(first->getOpOperands(), second->getOpOperands()))
    if (!matchOperand(a, b))
      return false;
  if (!matchRegions(first, second))
    return false;
  values.map(first->getResults(), second->getResults());
  return true;
}

bool WindowMatcher::match() {
  for (auto [first, second] : llvm::zip(former, latter))
    if (!matchOps(first, second))
      return false;
  return !applies.empty();
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

bool WindowRun::contains(Operation *op) const {
  Operation *ancestor = ops.front()->getBlock()->findAncestorOpInBlock(*op);
  return ancestor && llvm::is_contained(ops, ancestor);
}

/// Whether the readers of the run's results can read those of a loop: results
/// of all windows but the last are read inside the run alone, those of the last
/// elsewhere only if the loop carries them.
static bool hasLoopResults(const WindowRun &run) {
  auto isCarried = [&](unsigned op, unsigned result) {
    return llvm::is_contained(run.step.flows,
                              std::optional(ResultRef{op, result}));
  };
  for (int64_t number = 0; number < run.count; ++number)
    for (auto [i, op] : llvm::enumerate(run.getWindow(number)))
      for (OpResult result : op->getResults())
        for (Operation *user : result.getUsers())
          if (!run.contains(user) && (number != run.count - 1 ||
                                      !isCarried(i, result.getResultNumber())))
            return false;
  return true;
}

/// The longest run of windows of `size` operations at the start of `ops`;
/// nullopt if there are not two.
static std::optional<WindowRun> getRun(ArrayRef<Operation *> ops, size_t size,
                                       WindowKind kind) {
  auto getWindow = [&](size_t i) { return ops.slice(i * size, size); };
  WindowMatcher first(getWindow(0), getWindow(1), kind);
  if (!first.match())
    return std::nullopt;
  WindowRun run;
  run.step = first.step;
  run.operands = first.operands;
  run.applies = first.applies;
  run.count = 2;
  for (; (run.count + 1) * size <= ops.size(); ++run.count) {
    WindowMatcher next(getWindow(run.count - 1), getWindow(run.count), kind);
    if (!next.match() || !(next.step == run.step))
      break;
  }
  for (; run.count >= 2; --run.count) {
    run.ops.assign(ops.begin(), ops.begin() + run.count * size);
    if (hasLoopResults(run))
      return run;
  }
  return std::nullopt;
}

std::optional<WindowRun> rondo::findBestRun(Block &block, WindowKind kind) {
  SmallVector<Operation *> ops;
  size_t applies = 0;
  for (Operation &op : block) {
    if (op.hasTrait<OpTrait::IsTerminator>())
      continue;
    ops.push_back(&op);
    op.walk([&](ApplyOp) { ++applies; });
  }
  std::optional<WindowRun> best;
  size_t covered = 0;
  // Longer windows cannot cover more than all.
  for (size_t size = 1; size <= ops.size() / 2 && covered < applies; ++size)
    for (size_t start = 0; start + 2 * size <= ops.size(); ++start) {
      std::optional<WindowRun> run =
          getRun(ArrayRef(ops).drop_front(start), size, kind);
      if (!run || run->applies.size() * run->count <= covered)
        continue;
      covered = run->applies.size() * run->count;
      best = std::move(run);
    }
  return best;
}
