//===- Llama.cpp - config.json of Llama and its relatives -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 one
// object `rope_parameters`; both are in the wild, sometimes in one file, and
// must then agree.
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "Json.h"
#include "Rope.h"
#include "Support.h"

using namespace llvm;
using namespace rondo;

/// Bookkeeping, training, and how sums are split: no effect on what is
/// computed.
static constexpr StringLiteral kInertKeys[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "is_llama_config",
    "model_type",
    "pad_token_id",
    "pretraining_tp",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
};

/// Reads a theta that may stand in two places.
static double readTheta(ConfigReader &config, ConfigReader *parameters) {
  std::optional<double> outer = config.getOptionalPositive("rope_theta");
  std::optional<double> inner =
      parameters ? parameters->getOptionalPositive("rope_theta") : std::nullopt;
  if (outer && inner && *outer != *inner)
    config.fail("'rope_theta' is " + formatNumber(*outer) +
                ", in 'rope_parameters' it is " + formatNumber(*inner) +
                "; remove the wrong one");
  if (!outer && !inner && !config.hasFailed())
    config.fail("required key 'rope_theta' is missing, alone or in "
                "'rope_parameters'; add the model's number");
  return inner.value_or(outer.value_or(1.0));
}

/// Reads a description of frequencies ("rope_scaling", "rope_parameters").
static RopeScaling readScaling(ConfigReader &config) {
  RopeScaling scaling;
  std::optional<StringRef> type = config.getOptionalText("rope_type");
  std::optional<StringRef> oldType = config.getOptionalText("type");
  if (type && oldType && *type != *oldType)
    config.fail("'rope_type' is " + quoted(*type) + ", 'type' is " +
                quoted(*oldType) + "; remove the wrong one");
  StringRef kind = type.value_or(oldType.value_or("default"));
  if (std::optional<double> part =
          config.getOptionalPositive("partial_rotary_factor"))
    if (*part != 1.0)
      config.fail("'partial_rotary_factor' is " + formatNumber(*part) +
                  ", but this family turns whole heads");
  config.logDecision("rope type " + kind);
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::Linear;
    scaling.factor = config.getPositive("factor");
  } else if (kind == "llama3") {
    scaling.kind = RopeScaling::Kind::Llama3;
    scaling.factor = config.getPositive("factor");
    scaling.lowFrequencyFactor = config.getPositive("low_freq_factor");
    scaling.highFrequencyFactor = config.getPositive("high_freq_factor");
    scaling.originalContext =
        config.getCount("original_max_position_embeddings");
    if (scaling.highFrequencyFactor <= scaling.lowFrequencyFactor)
      config.fail("'high_freq_factor' must be above 'low_freq_factor'");
  } else if (kind != "default") {
    config.fail("rope type " + quoted(kind) +
                " is not supported; known: default, linear, llama3");
  }
  return scaling;
}

static bool areEqual(const RopeScaling &a, const RopeScaling &b) {
  return a.kind == b.kind && a.factor == b.factor &&
         a.lowFrequencyFactor == b.lowFrequencyFactor &&
         a.highFrequencyFactor == b.highFrequencyFactor &&
         a.originalContext == b.originalContext;
}

static SmallVector<float> readRope(ConfigReader &config, int64_t headDim) {
  std::optional<RopeScaling> scaling;
  std::optional<ConfigReader> parameters;
  if (const json::Object *object =
          config.getOptionalObject("rope_parameters")) {
    parameters.emplace(*object, config.nest("rope_parameters"),
                       config.getLog());
    scaling = readScaling(*parameters);
  }
  double theta = readTheta(config, parameters ? &*parameters : nullptr);
  if (parameters)
    config.finishNested(*parameters);
  if (const json::Object *object = config.getOptionalObject("rope_scaling")) {
    ConfigReader reader(*object, config.nest("rope_scaling"), config.getLog());
    RopeScaling old = readScaling(reader);
    config.finishNested(reader);
    if (scaling && !areEqual(*scaling, old))
      config.fail("'rope_parameters' and 'rope_scaling' describe different "
                  "frequencies; remove the wrong one");
    scaling = old;
  }
  return computeRopeFrequencies(theta, headDim,
                                scaling.value_or(RopeScaling()));
}

