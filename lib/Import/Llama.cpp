//===- Llama.cpp - config.json of Llama and its relatives -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "RopeConfig.h"
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

void rondo::ignoreInertKeys(ConfigReader &config) { config.ignore(kInertKeys); }

Decoder rondo::readLayers(ConfigReader &config, bool headDimRequired) {
  ignoreInertKeys(config);
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
