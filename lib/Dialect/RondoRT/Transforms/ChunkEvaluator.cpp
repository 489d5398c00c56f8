//===- ChunkEvaluator.cpp - rows as chunks of 32 lanes ----------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "ChunkEvaluator.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

static VectorType getChunkType(MLIRContext *context) {
  return VectorType::get({kLanes}, Float32Type::get(context));
}

static Value createF32(OpBuilder &builder, Location loc, double value) {
  return arith::ConstantOp::create(builder, loc,
                                   builder.getF32FloatAttr(value));
}

Value rondo::rt::emitInverseDeviation(OpBuilder &builder, Location loc,
                                      Value sum, int64_t count, APFloat eps) {
  Value mean =
      arith::DivFOp::create(builder, loc, sum, createF32(builder, loc, count));
  Value epsilon = arith::ConstantOp::create(
      builder, loc, builder.getFloatAttr(builder.getF32Type(), eps));
  Value shifted = arith::AddFOp::create(builder, loc, mean, epsilon);
  Value root = math::SqrtOp::create(builder, loc, shifted);
  return arith::DivFOp::create(builder, loc, createF32(builder, loc, 1.0),
                               root);
}

ExitScalars rondo::rt::emitExit(OpBuilder &builder, ExitOp exit, Value gate,
                                Value record) {
  Location loc = exit.getLoc();
  auto get = [&](Value chunk, int64_t lane) -> Value {
    return vector::ExtractOp::create(builder, loc, chunk,
                                     ArrayRef<int64_t>{lane});
  };
  Value one = createF32(builder, loc, 1.0);
  Value depth = get(record, 0), cumulative = get(record, 1),
        survival = get(record, 2);
  Value threshold =
      arith::ConstantOp::create(builder, loc, exit.getThresholdAttr());
  // Less, or not a number: such a row never exits.
  Value takes = arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::ULT,
                                      cumulative, threshold);
  Value next = arith::AddFOp::create(builder, loc, depth, one);
  Value p = get(ActivateOp::create(builder, loc, gate.getType(),
                                   ActivationKind::Sigmoid, gate),
                0);
  Value mass = arith::MulFOp::create(builder, loc, p, survival);
  Value left = arith::SubFOp::create(builder, loc, one, p);
  return {takes,
          {arith::SelectOp::create(builder, loc, takes, next, depth),
           arith::AddFOp::create(builder, loc, cumulative, mass),
           arith::MulFOp::create(builder, loc, survival, left)}};
}

Value ChunkEvaluator::makeChunk(Location loc, ArrayRef<Value> scalars) {
  Value chunk = splat(createF32(builder, loc, 0.0));
  for (auto [lane, scalar] : llvm::enumerate(scalars))
    chunk = vector::InsertOp::create(builder, loc, scalar, chunk,
                                     ArrayRef<int64_t>(lane));
  return chunk;
}

Value ChunkEvaluator::evaluateExit(OpResult result, int64_t panel) {
  auto exit = cast<rondo::ExitOp>(result.getOwner());
  ExitScalars scalars = context.exits.lookup(exit);
  if (result == exit.getNextRecord())
    return makeChunk(exit.getLoc(), scalars.record);
  return arith::SelectOp::create(builder, exit.getLoc(), scalars.takes,
                                 get(exit.getState(), panel),
                                 get(exit.getChosen(), panel));
}

/// The record's weight times the row, or the row, where the row has one.
Value ChunkEvaluator::evaluateMerge(MergeRowsOp merge, int64_t panel) {
  Location loc = merge.getLoc();
  VectorType type = getChunkType(builder.getContext());
  Value first = arith::ConstantIndexOp::create(builder, loc, 0);
  Value record = LoadOp::create(
      builder, loc, type, context.physical.lookup(merge.getRecord()), first);
  auto get = [&](int64_t column) -> Value {
    return vector::ExtractOp::create(builder, loc, record,
                                     ArrayRef<int64_t>{column});
  };
  Value rows = context.physical.lookup(merge.getRows());
  Value has, row;
  if (merge.getSelected()) {
    has = IsSelectedOp::create(builder, loc, builder.getI1Type());
    row =
        LoadSelectedOp::create(builder, loc, type, rows, index, panels, panel);
  } else {
    has = arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::UNE,
                                get(kRecordTaken), createF32(builder, loc, 0));
    row = LoadOp::create(builder, loc, type, rows, index, panels, panel);
  }
  Value input = this->get(merge.getInput(), panel);
  if (merge.getKind() == MergeKind::Add)
    row = arith::AddFOp::create(
        builder, loc, input,
        arith::MulFOp::create(builder, loc, splat(get(kRecordWeight)), row));
  return arith::SelectOp::create(builder, loc, has, row, input);
}

