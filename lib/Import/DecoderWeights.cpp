//===- DecoderWeights.cpp - parameters of a decoder -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "DecoderWeights.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace rondo;

const DecoderKeys rondo::kHuggingFaceKeys = {
    /*embedding=*/"model.embed_tokens.weight",
    /*finalNorm=*/"model.norm.weight",
    /*head=*/"lm_head.weight",
    /*layerPrefix=*/"model.layers.",
    /*attentionNorm=*/"input_layernorm",
    /*q=*/"self_attn.q_proj",
    /*k=*/"self_attn.k_proj",
    /*v=*/"self_attn.v_proj",
    /*o=*/"self_attn.o_proj",
    /*qNorm=*/"self_attn.q_layernorm",
    /*kNorm=*/"self_attn.k_layernorm",
    /*mlpNorm=*/"post_attention_layernorm",
    /*gate=*/"mlp.gate_proj",
    /*up=*/"mlp.up_proj",
    /*down=*/"mlp.down_proj",
};

const DecoderKeys rondo::kGGUFKeys = {
    /*embedding=*/"token_embd.weight",
    /*finalNorm=*/"output_norm.weight",
    /*head=*/"output.weight",
    /*layerPrefix=*/"blk.",
    /*attentionNorm=*/"attn_norm",
    /*q=*/"attn_q",
    /*k=*/"attn_k",
    /*v=*/"attn_v",
    /*o=*/"attn_output",
    /*qNorm=*/"attn_q_norm",
    /*kNorm=*/"attn_k_norm",
    /*mlpNorm=*/"ffn_norm",
    /*gate=*/"ffn_gate",
    /*up=*/"ffn_up",
    /*down=*/"ffn_down",
};

static Type getElementType(StorageType type, MLIRContext *context) {
  switch (type) {
  case StorageType::F32:
    return Float32Type::get(context);
  case StorageType::F16:
    return Float16Type::get(context);
  case StorageType::BF16:
    return BFloat16Type::get(context);
  case StorageType::Q8_0:
    return Q8_0Type::get(context);
  case StorageType::Q4_0:
    return Q4_0Type::get(context);
  case StorageType::Q4_1:
    return Q4_1Type::get(context);
  case StorageType::Other:
    break;
  }
  llvm_unreachable("tensors of other types are not taken");
}

namespace {
/// A tensor that every layer has.
struct Role {
  /// Of its parameter, after "layers.".
  std::string symbol;
  /// Of its keys, after the layer's number.
  std::string name;
  SmallVector<int64_t, 2> shape;
  /// Where in a group its parameter goes.
  std::function<Param &(LayerGroup &)> place;
};
} // namespace

