//===- Ceilings.cpp - what the machine could do at best -------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Ceilings.h"

#include <nlohmann/json.hpp>

#include <algorithm>

using namespace rondo_run;

/// Working set of the memory ceiling: beyond any cache.
static constexpr uint64_t kLeastMemoryBytes = 256u << 20;
/// Working set of the cache ceiling where the model's own is smaller: beyond
/// L2.
static constexpr uint64_t kLeastCacheBytes = 4u << 20;

double rondo_run::median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  size_t half = values.size() / 2;
  return values.size() % 2 ? values[half]
                           : (values[half - 1] + values[half]) / 2;
}

double Ceilings::leastSeconds(const Traffic &traffic) const {
  return std::max(readSeconds(traffic), traffic.flops / flops);
}

/// The probe whose instructions the model's contractions use.
static rondo_rt_probe probeFor(const std::string &arithmetic) {
  if (arithmetic == "bf16-dot")
    return RONDO_RT_PROBE_BF16_DOT;
  if (arithmetic == "int8-dynamic")
    return RONDO_RT_PROBE_INT8_DOT;
  return RONDO_RT_PROBE_F32_FMA;
}

CeilingProbe::CeilingProbe(rondo_rt_session *session, std::string arithmetic)
    : session_(session), arithmetic_(std::move(arithmetic)),
      cacheBytes_(RONDO_RT_CACHE_SHARE *
                  static_cast<double>(rondo_rt_machine_cache_bytes())) {}

const Ceilings &CeilingProbe::measure() {
  uint64_t llc = rondo_rt_machine_cache_bytes();
  uint64_t memory = std::max(kLeastMemoryBytes, 8 * llc);
  uint64_t cached = std::max<uint64_t>(kLeastCacheBytes, cacheBytes_ / 2);
  Ceilings ceilings;
  check(rondo_rt_session_measure(session_, RONDO_RT_PROBE_READ, memory,
                                 &ceilings.memory));
  check(rondo_rt_session_measure(session_, RONDO_RT_PROBE_READ, cached,
                                 &ceilings.cache));
  check(rondo_rt_session_measure(session_, probeFor(arithmetic_), 0,
                                 &ceilings.flops));
  measured_.push_back(ceilings);
  return measured_.back();
}

nlohmann::ordered_json CeilingProbe::json() const {
  std::vector<double> memory, cache, flops;
  for (const Ceilings &ceilings : measured_) {
    memory.push_back(ceilings.memory);
    cache.push_back(ceilings.cache);
    flops.push_back(ceilings.flops);
  }
  return {{"memory_bytes_per_second", median(memory)},
          {"cache_bytes_per_second", median(cache)},
          {"flops_per_second", median(flops)},
          {"arithmetic", arithmetic_},
          {"cache_bytes", cacheBytes_},
          {"threads", rondo_rt_session_threads(session_)}};
}
