//===- Gemma.cpp - config.json of the first Gemma -------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Llama with three differences: embeddings are multiplied by sqrt(hidden),
// norms by 1 + weight, and the gate's activation is the tanh form of gelu, also
// where an old configuration says `gelu` and has no `hidden_activation`
// (arXiv 2403.08295; transformers, models/gemma).
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "Support.h"

#include <cmath>

using namespace llvm;
using namespace rondo;

static void readActivation(ConfigReader &config) {
  std::optional<StringRef> old = config.getOptionalText("hidden_act");
  std::optional<StringRef> own = config.getOptionalText("hidden_activation");
  StringRef name = own.value_or(old.value_or(""));
  if (name == "gelu" && !own) {
    config.logDecision("hidden_activation = gelu_pytorch_tanh (absent: as the "
                       "authors' class takes 'gelu' of old configurations)");
    return;
  }
  if (name != "gelu_pytorch_tanh")
    config.fail(name.empty() ? Twine("required key 'hidden_activation' is "
                                     "missing; add 'gelu_pytorch_tanh'")
                             : "activation " + quoted(name) +
                                   " is not supported; known: "
                                   "gelu_pytorch_tanh");
}

Decoder rondo::readGemma(ConfigReader &config) {
  Decoder decoder = readLayers(config, /*headDimRequired=*/true);
  decoder.architecture = "gemma";
  decoder.tied = true;
  if (config.has("tie_word_embeddings"))
    decoder.tied = config.getFlag("tie_word_embeddings");
  else
    config.logDecision("tie_word_embeddings = true (absent)");
  readActivation(config);
  decoder.activation = ActivationKind::GeLUTanh;
  decoder.normOffset = 1;
  decoder.embeddingScale = std::sqrt(static_cast<double>(decoder.hidden));
  decoder.schedule = makePlainSchedule(decoder.layers);
  return decoder;
}
