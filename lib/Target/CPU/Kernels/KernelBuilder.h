//===- KernelBuilder.h - Shorthands for emitting kernels --------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A builder with a location and the dozen operations kernels are made of, so
// that an emitter reads like the code that it emits. Memory is byte-addressed
// through `!llvm.ptr`; every access is unaligned.
//
//===----------------------------------------------------------------------===//

#ifndef RONDO_LIB_TARGET_CPU_KERNELS_KERNELBUILDER_H
#define RONDO_LIB_TARGET_CPU_KERNELS_KERNELBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/ImplicitLocOpBuilder.h"

namespace rondo::cpu {

/// See the file header. Owns nothing.
struct KernelBuilder : mlir::ImplicitLocOpBuilder {
  using mlir::ImplicitLocOpBuilder::ImplicitLocOpBuilder;
  using Type = mlir::Type;
  using Value = mlir::Value;

  /// vector<lanes x element>.
  mlir::VectorType vec(int64_t lanes, Type element) {
    return mlir::VectorType::get(lanes, element);
  }

  Type ptrType() { return mlir::LLVM::LLVMPointerType::get(getContext()); }

  Value i64(int64_t value) {
    return mlir::arith::ConstantOp::create(*this, getI64IntegerAttr(value));
  }

  /// A constant of `type` (a number or a vector, splat).
  Value constant(Type type, mlir::TypedAttr element) {
    if (auto vector = mlir::dyn_cast<mlir::VectorType>(type))
      element = mlir::DenseElementsAttr::get(vector, mlir::Attribute(element));
    return mlir::arith::ConstantOp::create(*this, element);
  }

  Value constant(Type type, double value) {
    return constant(type,
                    getFloatAttr(mlir::getElementTypeOrSelf(type), value));
  }

  Value constant(Type type, int64_t value) {
    return constant(type,
                    getIntegerAttr(mlir::getElementTypeOrSelf(type), value));
  }

  Value constant(Type type, int value) {
    return constant(type, static_cast<int64_t>(value));
  }

  /// base + bytes, for a constant or an i64 value.
  Value offset(Value base, mlir::LLVM::GEPArg bytes) {
    return mlir::LLVM::GEPOp::create(*this, ptrType(), getI8Type(), base,
                                     bytes);
  }

  Value load(Type type, Value pointer) {
    return mlir::LLVM::LoadOp::create(*this, type, pointer, /*alignment=*/1);
  }

  void store(Value value, Value pointer) {
    mlir::LLVM::StoreOp::create(*this, value, pointer, /*alignment=*/1);
  }

  /// Brings the cache line of `pointer`, which may be invalid, into L1.
  void prefetch(Value pointer) {
    mlir::LLVM::Prefetch::create(*this, pointer, /*rw=*/getI32IntegerAttr(0),
                                 /*hint=*/getI32IntegerAttr(3),
                                 /*cache=*/getI32IntegerAttr(1));
  }

  /// Loads one number of `type`'s element type and fills a vector with it.
  Value loadSplat(mlir::VectorType type, Value pointer) {
    return splat(type, load(type.getElementType(), pointer));
  }

  Value splat(Type type, Value scalar) {
    return mlir::vector::BroadcastOp::create(*this, type, scalar);
  }

  /// Reinterprets the bits of a number or of a vector.
  Value bitcast(Type type, Value value) {
    return mlir::LLVM::BitcastOp::create(*this, type, value);
  }

  Value add(Value a, Value b) {
    return mlir::arith::AddIOp::create(*this, a, b);
  }
  Value sub(Value a, Value b) {
    return mlir::arith::SubIOp::create(*this, a, b);
  }
  Value mul(Value a, Value b) {
    return mlir::arith::MulIOp::create(*this, a, b);
  }
  Value bitAnd(Value a, Value b) {
    return mlir::arith::AndIOp::create(*this, a, b);
  }
  Value shl(Value a, int bits) {
    return mlir::arith::ShLIOp::create(*this, a, constant(a.getType(), bits));
  }
  Value shrU(Value a, int bits) {
    return mlir::arith::ShRUIOp::create(*this, a, constant(a.getType(), bits));
  }
  Value shrS(Value a, int bits) {
    return mlir::arith::ShRSIOp::create(*this, a, constant(a.getType(), bits));
  }
  Value toFloat(Type type, Value integer) {
    return mlir::arith::SIToFPOp::create(*this, type, integer);
  }
  Value extend(Type type, Value narrow) {
    return mlir::arith::ExtFOp::create(*this, type, narrow);
  }
  Value mulF(Value a, Value b) {
    return mlir::arith::MulFOp::create(*this, a, b);
  }

  /// a * b + c, rounded once; numbers or vectors.
  Value fma(Value a, Value b, Value c) {
    return mlir::LLVM::FMAOp::create(*this, mlir::TypeRange(c.getType()),
                                     mlir::ValueRange{a, b, c});
  }

  Value intrinsic(llvm::StringRef name, Type result, mlir::ValueRange args) {
    return mlir::LLVM::CallIntrinsicOp::create(*this, result,
                                               getStringAttr(name), args)
        .getResult(0);
  }

  /// Values carried around a loop.
  using Carried = llvm::SmallVector<Value>;

  /// for (iv = begin; iv < end; iv += step), all i64. The loop is marked so
  /// that LLVM does not unroll it: kernels choose their own unrolling.
  Carried loop(Value begin, Value end, int64_t step, mlir::ValueRange init,
               llvm::function_ref<Carried(Value, mlir::ValueRange)> body) {
    auto op = mlir::scf::ForOp::create(
        *this, begin, end, i64(step), init,
        [&](mlir::OpBuilder &nested, mlir::Location, Value iv,
            mlir::ValueRange carried) {
          mlir::OpBuilder::InsertionGuard guard(*this);
          setInsertionPoint(nested.getInsertionBlock(),
                            nested.getInsertionPoint());
          mlir::scf::YieldOp::create(*this, body(iv, carried));
        });
    op->setAttr("loop_annotation", keepRolled());
    return llvm::to_vector(llvm::map_range(
        op.getResults(), [](mlir::OpResult r) -> Value { return r; }));
  }

private:
  mlir::Attribute keepRolled() {
    mlir::MLIRContext *ctx = getContext();
    auto unroll = mlir::LLVM::LoopUnrollAttr::get(
        ctx, /*disable=*/getBoolAttr(true), {}, {}, {}, {}, {}, {});
    return mlir::LLVM::LoopAnnotationAttr::get(
        ctx, {}, {}, {}, unroll, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});
  }
};

} // namespace rondo::cpu

#endif // RONDO_LIB_TARGET_CPU_KERNELS_KERNELBUILDER_H
