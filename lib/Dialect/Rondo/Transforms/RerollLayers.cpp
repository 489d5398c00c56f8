//===- RerollLayers.cpp - loops from repeated executions ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An unrolled model spells out every visit of its layers. A window of
// operations that repeats, but for maps that grow by a constant and values that
// the window before hands on, is one iteration of a loop:
//
//   %a = rondo.apply @b(%x) layer(0) side(0) slot(0)
//   %b = rondo.apply @b(%a) layer(0) side(1) slot(1)
//   ==>
//   %b = rondo.loop %d to 2 carries(%h = %x) {
//     %c = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0)
//     rondo.yield %c
//   }
//
// Two rounds: windows that revisit the same layers first, so that the
// recurrence is the outer loop, then windows over neighbouring layers. In a
// round the window that covers most executions wins, then the shortest, then
// the first.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Remarks.h"
#include "rondo/Dialect/Rondo/Transforms/RepeatedWindows.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"

#define DEBUG_TYPE "rondo-reroll-layers"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_REROLLLAYERSPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

//===----------------------------------------------------------------------===//
// From repeated windows to a loop
//===----------------------------------------------------------------------===//

/// How many of the leading `indices` come from around the loop that is made:
/// the new induction value stands behind them, before those of inner loops.
static unsigned countOuterIndices(ValueRange indices, LoopOp loop) {
  unsigned count = 0;
  while (count < indices.size() &&
         !loop.getBody().isAncestor(indices[count].getParentRegion()))
    ++count;
  return count;
}

/// `map` with a dimension inserted at `position`, times `stride`.
static AffineMap addStride(AffineMap map, unsigned position, int64_t stride) {
  AffineExpr expr =
      map.getResult(0).shiftDims(map.getNumDims(), /*shift=*/1, position);
  expr = expr + getAffineDimExpr(position, map.getContext()) * stride;
  return simplifyAffineMap(
      AffineMap::get(map.getNumDims() + 1, /*symbolCount=*/0, expr));
}

/// Makes the maps of `apply`, inside `loop`, grow by `stride` an iteration.
static void addInductionValue(ApplyOp apply, LoopOp loop,
                              const DepthStride &stride) {
  if (stride == DepthStride())
    return;
  unsigned position = countOuterIndices(apply.getIndices(), loop);
  SmallVector<Value> indices(apply.getIndices());
  indices.insert(indices.begin() + position, loop.getInductionVar());
  apply.getIndicesMutable().assign(indices);
  apply.setLayer(addStride(apply.getLayer(), position, stride.layer));
  apply.setSide(addStride(apply.getSide(), position, stride.side));
  apply.setSlot(addStride(apply.getSlot(), position, stride.slot));
}

/// The result that `source` names in the window that starts with `ops`.
static Value getResult(ArrayRef<Operation *> ops, const ResultRef &source) {
  return ops[source.op]->getResult(source.result);
}

namespace {
/// A value that a loop carries: a result of the window before, with what stands
/// in its place in the first window. A result may stand in for several.
struct CarriedValue {
  ResultRef source;
  Value init;

  bool operator==(const CarriedValue &other) const {
    return source == other.source && init == other.init;
  }
};
} // namespace

/// The carried values of `run`, each once, in order of first use.
static SmallVector<CarriedValue> getCarriedValues(const WindowRun &run) {
  SmallVector<CarriedValue> carried;
  for (auto [flow, operand] : llvm::zip(run.step.flows, run.operands))
    if (flow)
      if (CarriedValue value{*flow, operand->get()};
          !llvm::is_contained(carried, value))
        carried.push_back(value);
  return carried;
}

