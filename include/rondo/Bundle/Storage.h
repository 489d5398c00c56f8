//===- Storage.h - weights from one storage type to another -----*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rows of weights in the form checkpoints keep them (safetensors and GGUF,
// whose block types are groups of 32 along the row). Rounding to 16 bits is to
// nearest even; block types follow ggml's reference quantization to the bit.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_STORAGE_H
#define RONDO_BUNDLE_STORAGE_H

#include "rondo/Import/Archive.h"

#include "mlir/IR/Types.h"

#include <cstdint>

namespace rondo {

/// Weights that share a scale in the block types.
inline constexpr int64_t kBlockSize = 32;

/// Storage type of an element type; Other if no parameter can have it.
StorageType getStorageType(mlir::Type type);

/// Element type of a storage type other than Other.
mlir::Type getElementType(mlir::MLIRContext *ctx, StorageType type);

/// Whether weights come in groups of 32 with a scale.
bool isBlockType(StorageType type);

/// What became of a conversion.
enum class ConversionResult {
  Done,
  /// A finite value is beyond the range of the new type.
  Overflow,
  /// A value that is not finite has no code in the new type.
  NotFinite,
};

/// Writes the values of a row of `count` weights to `values`.
void widenRow(StorageType from, const char *source, float *values,
              int64_t count);

/// Writes `values` as a row of type `to`; `count` is a multiple of 32 for block
/// types.
ConversionResult narrowRow(StorageType to, const float *values, char *target,
                           int64_t count);

/// Converts a row; `values` is room for `count` floats. Equal types copy.
ConversionResult convertRow(StorageType from, const char *source,
                            StorageType to, char *target, float *values,
                            int64_t count);

} // namespace rondo

#endif // RONDO_BUNDLE_STORAGE_H
