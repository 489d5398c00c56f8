//===- Routing.h - which visits computed which positions --------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// In a routed model a position is computed by visits 0 to its depth and by no
// other, so that one number for each position says all. Compiled code asks how
// many positions of a sequence a visit has computed: the next one stands behind
// them in the visit's KV slots.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_ROUTING_H
#define RONDO_RT_ROUTING_H

#include "Manifest.h"

namespace rondo_rt {

/// The depths of all positions of all sequences.
class Routing {
public:
  /// Nothing is kept for a model without routing.
  void create(const Manifest &manifest);

  /// Whether the model routes nothing.
  bool empty() const { return computed_.empty(); }
  /// `rondo_rt_context::computed` and its stride.
  const uint32_t *computed() const { return computed_.data(); }
  uint64_t stride() const { return stride_; }

  /// Takes the depths of the rows that a step has computed out of the arena.
  void note(const rondo_rt_row *rows, uint32_t count, const char *arena);
  /// Lets rows in that no visit has computed.
  void enter(const rondo_rt_row *rows, uint32_t count);
  /// The same for one visit of rows that are each at their own, and whether the
  /// router let row `index` of the arena through.
  bool noteVisit(const rondo_rt_row &row, uint32_t index, const char *arena);
  /// The visit behind the loop if `visit` is one of it, else `visit`.
  uint32_t behind(uint32_t visit) const {
    return isRouted(visit) ? place_.firstVisit + place_.visits : visit;
  }
  /// Forgets the positions of `sequence` from `length` on.
  void truncate(uint32_t sequence, uint32_t length);
  /// The last visit that computed a position of a routed model, -1: none.
  int32_t depth(uint32_t sequence, uint32_t position) const {
    return depths_[sequence][position];
  }

private:
  bool isRouted(uint32_t visit) const {
    return !empty() && visit >= place_.firstVisit &&
           visit < place_.firstVisit + place_.visits;
  }
  /// The depth in the record of row `index` of the arena.
  int16_t loadDepth(uint32_t index, const char *arena) const;
  uint32_t &computedBy(uint32_t sequence, uint32_t visit) {
    return computed_[sequence * stride_ + place_.firstVisit + visit];
  }

  RoutingPlace place_;
  uint64_t stateOffset_ = 0, rowBytes_ = 0;
  uint64_t stride_ = 0;
  std::vector<uint32_t> computed_;           // [sequences][stride]
  std::vector<std::vector<int16_t>> depths_; // [sequences][context], -1: none
  std::vector<uint32_t> lengths_;            // [sequences]
};

} // namespace rondo_rt

#endif // RONDO_RT_ROUTING_H
