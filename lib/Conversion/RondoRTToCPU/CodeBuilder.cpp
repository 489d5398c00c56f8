//===- CodeBuilder.cpp - short hand for target code -------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "CodeBuilder.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace rondo::cpu;
using rondo::rt::kLanes;

//===----------------------------------------------------------------------===//
// Integers
//===----------------------------------------------------------------------===//

Value CodeBuilder::i64(int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
}

Value CodeBuilder::add(Value x, Value y) {
  return arith::AddIOp::create(b, loc, x, y);
}
Value CodeBuilder::sub(Value x, Value y) {
  return arith::SubIOp::create(b, loc, x, y);
}
Value CodeBuilder::mul(Value x, Value y) {
  return arith::MulIOp::create(b, loc, x, y);
}

Value CodeBuilder::div(Value x, int64_t y) {
  return y == 1 ? x : arith::DivUIOp::create(b, loc, x, i64(y)).getResult();
}

Value CodeBuilder::rem(Value x, int64_t y) {
  return arith::RemUIOp::create(b, loc, x, i64(y));
}

Value CodeBuilder::min(Value x, Value y) {
  return arith::MinSIOp::create(b, loc, x, y);
}
Value CodeBuilder::max(Value x, Value y) {
  return arith::MaxSIOp::create(b, loc, x, y);
}

Value CodeBuilder::compare(arith::CmpIPredicate predicate, Value x, Value y) {
  return arith::CmpIOp::create(b, loc, predicate, x, y);
}

Value CodeBuilder::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}

//===----------------------------------------------------------------------===//
// Floats
//===----------------------------------------------------------------------===//

Value CodeBuilder::f32(double value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
}

Value CodeBuilder::splat(Value scalar) {
  return vector::BroadcastOp::create(b, loc, chunkType(), scalar);
}

Value CodeBuilder::fadd(Value x, Value y) {
  return arith::AddFOp::create(b, loc, x, y);
}
Value CodeBuilder::fsub(Value x, Value y) {
  return arith::SubFOp::create(b, loc, x, y);
}
Value CodeBuilder::fmul(Value x, Value y) {
  return arith::MulFOp::create(b, loc, x, y);
}
Value CodeBuilder::fdiv(Value x, Value y) {
  return arith::DivFOp::create(b, loc, x, y);
}

Value CodeBuilder::fmax(Value x, Value y) {
  Value larger = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, x, y);
  return arith::SelectOp::create(b, loc, larger, x, y);
}

Value CodeBuilder::reduceLanes(Value chunk,
                               llvm::function_ref<Value(Value, Value)> fn) {
  for (int64_t half = kLanes / 2; half >= 1; half /= 2) {
    Value low =
        vector::ExtractStridedSliceOp::create(b, loc, chunk, {0}, {half}, {1});
    Value high = vector::ExtractStridedSliceOp::create(b, loc, chunk, {half},
                                                       {half}, {1});
    chunk = fn(low, high);
  }
  return vector::ExtractOp::create(b, loc, chunk, ArrayRef<int64_t>{0});
}

Value CodeBuilder::zeroFrom(Value chunk, Value first, int64_t end) {
  auto type = VectorType::get({kLanes}, b.getI64Type());
  SmallVector<int64_t> lanes(llvm::to_vector(llvm::seq<int64_t>(0, kLanes)));
  Value numbers = arith::ConstantOp::create(
      b, loc, DenseIntElementsAttr::get(type, ArrayRef<int64_t>(lanes)));
  Value left = vector::BroadcastOp::create(b, loc, type, sub(i64(end), first));
  Value inside =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, numbers, left);
  return arith::SelectOp::create(b, loc, inside, chunk, splat(f32(0)));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Value CodeBuilder::at(Value base, Value bytes) {
  return LLVM::GEPOp::create(b, loc, ptrType(), b.getI8Type(), base,
                             ArrayRef<LLVM::GEPArg>{bytes});
}

