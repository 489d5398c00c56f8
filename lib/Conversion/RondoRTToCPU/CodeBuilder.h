//===- CodeBuilder.h - short hand for target code ---------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Target code is scf, arith and vector on `!llvm.ptr` and i64. This class keeps
// the emitters readable; it holds no state beyond its insertion point.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDORTTOCPU_CODEBUILDER_H
#define RONDO_LIB_CONVERSION_RONDORTTOCPU_CODEBUILDER_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace rondo::cpu {

class CodeBuilder {
public:
  CodeBuilder(mlir::OpBuilder builder, mlir::Location loc)
      : b(builder), loc(loc) {}

  mlir::OpBuilder b;
  mlir::Location loc;

  //===--- Types ----------------------------------------------------------===//
  mlir::Type ptrType() {
    return mlir::LLVM::LLVMPointerType::get(b.getContext());
  }
  mlir::Type i64Type() { return b.getI64Type(); }
  mlir::VectorType chunkType() {
    return mlir::VectorType::get({rt::kLanes}, b.getF32Type());
  }

  //===--- Integers (i64) -------------------------------------------------===//
  mlir::Value i64(int64_t value);
  mlir::Value add(mlir::Value x, mlir::Value y);
  mlir::Value add(mlir::Value x, int64_t y) { return y ? add(x, i64(y)) : x; }
  mlir::Value sub(mlir::Value x, mlir::Value y);
  mlir::Value mul(mlir::Value x, mlir::Value y);
  mlir::Value mul(mlir::Value x, int64_t y) {
    return y == 1 ? x : mul(x, i64(y));
  }
  mlir::Value div(mlir::Value x, int64_t y); // of non-negative x
  mlir::Value rem(mlir::Value x, int64_t y);
  mlir::Value min(mlir::Value x, mlir::Value y);
  mlir::Value max(mlir::Value x, mlir::Value y);
  mlir::Value compare(mlir::arith::CmpIPredicate predicate, mlir::Value x,
                      mlir::Value y);
  mlir::Value select(mlir::Value condition, mlir::Value x, mlir::Value y);

  //===--- Floats ---------------------------------------------------------===//
  mlir::Value f32(double value);
  /// `scalar` in all lanes of a chunk.
  mlir::Value splat(mlir::Value scalar);
  mlir::Value fadd(mlir::Value x, mlir::Value y);
  mlir::Value fsub(mlir::Value x, mlir::Value y);
  mlir::Value fmul(mlir::Value x, mlir::Value y);
  mlir::Value fdiv(mlir::Value x, mlir::Value y);
  /// The larger of two values that are not NaN.
  mlir::Value fmax(mlir::Value x, mlir::Value y);
  /// Lanes of a chunk reduced by halving: 32, 16, ... 1.
  mlir::Value
  reduceLanes(mlir::Value chunk,
              llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> fn);
  /// `chunk` with 0 in lanes l where first + l >= end.
  mlir::Value zeroFrom(mlir::Value chunk, mlir::Value first, int64_t end);

  //===--- Memory ---------------------------------------------------------===//
  mlir::Value at(mlir::Value base, mlir::Value bytes);
  mlir::Value at(mlir::Value base, int64_t bytes);
  mlir::Value load(mlir::Type type, mlir::Value address);
  mlir::Value loadChunk(mlir::Value address) {
    return load(chunkType(), address);
  }
  void store(mlir::Value value, mlir::Value address);
  /// Asks for the cache line of `address`, to stand in L2.
  void prefetch(mlir::Value address);
  /// An unsigned integer of `bits` bits at `base + offset`, as i64.
  mlir::Value loadUnsigned(mlir::Value base, int64_t offset, unsigned bits);
  mlir::Value loadPointer(mlir::Value base, int64_t offset);

  //===--- Control --------------------------------------------------------===//
  /// for (i = first; i < end; i += step) body(i).
  void forEach(mlir::Value first, mlir::Value end, int64_t step,
               llvm::function_ref<void(mlir::Value)> body);
  void forEach(int64_t end, llvm::function_ref<void(mlir::Value)> body) {
    forEach(i64(0), i64(end), 1, body);
  }
  /// The value of `init` after all iterations of value = body(i, value).
  mlir::Value
  fold(mlir::Value first, mlir::Value end, mlir::Value init,
       llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> body);
  void ifThen(mlir::Value condition, llvm::function_ref<void()> body);
  void ifElse(mlir::Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise);
  /// Runs the case whose number is `value`; the last one if there is none.
  void switchOn(mlir::Value value, llvm::ArrayRef<int64_t> cases,
                llvm::function_ref<void(int64_t)> body);
};

/// Creates a private function that is never inlined, with arguments `types` and
/// no results, at the end of `module`, and lets `body` fill it.
mlir::func::FuncOp
createFunction(mlir::ModuleOp module, llvm::StringRef name,
               llvm::ArrayRef<mlir::Type> types,
               llvm::function_ref<void(CodeBuilder &, mlir::ValueRange)> body);

} // namespace rondo::cpu

#endif // RONDO_LIB_CONVERSION_RONDORTTOCPU_CODEBUILDER_H
