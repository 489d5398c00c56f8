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

/// Where `rondo_rt.select_rows` lists the rows it selects, in bytes from the
/// start of the list: a context with them as its rows, their descriptors, their
/// numbers among all rows, and of each row of the step its number among them,
/// RONDO_RT_NONE if it is not selected.
struct SelectionLayout {
  explicit SelectionLayout(int64_t rows) : rows(rows) {}

  static constexpr int64_t kContext = 0;
  static constexpr int64_t kDescriptors = 192;
  int64_t getNumbers() const { return kDescriptors + rows * 32; }
  int64_t getPlaces() const { return getNumbers() + rows * 4; }
  int64_t getBytes() const { return (getPlaces() + rows * 4 + 63) / 64 * 64; }

  int64_t rows; // most rows of a step
};

/// Up to so many rows every thread prepares all of them for itself instead of
/// sharing the work and waiting (0.2-0.5 us a row against a barrier).
inline constexpr int64_t kFewRows = 8;

/// Rows that a contraction takes before their epilogue runs: a multiple of
/// every register tile (6 and 8), small enough that their outputs stay in L1.
inline constexpr int64_t kRowBlock = 48;

/// Query rows that attention takes together, for `group` query heads to a KV
/// head: whole tokens, about kRowBlock rows.
inline int64_t getQueryBlock(int64_t group) {
  return group >= kRowBlock ? group : kRowBlock / group * group;
}

/// `n` rounded up to whole chunks.
inline int64_t padToLanes(int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

/// Inputs that stand together in a panel: the least granularity of `k`.
int64_t getLineInputs(PanelFormat format);

/// Bytes of a panel of 32 outputs by `k` inputs.
int64_t getPanelBytes(PanelFormat format, int64_t k);

/// Bytes of what attention over one KV page leaves for one query: its outputs,
/// then maximum and sum on a line of their own.
inline int64_t getPartialBytes(int64_t valueLanes) {
  return valueLanes * 4 + 64;
}

/// Bytes of one row of `k` activations in `format`.
int64_t getRowBytes(RowFormat format, int64_t k);
} // namespace rondo::rt

#define GET_TYPEDEF_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsAttributes.h.inc"

#define GET_OP_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOps.h.inc"

namespace rondo::rt {
/// Lanes of a row of the logits buffer, of which every `buffer ... logits` is a
/// part; 0 before phase `buffers`.
int64_t getLogitsLanes(mlir::ModuleOp module);
} // namespace rondo::rt

#endif // RONDO_DIALECT_RONDORT_IR_RONDORT_H