Value ChunkEvaluator::splat(Value scalar) {
  return vector::BroadcastOp::create(
      builder, scalar.getLoc(), getChunkType(builder.getContext()), scalar);
}

Value ChunkEvaluator::get(Value value, int64_t panel) {
  auto it = known.find({value, panel});
  if (it != known.end())
    return it->second;
  Value chunk = evaluate(value, panel);
  known[{value, panel}] = chunk;
  return chunk;
}

Value ChunkEvaluator::evaluate(Value value, int64_t panel) {
  Operation *def = value.getDefiningOp();
  if (!def || def->getParentOp() != context.stage)
    return LoadOp::create(builder, value.getLoc(),
                          getChunkType(value.getContext()),
                          context.physical.lookup(value), index, panels, panel);
  if (auto norm = dyn_cast<rondo::NormOp>(def))
    return norm.getHeads() ? evaluateHeadNorm(norm, panel)
                           : evaluateNorm(norm, panel);
  if (auto rope = dyn_cast<rondo::RopeOp>(def))
    return evaluateRope(rope, panel);
  if (auto scale = dyn_cast<rondo::ScaleOp>(def))
    return evaluateScale(scale, panel);
  if (auto merge = dyn_cast<rondo::MergeRowsOp>(def))
    return evaluateMerge(merge, panel);
  if (isa<rondo::ExitOp>(def))
    return evaluateExit(cast<OpResult>(value), panel);
  if (auto fill = dyn_cast<rondo::FillOp>(def))
    return makeChunk(def->getLoc(),
                     llvm::map_to_vector(fill.getValues().getValues<float>(),
                                         [&](float number) {
                                           return createF32(
                                               builder, def->getLoc(), number);
                                         }));
  if (isa<rondo::LinearOp>(def))
    return evaluateLinear(cast<OpResult>(value));
  if (auto copy = dyn_cast<rt::CopyOp>(def))
    return get(copy.getInput(), panel);
  if (auto activation = dyn_cast<rondo::ActivationOp>(def)) {
    Value input = get(activation.getInput(), panel);
    if (!input)
      return nullptr;
    return ActivateOp::create(builder, def->getLoc(), input.getType(),
                              activation.getKind(), input);
  }
  return evaluateElementwise(def, panel);
}

Value ChunkEvaluator::loadVector(FlatSymbolRefAttr param, LayoutAttr layout,
                                 int64_t repeat, int64_t panel) {
  VectorOp vector = context.weights.getVector(param, layout, repeat);
  return LoadVectorOp::create(builder, vector.getLoc(),
                              getChunkType(builder.getContext()),
                              vector.getSymName(), index, panels, panel);
}

Value ChunkEvaluator::applyAffine(NormOp norm, Value value, LayoutAttr layout,
                                  int64_t repeat, int64_t panel) {
  Location loc = norm.getLoc();
  if (FlatSymbolRefAttr weight = norm.getWeightAttr()) {
    Value factor = loadVector(weight, layout, repeat, panel);
    if (FloatAttr plus = norm.getPlusAttr()) {
      Value number = arith::ConstantOp::create(builder, loc, plus);
      factor = arith::AddFOp::create(builder, loc, factor, splat(number));
    }
    value = arith::MulFOp::create(builder, loc, value, factor);
  }
  if (FlatSymbolRefAttr bias = norm.getBiasAttr())
    value = arith::AddFOp::create(builder, loc, value,
                                  loadVector(bias, layout, repeat, panel));
  return value;
}

Value ChunkEvaluator::evaluateNorm(NormOp norm, int64_t panel) {
  Value x = get(norm.getInput(), panel);
  if (!x)
    return nullptr;
  NormStatistics statistics = context.norms.lookup(norm);
  Location loc = norm.getLoc();
  if (statistics.mean)
    x = arith::SubFOp::create(builder, loc, x, splat(statistics.mean));
  x = arith::MulFOp::create(builder, loc, x, splat(statistics.scale));
  return applyAffine(norm, x, getFlatLayout(norm.getType()), /*repeat=*/1,
                     panel);
}

