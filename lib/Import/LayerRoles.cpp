//===- LayerRoles.cpp - what tensors the layers of a decoder have ---------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "LayerRoles.h"

using namespace llvm;
using namespace rondo;

namespace {
using NormPlace = std::function<NormParams &(LayerGroup &)>;
using LinearPlace = std::function<LinearParams &(LayerGroup &)>;

template <typename T> T &getOrMake(std::optional<T> &value) {
  return value ? *value : value.emplace();
}

/// Lists roles in the order of the parameters.
class RoleBuilder {
public:
  explicit RoleBuilder(const Decoder &decoder) : decoder(decoder) {}

  /// A norm of rows, or of heads (`width`).
  void addNorm(StringRef symbol, StringRef name, int64_t width, NormPlace place,
               bool isOfRows = true) {
    addTensor(symbol, name + ".weight", {width}, [place](LayerGroup &group) {
      return &place(group).weight;
    }).isNorm = isOfRows;
    if (decoder.normKind != NormKind::Layer)
      return;
    addTensor(
        symbol + "_bias", name + ".bias", {width},
        [place](LayerGroup &group) { return &place(group).bias.emplace(); })
        .isNorm = isOfRows;
  }

  void addLinear(StringRef symbol, StringRef name, int64_t out, int64_t in,
                 LinearPlace place, bool hasBias) {
    roles.linears.push_back({symbol.str(), name.str(), out, in, place});
    addTensor(symbol, name + ".weight", {out, in},
              [place](LayerGroup &group) { return &place(group).weight; });
    if (hasBias)
      addTensor(
          symbol + "_bias", name + ".bias", {out},
          [place](LayerGroup &group) { return &place(group).bias.emplace(); });
  }

  /// Part `number` of three of one matrix, in which each head has rows of all
  /// three (GPT-NeoX, whose heads are [head][q, k, v][dim]).
  void addFused(int64_t number, StringRef symbol, StringRef name, int64_t out,
                int64_t in, LinearPlace place, bool hasBias) {
    size_t first = roles.tensors.size();
    addLinear(symbol, name, out, in, std::move(place), hasBias);
    for (Role &role : MutableArrayRef(roles.tensors).drop_front(first)) {
      SmallVector<int64_t, 2> of = role.shape;
      of.front() *= 3;
      role.part = {of, number * decoder.headDim, decoder.headDim,
                   3 * decoder.headDim, /*isFirst=*/number == 0};
    }
    roles.linears.back().part = roles.tensors[first].part;
  }

  LayerRoles take() { return std::move(roles); }

private:
  Role &addTensor(const Twine &symbol, const Twine &name,
                  SmallVector<int64_t, 2> shape,
                  std::function<Param *(LayerGroup &)> place) {
    roles.tensors.push_back(
        {symbol.str(), name.str(), std::move(shape),
         [place](LayerGroup &group) -> Param & { return *place(group); }});
    return roles.tensors.back();
  }

  const Decoder &decoder;
  LayerRoles roles;
};
} // namespace

static void addProjections(RoleBuilder &roles, const Decoder &decoder) {
  const DecoderKeys &keys = *decoder.keys;
  bool bias = decoder.attentionBias;
  int64_t hidden = decoder.hidden;
  int64_t qWidth = decoder.heads * decoder.headDim;
  int64_t kvWidth = decoder.kvHeads * decoder.headDim;
  auto add = [&](int64_t number, StringRef symbol, StringRef name, int64_t out,
                 LinearPlace place) {
    if (decoder.fusedByHead)
      roles.addFused(number, symbol, name, out, hidden, place, bias);
    else
      roles.addLinear(symbol, name, out, hidden, place, bias);
  };
  add(0, "q", keys.q, qWidth, [](LayerGroup &g) -> auto & { return g.q; });
  add(1, "k", keys.k, kvWidth, [](LayerGroup &g) -> auto & { return g.k; });
  add(2, "v", keys.v, kvWidth, [](LayerGroup &g) -> auto & { return g.v; });
}

static void addAttention(RoleBuilder &roles, const Decoder &decoder) {
  const DecoderKeys &keys = *decoder.keys;
  roles.addNorm("attention_norm", keys.attentionNorm, decoder.hidden,
                [](LayerGroup &g) -> auto & { return g.attentionNorm; });
  addProjections(roles, decoder);
  if (decoder.qkNorm) {
    roles.addNorm(
        "q_norm", keys.qNorm, decoder.headDim,
        [](LayerGroup &g) -> auto & { return getOrMake(g.qNorm); },
        /*isOfRows=*/false);
    roles.addNorm(
        "k_norm", keys.kNorm, decoder.headDim,
        [](LayerGroup &g) -> auto & { return getOrMake(g.kNorm); },
        /*isOfRows=*/false);
  }
  roles.addLinear(
      "o", keys.o, decoder.hidden, decoder.heads * decoder.headDim,
      [](LayerGroup &g) -> auto & { return g.o; }, decoder.outputBias);
  if (decoder.order == LayerOrder::Sandwich)
    roles.addNorm(
        "attention_out_norm", keys.attentionOutNorm, decoder.hidden,
        [](LayerGroup &g) -> auto & { return getOrMake(g.attentionOutNorm); });
}

static void addMLP(RoleBuilder &roles, const Decoder &decoder) {
  const DecoderKeys &keys = *decoder.keys;
  int64_t hidden = decoder.hidden, width = decoder.intermediate;
  roles.addNorm("mlp_norm", keys.mlpNorm, hidden,
                [](LayerGroup &g) -> auto & { return g.mlpNorm; });
  if (decoder.gated)
    roles.addLinear(
        "gate", keys.gate, width, hidden,
        [](LayerGroup &g) -> auto & { return getOrMake(g.gate); },
        decoder.mlpBias);
  roles.addLinear(
      "up", keys.up, width, hidden,
      [](LayerGroup &g) -> auto & { return g.up; }, decoder.mlpBias);
  roles.addLinear(
      "down", keys.down, hidden, width,
      [](LayerGroup &g) -> auto & { return g.down; }, decoder.mlpBias);
  if (decoder.order == LayerOrder::Sandwich)
    roles.addNorm(
        "mlp_out_norm", keys.mlpOutNorm, hidden,
        [](LayerGroup &g) -> auto & { return getOrMake(g.mlpOutNorm); });
}

LayerRoles rondo::getRoles(const Decoder &decoder) {
  RoleBuilder roles(decoder);
  addAttention(roles, decoder);
  addMLP(roles, decoder);
  return roles.take();
}
