//===- DepthBench.cpp - speed of steps of one visit -----------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What rows at mixed depths cost: as many sequences as the batch has go through
// the loop, all at one visit (uniform) or an equal share of them at each visit
// (mixed). Both do the same work, so the time of a step may differ only as the
// bytes do that it must read. `depth_step` alone is timed; rows enter and leave
// in between.
//===----------------------------------------------------------------------===//
#include "DepthBench.h"
#include "BenchSession.h"
#include "Traffic.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>

using namespace rondo_run;

namespace {

/// One way to place rows, over all repetitions.
struct Placement {
  Traffic traffic;             // of one step, on average
  std::vector<double> seconds; // of one step, per repetition
  std::vector<double> bound;   // least seconds, per repetition
  std::vector<double> reading; // least seconds of reading, per repetition
};

/// What happens around one step.
struct Moment {
  std::vector<rondo_rt_row> entering; // before it
  std::vector<rondo_rt_row> running;
  std::vector<rondo_rt_row> leaving; // after it
};

uint32_t sizeOf(const std::vector<rondo_rt_row> &rows) {
  return static_cast<uint32_t>(rows.size());
}

class DepthBench {
public:
  DepthBench(rondo_rt_model *model, const Options &options);
  void run();
  void print() const;

private:
  void checkSizes() const;
  void prepare();
  Moment momentAt(uint32_t time, uint32_t length, bool mixed) const;
  double measure(bool mixed);
  void keep(Placement &placement, double seconds, const Ceilings &ceilings);
  static nlohmann::ordered_json placementJson(const Placement &placement);

