//===- StoredLayers.h - layers by the weights they read ---------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A layer that is stored once may be executed by several bodies: a later visit
// that reuses keys and values runs other code on the same matrices. Layers are
// therefore told apart by the entries of parameters that they read, not by the
// code. Norms and biases make no layer of their own, and a layer whose matrices
// are all among those of another one is that other one.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_STOREDLAYERS_H
#define RONDO_BUNDLE_STOREDLAYERS_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/DenseMap.h"

#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace rondo {

/// The layers that a schedule executes.
class StoredLayers {
public:
  explicit StoredLayers(mlir::ModuleOp module) : symbols(module) {}

  /// Notes that `code`, a `rondo.block` or `rondo_rt.body`, is executed with
  /// the entries `layer` of its parameters.
  void addExecution(mlir::Operation *code, int64_t layer);

  /// Layers that differ in their matrices.
  int64_t count() const;
  /// Executions of the layer that is executed most often.
  int64_t getDepth() const;

private:
  /// (parameter, entry) of each matrix.
  using Entries = std::set<std::pair<mlir::Operation *, int64_t>>;

  bool isPartOfAnother(const Entries &entries) const;
  const llvm::SmallVector<mlir::Operation *> &getParams(mlir::Operation *code);

  mlir::SymbolTable symbols;
  llvm::DenseMap<mlir::Operation *, llvm::SmallVector<mlir::Operation *>>
      paramsOf;
  std::map<Entries, int64_t> executions;
};

} // namespace rondo

#endif // RONDO_BUNDLE_STOREDLAYERS_H
