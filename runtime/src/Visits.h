//===- Visits.h - the visits that a step runs -------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The schedule of a session: the model's, or one with fewer visits of its loop
// over depth. Code, layers and KV slots of the visits that stay are the same,
// so that nothing is compiled again.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_VISITS_H
#define RONDO_RT_VISITS_H

#include "Model.h"

namespace rondo_rt {

class Visits {
public:
  /// All visits of `model`, which lives longer.
  explicit Visits(const Model &model);

  /// Takes `depth` visits of the loop, 1 to the model's depth.
  Error setDepth(uint32_t depth);

  uint32_t depth() const { return depth_; }
  uint32_t count() const { return begin_.size() - 1; }
  const rondo_rt_execution *executions() const { return executions_.data(); }
  const uint32_t *begin() const { return begin_.data(); }
  /// See Model::visitClass.
  uint32_t classOf(uint32_t visit) const { return classes_[visit]; }
  /// Whether a step comes through a trace point.
  bool reaches(uint32_t point) const {
    return point < skipped_.first || point >= skipped_.second;
  }

private:
  /// The visits that a loop over depth runs one after the other.
  struct Loop {
    uint32_t first = 0;
    uint32_t count = 0;
    uint32_t before = 0; // visits of the same layers by a body of their own
  };

  Error findLoop(Loop &loop) const;
  uint32_t firstPoint(uint32_t visit) const;
  void take(const Loop &loop, uint32_t kept);

  const Model &model_;
  uint32_t depth_;
  std::vector<rondo_rt_execution> executions_;
  std::vector<uint32_t> begin_;                    // [count + 1]
  std::vector<uint32_t> classes_;                  // [count]
  std::pair<uint32_t, uint32_t> skipped_ = {0, 0}; // trace points, half-open
};

} // namespace rondo_rt

#endif // RONDO_RT_VISITS_H
