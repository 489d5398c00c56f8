//===- RowsInFlight.cpp - rows between prelude and coda -------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// States are copied whole, so a row has the same bits wherever it stands.
//===----------------------------------------------------------------------===//
#include "RowsInFlight.h"

#include <algorithm>
#include <cstring>

using namespace rondo_rt;

/// Order in which rows are kept.
static bool isBefore(const RowInFlight &a, const RowInFlight &b) {
  return a.sequence != b.sequence ? a.sequence < b.sequence
                                  : a.position < b.position;
}

Error RowsInFlight::create(const Manifest &manifest) {
  manifest_ = &manifest;
  stateBytes_ = manifest.stateBytes();
  capacity_ = manifest.rowsInFlight();
  rows_.reserve(capacity_);
  free_.reserve(capacity_);
  for (uint32_t place = capacity_; place-- > 0;)
    free_.push_back(place);
  return Mapping::allocate(stateBytes_ * capacity_, "the rows in flight",
                           states_);
}

size_t RowsInFlight::lowerBound(uint32_t sequence, uint32_t position) const {
  RowInFlight key = {sequence, position, 0, 0, 0, false};
  return std::lower_bound(rows_.begin(), rows_.end(), key, isBefore) -
         rows_.begin();
}

RowInFlight *RowsInFlight::find(uint32_t sequence, uint32_t position) {
  size_t index = lowerBound(sequence, position);
  bool found = index < rows_.size() && rows_[index].sequence == sequence &&
               rows_[index].position == position;
  return found ? &rows_[index] : nullptr;
}

const RowInFlight *RowsInFlight::before(const RowInFlight &row) const {
  size_t index = &row - rows_.data();
  bool found = index > 0 && rows_[index - 1].sequence == row.sequence;
  return found ? &rows_[index - 1] : nullptr;
}

bool RowsInFlight::hasSequence(uint32_t sequence) const {
  size_t index = lowerBound(sequence, 0);
  return index < rows_.size() && rows_[index].sequence == sequence;
}

void RowsInFlight::enter(const rondo_rt_row *rows, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    rows_.push_back({rows[i].sequence, rows[i].position, /*visit=*/0,
                     free_.back(), rows[i].kind, /*called=*/false});
    free_.pop_back();
  }
  std::sort(rows_.begin(), rows_.end(), isBefore);
}

template <typename Gone> void RowsInFlight::remove(Gone gone) {
  for (const RowInFlight &row : rows_)
    if (gone(row))
      free_.push_back(row.place);
  rows_.erase(std::remove_if(rows_.begin(), rows_.end(), gone), rows_.end());
}

void RowsInFlight::leaveCalled() {
  remove([](const RowInFlight &row) { return row.called; });
}

void RowsInFlight::truncate(uint32_t sequence, uint32_t length) {
  remove([&](const RowInFlight &row) {
    return row.sequence == sequence && row.position >= length;
  });
}

void RowsInFlight::gather(const RowInFlight &row, char *arena,
                          uint32_t index) const {
  const char *from = states_.data() + row.place * stateBytes_;
  for (const StatePlace &state : manifest_->states) {
    std::memcpy(arena + state.offset + index * state.rowBytes, from,
                state.rowBytes);
    from += state.rowBytes;
  }
}

void RowsInFlight::scatter(const RowInFlight &row, const char *arena,
                           uint32_t index) {
  char *to = states_.data() + row.place * stateBytes_;
  for (const StatePlace &state : manifest_->states) {
    std::memcpy(to, arena + state.offset + index * state.rowBytes,
                state.rowBytes);
    to += state.rowBytes;
  }
}
