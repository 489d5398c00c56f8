//===- SelectedRows.h - which values are selected rows ---------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rows come out of `rondo.select_rows` and go back in `rondo.merge_rows`;
// between the two, blocks are executed for them alone. Nothing in the types
// says so: it is inferred here, through applies and loops, and what mixes
// selected rows with others is refused.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDOTORONDORT_SELECTEDROWS_H
#define RONDO_LIB_CONVERSION_RONDOTORONDORT_SELECTEDROWS_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseSet.h"

namespace rondo {

/// The selected rows of a model.
class SelectedRows {
public:
  /// Emits an error if the model mixes selected rows with others. Marks the
  /// `rondo.merge_rows` that end selections.
  static llvm::FailureOr<SelectedRows> infer(mlir::func::FuncOp model);

  /// Whether `block` is executed for selected rows.
  bool isSelected(BlockOp block) const { return blocks.contains(block); }

private:
  llvm::DenseSet<mlir::Operation *> blocks;
};

} // namespace rondo

#endif // RONDO_LIB_CONVERSION_RONDOTORONDORT_SELECTEDROWS_H
