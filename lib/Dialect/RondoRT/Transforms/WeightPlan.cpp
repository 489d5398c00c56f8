//===- WeightPlan.cpp - places of packed weights -------------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "WeightPlan.h"

#include "rondo/Dialect/Rondo/Transforms/Remarks.h"
#include "rondo_rt/abi.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

#define DEBUG_TYPE "rondo-rt-plan-buffers"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

static int64_t alignUp(int64_t bytes) {
  return llvm::alignTo(bytes, RONDO_RT_ALIGNMENT);
}

/// Bytes of one entry (layer) of a packed weight.
static int64_t getEntryBytes(Operation *op) {
  if (auto packed = dyn_cast<PackedOp>(op))
    return alignUp(packed.getEntryBytes());
  if (auto vector = dyn_cast<VectorOp>(op))
    return alignUp(vector.getLayout().getLanes() * vector.getRepeat() * 4);
  auto rope = cast<RopeTableOp>(op);
  return alignUp(rope.getPositions() * rope.getChunks() * kLanes * 4);
}

/// Layers, and depths of each.
static std::pair<int64_t, int64_t> getEntries(Operation *op) {
  if (auto packed = dyn_cast<PackedOp>(op))
    return {packed.getLayers(), packed.getDepths()};
  if (auto vector = dyn_cast<VectorOp>(op))
    return {vector.getLayers(), vector.getDepths()};
  return {1, 1};
}

static void setPlace(Operation *op, int64_t offset, int64_t stride) {
  Builder builder(op->getContext());
  op->setAttr("offset", builder.getI64IntegerAttr(offset));
  if (!isa<RopeTableOp>(op))
    op->setAttr("stride", builder.getI64IntegerAttr(stride));
}

/// Packed weights that `body` reads, in reading order.
static llvm::SetVector<Operation *> collectWeights(BodyOp body,
                                                   SymbolTable &symbols) {
  llvm::SetVector<Operation *> weights;
  body.walk([&](Operation *op) {
    for (NamedAttribute attr : op->getAttrs())
      if (auto symbol = dyn_cast<FlatSymbolRefAttr>(attr.getValue()))
        weights.insert(symbols.lookup(symbol.getValue()));
  });
  return weights;
}

/// Says how much an execution of a block reads: what has to fit into a cache if
/// the next visit is to find it there.
static void remarkBytes(BodyOp body, const llvm::SetVector<Operation *> &ops) {
  int64_t bytes = 0;
  for (Operation *op : ops)
    if (!isa<RopeTableOp>(op)) // of which a step reads a few rows
      bytes += getEntryBytes(op);
  if (body.getKind() == BodyKind::Block)
    remarkFound(body, DEBUG_TYPE,
                "one execution of '{0}' reads {1} bytes of weights",
                body.getSymName(), bytes);
}

int64_t rondo::rt::planWeights(ModuleOp module) {
  SymbolTable symbols(module);
  llvm::SetVector<Operation *> placed;
  int64_t end = 0;
  for (BodyOp body : module.getOps<BodyOp>()) {
    // Weights with equally many layers and depths are interleaved entry by
    // entry.
    llvm::MapVector<std::pair<int64_t, int64_t>, SmallVector<Operation *>>
        byEntries;
    llvm::SetVector<Operation *> weights = collectWeights(body, symbols);
    remarkBytes(body, weights);
    for (Operation *op : weights)
      if (placed.insert(op))
        byEntries[getEntries(op)].push_back(op);
    for (auto &[entries, ops] : byEntries) {
      int64_t stride = 0;
      for (Operation *op : ops)
        stride += getEntryBytes(op);
      int64_t offset = end;
      for (Operation *op : ops) {
        setPlace(op, offset, stride);
        offset += getEntryBytes(op);
      }
      end += stride * entries.first * entries.second;
    }
  }
  return end;
}
