//===- Bench.cpp - measured speed against the machine's ceilings ----------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Bench.h"
#include "BenchSession.h"
#include "Traffic.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>

using namespace rondo_run;

namespace {

/// One phase of one repetition.
struct Sample {
  double tokensPerSecond;
  double boundPerSecond;
};

/// A phase over all repetitions.
struct Phase {
  Traffic traffic; // of all its steps
  uint64_t tokens = 0;
  std::vector<Sample> samples;
};

class Bench {
public:
  Bench(rondo_rt_model *model, const Options &options);
  void run();
  void print() const;

private:
  void checkSizes() const;
  void checkRouting(uint64_t promptLength) const;
  void compute(uint32_t first, uint32_t count, bool each, Phase *phase);
  void runStep(std::vector<rondo_rt_row> &rows, Phase *phase);
  template <typename Body>
  void measure(Phase &phase, const Ceilings &ceilings, Body body);
  void truncate(uint32_t length);
  nlohmann::ordered_json phaseJson(const Phase &phase) const;

  const BenchOptions &bench_;
  BenchSession session_;
  const rondo_rt_model_info &info_;
  TrafficModel traffic_;
  bool wholePrompts_; // the router sees the positions of a prompt together
  Phase prefill_, decode_;
};

/// How far the choice of a row depends on others, as the manifest has it: row,
/// cohort or call.
std::string routingScope(const nlohmann::json &manifest) {
  const nlohmann::json &routing = manifest["routing"];
  return routing.empty() ? "row" : routing.front()["scope"];
}

Bench::Bench(rondo_rt_model *model, const Options &options)
    : bench_(*options.bench), session_(model, options), info_(session_.info()),
      traffic_(session_.manifest(), info_, session_.probe().cacheBytes()),
      wholePrompts_(routingScope(session_.manifest()) != "row") {
  checkSizes();
  session_.openSequences(bench_.batch);
}

void Bench::checkSizes() const {
  if (info_.cohort)
    throw InputFailure("--bench: this version measures decoders only, and all "
                       "positions of this model's sequences see each other; "
                       "--output=json tells the time of a run");
  uint64_t start = bench_.at.value_or(bench_.prefill);
  uint64_t length = std::max<uint64_t>(bench_.prefill, start + bench_.decode);
  session_.requirePositions(length);
  checkRouting(std::max<uint64_t>(bench_.prefill, start));
  if (bench_.batch > std::min(info_.sequences, info_.rows))
    throw InputFailure("--bench: batch of " + std::to_string(bench_.batch) +
                       " is more than the bundle's " +
                       std::to_string(info_.sequences) + " sequences and " +
                       std::to_string(info_.rows) +
                       " rows; measure a smaller one or compile with "
                       "--sequences=" +
                       std::to_string(bench_.batch));
}

void Bench::checkRouting(uint64_t promptLength) const {
  if (bench_.decode && routingScope(session_.manifest()) == "call")
    throw InputFailure("--bench: the keys and values that this model's router "
                       "leaves hold for one step, so no step can continue a "
                       "sequence; measure without decode");
  if (wholePrompts_ && promptLength > info_.rows)
    throw InputFailure(
        "--bench: the model routes the positions of a prompt together, in one "
        "step, but there are " +
        std::to_string(promptLength) + " positions and a step has " +
        std::to_string(info_.rows) +
        " rows; measure fewer or compile with --rows=" +
        std::to_string(promptLength));
}

void Bench::runStep(std::vector<rondo_rt_row> &rows, Phase *phase) {
  StepShape shape;
  std::vector<uint32_t> outputs;
  for (uint32_t i = 0; i < rows.size(); ++i)
    if (i + 1 == rows.size() || rows[i + 1].sequence != rows[i].sequence) {
      outputs.push_back(i);
      shape.kvPositions += rows[i].position + 1;
    }
  check(rondo_rt_session_step(session_.get(), rows.data(), rows.size(),
                              outputs.data(), outputs.size()));
  shape.rows = rows.size();
  shape.outputs = outputs.size();
  if (phase) {
    phase->traffic += traffic_.stepTraffic(shape);
    phase->tokens += rows.size();
  }
  rows.clear();
}

/// Computes `count` positions from `first` on of every sequence: as full steps
/// (of whole prompts, if they are routed so), or, if `each`, one position of
/// all sequences a step.
void Bench::compute(uint32_t first, uint32_t count, bool each, Phase *phase) {
  std::vector<rondo_rt_row> rows;
  rows.reserve(info_.rows);
  uint32_t outer = each ? count : bench_.batch;
  uint32_t inner = each ? bench_.batch : count;
  for (uint32_t i = 0; i < outer; ++i) {
    if (!each && wholePrompts_ && rows.size() + count > info_.rows)
      runStep(rows, phase);
    for (uint32_t j = 0; j < inner; ++j) {
      uint32_t sequence = session_.sequences()[each ? j : i];
      rows.push_back(session_.makeRow(sequence, first + (each ? i : j)));
      if (rows.size() == info_.rows)
        runStep(rows, phase);
    }
    if (each && !rows.empty())
      runStep(rows, phase);
  }
  if (!rows.empty())
    runStep(rows, phase);
}

void Bench::truncate(uint32_t length) {
  for (uint32_t sequence : session_.sequences())
    check(rondo_rt_sequence_truncate(session_.get(), sequence, length));
}

template <typename Body>
void Bench::measure(Phase &phase, const Ceilings &ceilings, Body body) {
  phase.traffic = {};
  phase.tokens = 0;
  auto begin = std::chrono::steady_clock::now();
  body(&phase);
  std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - begin;
  double bound = ceilings.leastSeconds(phase.traffic);
  double tokens = static_cast<double>(phase.tokens);
  phase.samples.push_back({tokens / elapsed.count(), tokens / bound});
}

void Bench::run() {
  uint32_t start = bench_.at.value_or(bench_.prefill);
  // Once unmeasured: pages are committed and weights are read in.
  compute(0, std::max(start, bench_.prefill), false, nullptr);
  for (uint32_t i = 0; i < bench_.repeat; ++i) {
    const Ceilings &ceilings = session_.probe().measure();
    if (bench_.prefill) {
      truncate(0);
      measure(prefill_, ceilings,
              [&](Phase *phase) { compute(0, bench_.prefill, false, phase); });
    }
    if (!bench_.decode)
      continue;
    uint32_t length =
        rondo_rt_sequence_length(session_.get(), session_.sequences()[0]);
    if (length < start && wholePrompts_)
      truncate(length = 0);
    if (length < start)
      compute(length, start - length, false, nullptr);
    else
      truncate(start);
    measure(decode_, ceilings,
            [&](Phase *phase) { compute(start, bench_.decode, true, phase); });
  }
}

template <typename Get> double medianOf(const Phase &phase, Get get) {
  std::vector<double> values;
  for (const Sample &sample : phase.samples)
    values.push_back(get(sample));
  return median(values);
}

nlohmann::ordered_json Bench::phaseJson(const Phase &phase) const {
  auto speed = [](const Sample &sample) { return sample.tokensPerSecond; };
  auto bound = [](const Sample &sample) { return sample.boundPerSecond; };
  auto share = [](const Sample &sample) {
    return sample.tokensPerSecond / sample.boundPerSecond;
  };
  auto slower = [](const Sample &a, const Sample &b) {
    return a.tokensPerSecond < b.tokensPerSecond;
  };
  auto [least, most] =
      std::minmax_element(phase.samples.begin(), phase.samples.end(), slower);
  double tokens = static_cast<double>(phase.tokens);
  return {{"tokens_per_second",
           {{"median", medianOf(phase, speed)},
            {"min", least->tokensPerSecond},
            {"max", most->tokensPerSecond}}},
          {"bytes_per_token",
           {{"memory", phase.traffic.memoryBytes / tokens},
            {"cache", phase.traffic.cacheBytes / tokens}}},
          {"bound_tokens_per_second", medianOf(phase, bound)},
          {"fraction_of_bound", medianOf(phase, share)}};
}

void Bench::print() const {
  nlohmann::ordered_json result = nlohmann::ordered_json::object();
  if (bench_.prefill)
    result["prefill"] = phaseJson(prefill_);
  if (bench_.decode)
    result["decode"] = phaseJson(decode_);
  result["ceilings"] = session_.probe().json();
  std::printf("%s\n", result.dump(2).c_str());
}

} // namespace

void rondo_run::bench(rondo_rt_model *model, const Options &options) {
  Bench bench(model, options);
  bench.run();
  bench.print();
}