  const BenchOptions &bench_;
  BenchSession session_;
  const rondo_rt_model_info &info_;
  uint32_t start_; // first measured position
  Placement uniform_, mixed_;
};

DepthBench::DepthBench(rondo_rt_model *model, const Options &options)
    : bench_(*options.bench), session_(model, options), info_(session_.info()),
      start_(bench_.at.value_or(0)) {
  checkSizes();
  TrafficModel trafficModel(session_.manifest(), info_,
                            session_.probe().cacheBytes());
  uint64_t positions =
      static_cast<uint64_t>(bench_.batch) * (start_ + bench_.decode / 2 + 1);
  auto perStep = [&](bool mixed) {
    Traffic traffic =
        trafficModel.visitsTraffic({bench_.batch, positions, mixed});
    traffic.memoryBytes /= info_.visit_count;
    traffic.cacheBytes /= info_.visit_count;
    traffic.flops /= info_.visit_count;
    return traffic;
  };
  uniform_.traffic = perStep(false);
  mixed_.traffic = perStep(true);
  session_.openSequences(bench_.batch);
}

void DepthBench::checkSizes() const {
  if (info_.cohort || info_.rows_in_flight == 0)
    throw InputFailure("--bench: this model has no steps of one visit; leave "
                       "--depthwise out");
  for (uint32_t visit = 1; visit < info_.visit_count; ++visit)
    if (info_.visit_classes[visit] != info_.visit_classes[0])
      throw InputFailure("--bench: the visits of this model are of several "
                         "classes, which no step mixes; leave --depthwise out");
  if (info_.visit_count < 2)
    throw InputFailure("--bench: the model visits its layers once, so no step "
                       "mixes depths; leave --depthwise out");
  uint32_t most = std::min({info_.sequences, info_.rows, info_.rows_in_flight});
  if (bench_.batch < info_.visit_count || bench_.batch > most)
    throw InputFailure(
        "--bench: --depthwise needs a batch of " +
        std::to_string(info_.visit_count) + ", the visits, to " +
        std::to_string(most) + " rows, got " + std::to_string(bench_.batch) +
        "; say batch:B, or compile with other --rows and --sequences");
  session_.requirePositions(static_cast<uint64_t>(start_) + bench_.decode + 1);
}

/// Gives every sequence the positions before the measured ones.
void DepthBench::prepare() {
  for (uint32_t sequence : session_.sequences()) {
    uint32_t length = rondo_rt_sequence_length(session_.get(), sequence);
    if (length > start_)
      check(rondo_rt_sequence_truncate(session_.get(), sequence, start_));
    while (length < start_) {
      std::vector<rondo_rt_row> rows;
      for (; length < start_ && rows.size() < info_.rows; ++length)
        rows.push_back(session_.makeRow(sequence, length));
      check(rondo_rt_session_step(session_.get(), rows.data(), sizeOf(rows),
                                  nullptr, 0));
    }
  }
}

/// At time `t` a sequence has made `t` visits, less its delay where depths are
/// mixed; it makes `length` of them.
Moment DepthBench::momentAt(uint32_t time, uint32_t length, bool mixed) const {
  uint32_t visits = info_.visit_count;
  Moment moment;
  for (uint32_t i = 0; i < bench_.batch; ++i) {
    uint32_t delay = mixed ? i % visits : 0;
    if (time < delay || time - delay >= length)
      continue;
    uint32_t made = time - delay;
    rondo_rt_row row =
        session_.makeRow(session_.sequences()[i], start_ + made / visits);
    row.visit = static_cast<uint16_t>(made % visits);
    moment.running.push_back(row);
    if (row.visit == 0)
      moment.entering.push_back(row);
    if (++row.visit == visits)
      moment.leaving.push_back(row);
  }
  return moment;
}

/// Seconds of a step, the mean of those in which every sequence is under way.
double DepthBench::measure(bool mixed) {
  prepare();
  rondo_rt_session *session = session_.get();
  uint32_t visits = info_.visit_count, steps = bench_.decode * visits;
  // Mixed, the last sequence comes with this step, and all are to make whole
  // rounds.
  uint32_t first = mixed ? visits - 1 : 0;
  uint32_t length = steps + (mixed ? visits : 0);
  std::chrono::duration<double> elapsed{};
  for (uint32_t time = 0; time < first + length; ++time) {
    Moment moment = momentAt(time, length, mixed);
    if (!moment.entering.empty())
      check(rondo_rt_session_prelude(session, moment.entering.data(),
                                     sizeOf(moment.entering)));
    auto begin = std::chrono::steady_clock::now();
    check(rondo_rt_session_depth_step(session, moment.running.data(),
                                      sizeOf(moment.running)));
    if (time >= first && time < first + steps)
      elapsed += std::chrono::steady_clock::now() - begin;
    if (!moment.leaving.empty())
      check(rondo_rt_session_coda(session, moment.leaving.data(),
                                  sizeOf(moment.leaving), nullptr, 0));
  }
  return elapsed.count() / steps;
}

void DepthBench::keep(Placement &placement, double seconds,
                      const Ceilings &ceilings) {
  placement.seconds.push_back(seconds);
  placement.bound.push_back(ceilings.leastSeconds(placement.traffic));
  placement.reading.push_back(ceilings.readSeconds(placement.traffic));
}

void DepthBench::run() {
  measure(false); // pages are committed and weights are read in
  for (uint32_t i = 0; i < bench_.repeat; ++i) {
    const Ceilings &ceilings = session_.probe().measure();
    bool first = i % 2; // which of the two goes first alternates
    for (bool mixed : {first, !first})
      keep(mixed ? mixed_ : uniform_, measure(mixed), ceilings);
  }
}

nlohmann::ordered_json spread(const std::vector<double> &values) {
  auto [least, most] = std::minmax_element(values.begin(), values.end());
  return {{"median", median(values)}, {"min", *least}, {"max", *most}};
}

std::vector<double> quotients(const std::vector<double> &above,
                              const std::vector<double> &below) {
  std::vector<double> result;
  for (size_t i = 0; i < above.size(); ++i)
    result.push_back(above[i] / below[i]);
  return result;
}

nlohmann::ordered_json DepthBench::placementJson(const Placement &placement) {
  return {{"seconds", spread(placement.seconds)},
          {"bytes",
           {{"memory", placement.traffic.memoryBytes},
            {"cache", placement.traffic.cacheBytes}}},
          {"bound_seconds", median(placement.bound)},
          {"fraction_of_bound",
           median(quotients(placement.bound, placement.seconds))}};
}

void DepthBench::print() const {
  nlohmann::ordered_json result = {
      {"depth_step",
       {{"rows", bench_.batch},
        {"visits", info_.visit_count},
        {"uniform", placementJson(uniform_)},
        {"mixed", placementJson(mixed_)},
        {"mixed_to_uniform",
         {{"seconds", spread(quotients(mixed_.seconds, uniform_.seconds))},
          {"reading", median(quotients(mixed_.reading, uniform_.reading))}}}}},
      {"ceilings", session_.probe().json()}};
  std::printf("%s\n", result.dump(2).c_str());
}

} // namespace

void rondo_run::benchDepth(rondo_rt_model *model, const Options &options) {
  DepthBench bench(model, options);
  bench.run();
  bench.print();
}
