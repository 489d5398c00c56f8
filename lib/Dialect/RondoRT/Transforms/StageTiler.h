//===- StageTiler.h - one stage, written for one row ------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_STAGETILER_H
#define RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_STAGETILER_H

#include "ChunkEvaluator.h"

namespace rondo::rt {

/// What tiling decides from the module's options and target.
struct TilingOptions {
  int64_t positions;       // longest sequence
  bool nativeBF16 = false; // the machine has a bf16 dot product
};

/// Writes a tiled stage in front of `stage` and returns it; null after an
/// error. `physical` maps values of earlier stages to their tiled counterparts.
StageOp tileStage(StageOp stage, const LayoutMap &layouts,
                  WeightSymbols &weights, const TilingOptions &options,
                  const mlir::IRMapping &physical);

} // namespace rondo::rt

#endif // RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_STAGETILER_H
