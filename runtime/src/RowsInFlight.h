//===- RowsInFlight.h - rows between prelude and coda -----------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Which rows have entered and not left, the visit that each comes to next, and
// the states that they have meanwhile. Invariant: of two rows of a sequence the
// earlier one comes to the same visit or a later one.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_ROWSINFLIGHT_H
#define RONDO_RT_ROWSINFLIGHT_H

#include "Manifest.h"
#include "Memory.h"

namespace rondo_rt {

/// A row in flight.
struct RowInFlight {
  uint32_t sequence;
  uint32_t position;
  uint32_t visit; // that it comes to next
  uint32_t place; // of its states
  uint8_t kind;   // rondo_rt_row_kind of its last step
  bool called;    // is among the rows of the step that is being checked
};

class RowsInFlight {
public:
  /// Makes room for `manifest.rowsInFlight()` rows; nothing is allocated later.
  Error create(const Manifest &manifest);

  uint32_t size() const { return rows_.size(); }
  uint32_t capacity() const { return capacity_; }
  /// The row, or null.
  RowInFlight *find(uint32_t sequence, uint32_t position);
  /// The row in flight before `row` in its sequence, or null.
  const RowInFlight *before(const RowInFlight &row) const;
  /// Whether any row of the sequence is in flight.
  bool hasSequence(uint32_t sequence) const;

  /// Lets `count` more rows in, all new and at visit 0.
  void enter(const rondo_rt_row *rows, uint32_t count);
  /// Takes the rows out that were called.
  void leaveCalled();
  /// Takes the rows of a sequence out from position `length` on.
  void truncate(uint32_t sequence, uint32_t length);

  /// Copies the states of `row` to row `index` of the arena, or from there.
  void gather(const RowInFlight &row, char *arena, uint32_t index) const;
  void scatter(const RowInFlight &row, const char *arena, uint32_t index);

private:
  size_t lowerBound(uint32_t sequence, uint32_t position) const;
  template <typename Gone> void remove(Gone gone);

  const Manifest *manifest_ = nullptr;
  uint64_t stateBytes_ = 0; // of one row
  uint32_t capacity_ = 0;
  std::vector<RowInFlight> rows_; // by sequence, then position
  std::vector<uint32_t> free_;    // places
  Mapping states_;                // [capacity][stateBytes_]
};

} // namespace rondo_rt

#endif // RONDO_RT_ROWSINFLIGHT_H