Value ChunkEvaluator::evaluateHeadNorm(NormOp norm, int64_t panel) {
  Location loc = norm.getLoc();
  if (norm.getKind() != NormKind::RMS) {
    norm.emitOpError("of heads is only supported for kind rms");
    return nullptr;
  }
  // The unit is a whole head; padding lanes of a projection are zero.
  Value sum;
  for (int64_t i = 0; i < panels; ++i) {
    Value x = get(norm.getInput(), i);
    if (!x)
      return nullptr;
    Value square = arith::MulFOp::create(builder, loc, x, x);
    sum = sum ? arith::AddFOp::create(builder, loc, sum, square).getResult()
              : square;
  }
  Value total = SumLanesOp::create(builder, loc, builder.getF32Type(), sum);
  LayoutAttr layout = context.layouts.get(norm.getInput());
  int64_t heads = *norm.getHeads(), width = layout.getWidth() / heads;
  Value scale = emitInverseDeviation(builder, loc, total, width, norm.getEps());
  Value x = arith::MulFOp::create(builder, loc, get(norm.getInput(), panel),
                                  splat(scale));
  auto oneHead = LayoutAttr::get(norm.getContext(), layout.getKind(), width,
                                 /*heads=*/1, layout.getRotary());
  return applyAffine(norm, x, oneHead, heads, panel);
}

Value ChunkEvaluator::evaluateRope(RopeOp rope, int64_t panel) {
  Value x = get(rope.getInput(), panel);
  if (!x)
    return nullptr;
  int64_t chunks = context.layouts.get(rope.getInput()).getHeadLanes() / kLanes;
  RopeTableOp table = context.weights.getRopeTable(rope.getFrequenciesAttr(),
                                                   context.positions, chunks);
  return RotateOp::create(builder, rope.getLoc(), x.getType(), x,
                          table.getSymName(), index, panels, panel);
}

Value ChunkEvaluator::evaluateLinear(OpResult result) {
  auto linear = cast<rondo::LinearOp>(result.getOwner());
  auto weight =
      cast<FlatSymbolRefAttr>(linear.getWeights()[result.getResultNumber()]);
  PackedOp packed = context.weights.getPacked(
      {weight}, {getFlatLayout(result.getType())}, /*unitPanels=*/1);
  return ContractOp::create(builder, linear.getLoc(),
                            getChunkType(builder.getContext()),
                            context.packedRows.lookup(linear),
                            packed.getSymName(), index, /*first=*/0,
                            /*stride=*/1, /*panel=*/0);
}

Value ChunkEvaluator::evaluateScale(ScaleOp scale, int64_t panel) {
  Location loc = scale.getLoc();
  Value x = get(scale.getInput(), panel);
  if (!x)
    return nullptr;
  if (FlatSymbolRefAttr weight = scale.getWeightAttr()) {
    LayoutAttr layout = context.layouts.get(scale.getInput());
    x = arith::MulFOp::create(builder, loc, x,
                              loadVector(weight, layout, /*repeat=*/1, panel));
  }
  if (FloatAttr factor = scale.getFactorAttr()) {
    Value number = arith::ConstantOp::create(builder, loc, factor);
    x = arith::MulFOp::create(builder, loc, x, splat(number));
  }
  return x;
}

/// What takes f32 to f32 and is an instruction: a code image calls no library.
static bool isLaneByLane(Operation *op) {
  return isa<arith::AddFOp, arith::SubFOp, arith::MulFOp, arith::DivFOp,
             arith::NegFOp, arith::MaximumFOp, arith::MinimumFOp,
             arith::MaxNumFOp, arith::MinNumFOp>(op);
}

Value ChunkEvaluator::evaluateElementwise(Operation *op, int64_t panel) {
  if (!isLaneByLane(op)) {
    op->emitOpError("cannot be computed in chunks of lanes; expected an "
                    "operation of 'rondo' on rows, or addf, subf, mulf, divf, "
                    "negf, maximumf, minimumf, maxnumf or minnumf of 'arith'");
    return nullptr;
  }
  SmallVector<Value> operands;
  for (Value operand : op->getOperands()) {
    operands.push_back(get(operand, panel));
    if (!operands.back())
      return nullptr;
  }
  OperationState state(op->getLoc(), op->getName(), operands,
                       {getChunkType(op->getContext())}, op->getAttrs());
  return builder.create(state)->getResult(0);
}
