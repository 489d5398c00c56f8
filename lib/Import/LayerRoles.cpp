//===- LayerRoles.cpp - what tensors the layers of a decoder have ---------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "LayerRoles.h"

using namespace llvm;
using namespace rondo;

LayerRoles rondo::getRoles(const Decoder &decoder) {
  LayerRoles roles;
  auto addVector = [&](StringRef symbol, StringRef name, int64_t width,
                       std::function<Param &(LayerGroup &)> place,
                       bool isNorm) {
    roles.tensors.push_back({symbol.str(),
                             (name + ".weight").str(),
                             {width},
                             std::move(place),
                             isNorm});
  };
  auto addLinear = [&](StringRef symbol, StringRef name, int64_t out,
                       int64_t in, LinearParams LayerGroup::*linear,
                       bool hasBias) {
    roles.linears.push_back({symbol.str(), name.str(), out, in, linear});
    roles.tensors.push_back({symbol.str(),
                             (name + ".weight").str(),
                             {out, in},
                             [linear](LayerGroup &group) -> Param & {
                               return (group.*linear).weight;
                             }});
    if (hasBias)
      roles.tensors.push_back({(symbol + "_bias").str(),
                               (name + ".bias").str(),
                               {out},
                               [linear](LayerGroup &group) -> Param & {
                                 return (group.*linear).bias.emplace();
                               }});
  };

  const DecoderKeys &keys = *decoder.keys;
  int64_t hidden = decoder.hidden;
  int64_t qWidth = decoder.heads * decoder.headDim;
  int64_t kvWidth = decoder.kvHeads * decoder.headDim;
  addVector(
      "attention_norm", keys.attentionNorm, hidden,
      [](LayerGroup &group) -> Param & { return group.attentionNorm; },
      /*isNorm=*/true);
  addLinear("q", keys.q, qWidth, hidden, &LayerGroup::q, decoder.attentionBias);
  addLinear("k", keys.k, kvWidth, hidden, &LayerGroup::k,
            decoder.attentionBias);
  addLinear("v", keys.v, kvWidth, hidden, &LayerGroup::v,
            decoder.attentionBias);
  if (decoder.qkNorm) {
    addVector(
        "q_norm", keys.qNorm, decoder.headDim,
        [](LayerGroup &group) -> Param & { return group.qNorm.emplace(); },
        /*isNorm=*/false);
    addVector(
        "k_norm", keys.kNorm, decoder.headDim,
        [](LayerGroup &group) -> Param & { return group.kNorm.emplace(); },
        /*isNorm=*/false);
  }
  addLinear("o", keys.o, hidden, qWidth, &LayerGroup::o, decoder.outputBias);
  addVector(
      "mlp_norm", keys.mlpNorm, hidden,
      [](LayerGroup &group) -> Param & { return group.mlpNorm; },
      /*isNorm=*/true);
  addLinear("gate", keys.gate, decoder.intermediate, hidden, &LayerGroup::gate,
            decoder.mlpBias);
  addLinear("up", keys.up, decoder.intermediate, hidden, &LayerGroup::up,
            decoder.mlpBias);
  addLinear("down", keys.down, hidden, decoder.intermediate, &LayerGroup::down,
            decoder.mlpBias);
  return roles;
}
