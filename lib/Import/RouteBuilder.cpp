//===- RouteBuilder.cpp - routers around the visits of a loop -------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "RouteBuilder.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

void RouteBuilder::buildBlock(
    StringRef name, ArrayRef<Type> inputs, ArrayRef<Type> results,
    llvm::function_ref<SmallVector<Value>(ValueRange)> build) {
  OpBuilder::InsertionGuard guard(builder);
  auto block = BlockOp::create(builder, loc, name,
                               builder.getFunctionType(inputs, results),
                               /*caches=*/0);
  Block *body = builder.createBlock(&block.getBody(), {}, inputs,
                                    SmallVector<Location>(inputs.size(), loc));
  YieldOp::create(builder, loc, build(body->getArguments()));
}

void RouteBuilder::buildBlocks() {
  Type state = rows.getRows(decoder.hidden), record = getRecords();
  if (router.isChoice())
    buildBlock("choose", {state, record}, {record},
               [&](ValueRange in) { return buildChoose(in); });
  SmallVector<Type> entered{state};
  if (!router.isChoice())
    entered.push_back(record);
  buildBlock("enter", {state, record}, entered,
             [&](ValueRange in) { return buildEnter(in); });
  buildBlock("leave", {state, state, record}, {state},
             [&](ValueRange in) -> SmallVector<Value> {
               MergeKind kind =
                   router.isChoice() ? MergeKind::Replace : MergeKind::Add;
               return {MergeRowsOp::create(builder, loc, state, kind, in[0],
                                           in[1], in[2], /*selected=*/false)};
             });
}

/// The router's output for each row, in f32: a choice between visits is no
/// place to save time.
Value RouteBuilder::buildScores(Value x) {
  if (router.temperature != 1)
    x = ScaleOp::create(builder, loc, x.getType(), x,
                        /*weight=*/FlatSymbolRefAttr(),
                        builder.getF32FloatAttr(1 / router.temperature));
  auto multiply = [&](Value rowsIn, const LinearParams &matrix) {
    Value product = rows.linear(rowsIn, matrix);
    product.getDefiningOp<LinearOp>().setArithmetic(Arithmetic::Exact);
    return product;
  };
  Value scores = multiply(x, params.first);
  if (params.second)
    scores =
        multiply(rows.activate(scores, ActivationKind::GeLU), *params.second);
  return scores;
}

Value RouteBuilder::route(Value scores, Value record) {
  auto number = [&](bool present, float value) {
    return present ? builder.getF32FloatAttr(value) : FloatAttr();
  };
  return RouteOp::create(
      builder, loc, record.getType(), router.rule, scores, record,
      router.function, llvm::APFloat(router.alpha), router.additive,
      router.rule == RouteRule::TopK
          ? DenseElementsAttr::get(
                RankedTensorType::get(
                    {static_cast<int64_t>(router.capacities.size())},
                    builder.getF64Type()),
                ArrayRef<double>(router.capacities))
          : DenseElementsAttr(),
      number(router.rule == RouteRule::Threshold, 0),
      params.biases ? rows.getSymbol(params.biases->symbol)
                    : FlatSymbolRefAttr());
}

SmallVector<Value> RouteBuilder::buildChoose(ValueRange arguments) {
  Value scores = buildScores(arguments[0]);
  int64_t visits = cast<RankedTensorType>(scores.getType()).getDimSize(1);
  for (int64_t visit = 0; visit < visits; ++visit)
    rows.trace("router", scores, /*isSingle=*/false, TraceForm::Numbers, visit);
  return {route(scores, arguments[1])};
}

SmallVector<Value> RouteBuilder::buildEnter(ValueRange arguments) {
  Value x = arguments[0], record = arguments[1];
  if (!router.isChoice()) {
    record = route(buildScores(x), record);
    rows.trace("router", record, /*isSingle=*/false, TraceForm::Present,
               kRecordScore);
    rows.trace("selected", record, /*isSingle=*/false, TraceForm::Positions,
               kRecordTaken);
  }
  Places places = router.sharesKV ? Places::Kept : Places::Dense;
  SmallVector<Value> results{
      SelectRowsOp::create(builder, loc, x.getType(), x, record, places)};
  if (!router.isChoice())
    results.push_back(record);
  return results;
}

//===----------------------------------------------------------------------===//
// Visits
//===----------------------------------------------------------------------===//

ValueRange RouteBuilder::apply(StringRef name, ValueRange inputs,
                               ArrayRef<Type> results, Value visit,
                               int64_t first) {
  SmallVector<Value, 1> indices;
  AffineExpr side = builder.getAffineConstantExpr(0);
  if (visit) {
    indices.push_back(visit);
    side = builder.getAffineDimExpr(0) + first;
  }
  auto getMap = [&](AffineExpr expr) {
    return AffineMap::get(indices.size(), /*symbolCount=*/0, expr);
  };
  AffineMap zero = getMap(builder.getAffineConstantExpr(0));
  return ApplyOp::create(builder, loc, results, name, inputs, indices, zero,
                         getMap(side), zero)
      .getResults();
}

Value RouteBuilder::begin(Value x) {
  Value record = rows.fill({-1, 0, 0, 0}, x);
  if (!router.isChoice())
    return record;
  return apply("choose", {x, record}, {getRecords()}, /*visit=*/nullptr, 0)
      .front();
}

Value RouteBuilder::enter(Value x, Value &record, Value visit, int64_t first) {
  if (router.isChoice())
    return apply("enter", {x, record}, {x.getType()}, visit, first).front();
  ValueRange results =
      apply("enter", {x, record}, {x.getType(), getRecords()}, visit, first);
  record = results[1];
  return results[0];
}

Value RouteBuilder::leave(Value y, Value x, Value record) {
  return apply("leave", {y, x, record}, {x.getType()}, /*visit=*/nullptr, 0)
      .front();
}

Value RouteBuilder::end(Value state, Value x, Value record) {
  if (!router.isChoice())
    return state;
  return MergeRowsOp::create(builder, loc, x.getType(), MergeKind::Add, state,
                             x, record, /*selected=*/false);
}