Value CodeBuilder::at(Value base, int64_t bytes) {
  return bytes ? at(base, i64(bytes)) : base;
}

/// Addresses are multiples of an element, no more is promised.
static unsigned getAlignment(Type type) {
  Type element = getElementTypeOrSelf(type);
  return element.isIntOrFloat() ? element.getIntOrFloatBitWidth() / 8 : 8;
}

Value CodeBuilder::load(Type type, Value address) {
  return LLVM::LoadOp::create(b, loc, type, address, getAlignment(type));
}

void CodeBuilder::store(Value value, Value address) {
  LLVM::StoreOp::create(b, loc, value, address, getAlignment(value.getType()));
}

Value CodeBuilder::loadUnsigned(Value base, int64_t offset, unsigned bits) {
  Value value = load(b.getIntegerType(bits), at(base, offset));
  if (bits == 64)
    return value;
  return arith::ExtUIOp::create(b, loc, b.getI64Type(), value);
}

Value CodeBuilder::loadPointer(Value base, int64_t offset) {
  return load(ptrType(), at(base, offset));
}

void CodeBuilder::prefetch(Value address) {
  LLVM::Prefetch::create(b, loc, address, /*rw=*/0, /*hint=*/2, /*cache=*/1);
}

//===----------------------------------------------------------------------===//
// Control
//===----------------------------------------------------------------------===//

void CodeBuilder::forEach(Value first, Value end, int64_t step,
                          llvm::function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, loc, first, end, i64(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

Value CodeBuilder::fold(Value first, Value end, Value init,
                        llvm::function_ref<Value(Value, Value)> body) {
  auto loop = scf::ForOp::create(b, loc, first, end, i64(1), ValueRange{init});
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  Value next = body(loop.getInductionVar(), loop.getRegionIterArg(0));
  scf::YieldOp::create(b, loc, next);
  return loop.getResult(0);
}

void CodeBuilder::ifThen(Value condition, llvm::function_ref<void()> body) {
  auto op = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&op.getThenRegion().front());
  body();
}

void CodeBuilder::ifElse(Value condition, llvm::function_ref<void()> then,
                         llvm::function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&op.getThenRegion().front());
  then();
  b.setInsertionPointToStart(&op.getElseRegion().front());
  otherwise();
}

void CodeBuilder::switchOn(Value value, ArrayRef<int64_t> cases,
                           llvm::function_ref<void(int64_t)> body) {
  if (cases.size() == 1)
    return body(cases.front());
  Value index = arith::IndexCastOp::create(b, loc, b.getIndexType(), value);
  auto op = scf::IndexSwitchOp::create(b, loc, TypeRange(), index,
                                       cases.drop_back(), cases.size() - 1);
  OpBuilder::InsertionGuard guard(b);
  auto fill = [&](Region &region, int64_t number) {
    b.setInsertionPointToStart(&region.emplaceBlock());
    body(number);
    scf::YieldOp::create(b, loc);
  };
  for (auto [region, number] :
       llvm::zip(op.getCaseRegions(), cases.drop_back()))
    fill(region, number);
  fill(op.getDefaultRegion(), cases.back());
}

func::FuncOp rondo::cpu::createFunction(
    ModuleOp module, StringRef name, ArrayRef<Type> types,
    llvm::function_ref<void(CodeBuilder &, ValueRange)> body) {
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  auto function = func::FuncOp::create(builder, module.getLoc(), name,
                                       builder.getFunctionType(types, {}));
  function.setPrivate();
  function->setAttr("passthrough",
                    builder.getArrayAttr(builder.getStringAttr("noinline")));
  Block *entry = function.addEntryBlock();
  CodeBuilder code(OpBuilder::atBlockEnd(entry), module.getLoc());
  body(code, entry->getArguments());
  code.b.setInsertionPointToEnd(entry);
  func::ReturnOp::create(code.b, module.getLoc());
  return function;
}
