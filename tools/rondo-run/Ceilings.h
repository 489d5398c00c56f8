//===- Ceilings.h - what the machine could do at best -----------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Ceilings drift with the machine's neighbours, so each repetition measures
// them anew and is compared with its own; the median of those shares is
// reported.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_CEILINGS_H
#define RONDO_RUN_CEILINGS_H

#include "Handles.h"
#include "Traffic.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace rondo_run {

/// Ceilings of one repetition.
struct Ceilings {
  double memory = 0; // bytes/s
  double cache = 0;  // bytes/s
  double flops = 0;  // FLOP/s

  /// Seconds that reading alone takes.
  double readSeconds(const Traffic &traffic) const {
    return traffic.memoryBytes / memory + traffic.cacheBytes / cache;
  }
  /// Least seconds for the traffic.
  double leastSeconds(const Traffic &traffic) const;
};

/// Measures the ceilings of a session, which has its threads and arithmetic.
class CeilingProbe {
public:
  CeilingProbe(rondo_rt_session *session, std::string arithmetic);

  /// Bytes of the last-level cache that data can count on.
  double cacheBytes() const { return cacheBytes_; }
  /// Measures once more. Throws InputFailure.
  const Ceilings &measure();
  /// The medians of all measurements, and what they were taken with.
  nlohmann::ordered_json json() const;

private:
  rondo_rt_session *session_;
  std::string arithmetic_;
  double cacheBytes_;
  std::vector<Ceilings> measured_;
};

double median(std::vector<double> values);

} // namespace rondo_run

#endif // RONDO_RUN_CEILINGS_H
