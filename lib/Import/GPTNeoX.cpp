//===- GPTNeoX.cpp - config.json of GPT-NeoX and Pythia -------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Layer norms with a bias, an MLP without a gate, rope on a part of each head,
// and both branches of a layer on one input unless `use_parallel_residual` is
// off (arXiv 2204.06745; transformers, models/gpt_neox). q, k and v are one
// matrix, head by head.
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "RopeConfig.h"
#include "Support.h"

using namespace llvm;
using namespace rondo;

static constexpr DecoderKeys kKeys = {
    /*embedding=*/"gpt_neox.embed_in.weight",
    /*finalNorm=*/"gpt_neox.final_layer_norm",
    /*head=*/"embed_out.weight",
    /*layerPrefix=*/"gpt_neox.layers.",
    /*attentionNorm=*/"input_layernorm",
    /*q=*/"attention.query_key_value",
    /*k=*/"attention.query_key_value",
    /*v=*/"attention.query_key_value",
    /*o=*/"attention.dense",
    /*qNorm=*/"",
    /*kNorm=*/"",
    /*mlpNorm=*/"post_attention_layernorm",
    /*gate=*/"",
    /*up=*/"mlp.dense_h_to_4h",
    /*down=*/"mlp.dense_4h_to_h",
};

/// The causal mask and the value that it writes, stored by old releases.
static constexpr StringLiteral kBuffers[] = {".attention.bias",
                                             ".attention.masked_bias"};

static constexpr StringLiteral kTrainingKeys[] = {"classifier_dropout",
                                                  "hidden_dropout"};

/// A flag with a default that the authors' class has.
static bool readFlag(ConfigReader &config, StringRef key, bool byDefault) {
  if (config.has(key))
    return config.getFlag(key);
  config.logDecision(key + " = " + (byDefault ? "true" : "false") +
                     " (absent: as the authors' class takes it)");
  return byDefault;
}

/// What `hidden_act` may name.
static constexpr std::pair<StringLiteral, ActivationKind> kActivations[] = {
    {"gelu", ActivationKind::GeLU},
    {"gelu_new", ActivationKind::GeLUTanh},
    {"gelu_pytorch_tanh", ActivationKind::GeLUTanh},
};

static void readSizes(ConfigReader &config, Decoder &decoder) {
  decoder.vocabulary = config.getCount("vocab_size");
  decoder.hidden = config.getCount("hidden_size");
  decoder.intermediate = config.getCount("intermediate_size");
  decoder.layers = config.getCount("num_hidden_layers", UINT16_MAX);
  decoder.heads = config.getCount("num_attention_heads", UINT16_MAX);
  decoder.kvHeads = decoder.heads;
  if (decoder.hidden % decoder.heads != 0)
    config.fail("'hidden_size' is " + Twine(decoder.hidden) +
                ", expected a multiple of 'num_attention_heads' " +
                Twine(decoder.heads));
  decoder.headDim = std::max<int64_t>(1, decoder.hidden / decoder.heads);
  decoder.context = config.getCount("max_position_embeddings");
  decoder.eps = static_cast<float>(config.getPositive("layer_norm_eps"));
}

Decoder rondo::readGPTNeoX(ConfigReader &config) {
  ignoreInertKeys(config);
  config.ignore(kTrainingKeys);
  Decoder decoder;
  decoder.architecture = "gpt_neox";
  decoder.keys = &kKeys;
  decoder.buffers = kBuffers;
  readSizes(config, decoder);
  decoder.frequencies =
      readRope(config, decoder.headDim,
               {/*theta=*/{"rotary_emb_base", "rope_theta"},
                /*fraction=*/{"rotary_pct", "partial_rotary_factor"}});
  decoder.normKind = NormKind::Layer;
  if (readFlag(config, "use_parallel_residual", /*byDefault=*/true))
    decoder.order = LayerOrder::Parallel;
  decoder.attentionBias =
      readFlag(config, "attention_bias", /*byDefault=*/true);
  decoder.outputBias = decoder.attentionBias;
  decoder.mlpBias = true;
  decoder.gated = false;
  decoder.fusedByHead = true;
  decoder.activation = readHiddenAct(config, kActivations,
                                     "the model's activation, mostly 'gelu'");
  decoder.tied = readFlag(config, "tie_word_embeddings", /*byDefault=*/false);
  decoder.schedule = makePlainSchedule(decoder.layers);
  return decoder;
}
