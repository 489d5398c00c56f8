//===- Layouts.cpp - which order the lanes of a value have -------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Layouts.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

static int64_t getWidth(Value value) {
  return cast<RankedTensorType>(value.getType()).getDimSize(1);
}

LayoutAttr rondo::rt::getFlatLayout(Type type) {
  return LayoutAttr::get(type.getContext(), LayoutKind::Flat,
                         cast<RankedTensorType>(type).getDimSize(1),
                         /*heads=*/1, /*rotary=*/0);
}

/// The layout that `op` asks of its operand `index`, or null.
static LayoutAttr getDemandedLayout(Operation *op, unsigned index) {
  MLIRContext *context = op->getContext();
  int64_t width = getWidth(op->getOperand(index));
  auto heads = [&](int64_t count) {
    return LayoutAttr::get(context, LayoutKind::Heads, width, count, 0);
  };
  if (auto rope = dyn_cast<rondo::RopeOp>(op)) {
    LayoutKind kind = rope.getPairs() == RopePairs::Half
                          ? LayoutKind::RopeHalf
                          : LayoutKind::RopeInterleaved;
    return LayoutAttr::get(context, kind, width, rope.getHeads(),
                           rope.getFrequencies().size());
  }
  if (auto append = dyn_cast<rondo::AppendOp>(op))
    return heads(append.getHeads());
  if (auto attend = dyn_cast<rondo::AttendOp>(op))
    return heads(attend.getHeads());
  return nullptr;
}

/// Whether `op` gives its result the layout of its operands.
static bool keepsLayout(Operation *op) {
  if (auto norm = dyn_cast<rondo::NormOp>(op))
    return norm.getHeads().has_value();
  return isa<rondo::ActivationOp, rondo::RopeOp, rondo::ScaleOp>(op) ||
         op->hasTrait<OpTrait::Elementwise>();
}

/// What the readers of `value` ask for, looking through operations that keep
/// the layout and across stages. A rotary layout wins over plain heads.
static LayoutAttr findDemand(Value value) {
  LayoutAttr found;
  auto take = [&](LayoutAttr layout) {
    if (layout && (!found || found.getKind() == LayoutKind::Heads))
      found = layout;
  };
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    take(getDemandedLayout(user, use.getOperandNumber()));
    if (keepsLayout(user))
      take(findDemand(user->getResult(0)));
    if (isa<rt::YieldOp>(user))
      take(findDemand(user->getParentOp()->getResult(use.getOperandNumber())));
  }
  return found;
}

/// Whether rows of layout `have` may stand where `want` is asked for: plain
/// heads are satisfied by any layout with the same heads.
static bool satisfies(LayoutAttr have, LayoutAttr want) {
  if (have == want)
    return true;
  return want.getKind() == LayoutKind::Heads &&
         have.getHeads() == want.getHeads() &&
         have.getWidth() == want.getWidth() &&
         have.getKind() != LayoutKind::Flat;
}

LogicalResult LayoutMap::spread(Value value, LayoutAttr layout) {
  layouts[value] = layout;
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (LayoutAttr want = getDemandedLayout(user, use.getOperandNumber()))
      if (!satisfies(layout, want))
        return user->emitOpError("expected its operand in layout ")
               << want << ", but other readers need " << layout;
    if (keepsLayout(user)) {
      if (failed(spread(user->getResult(0), layout)))
        return failure();
    } else if (isa<rt::YieldOp>(user)) {
      if (failed(spread(user->getParentOp()->getResult(use.getOperandNumber()),
                        layout)))
        return failure();
    } else if (!isa<rondo::AppendOp, rondo::AttendOp>(user) &&
               layout.getKind() != LayoutKind::Flat) {
      return user->emitOpError("expected flat rows, but they are rotated or "
                               "cached and stand in layout ")
             << layout;
    }
  }
  return success();
}

FailureOr<LayoutMap> LayoutMap::infer(BodyOp body) {
  LayoutMap map;
  WalkResult result = body.walk([&](rondo::LinearOp linear) {
    for (Value output : linear.getOutputs())
      if (LayoutAttr layout = findDemand(output))
        if (failed(map.spread(output, layout)))
          return WalkResult::interrupt();
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  // Values from elsewhere are flat.
  result = body.walk([&](Operation *op) {
    for (OpOperand &operand : op->getOpOperands())
      if (LayoutAttr want = getDemandedLayout(op, operand.getOperandNumber()))
        if (!satisfies(map.get(operand.get()), want)) {
          op->emitOpError("expected an operand computed by a 'rondo.linear' of "
                          "the same block");
          return WalkResult::interrupt();
        }
    // Lane by lane only works if the lanes mean the same.
    if (keepsLayout(op))
      for (Value operand : op->getOperands())
        if (map.get(operand) != map.get(op->getResult(0))) {
          op->emitOpError("expected operands in one layout, got ")
              << map.get(operand) << " and " << map.get(op->getResult(0));
          return WalkResult::interrupt();
        }
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  return map;
}

LayoutAttr LayoutMap::get(Value value) const {
  auto it = layouts.find(value);
  return it == layouts.end() ? getFlatLayout(value.getType()) : it->second;
}

RankedTensorType LayoutMap::getPhysicalType(Value value) const {
  return RankedTensorType::get({ShapedType::kDynamic, get(value).getLanes()},
                               Float32Type::get(value.getContext()));
}
