//===- StageRoots.cpp - what a stage is that has no tiles -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "StageRoots.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

static Value tileRoot(OpBuilder &builder, TilingContext &context,
                      rondo::AttendOp attend) {
  int64_t width = cast<RankedTensorType>(attend.getType()).getDimSize(1);
  Type type = context.layouts.getPhysicalType(attend.getResult());
  auto op =
      rt::AttendOp::create(builder, attend.getLoc(), type,
                           context.physical.lookup(attend.getQuery()),
                           /*target=*/Value(), attend.getCacheAttr(),
                           attend.getHeadsAttr(), attend.getKvHeadsAttr(),
                           builder.getI64IntegerAttr(width / attend.getHeads()),
                           attend.getScaleAttr(), attend.getWindowAttr(),
                           /*scratch=*/IntegerAttr(),
                           /*shared=*/IntegerAttr());
  return op.getResult();
}

static Value tileRoot(OpBuilder &builder, TilingContext &context,
                      rondo::RouteOp route) {
  FlatSymbolRefAttr biases = route.getBiasesAttr();
  if (biases)
    biases = FlatSymbolRefAttr::get(context.weights.getVector(
        biases, getFlatLayout(route.getScores().getType()), /*repeat=*/1));
  auto op = rt::RouteOp::create(
      builder, route.getLoc(), context.layouts.getPhysicalType(route.getNext()),
      route.getRule(), context.physical.lookup(route.getScores()),
      context.physical.lookup(route.getRecord()), /*target=*/Value(),
      route.getScores().getType().getDimSize(1), route.getFunction(),
      route.getAlpha(), route.getAdditive(), route.getCapacitiesAttr(),
      route.getThresholdAttr(), biases, /*shared=*/IntegerAttr());
  return op.getResult();
}

static Value tileRoot(OpBuilder &builder, TilingContext &context,
                      rondo::SelectRowsOp select) {
  auto op = rt::SelectRowsOp::create(
      builder, select.getLoc(),
      context.layouts.getPhysicalType(select.getResult()),
      context.physical.lookup(select.getInput()),
      context.physical.lookup(select.getRecord()), /*target=*/Value(),
      select.getPlaces());
  return op.getResult();
}

static Value tileRoot(OpBuilder &builder, TilingContext &context,
                      rondo::EmbedOp embed) {
  ParamOp table = context.weights.getParam(embed.getTableAttr());
  int64_t width = table.getTensorType().getDimSize(1);
  int64_t entries = table.getTensorType().getDimSize(0);
  auto ids = embed.getTokens().getDefiningOp<RowIdsOp>();
  RowField field = ids ? ids.getField() : RowField::Token;
  if (field == RowField::Position && context.positions > entries) {
    embed.emitOpError("looks positions up in ")
        << entries << " entries of '" << embed.getTable()
        << "', but sequences may have " << context.positions
        << "; compile with --context=" << entries << " or less";
    return nullptr;
  }
  LayoutAttr rows = LayoutAttr::get(builder.getContext(), LayoutKind::Flat,
                                    table.getTensorType().getDimSize(0), 1, 0);
  PackedOp packed =
      context.weights.getPacked({embed.getTableAttr()}, {rows}, 1);
  Type type = context.layouts.getPhysicalType(embed.getResult());
  auto op = rt::EmbedOp::create(builder, embed.getLoc(), type,
                                FlatSymbolRefAttr::get(packed),
                                RowFieldAttr::get(builder.getContext(), field),
                                builder.getI64IntegerAttr(width),
                                embed.getScaleAttr(), /*target=*/Value());
  return op.getResult();
}

bool rondo::rt::hasNoTiles(Operation *op) {
  return isa<rondo::AttendOp, rondo::EmbedOp, rondo::RouteOp,
             rondo::SelectRowsOp>(op);
}

Value rondo::rt::tileAlone(OpBuilder &builder, TilingContext &context,
                           Operation *op) {
  return TypeSwitch<Operation *, Value>(op)
      .Case<rondo::AttendOp, rondo::EmbedOp, rondo::RouteOp,
            rondo::SelectRowsOp>(
          [&](auto root) { return tileRoot(builder, context, root); });
}
