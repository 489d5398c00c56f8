//===- Nanbeige.cpp - config.json of Nanbeige 4.2 -------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Llama's layers in one of two schedules:
//
//   num_loops R:  R visits of all layers, the final norm after each visit, or
//                 with `skip_loop_final_norm` after the last
//   loop split:   of n layers the middle m run n / m + 1 times, the others
//   once;
//                 no norm in between; with `loop_share_kv` later visits read
//                 the keys and values of the first
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "Json.h"

using namespace llvm;
using namespace rondo;

/// Numbers of n-gram embeddings, hyper-connections and depth attention. Without
/// effect while their switches are off; the switches are not listed anywhere,
/// so that one that is on is an error.
static constexpr StringLiteral kInertKeys[] = {
    "depth_attention_recent_window",
    "depth_attention_static_anchor_once",
    "mhc_init_gating_factor",
    "mhc_sinkhorn_iterations",
    "ngram_fused_mode",
    "num_residual_streams",
};

/// Visits of all layers, from two keys that must agree.
static int64_t readLoops(ConfigReader &config) {
  const json::Array *losses = config.getOptionalArray("loop_loss_weights");
  if (!losses || losses->empty())
    return config.getCount("num_loops", UINT16_MAX);
  int64_t loops = losses->size() + 1;
  config.logDecision("loops = " + Twine(loops) +
                     " (one more than 'loop_loss_weights' has)");
  std::optional<int64_t> stated =
      config.getOptionalCount("num_loops", UINT16_MAX);
  if (stated && *stated != loops)
    config.fail("'num_loops' is " + Twine(*stated) + ", but the " +
                Twine(loops - 1) + " 'loop_loss_weights' mean " + Twine(loops) +
                " loops, which is what the model's own code runs; set " +
                "'num_loops' to " + Twine(loops) + " or empty the other");
  return loops;
}

static Schedule readCycle(ConfigReader &config, int64_t layers) {
  bool skipNorm = config.getOptionalFlag("skip_loop_final_norm");
  if (!config.has("skip_loop_final_norm"))
    config.logDecision("skip_loop_final_norm = false (absent)");
  if (config.getOptionalFlag("loop_share_kv"))
    config.fail("'loop_share_kv' is only known together with "
                "'enable_double_loop_split'");
  if (config.has("loop_middle_layers"))
    config.fail("'loop_middle_layers' is set without "
                "'enable_double_loop_split'");
  Segment segment{/*first=*/0, layers, readLoops(config), /*looped=*/true};
  segment.normAfterVisit = !skipNorm;
  return Schedule{{segment}, /*finalNorm=*/skipNorm};
}

static Schedule readSplit(ConfigReader &config, int64_t layers) {
  config.ignore({"num_loops", "loop_loss_weights", "skip_loop_final_norm"});
  config.logDecision("enable_double_loop_split overrides num_loops, "
                     "loop_loss_weights and skip_loop_final_norm");
  std::optional<int64_t> stated = config.getOptionalCount("loop_middle_layers");
  // Half of an odd number is refused by the model's own code, too.
  int64_t middle = stated.value_or(layers % 2 == 0 ? layers / 2 : 0);
  if (!stated)
    config.logDecision("loop_middle_layers = " + Twine(middle) +
                       " (absent: half of num_hidden_layers)");
  if (middle < 1 || layers % middle != 0) {
    config.fail("'loop_middle_layers' must divide the " + Twine(layers) +
                " layers, got " + Twine(middle));
    return Schedule();
  }
  int64_t begin = (layers - middle) / 2;
  Segment shared{begin, middle, layers / middle + 1, /*looped=*/true};
  if (config.getOptionalFlag("loop_share_kv"))
    shared.kv = KVPolicy::getFirstStep();
  Schedule schedule;
  if (begin > 0)
    schedule.segments.push_back({/*first=*/0, begin});
  schedule.segments.push_back(shared);
  if (int64_t end = begin + middle; end < layers)
    schedule.segments.push_back({end, layers - end});
  return schedule;
}

Decoder rondo::readNanbeige(ConfigReader &config) {
  config.ignore(kInertKeys);
  Decoder decoder = readLlamaLayers(config, /*headDimRequired=*/true);
  decoder.architecture = "nanbeige";
  decoder.traceLayers = false;
  decoder.qkNorm = config.getOptionalFlag("qk_layernorm");
  bool isSplit = config.getOptionalFlag("enable_double_loop_split");
  decoder.schedule = isSplit ? readSplit(config, decoder.layers)
                             : readCycle(config, decoder.layers);
  for (const Segment &segment : decoder.schedule.segments)
    if (segment.kv == KVPolicy::getFirstStep())
      decoder.trainedKV = "first-step";
  return decoder;
}