/// A loop of `count` iterations over `inits` with an empty body, and the
/// insertion point in it.
static LoopOp makeEmptyLoop(RewriterBase &rewriter, Location loc, int64_t count,
                            ValueRange inits) {
  auto loop = LoopOp::create(rewriter, loc, inits.getTypes(),
                             rewriter.getI64IntegerAttr(count), inits);
  SmallVector<Type> types(1, rewriter.getIndexType());
  llvm::append_range(types, inits.getTypes());
  rewriter.createBlock(&loop.getBody(), loop.getBody().end(), types,
                       SmallVector<Location>(types.size(), loc));
  return loop;
}

/// Makes a loop of `run`: the first window becomes the body, the others go.
static void makeLoop(RewriterBase &rewriter, const WindowRun &run) {
  ArrayRef<Operation *> first = run.getWindow(0);
  ArrayRef<Operation *> last = run.getWindow(run.count - 1);
  SmallVector<CarriedValue> carried = getCarriedValues(run);
  SmallVector<Value> inits = llvm::map_to_vector(
      carried, [](const CarriedValue &value) { return value.init; });

  rewriter.setInsertionPoint(first.front());
  LoopOp loop =
      makeEmptyLoop(rewriter, first.front()->getLoc(), run.count, inits);
  for (auto [flow, operand] : llvm::zip(run.step.flows, run.operands))
    if (flow) {
      auto it = llvm::find(carried, CarriedValue{*flow, operand->get()});
      operand->set(loop.getCarriedArgs()[it - carried.begin()]);
    }
  for (auto [i, value] : llvm::enumerate(carried))
    rewriter.replaceUsesWithIf(
        getResult(last, value.source), loop.getResult(i),
        [&](OpOperand &use) { return !run.contains(use.getOwner()); });
  for (Operation *op :
       llvm::reverse(ArrayRef(run.ops).drop_front(first.size())))
    rewriter.eraseOp(op);
  Block *body = &loop.getBody().front();
  for (Operation *op : first)
    rewriter.moveOpBefore(op, body, body->end());
  rewriter.setInsertionPointToEnd(body);
  YieldOp::create(rewriter, loop.getLoc(),
                  llvm::map_to_vector(carried, [&](const CarriedValue &value) {
                    return getResult(first, value.source);
                  }));
  for (auto [apply, stride] : llvm::zip(run.applies, run.step.strides))
    addInductionValue(apply, loop, stride);
}

//===----------------------------------------------------------------------===//
// Rounds
//===----------------------------------------------------------------------===//

/// Makes loops in `block` and in its loops until no window repeats.
static int64_t rerollRound(RewriterBase &rewriter, Block &block,
                           WindowKind kind) {
  int64_t made = 0;
  while (std::optional<WindowRun> run = findBestRun(block, kind)) {
    makeLoop(rewriter, *run);
    ++made;
  }
  for (auto loop : block.getOps<LoopOp>())
    made += rerollRound(rewriter, loop.getBody().front(), kind);
  return made;
}

int64_t rondo::rerollLayers(RewriterBase &rewriter, Block &block) {
  return rerollRound(rewriter, block, WindowKind::SameLayers) +
         rerollRound(rewriter, block, WindowKind::AnyLayers);
}

/// Says of `model` that no window of its executions repeats, if it has several.
static void remarkNoWindow(func::FuncOp model) {
  auto applies = model.getOps<ApplyOp>();
  if (std::distance(applies.begin(), applies.end()) < 2)
    return;
  remarkDeclined(
      model, DEBUG_TYPE,
      "no window of executions repeats with layers, side indices and "
      "slots that grow by a constant");
}

namespace {
struct RerollLayersPass : rondo::impl::RerollLayersPassBase<RerollLayersPass> {
  void runOnOperation() override {
    numEntries += mergeRepeatedEntries(getOperation());
    IRRewriter rewriter(&getContext());
    for (auto model : getOperation().getOps<func::FuncOp>()) {
      int64_t made = 0;
      for (Block &block : model.getBody())
        made += rerollLayers(rewriter, block);
      numLoops += made;
      if (made == 0)
        remarkNoWindow(model);
    }
  }
};
} // namespace
