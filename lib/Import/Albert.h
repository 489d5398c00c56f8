//===- Albert.h - ALBERT, described -----------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_ALBERT_H
#define RONDO_LIB_IMPORT_ALBERT_H

#include "Families.h"

namespace rondo {

/// An encoder whose layers are a few groups, each visited several times; all
/// numbers come from its configuration (Lan et al., arXiv 1909.11942).
struct Albert {
  int64_t vocabulary = 0;
  int64_t positions = 0;  // entries of the table, the longest sequence
  int64_t tokenTypes = 0; // entries of the table
  int64_t embedding = 0;  // width of the tables
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t heads = 0;
  int64_t visits = 0;      // of all groups together
  int64_t groups = 0;      // a visit runs one
  int64_t groupLayers = 0; // layers of a group
  float eps = 0;
  ActivationKind activation = ActivationKind::GeLUTanh;
  /// Whether the checkpoint has the head of the masked language model; unset:
  /// its tensors say.
  std::optional<bool> hasHead;

  /// The group that a visit runs, int(visit / (visits / groups)) in floating
  /// point: 5 groups share 12 visits as 3, 2, 3, 2, 2.
  int64_t getGroup(int64_t visit) const {
    double each = static_cast<double>(visits) / static_cast<double>(groups);
    return static_cast<int64_t>(static_cast<double>(visit) / each);
  }
};

/// Makes the module, taking its tensors.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
buildAlbert(const Albert &model, TensorTable &tensors, ImportLog &log,
            mlir::MLIRContext &context);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ALBERT_H
