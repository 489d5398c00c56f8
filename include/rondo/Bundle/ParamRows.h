//===- ParamRows.h - rows of a parameter in a stored tensor -----*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_PARAMROWS_H
#define RONDO_BUNDLE_PARAMROWS_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Import/Archive.h"

namespace rondo {

/// Finds rows of a parameter in the tensors that its keys name, which have the
/// parameter's `getSourceShape` and type.
class ParamRows {
public:
  explicit ParamRows(ParamOp param);

  /// Weights of a row: those of a matrix, or all of a vector.
  int64_t getWidth() const { return width; }
  int64_t getCount() const { return count; }

  /// The bytes of row `row`: in the tensor, or gathered in `scratch`.
  const char *get(const ArchiveTensor &tensor, int64_t row,
                  std::vector<char> &scratch) const;

private:
  PartAttr part; // null: the whole tensor
  bool isMatrix;
  int64_t width, count;
};

/// The tensors that the keys of `param` name, null for `unit`. An error if one
/// is in no archive, or has another type or shape than the parameter says.
llvm::Expected<std::vector<const ArchiveTensor *>>
findTensors(ParamOp param, const ArchiveSet &archives);

} // namespace rondo

#endif // RONDO_BUNDLE_PARAMROWS_H
