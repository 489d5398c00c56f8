//===- DecoderWeights.cpp - parameters of a decoder -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "DecoderWeights.h"
#include "LayerRoles.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace rondo;

const DecoderKeys rondo::kHuggingFaceKeys = {
    /*embedding=*/"model.embed_tokens.weight",
    /*finalNorm=*/"model.norm",
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
    /*finalNorm=*/"output_norm",
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

Type rondo::getElementType(StorageType type, MLIRContext *context) {
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
/// What is stored for one role of one layer: a tensor for all depths, or one
/// for each.
struct Stored {
  SmallVector<const ArchiveTensor *, 1> tensors; // null: absent at this depth
  bool varies = false;

  const ArchiveTensor &getFirst() const {
    return **llvm::find_if(tensors, [](const auto *t) { return t != nullptr; });
  }

  /// Whether entries of both can stand in one parameter.
  bool hasFormOf(const Stored &other) const {
    return varies == other.varies && tensors.size() == other.tensors.size() &&
           getFirst().type == other.getFirst().type &&
           getFirst().shape == other.getFirst().shape;
  }
};

/// A stored low-rank delta.
struct StoredDelta {
  Stored a, b;
  double scale = 1;

  bool hasFormOf(const StoredDelta &other) const {
    return a.hasFormOf(other.a) && b.hasFormOf(other.b) && scale == other.scale;
  }
};

/// All of one layer.
struct StoredLayer {
  std::vector<Stored> tensors;                    // by role
  std::vector<std::optional<StoredDelta>> deltas; // by linear
  std::optional<Stored> encoding;

  /// Whether both can be entries of the same parameters.
  bool hasFormOf(const StoredLayer &other) const {
    auto alike = [](const auto &one, const auto &two) {
      return one.has_value() == two.has_value() &&
             (!one || one->hasFormOf(*two));
    };
    return llvm::all_of_zip(tensors, other.tensors,
                            [](const Stored &a, const Stored &b) {
                              return a.hasFormOf(b);
                            }) &&
           llvm::all_of_zip(deltas, other.deltas, alike) &&
           alike(encoding, other.encoding);
  }
};

/// Takes the tensors of layers; stops at the first error.
class LayerTaker {
public:
  LayerTaker(const Decoder &decoder, TensorTable &tensors,
             const LayerRoles &roles)
      : tensors(tensors), roles(roles), hidden(decoder.hidden),
        plain(decoder.keys->layerPrefix),
        keys(decoder.layerKeys ? *decoder.layerKeys : plain) {}

  bool take(int64_t layer, StoredLayer &stored) {
    for (const Role &role : roles.tensors)
      if (!takeRole(layer, role, stored.tensors.emplace_back()))
        return false;
    for (const LinearRole &linear : roles.linears)
      if (!takeDelta(layer, linear, stored.deltas.emplace_back()))
        return false;
    if (!tensors.contains(keys.getAtDepth(layer, 0, kEncoding)))
      return true;
    return takeDepths(layer, kEncoding, {hidden}, stored.encoding.emplace());
  }

private:
  static constexpr StringLiteral kEncoding = "recursion_encoding";

  bool takeRole(int64_t layer, const Role &role, Stored &stored) {
    if (role.isNorm && keys.hasOwnNorms(layer))
      return takeDepths(layer, role.name, role.shape, stored);
    std::string key = keys.getShared(layer, role.name);
    if (keys.mayVary(layer, role.name) && !isShared(layer, role.name))
      return takeDepths(layer, role.name, role.shape, stored);
    if (role.part && !role.part->isFirst) {
      stored.tensors.push_back(tensors.lookup(key));
      return true;
    }
    ArrayRef<int64_t> shape = role.part ? role.part->of : role.shape;
    stored.tensors.push_back(tensors.take(key, shape));
    for (const std::string &copy : keys.getCopies(layer, role.name)) {
      if (!tensors.contains(copy))
        tensors.take(copy, shape); // says that it is missing
      tensors.takeCopy(copy, key,
                       "both are one weight of layers that share it; correct "
                       "the sharing, or store equal copies");
    }
    return !tensors.hasFailed();
  }

  /// Whether all depths have the same tensor.
  bool isShared(int64_t layer, StringRef name) {
    return llvm::all_of(
        keys.getCopies(layer, name), [&](const std::string &copy) {
          return !tensors.contains(copy) ||
                 tensors.areCopies(copy, keys.getShared(layer, name));
        });
  }

  bool takeDepths(int64_t layer, StringRef name, ArrayRef<int64_t> shape,
                  Stored &stored) {
    stored.varies = true;
    for (int64_t r = 0; r < keys.getDepths(layer); ++r)
      stored.tensors.push_back(
          tensors.take(keys.getAtDepth(layer, r, name), shape));
    return !tensors.hasFailed() && haveOneType(stored);
  }

  bool takeDelta(int64_t layer, const LinearRole &linear,
                 std::optional<StoredDelta> &delta) {
    StoredDelta found;
    found.a.varies = found.b.varies = keys.getDepths(layer) > 1;
    bool any = false;
    for (int64_t r = 0; r < keys.getDepths(layer); ++r) {
      auto getKey = [&](StringRef factor) {
        return keys.getAtDepth(layer, r, (linear.name + factor).str());
      };
      std::string a = getKey(".lora_A.weight"), b = getKey(".lora_B.weight");
      if (!tensors.contains(a) && !tensors.contains(b)) {
        found.a.tensors.push_back(nullptr);
        found.b.tensors.push_back(nullptr);
        continue;
      }
      const ArchiveTensor *stored = tensors.lookup(a);
      int64_t rank = stored && stored->shape.size() == 2 ? stored->shape[0] : 1;
      int64_t out = linear.part ? linear.part->of.front() : linear.out;
      bool isTaken = linear.part && !linear.part->isFirst;
      found.a.tensors.push_back(isTaken ? tensors.lookup(a)
                                        : tensors.take(a, {rank, linear.in}));
      found.b.tensors.push_back(isTaken ? tensors.lookup(b)
                                        : tensors.take(b, {out, rank}));
      if (tensors.hasFailed() ||
          !takeScale(layer, r, linear.name, rank, any, found.scale))
        return false;
      any = true;
    }
    if (any)
      delta = std::move(found);
    return !any || (haveOneType(delta->a) && haveOneType(delta->b));
  }

  /// Depths of one matrix share their scale, since it is part of the code.
  bool takeScale(int64_t layer, int64_t depth, StringRef linear, int64_t rank,
                 bool isKnown, double &scale) {
    llvm::Expected<double> own = keys.getScale(layer, depth, linear, rank);
    if (!own) {
      tensors.fail(toString(own.takeError()));
      return false;
    }
    if (isKnown && *own != scale)
      tensors.fail("the deltas of " + quoted(linear) + " in layer " +
                   Twine(layer) + " are scaled by " + formatNumber(scale) +
                   " and by " + formatNumber(*own) +
                   "; give all depths of a matrix one scale");
    scale = *own;
    return !tensors.hasFailed();
  }

  /// Entries of one parameter are stored alike.
  bool haveOneType(const Stored &stored) {
    const ArchiveTensor &first = stored.getFirst();
    for (const ArchiveTensor *tensor : stored.tensors)
      if (tensor &&
          (tensor->type != first.type || tensor->shape != first.shape))
        tensors.fail("tensors " + quoted(first.key) + " (" + first.typeName +
                     " " + formatShape(first.shape) + ") and " +
                     quoted(tensor->key) + " (" + tensor->typeName + " " +
                     formatShape(tensor->shape) +
                     ") are of different depths and must have one type and "
                     "shape; convert the checkpoint so");
    return !tensors.hasFailed();
  }

  TensorTable &tensors;
  const LayerRoles &roles;
  int64_t hidden;
  LayerKeys plain;
  const LayerKeys &keys;
};

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
    params.finalNorm = declareNorm("final_norm", keys.finalNorm);
    if (decoder.exit)
      params.exitGate = declareExitGate(decoder.exit->name);
    if (decoder.router)
      params.router = declareRouter(*decoder.router);
    if (decoder.tied) {
      params.head = params.embedding;
      tensors.takeCopy(keys.head, keys.embedding,
                       "it is tied by the configuration; set "
                       "'tie_word_embeddings' to false to use both");
    } else {
      params.head = declareSingle("head", keys.head, table);
    }
    return params;
  }

private:
  NormParams declareNorm(StringRef symbol, StringRef name) {
    NormParams norm;
    norm.weight =
        declareSingle(symbol, (name + ".weight").str(), {decoder.hidden});
    if (decoder.normKind == NormKind::Layer)
      norm.bias = declareSingle((symbol + "_bias").str(),
                                (name + ".bias").str(), {decoder.hidden});
    return norm;
  }

  LinearParams declareExitGate(StringRef name) {
    LinearParams gate;
    gate.weight = declareSingle("exit_gate", (name + ".weight").str(),
                                {1, decoder.hidden});
    gate.bias = declareSingle("exit_gate_bias", (name + ".bias").str(), {1});
    return gate;
  }

  RouterParams declareRouter(const Router &router) {
    int64_t hidden = decoder.hidden, inner = 2 * hidden;
    int64_t outputs = router.isChoice() ? decoder.schedule.getVisits() : 1;
    RouterParams params;
    for (StringRef end : {".weight", ".0.weight", ".2.weight"})
      if (router.hasAuxiliary)
        tensors.ignoreSuffix((".mlp_router.router" + end).str());
    if (router.isMLP) {
      params.first =
          declareOfVisits(router, "router_in", ".0.weight", {inner, hidden});
      params.second =
          declareOfVisits(router, "router_out", ".2.weight", {outputs, inner});
    } else {
      params.first =
          declareOfVisits(router, "router", ".weight", {outputs, hidden});
    }
    if (router.hasBiases)
      params.biases = declareSingle("router_bias", router.biasesKey, {outputs});
    return params;
  }

  /// A matrix of all routers.
  LinearParams declareOfVisits(const Router &router, StringRef symbol,
                               StringRef end, ArrayRef<int64_t> shape) {
    Stored stored;
    stored.varies = !router.isChoice();
    for (const std::string &key : router.keys)
      stored.tensors.push_back(tensors.take(key + end.str(), shape));
    if (tensors.hasFailed())
      return LinearParams();
    return {declareParam(symbol.str(), {&stored}, /*isStack=*/false, shape,
                         /*part=*/std::nullopt),
            std::nullopt, std::nullopt};
  }

  Param declareSingle(StringRef symbol, StringRef key,
                      ArrayRef<int64_t> shape) {
    const ArchiveTensor *tensor = tensors.take(key, shape);
    if (!tensor)
      return Param();
    Stored stored;
    stored.tensors.push_back(tensor);
    return declareParam(symbol.str(), {&stored}, /*isStack=*/false,
                        tensor->shape, /*part=*/std::nullopt);
  }

  /// Declares one parameter of layers that are stored alike.
  Param declareParam(std::string symbol, ArrayRef<const Stored *> layers,
                     bool isStack, ArrayRef<int64_t> shape,
                     const std::optional<RolePart> &part) {
    const ArchiveTensor &tensor = layers.front()->getFirst();
    SmallVector<Attribute> keys;
    for (const Stored *layer : layers)
      for (const ArchiveTensor *entry : layer->tensors)
        keys.push_back(entry ? Attribute(builder.getStringAttr(entry->key))
                             : builder.getUnitAttr());
    auto type = RankedTensorType::get(
        shape, getElementType(tensor.type, builder.getContext()));
    auto count = [&](bool present, size_t number) {
      return present ? builder.getI64IntegerAttr(number) : IntegerAttr();
    };
    ParamOp::create(
        builder, loc, builder.getStringAttr(symbol), TypeAttr::get(type),
        builder.getArrayAttr(keys), count(isStack, layers.size()),
        count(layers.front()->varies, layers.front()->tensors.size()),
        /*storage=*/TypeAttr(),
        part ? PartAttr::get(builder.getContext(), part->of, part->first,
                             part->run, part->step, /*column=*/0)
             : PartAttr(),
        /*plus=*/LoRAAttr());
    return {std::move(symbol), tensor.type,
            SmallVector<int64_t, 2>(shape.begin(), shape.end())};
  }

  void takeLayers() {
    LayerTaker taker(decoder, tensors, roles);
    for (int64_t layer = 0; layer < decoder.layers; ++layer)
      if (!taker.take(layer, stored.emplace_back()))
        return;
  }

  /// The parameter of what `get` picks from each layer of a group.
  Param declareOf(const LayerGroup &group, const Twine &symbol,
                  llvm::function_ref<const Stored *(const StoredLayer &)> get) {
    return declareOf(group, symbol, get(stored[group.first])->getFirst().shape,
                     /*part=*/std::nullopt, get);
  }

  Param declareOf(const LayerGroup &group, const Twine &symbol,
                  ArrayRef<int64_t> shape, const std::optional<RolePart> &part,
                  llvm::function_ref<const Stored *(const StoredLayer &)> get) {
    auto layers = llvm::map_to_vector(
        ArrayRef(stored).slice(group.first, group.count), get);
    return declareParam(("layers" + group.suffix + "." + symbol).str(), layers,
                        /*isStack=*/true, shape, part);
  }

  void declareDelta(LayerGroup &group, size_t number) {
    const LinearRole &linear = roles.linears[number];
    const std::optional<StoredDelta> &first =
        stored[group.first].deltas[number];
    if (!first)
      return;
    DeltaParams delta;
    std::optional<RolePart> part = linear.part;
    int64_t rank = first->a.getFirst().shape.front();
    if (part)
      part->of.back() = rank;
    if (part && !part->isFirst)
      delta.a = roles.linears[number - 1].place(group).delta->a;
    else
      delta.a = declareOf(
          group, (part ? "qkv" : linear.symbol) + "_lora_a",
          [&](const StoredLayer &layer) { return &layer.deltas[number]->a; });
    delta.b = declareOf(
        group, linear.symbol + "_lora_b", {linear.out, rank}, part,
        [&](const StoredLayer &layer) { return &layer.deltas[number]->b; });
    delta.scale = first->scale;
    linear.place(group).delta = std::move(delta);
  }

  void declareGroups(std::vector<LayerGroup> &groups) {
    for (int64_t layer = 0; layer < decoder.layers; ++layer) {
      if (layer == 0 || !stored[layer].hasFormOf(stored[layer - 1]))
        groups.emplace_back().first = layer;
      ++groups.back().count;
    }
    for (LayerGroup &group : groups) {
      if (groups.size() > 1)
        group.suffix = std::to_string(group.first);
      for (auto [number, role] : llvm::enumerate(roles.tensors))
        role.place(group) =
            declareOf(group, role.symbol, role.shape, role.part,
                      [number = number](const StoredLayer &layer) {
                        return &layer.tensors[number];
                      });
      for (size_t number = 0; number < roles.linears.size(); ++number)
        declareDelta(group, number);
      if (stored[group.first].encoding)
        group.encoding =
            declareOf(group, "encoding", [](const StoredLayer &layer) {
              return &*layer.encoding;
            });
    }
  }

  const Decoder &decoder;
  TensorTable &tensors;
  OpBuilder &builder;
  Location loc;
  LayerRoles roles;
  std::vector<StoredLayer> stored;
};
} // namespace

Param rondo::declareStack(OpBuilder &builder, Location loc, const Twine &symbol,
                          ArrayRef<const ArchiveTensor *> stack,
                          ArrayRef<int64_t> shape, PartAttr part,
                          bool isStack) {
  auto keys =
      llvm::map_to_vector(stack, [&](const ArchiveTensor *tensor) -> Attribute {
        return builder.getStringAttr(tensor->key);
      });
  StorageType storage = stack.front()->type;
  auto type = RankedTensorType::get(
      shape, getElementType(storage, builder.getContext()));
  ParamOp::create(builder, loc, builder.getStringAttr(symbol),
                  TypeAttr::get(type), builder.getArrayAttr(keys),
                  isStack ? builder.getI64IntegerAttr(stack.size())
                          : IntegerAttr(),
                  /*depths=*/IntegerAttr(), /*storage=*/TypeAttr(), part,
                  /*plus=*/LoRAAttr());
  return {symbol.str(), storage, SmallVector<int64_t, 2>(shape)};
}

DecoderParams rondo::declareParams(const Decoder &decoder, TensorTable &tensors,
                                   OpBuilder &builder, Location loc) {
  return ParamDeclarer(decoder, tensors, builder, loc).declare();
}
