//===- RondoRT.h - the rondo_rt dialect -------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Execution level: schedule, bodies, stages and tiles. Introduced at phase
// `step`, gone at phase `target`.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDORT_IR_RONDORT_H
#define RONDO_DIALECT_RONDORT_IR_RONDORT_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "rondo/Dialect/RondoRT/IR/RondoRTOpsEnums.h.inc"

#include "rondo/Dialect/RondoRT/IR/RondoRTOpsDialect.h.inc"

namespace rondo::rt {
/// Outputs of one weight panel, lanes of one chunk of a row.
inline constexpr int64_t kLanes = 32;

/// `n` rounded up to whole chunks.
inline int64_t padToLanes(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

/// Bytes of a panel of 32 outputs by `k` inputs.
int64_t getPanelBytes(PanelFormat format, int64_t k);

/// Bytes of one row of `k` activations in `format`.
int64_t getRowBytes(RowFormat format, int64_t k);
} // namespace rondo::rt

#define GET_TYPEDEF_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsAttributes.h.inc"

#define GET_OP_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOps.h.inc"

#endif // RONDO_DIALECT_RONDORT_IR_RONDORT_H
