//===- WeightSymbols.h - packed weights of a module --------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Makes the module-level operations that describe packed weights, one for each
// distinct use: two stages that read the same parameters in the same order (a
// head and the embedding tied to it) share one.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_WEIGHTSYMBOLS_H
#define RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_WEIGHTSYMBOLS_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/DenseMap.h"

namespace rondo::rt {

/// The panel format that stores weights of `type`.
PanelFormat getPanelFormat(mlir::Type type);

class WeightSymbols {
public:
  explicit WeightSymbols(mlir::ModuleOp module)
      : symbols(module), builder(module.getBodyRegion()) {
    builder.setInsertionPointToEnd(module.getBody());
  }

  ParamOp getParam(mlir::FlatSymbolRefAttr name) {
    return symbols.lookup<ParamOp>(name.getValue());
  }

  /// Panels of `params` taken in turn, `unitPanels` of each. The parameters
  /// have equal storage, inputs and layers.
  PackedOp getPacked(llvm::ArrayRef<mlir::FlatSymbolRefAttr> params,
                     llvm::ArrayRef<LayoutAttr> rows, int64_t unitPanels);

  /// A norm weight (`repeat` times in a row) or bias in `layout`.
  VectorOp getVector(mlir::FlatSymbolRefAttr param, LayoutAttr layout,
                     int64_t repeat);

  /// Cosines and sines for heads of `chunks` chunks.
  RopeTableOp getRopeTable(mlir::DenseElementsAttr frequencies,
                           int64_t positions, int64_t chunks);

private:
  /// Returns the operation made for `key` before, or makes it.
  template <typename OpT, typename Make>
  OpT getOrCreate(mlir::Attribute key, Make make);

  mlir::SymbolTable symbols;
  mlir::OpBuilder builder;
  llvm::DenseMap<mlir::Attribute, mlir::Operation *> made;
};

} // namespace rondo::rt

#endif // RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_WEIGHTSYMBOLS_H