/// The tensors of a layer; their order is that of the parameters.
static std::vector<Role> getRoles(const Decoder &decoder) {
  std::vector<Role> roles;
  auto addVector = [&](StringRef symbol, StringRef name, int64_t width,
                       std::function<Param &(LayerGroup &)> place) {
    roles.push_back(
        {symbol.str(), (name + ".weight").str(), {width}, std::move(place)});
  };
  auto addLinear = [&](StringRef symbol, StringRef name, int64_t out,
                       int64_t in, LinearParams LayerGroup::*linear,
                       bool hasBias) {
    roles.push_back({symbol.str(),
                     (name + ".weight").str(),
                     {out, in},
                     [linear](LayerGroup &group) -> Param & {
                       return (group.*linear).weight;
                     }});
    if (hasBias)
      roles.push_back({(symbol + "_bias").str(),
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
  addVector("attention_norm", keys.attentionNorm, hidden,
            [](LayerGroup &group) -> Param & { return group.attentionNorm; });
  addLinear("q", keys.q, qWidth, hidden, &LayerGroup::q, decoder.attentionBias);
  addLinear("k", keys.k, kvWidth, hidden, &LayerGroup::k,
            decoder.attentionBias);
  addLinear("v", keys.v, kvWidth, hidden, &LayerGroup::v,
            decoder.attentionBias);
  if (decoder.qkNorm) {
    addVector(
        "q_norm", keys.qNorm, decoder.headDim,
        [](LayerGroup &group) -> Param & { return group.qNorm.emplace(); });
    addVector(
        "k_norm", keys.kNorm, decoder.headDim,
        [](LayerGroup &group) -> Param & { return group.kNorm.emplace(); });
  }
  addLinear("o", keys.o, hidden, qWidth, &LayerGroup::o, decoder.outputBias);
  addVector("mlp_norm", keys.mlpNorm, hidden,
            [](LayerGroup &group) -> Param & { return group.mlpNorm; });
  addLinear("gate", keys.gate, decoder.intermediate, hidden, &LayerGroup::gate,
            decoder.mlpBias);
  addLinear("up", keys.up, decoder.intermediate, hidden, &LayerGroup::up,
            decoder.mlpBias);
  addLinear("down", keys.down, hidden, decoder.intermediate, &LayerGroup::down,
            decoder.mlpBias);
  return roles;
}

namespace {
class ParamDeclarer {
public:
  ParamDeclarer(const Decoder &decoder, TensorTable &tensors,
                OpBuilder &builder, Location loc)
      : decoder(decoder), tensors(tensors), builder(builder), loc(loc),
        roles(getRoles(decoder)) {}

  DecoderParams declare() {
    DecoderParams params;
    const DecoderKeys &keys = *decoder.keys;
    SmallVector<int64_t, 2> table = {decoder.vocabulary, decoder.hidden};
    params.embedding = declareSingle("embed", keys.embedding, table);
    takeLayers();
    if (!tensors.hasFailed())
      declareGroups(params.groups);
    params.finalNorm =
        declareSingle("final_norm", keys.finalNorm, {decoder.hidden});
    if (decoder.tied) {
      params.head = params.embedding;
      tensors.takeCopy(keys.head, keys.embedding);
    } else {
      params.head = declareSingle("head", keys.head, table);
    }
    return params;
  }

private:
  Param declareSingle(StringRef symbol, StringRef key,
                      ArrayRef<int64_t> shape) {
    const ArchiveTensor *tensor = tensors.take(key, shape);
    return tensor ? declareParam(symbol.str(), {tensor}, /*isStack=*/false)
                  : Param();
  }

  /// Declares one parameter of equally stored tensors.
  Param declareParam(std::string symbol, ArrayRef<const ArchiveTensor *> stored,
                     bool isStack) {
    const ArchiveTensor &tensor = *stored.front();
    SmallVector<StringRef> keys;
    for (const ArchiveTensor *entry : stored)
      keys.push_back(entry->key);
    auto type = RankedTensorType::get(
        tensor.shape, getElementType(tensor.type, builder.getContext()));
    ParamOp::create(builder, loc, builder.getStringAttr(symbol),
                    TypeAttr::get(type), builder.getStrArrayAttr(keys),
                    isStack ? builder.getI64IntegerAttr(stored.size())
                            : IntegerAttr(),
                    /*depths=*/IntegerAttr(), /*storage=*/TypeAttr());
    return {std::move(symbol), tensor.type, tensor.shape};
  }

  /// Fills `stored`, [roles][layers]; stops at the first error.
  void takeLayers() {
    stored.resize(roles.size());
    for (int64_t layer = 0; layer < decoder.layers; ++layer) {
      for (auto [role, row] : llvm::zip(roles, stored)) {
        const ArchiveTensor *tensor = tensors.take(
            (decoder.keys->layerPrefix + Twine(layer) + "." + role.name).str(),
            role.shape);
        if (!tensor)
          return;
        row.push_back(tensor);
      }
    }
  }

  /// Whether every tensor of layer `a` is stored as that of layer `b`.
  bool haveSameTypes(int64_t a, int64_t b) const {
    return llvm::all_of(
        stored, [&](const auto &row) { return row[a]->type == row[b]->type; });
  }

  void declareGroups(std::vector<LayerGroup> &groups) {
    for (int64_t layer = 0; layer < decoder.layers; ++layer) {
      if (layer == 0 || !haveSameTypes(layer - 1, layer))
        groups.emplace_back().first = layer;
      ++groups.back().count;
    }
    for (LayerGroup &group : groups) {
      if (groups.size() > 1)
        group.suffix = std::to_string(group.first);
      for (auto [role, row] : llvm::zip(roles, stored))
        role.place(group) = declareParam(
            "layers" + group.suffix + "." + role.symbol,
            ArrayRef(row).slice(group.first, group.count), /*isStack=*/true);
    }
  }

  const Decoder &decoder;
  TensorTable &tensors;
  OpBuilder &builder;
  Location loc;
  std::vector<Role> roles;
  std::vector<SmallVector<const ArchiveTensor *>> stored;
};
} // namespace

DecoderParams rondo::declareParams(const Decoder &decoder, TensorTable &tensors,
                                   OpBuilder &builder, Location loc) {
  return ParamDeclarer(decoder, tensors, builder, loc).declare();
}