/// head_dim as the file says, else hidden_size / num_attention_heads.
static int64_t readHeadDim(ConfigReader &config, const Decoder &decoder,
                           bool required) {
  if (required && !config.has("head_dim"))
    return config.getCount("head_dim");
  std::optional<int64_t> stated = config.getOptionalCount("head_dim");
  if (std::optional<int64_t> channels = config.getOptionalCount("kv_channels"))
    if (stated && *channels != *stated)
      config.fail("'head_dim' is " + Twine(*stated) + ", 'kv_channels' is " +
                  Twine(*channels) + "; remove the wrong one");
  if (stated)
    return *stated;
  if (decoder.hidden % decoder.heads != 0)
    config.fail("required key 'head_dim' is missing, and 'hidden_size' " +
                Twine(decoder.hidden) + " is not a multiple of " +
                Twine(decoder.heads) + " heads; add the model's number");
  int64_t headDim = std::max<int64_t>(1, decoder.hidden / decoder.heads);
  config.logDecision("head_dim = " + Twine(headDim) +
                     " (absent: hidden_size / num_attention_heads)");
  return headDim;
}

static void readHeads(ConfigReader &config, Decoder &decoder,
                      bool headDimRequired) {
  decoder.heads = config.getCount("num_attention_heads", UINT16_MAX);
  if (std::optional<int64_t> stated =
          config.getOptionalCount("num_key_value_heads", UINT16_MAX)) {
    decoder.kvHeads = *stated;
  } else {
    decoder.kvHeads = decoder.heads;
    config.logDecision("num_key_value_heads = " + Twine(decoder.heads) +
                       " (absent: num_attention_heads)");
  }
  if (decoder.heads % decoder.kvHeads != 0)
    config.fail("'num_attention_heads' is " + Twine(decoder.heads) +
                ", expected a multiple of 'num_key_value_heads' " +
                Twine(decoder.kvHeads));
  decoder.headDim = readHeadDim(config, decoder, headDimRequired);
  if (decoder.headDim % 2 != 0)
    config.fail("'head_dim' is " + Twine(decoder.headDim) +
                ", but rope needs an even number");
}

Decoder rondo::readLayers(ConfigReader &config, bool headDimRequired) {
  config.ignore(kInertKeys);
  Decoder decoder;
  decoder.keys = &kHuggingFaceKeys;
  decoder.vocabulary = config.getCount("vocab_size");
  decoder.hidden = config.getCount("hidden_size");
  decoder.intermediate = config.getCount("intermediate_size");
  decoder.layers = config.getCount("num_hidden_layers", UINT16_MAX);
  readHeads(config, decoder, headDimRequired);
  decoder.context = config.getCount("max_position_embeddings");
  decoder.eps = static_cast<float>(config.getPositive("rms_norm_eps"));
  decoder.attentionBias = config.getOptionalFlag("attention_bias");
  decoder.outputBias = decoder.attentionBias;
  decoder.mlpBias = config.getOptionalFlag("mlp_bias");
  decoder.frequencies = readRope(config, decoder.headDim);
  return decoder;
}

Decoder rondo::readLlamaLayers(ConfigReader &config, bool headDimRequired) {
  Decoder decoder = readLayers(config, headDimRequired);
  decoder.tied = config.getFlag("tie_word_embeddings");
  StringRef activation = config.getOptionalText("hidden_act").value_or("");
  if (activation != "silu" && activation != "swish")
    config.fail(activation.empty()
                    ? Twine("required key 'hidden_act' is missing; add 'silu'")
                    : "activation " + quoted(activation) +
                          " of 'hidden_act' is not supported; known: silu");
  return decoder;
}

Decoder rondo::readLlama(ConfigReader &config) {
  Decoder decoder = readLlamaLayers(config, /*headDimRequired=*/false);
  decoder.architecture = "llama";
  decoder.schedule = makePlainSchedule(decoder.layers);
  return decoder;
}
