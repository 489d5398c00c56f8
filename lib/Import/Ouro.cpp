//===- Ouro.cpp - config.json of Ouro -------------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// All of Llama's layers, with a norm behind each branch, too, are visited
// `total_ut_steps` times; the final norm closes every visit, and a gate reads
// what it leaves (arXiv 2510.25741). Which visit is read out:
//
//   early_exit_step k        visit k; those behind it have no effect and are
//   not
//                            run
//   early_exit_threshold q   by position, the first visit after which the
//                            probability of having exited is q; all are run
//   neither, or q of 1       the last one
//
// The authors' code compares with a q of 1, too, which a gate that is 1 when
// rounded reaches before the last visit. Here such a q means all visits.
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "Json.h"
#include "Support.h"

using namespace llvm;
using namespace rondo;

static constexpr DecoderKeys kKeys = {
    /*embedding=*/"model.embed_tokens.weight",
    /*finalNorm=*/"model.norm",
    /*head=*/"lm_head.weight",
    /*layerPrefix=*/"model.layers.",
    /*attentionNorm=*/"input_layernorm",
    /*q=*/"self_attn.q_proj",
    /*k=*/"self_attn.k_proj",
    /*v=*/"self_attn.v_proj",
    /*o=*/"self_attn.o_proj",
    /*qNorm=*/"",
    /*kNorm=*/"",
    /*mlpNorm=*/"post_attention_layernorm",
    /*gate=*/"mlp.gate_proj",
    /*up=*/"mlp.up_proj",
    /*down=*/"mlp.down_proj",
    /*attentionOutNorm=*/"input_layernorm_2",
    /*mlpOutNorm=*/"post_attention_layernorm_2",
};

/// Without effect while `use_sliding_window`, which is not listed, is off; and
/// how training cuts its loss.
static constexpr StringLiteral kInertKeys[] = {
    "chunk_size", "max_window_layers", "sliding_window"};

static void readLayerTypes(ConfigReader &config) {
  const json::Array *types = config.getOptionalArray("layer_types");
  for (const json::Value &type : types ? *types : json::Array())
    if (type.getAsString() != StringRef("full_attention"))
      config.fail("'layer_types' has " + formatJson(type) +
                  "; known: full_attention");
}

static std::optional<float> readThreshold(ConfigReader &config) {
  std::optional<double> threshold =
      config.getOptionalPositive("early_exit_threshold");
  if (threshold && *threshold < 1)
    return static_cast<float>(*threshold);
  config.logDecision(threshold
                         ? Twine("a threshold of 1 or more is all visits")
                         : "early_exit_threshold = none (absent): all visits");
  // The weighted mean is what the authors' code takes where no threshold is.
  if (!threshold && config.getOptionalFlag("use_weighted_exit"))
    config.fail("'use_weighted_exit' without 'early_exit_threshold' mixes the "
                "logits of all visits, which is not supported; set a threshold "
                "(1.0: the last visit), or the flag to false");
  config.ignore({"use_weighted_exit"});
  return std::nullopt;
}

Decoder rondo::readOuro(ConfigReader &config) {
  config.ignore(kInertKeys);
  Decoder decoder = readLlamaLayers(config, /*headDimRequired=*/true);
  decoder.architecture = "ouro";
  decoder.keys = &kKeys;
  decoder.order = LayerOrder::Sandwich;
  decoder.traceLayers = false;
  readLayerTypes(config);
  int64_t visits = config.getCount("total_ut_steps", UINT16_MAX);
  decoder.exit = ExitGate{"model.early_exit_gate"};
  if (std::optional<int64_t> step =
          config.getOptionalIndex("early_exit_step", visits - 1)) {
    config.ignore({"early_exit_threshold", "use_weighted_exit"});
    config.logDecision("early_exit_step overrides early_exit_threshold");
    visits = *step + 1;
  } else {
    decoder.exit->threshold = readThreshold(config);
    config.ignore({"use_weighted_exit"});
  }
  Segment all{/*first=*/0, decoder.layers, visits, /*looped=*/true};
  all.normAfterVisit = true;
  decoder.schedule = Schedule{{all}, /*finalNorm=*/false};
  return decoder;
}
