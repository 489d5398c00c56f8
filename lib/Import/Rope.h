//===- Rope.h - rotary frequencies ------------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_ROPE_H
#define RONDO_LIB_IMPORT_ROPE_H

#include "llvm/ADT/SmallVector.h"
#include <cstdint>

namespace rondo {

/// How a checkpoint stretches its rotary frequencies.
struct RopeScaling {
  enum class Kind { Default, Linear, Llama3, Divisors };
  Kind kind = Kind::Default;
  double factor = 1.0;
  /// Llama 3: wavelengths above `originalContext / lowFrequencyFactor` are
  /// stretched, those below `originalContext / highFrequencyFactor` are kept.
  double lowFrequencyFactor = 1.0;
  double highFrequencyFactor = 1.0;
  double originalContext = 1.0;
  /// One divisor for each frequency (GGUF stores Llama 3's like that).
  llvm::SmallVector<float> divisors;
};

/// The `headDim / 2` frequencies, f32 after each operation as in the
/// implementation that checkpoints are trained with.
llvm::SmallVector<float> computeRopeFrequencies(double theta, int64_t headDim,
                                                const RopeScaling &scaling);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ROPE_H
