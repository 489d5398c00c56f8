//===- Weights.h - the weight region of a bundle ----------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `rondo_rt.packed`, `rondo_rt.vector` and `rondo_rt.rope_table` say what
// stands in the weight region and where; here their bytes are made, from mapped
// archives, in pieces of a few megabytes.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_WEIGHTS_H
#define RONDO_BUNDLE_WEIGHTS_H

#include "rondo/Import/Archive.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <cstdint>
#include <string>
#include <vector>

namespace rondo {

/// A contiguous part of the weight region: all entries of one operation (one
/// for each layer, in it one for each depth), or one entry where those of
/// several operations are interleaved.
struct WeightTensor {
  /// Name in the bundle: "weight." and the symbol; for one of several entries
  /// also "." and its number.
  std::string name;
  int64_t offset = 0; // bytes from the start of the region
  int64_t bytes = 0;
  StorageType type = StorageType::F32;
  /// Inputs of a matrix, 0 for vectors and tables.
  int64_t k = 0;
  /// Panels, chunks of a vector or positions of a table in one entry.
  int64_t units = 0;
  int64_t firstEntry = 0;
  int64_t entries = 1;
  int64_t entryStride = 0; // bytes
  /// Symbols of the parameters.
  std::vector<std::string> sources;
  /// The operation itself.
  mlir::Operation *op = nullptr;
};

/// The weight region of a module whose offsets are planned, in ascending order
/// of offset. An error on an operation that has none or overlaps another.
mlir::FailureOr<std::vector<WeightTensor>>
getWeightTensors(mlir::ModuleOp module);

/// Takes the next bytes of a tensor; a failure ends the packing.
using ByteSink = llvm::function_ref<llvm::Error(llvm::ArrayRef<char>)>;

/// Makes the bytes of one tensor from the archives that hold its parameters.
/// The bytes do not depend on `threads`.
llvm::Error packTensor(const WeightTensor &tensor, const ArchiveSet &archives,
                       unsigned threads, ByteSink sink);

} // namespace rondo

#endif // RONDO_BUNDLE_WEIGHTS_H
