//===- Traffic.h - what a step must read and compute ------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The model behind a benchmark's bound. A step reads units in the order of the
// schedule: the weights of an execution, what of them varies by depth, its KV
// slot, the stages outside of bodies. A unit comes from the cache if no more
// than a share of the last-level cache was read since it was read before (the
// step before counts: a small model stays resident), else from memory. This is
// what makes a looped block cheap.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_TRAFFIC_H
#define RONDO_RUN_TRAFFIC_H

#include "rondo_rt/runtime.h"

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <vector>

namespace rondo_run {

/// What a step costs at least.
struct Traffic {
  double memoryBytes = 0;
  double cacheBytes = 0;
  /// Multiply-adds of weights times two; attention's own are left out, so a
  /// bound that they would lower stays a bound.
  double flops = 0;

  Traffic &operator+=(const Traffic &other);
};

/// One step as far as its cost is concerned.
struct StepShape {
  uint32_t rows = 0;
  uint32_t outputs = 0;     // rows whose logits are computed
  uint64_t kvPositions = 0; // read, summed over the step's sequences
};

/// Rows that go through all visits of a loop, each visit in a `depth_step`.
struct VisitsShape {
  uint32_t rows = 0;
  uint64_t kvPositions = 0; // read at each visit, summed over the rows
  /// Whether equal shares of the rows are at each of the visits in every step,
  /// or all rows at one.
  bool mixed = false;
};

/// Facts of a model that its traffic follows from.
class TrafficModel {
public:
  /// `cacheBytes` is what of the last-level cache a unit may count on.
  TrafficModel(const nlohmann::json &manifest, const rondo_rt_model_info &info,
               double cacheBytes);

  Traffic stepTraffic(const StepShape &step) const;
  /// Of as many steps as there are visits, which are of one class.
  Traffic visitsTraffic(const VisitsShape &shape) const;

private:
  /// Something read as a whole; equal keys are the same bytes.
  struct Unit {
    uint64_t key;
    double bytes;         // that do not depend on the step
    double positionBytes; // for each KV position
  };

  /// Some unit in some step.
  struct Read {
    uint64_t key;
    double bytes;
  };

  void addExecutions(const nlohmann::json &manifest,
                     const rondo_rt_model_info &info);
  void addOtherStages(const nlohmann::json &manifest);
  /// Where reads come from that repeat over and over; no FLOPs.
  Traffic countReads(const std::vector<Read> &reads) const;

  std::vector<Unit> units_; // of one step, in order: executions', then others'
  std::vector<uint32_t> visitBegin_; // first execution of a visit, and the end
  double rowFlops_ = 0;              // of the bodies, for each row
  double outputFlops_ = 0;           // of the other stages, for each output row
  double cacheBytes_;
};

} // namespace rondo_run

#endif // RONDO_RUN_TRAFFIC_H
