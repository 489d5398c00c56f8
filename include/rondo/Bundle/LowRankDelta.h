//===- LowRankDelta.h - what is added to a matrix when packed ---*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_LOWRANKDELTA_H
#define RONDO_BUNDLE_LOWRANKDELTA_H

#include "rondo/Bundle/Storage.h"
#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Import/Archive.h"

namespace rondo {

/// `scale * B A` of a parameter with `plus`, from the checkpoint's own values
/// of A and B, whatever they would be stored as.
class LowRankDelta {
public:
  /// Finds the factors of `param`; null if it has none. An error if no archive
  /// has one of their tensors.
  static llvm::Expected<std::unique_ptr<LowRankDelta>>
  create(ParamOp param, const ArchiveSet &archives);

  /// Whether the checkpoint has a delta for the execution of `layer` and
  /// `side`.
  bool isPresent(int64_t layer, int64_t side) const;

  /// As rondo::convertRow of row `row` of the matrix, with its delta added;
  /// `values` has room for its inputs. Sums are formed in f64, in the order of
  /// the rank, and rounded to f32 once.
  ConversionResult convertRow(int64_t layer, int64_t side, int64_t row,
                              StorageType from, const char *source,
                              StorageType to, char *target,
                              llvm::MutableArrayRef<float> values) const;

private:
  /// A or B.
  struct Factor {
    ParamOp param;
    std::vector<const ArchiveTensor *> entries; // null: zero

    const ArchiveTensor *get(int64_t layer, int64_t side) const {
      return entries[ParamOp(param).getEntry(layer, side)];
    }
  };

  static llvm::Error findFactor(ParamOp matrix, mlir::FlatSymbolRefAttr name,
                                const ArchiveSet &archives, Factor &factor);
  void addRow(int64_t layer, int64_t side, int64_t row,
              llvm::MutableArrayRef<float> values) const;

  Factor a, b;
  double scale = 1;
};

} // namespace rondo

#endif // RONDO_BUNDLE_LOWRANKDELTA_H
