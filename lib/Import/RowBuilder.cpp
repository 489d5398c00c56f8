//===- RowBuilder.cpp - operations on rows --------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "RowBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace rondo;

RankedTensorType RowBuilder::getRows(int64_t width) {
  return RankedTensorType::get({ShapedType::kDynamic, width},
                               builder.getF32Type());
}

Value RowBuilder::norm(Value rows, const NormParams &norm,
                       const Decoder &decoder, std::optional<int64_t> heads) {
  llvm::APFloat eps(decoder.eps);
  FloatAttr plus = decoder.normOffset == 0
                       ? FloatAttr()
                       : builder.getF32FloatAttr(decoder.normOffset);
  return NormOp::create(
      builder, loc, rows.getType(), decoder.normKind, rows,
      getSymbol(norm.weight.symbol), plus,
      norm.bias ? getSymbol(norm.bias->symbol) : FlatSymbolRefAttr(), eps,
      heads ? builder.getI64IntegerAttr(*heads) : IntegerAttr());
}

SmallVector<Value> RowBuilder::linear(Value rows,
                                      ArrayRef<const LinearParams *> matrices) {
  bool alike = llvm::all_of(matrices, [&](const LinearParams *matrix) {
    return matrix->weight.type == matrices.front()->weight.type;
  });
  SmallVector<Value> results;
  for (size_t i = 0; i < matrices.size();) {
    size_t count = alike ? matrices.size() : 1;
    llvm::append_range(results, createLinear(rows, matrices.slice(i, count)));
    i += count;
  }
  return results;
}

Value RowBuilder::linear(Value rows, const LinearParams &matrix) {
  return linear(rows, {&matrix}).front();
}

Value RowBuilder::rope(Value rows, int64_t heads, const Decoder &decoder) {
  return RopeOp::create(builder, loc, rows.getType(), decoder.ropePairs, rows,
                        heads, builder.getF32VectorAttr(decoder.frequencies));
}

Value RowBuilder::activate(Value rows, ActivationKind kind) {
  return ActivationOp::create(builder, loc, rows.getType(), kind, rows);
}

Value RowBuilder::add(Value a, Value b) {
  return arith::AddFOp::create(builder, loc, a, b);
}

Value RowBuilder::multiply(Value a, Value b) {
  return arith::MulFOp::create(builder, loc, a, b);
}

Value RowBuilder::scale(Value rows, const Param &weight) {
  return ScaleOp::create(builder, loc, rows.getType(), rows,
                         getSymbol(weight.symbol), /*factor=*/FloatAttr());
}

Value RowBuilder::buildLoop(int64_t count, Value x,
                            function_ref<Value(Value, Value)> buildBody) {
  return buildLoop(count, Carried{x}, [&](Value index, Carried carried) {
    return Carried{buildBody(index, carried[0])};
  })[0];
}

RowBuilder::Carried
RowBuilder::buildLoop(int64_t count, const Carried &inits,
                      function_ref<Carried(Value, Carried)> buildBody) {
  auto loop =
      LoopOp::create(builder, loc, TypeRange(ValueRange(inits)), count, inits);
  OpBuilder::InsertionGuard guard(builder);
  SmallVector<Type> types = {builder.getIndexType()};
  llvm::append_range(types, TypeRange(ValueRange(inits)));
  Block *body = builder.createBlock(&loop.getBody(), {}, types,
                                    SmallVector<Location>(types.size(), loc));
  auto carried =
      llvm::to_vector_of<Value, 3>(body->getArguments().drop_front());
  YieldOp::create(builder, loc,
                  buildBody(body->getArgument(0), std::move(carried)));
  return llvm::to_vector_of<Value, 3>(loop.getResults());
}

Value RowBuilder::fill(ArrayRef<float> values, Value like) {
  return FillOp::create(builder, loc, getRows(values.size()),
                        builder.getF32VectorAttr(values), like);
}

void RowBuilder::trace(StringRef name, Value rows, bool isSingle,
                       TraceForm form, int64_t column) {
  TraceOp::create(builder, loc, name, rows, isSingle, form, column);
}

FlatSymbolRefAttr RowBuilder::getSymbol(StringRef name) {
  return FlatSymbolRefAttr::get(builder.getContext(), name);
}

ValueRange RowBuilder::createLinear(Value rows,
                                    ArrayRef<const LinearParams *> matrices) {
  SmallVector<Type> types;
  SmallVector<Attribute> weights, biases, deltas;
  bool hasBias = false, hasDelta = false;
  for (const LinearParams *matrix : matrices) {
    types.push_back(getRows(matrix->weight.shape.front()));
    weights.push_back(getSymbol(matrix->weight.symbol));
    hasBias |= matrix->bias.has_value();
    biases.push_back(matrix->bias ? Attribute(getSymbol(matrix->bias->symbol))
                                  : builder.getUnitAttr());
    hasDelta |= matrix->delta.has_value();
    deltas.push_back(matrix->delta ? getDelta(*matrix->delta)
                                   : builder.getUnitAttr());
  }
  return LinearOp::create(builder, loc, types, rows,
                          builder.getArrayAttr(weights),
                          hasBias ? builder.getArrayAttr(biases) : ArrayAttr(),
                          hasDelta ? builder.getArrayAttr(deltas) : ArrayAttr(),
                          /*arithmetic=*/ArithmeticAttr())
      .getOutputs();
}

Attribute RowBuilder::getDelta(const DeltaParams &delta) {
  return LoRAAttr::get(builder.getContext(), getSymbol(delta.a.symbol),
                       getSymbol(delta.b.symbol),
                       builder.getF32FloatAttr(delta.scale));
}
