//===- Huginn.cpp - config.json of Huginn (Raven) -------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Parts are named by keys of their own, of which one value each is known: the
// authors' code has others for training only (`raven_config_minimal.py` in
// github.com/seal-rg/recurrent-pretraining). What that class fills in where the
// released file is silent is filled in here too, and logged.
//
//===----------------------------------------------------------------------===//
#include "Huginn.h"
#include "Rope.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include <cmath>

using namespace llvm;
using namespace rondo;

/// Bookkeeping and training. `tie_word_embeddings` repeats `tie_embeddings`,
/// which the authors' code reads; the type of noise means nothing without
/// noise.
static constexpr StringLiteral kInertKeys[] = {
    "_name_or_path",
    "activation_checkpoint_impl",
    "architectures",
    "auto_map",
    "bos_token_id",
    "dtype",
    "effective_expected_depth",
    "eos_token_id",
    "init_orthogonal",
    "init_strategy",
    "mean_backprop_depth",
    "model_type",
    "pad_token_id",
    "padding_multiple",
    "sampling_scheme",
    "test_time_noise_type",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "use_cache",
};

/// Keys that name a part, and the value that is known.
static constexpr std::pair<StringLiteral, StringLiteral> kParts[] = {
    {"architecture_class_name", "RecurrentGPT"},
    {"block_class_name", "SandwichBlock"},
    {"injection_type", "linear"},
    {"mlp_class_name", "GatedMLP"},
    {"nonlin_name", "SiLU"},
    {"norm_class_name", "RMSNorm_llama"},
    {"state_init", "like-init"},
};

static constexpr double kRopeBase = 50000;

static void readParts(ConfigReader &config) {
  for (const auto &[key, known] : kParts)
    if (std::optional<StringRef> text = config.getOptionalText(key))
      if (*text != known)
        config.fail(quoted(key) + " is " + quoted(*text) +
                    ", which is not supported; known: " + known);
}

/// A number that other keys determine.
static void checkRepeated(ConfigReader &config, StringRef key, int64_t value) {
  std::optional<int64_t> stated = config.getOptionalCount(key);
  if (stated && *stated != value)
    config.fail(quoted(key) + " is " + Twine(*stated) +
                ", but other keys say " + Twine(value) +
                "; correct the wrong one");
}

static void readLayers(ConfigReader &config, Huginn &model) {
  model.prelude = config.getCount("n_layers_in_prelude", UINT16_MAX);
  model.core = config.getCount("n_layers_in_recurrent_block", UINT16_MAX);
  model.coda = config.getCount("n_layers_in_coda", UINT16_MAX);
  model.shape.layers = model.prelude + model.core + model.coda;
  checkRepeated(config, "n_layers", model.shape.layers);
  model.visits = config.getCount("mean_recurrence", UINT16_MAX);
}

static void readHeads(ConfigReader &config, Huginn &model) {
  Decoder &shape = model.shape;
  shape.heads = config.getCount("n_heads", UINT16_MAX);
  checkRepeated(config, "num_attention_heads", shape.heads);
  if (shape.hidden % (2 * shape.heads) != 0)
    config.fail("'n_embd' is " + Twine(shape.hidden) +
                ", expected an even multiple of the " + Twine(shape.heads) +
                " 'n_heads', since rope turns pairs");
  shape.headDim = std::max<int64_t>(1, shape.hidden / shape.heads);
  checkRepeated(config, "head_dim", shape.headDim);
  shape.kvHeads = shape.heads;
  // Biases are stored for equally many heads of q and k.
  checkRepeated(config, "num_key_value_heads", shape.heads);
  model.qkBias = config.has("qk_bias") ? config.getFlag("qk_bias") : true;
  if (!config.has("qk_bias"))
    config.logDecision("qk_bias = true (absent: as the authors' class)");
}

static void readRope(ConfigReader &config, Decoder &shape) {
  std::optional<double> base = config.getOptionalPositive("rope_base");
  if (!base)
    config.logDecision("rope_base = " + formatNumber(kRopeBase) +
                       " (absent: as the authors' class)");
  shape.ropePairs = RopePairs::Interleaved;
  shape.frequencies = computeRopeFrequencies(base.value_or(kRopeBase),
                                             shape.headDim, RopeScaling());
}

