//===- ModelTree.h - the model function as units and loops -----*- C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The model function is read as a tree: loops, and between them *units*, each
// of which becomes one execution of one body: an apply, or a run of plain
// operations. What a unit reads and writes are model-level values; States.h
// gives them places.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDOTORONDORT_MODELTREE_H
#define RONDO_LIB_CONVERSION_RONDOTORONDORT_MODELTREE_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <memory>
#include <vector>

namespace rondo {

/// One execution of a body at one place of the model function.
struct Unit {
  /// The apply, or null for a run.
  ApplyOp apply;
  /// Plain operations in order; empty for an apply.
  llvm::SmallVector<mlir::Operation *> run;
  /// Rows it reads and writes.
  llvm::SmallVector<mlir::Value> inputs, outputs;
  rt::BodyKind kind = rt::BodyKind::Block;
  /// Number of its body among those of its kind; set with the bodies.
  int64_t body = -1;
};

/// A unit or a loop over nodes.
struct Node {
  std::unique_ptr<Unit> unit;
  LoopOp loop;
  std::vector<Node> children;

  bool isLoop() const { return !unit; }
};

/// The whole model: top-level nodes, prelude first and coda last.
struct ModelTree {
  std::vector<Node> nodes;

  /// Calls `fn` on every unit in textual order.
  void forEachUnit(llvm::function_ref<void(Unit &)> fn);
};

/// Reads `model`. Emits an error if it does not start with an embedding, if it
/// has embeddings behind a loop, or if it returns nothing.
llvm::FailureOr<ModelTree> buildModelTree(mlir::func::FuncOp model);

} // namespace rondo

#endif // RONDO_LIB_CONVERSION_RONDOTORONDORT_MODELTREE_H
