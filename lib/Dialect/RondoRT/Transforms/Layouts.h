//===- Layouts.h - which order the lanes of a value have ---------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rows are flat unless a rotary embedding or a KV cache reads them: then heads
// are padded to whole chunks, and rotated pairs stand 16 lanes apart, so that
// the epilogue of the projection can rotate and append in registers. The order
// is decided once for each linear result and realized by packing the weights'
// rows; data never moves.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_LAYOUTS_H
#define RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_LAYOUTS_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "llvm/ADT/DenseMap.h"

namespace rondo::rt {

/// Flat layout of rows of type `type`.
LayoutAttr getFlatLayout(mlir::Type type);

/// Layouts of the values of one body; values without an entry are flat.
class LayoutMap {
public:
  /// Decides the layouts of all linear results in `body` and what follows from
  /// them. Emits an error where two layouts meet in one operation.
  static llvm::FailureOr<LayoutMap> infer(BodyOp body);

  LayoutAttr get(mlir::Value value) const;

  /// The physical type of `value`: as many lanes as its layout has.
  mlir::RankedTensorType getPhysicalType(mlir::Value value) const;

private:
  llvm::LogicalResult spread(mlir::Value value, LayoutAttr layout);

  llvm::DenseMap<mlir::Value, LayoutAttr> layouts;
};

} // namespace rondo::rt

#endif // RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_LAYOUTS_H