/// The scale of embeddings; that of a random initial state is scaled alike.
static void readInitialValues(ConfigReader &config, Huginn &model) {
  double width = static_cast<double>(model.shape.hidden);
  double scale = std::sqrt(width), deviation = std::sqrt(2 / (5 * width));
  std::optional<double> statedScale, statedDeviation;
  if (const json::Object *object = config.getOptionalObject("init_values")) {
    ConfigReader values(*object, config.nest("init_values"), config.getLog());
    values.ignore({"embedding", "out_proj"});
    statedScale = values.getOptionalPositive("embed_scale");
    statedDeviation = values.getOptionalPositive("std");
    config.finishNested(values);
  }
  if (!statedScale)
    config.logDecision("embed_scale = " + formatNumber(scale) +
                       " (absent: the root of n_embd)");
  if (!statedDeviation)
    config.logDecision("std = " + formatNumber(deviation) +
                       " (absent: the root of 2 / (5 n_embd))");
  scale = statedScale.value_or(scale);
  model.shape.embeddingScale = static_cast<float>(scale);
  model.deviation = scale * statedDeviation.value_or(deviation);
}

static Huginn readHuginn(ConfigReader &config) {
  config.ignore(kInertKeys);
  readParts(config);
  Huginn model;
  Decoder &shape = model.shape;
  shape.architecture = "huginn";
  std::optional<int64_t> padded = config.getOptionalCount("padded_vocab_size");
  shape.vocabulary = config.getCount("vocab_size");
  if (padded && *padded < shape.vocabulary)
    config.fail("'padded_vocab_size' is " + Twine(*padded) +
                ", below 'vocab_size' " + Twine(shape.vocabulary) +
                "; correct the wrong one");
  shape.vocabulary = padded.value_or(shape.vocabulary);
  shape.hidden = config.getCount("n_embd");
  shape.intermediate = config.getCount("intermediate_size");
  shape.context = config.getCount("block_size");
  shape.eps = static_cast<float>(config.getPositive("norm_eps"));
  shape.tied = config.getFlag("tie_embeddings");
  readLayers(config, model);
  readHeads(config, model);
  readRope(config, shape);
  readInitialValues(config, model);
  return model;
}

/// The core's visits and the KV policy as the options want them.
static Error chooseSchedule(Huginn &model, BuiltModel &built,
                            const ImportOptions &options, ImportLog &log,
                            mlir::MLIRContext &context) {
  LayerLoop loop{model.prelude, model.prelude + model.core - 1, model.visits};
  if (!options.loops.empty()) {
    const LayerLoop &own = options.loops.front();
    if (options.loops.size() != 1 || own.first != loop.first ||
        own.last != loop.last)
      return importError("--loop can only change how often the core runs; give "
                         "--loop=" +
                         Twine(loop.first) + ":" + Twine(loop.last) + ":" +
                         Twine(loop.times) + " with another last number");
    loop.times = own.times;
    log.push_back("schedule overridden by --loop");
  }
  Expected<Schedule> schedule = makeLoopedSchedule(model.shape.layers, loop);
  if (!schedule)
    return schedule.takeError();
  model.visits = loop.times;
  built.trainedKV = "per-depth";
  Expected<std::string> policy =
      applyKVPolicy(*schedule, built.trainedKV, options);
  if (!policy)
    return policy.takeError();
  built.kvPolicy = std::move(*policy);
  auto core = find_if(schedule->segments,
                      [](const Segment &segment) { return segment.looped; });
  if (core != schedule->segments.end())
    model.kv = core->kv;
  // The core is one loop, so that its depth can be chosen at run time.
  if (model.kv.getRanges(model.visits, &context).size() != 1)
    return importError("KV policy " + quoted(built.kvPolicy) +
                       " is not supported for this family, whose visits are "
                       "all alike; use per-depth, final-shared or modulo:S");
  log.push_back("schedule: " + schedule->describe());
  log.push_back("KV policy: " + built.kvPolicy +
                " (trained: " + built.trainedKV + ")");
  return Error::success();
}

ModelBuilder rondo::openHuginn(ConfigReader &config) {
  return [model = readHuginn(config)](
             TensorTable &tensors, const ImportOptions &options, ImportLog &log,
             mlir::MLIRContext &context) mutable -> Expected<BuiltModel> {
    BuiltModel built;
    if (Error error = chooseSchedule(model, built, options, log, context))
      return std::move(error);
    built.architecture = model.shape.architecture;
    built.vocabulary = model.shape.vocabulary;
    built.context = model.shape.context;
    // Cosines and sines, which follow from `rope_base`.
    tensors.ignoreSuffix("freqs_cis");
    Expected<mlir::OwningOpRef<mlir::ModuleOp>> module =
        buildHuginn(model, tensors, context);
    if (!module)
      return module.takeError();
    built.module = std::move(*module);
    return std::move(built);
  };
}
