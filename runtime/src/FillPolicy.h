//===- FillPolicy.h - which rows a depth step runs --------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The one place that decides what runs next. Any choice gives the same bits;
// this one reads weights for as many rows as it can, and lets rows finish.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_FILLPOLICY_H
#define RONDO_RT_FILLPOLICY_H

#include <algorithm>
#include <cstdint>
#include <vector>

namespace rondo_rt {

/// The rows that are at visits of one class.
struct ClassLoad {
  uint32_t rows = 0;
  uint32_t deepest = 0; // visit of the row that is furthest on
};

/// What is known of a row that waits for its next visit.
struct WaitingRow {
  uint32_t request;
  uint32_t position;
  uint32_t visit;
  bool isNew;       // the one token that its request waits for
  uint64_t arrival; // ascends with the order in which rows entered
};

/// The class that fills the most of a step of `rows` rows; of equal ones the
/// deepest. At least one load has rows.
inline uint32_t chooseClass(const std::vector<ClassLoad> &loads,
                            uint32_t rows) {
  auto isWorse = [&](const ClassLoad &a, const ClassLoad &b) {
    uint32_t fills = std::min(a.rows, rows), others = std::min(b.rows, rows);
    return fills != others ? fills < others : a.deepest < b.deepest;
  };
  return std::max_element(loads.begin(), loads.end(), isWorse) - loads.begin();
}

/// Whether `a` goes first where not all rows of a class fit: deep rows, so that
/// they leave; then new tokens; then in the order of arrival, which is that of
/// positions, so that no row runs ahead of its sequence.
inline bool goesFirst(const WaitingRow &a, const WaitingRow &b) {
  if (a.visit != b.visit)
    return a.visit > b.visit;
  return a.isNew != b.isNew ? a.isNew : a.arrival < b.arrival;
}

} // namespace rondo_rt

#endif // RONDO_RT_FILLPOLICY_H
