//===- AlbertBuilder.cpp - the module of ALBERT ---------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   rondo.param @layers.q layers(groups * G) ...       all layers, one stack
//   rondo.block @layer(%h) caches(1) {
//     %a = norm(%h + dense(attend(%h)));  norm(%a + down(act(up(%a))))
//   func.func @model(%tokens) {
//     %e = norm(words[tokens] + types[token types] + positions[positions])
//     %x = linear %e, [@mapping]
//     %y = loop VISITS { loop G { apply @layer } }     for each group
//     logits = words . norm(act(dense(%y))) + bias;  pooled = tanh(pool(%y))
//
// Keys and values live as long as an execution, so all share one slot.
//
//===----------------------------------------------------------------------===//
#include "Albert.h"
#include "RowBuilder.h"
#include "Support.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLExtras.h"
#include <cmath>

using namespace mlir;
using namespace rondo;

namespace {
/// Parameters of the layers, stacked.
struct LayerParams {
  LinearParams q, k, v, dense, up, down;
  NormParams attentionNorm, norm;
};

/// The head of the masked language model.
struct HeadParams {
  LinearParams dense, words;
  NormParams norm;
};

/// Takes the tensors and declares them.
class AlbertParams {
public:
  AlbertParams(const Albert &model, TensorTable &tensors, OpBuilder &builder,
               Location loc)
      : model(model), tensors(tensors), builder(builder), loc(loc) {}

  void declare(ImportLog &log) {
    if (tensors.contains("albert.embeddings.word_embeddings.weight"))
      prefix = "albert.";
    tensors.ignoreSuffix("embeddings.position_ids");
    declareEmbedding();
    declareLayers();
    bool isStored = tensors.contains("predictions.bias");
    if (!model.hasHead)
      log.push_back(isStored ? "head: predictions.* are stored"
                             : "head: none, predictions.* are not stored");
    if (model.hasHead.value_or(isStored))
      declareHead();
    if (tensors.contains(prefix + "pooler.weight"))
      pooler = declareLinear("pooler", {prefix + "pooler"}, model.hidden,
                             model.hidden, /*isStack=*/false);
  }

  Param words, types, positions;
  NormParams embeddingNorm;
  LinearParams mapping;
  LayerParams layers;
  std::optional<HeadParams> head;
  std::optional<LinearParams> pooler;

private:
  void declareEmbedding() {
    std::string group = prefix + "embeddings.";
    auto table = [&](StringRef symbol, StringRef name, int64_t entries) {
      return declareParam(symbol, {group + name.str() + ".weight"},
                          {entries, model.embedding}, /*isStack=*/false);
    };
    words = table("embed", "word_embeddings", model.vocabulary);
    types = table("embed_types", "token_type_embeddings", model.tokenTypes);
    positions =
        table("embed_positions", "position_embeddings", model.positions);
    embeddingNorm = declareNorm("embed_norm", {group + "LayerNorm"},
                                model.embedding, /*isStack=*/false);
    mapping = declareLinear("mapping",
                            {prefix + "encoder.embedding_hidden_mapping_in"},
                            model.hidden, model.embedding, /*isStack=*/false);
  }

  /// Where the tensors of each layer are, group by group.
  SmallVector<std::string> getLayerNames(StringRef name) {
    SmallVector<std::string> names;
    for (int64_t group = 0; group < model.groups; ++group)
      for (int64_t layer = 0; layer < model.groupLayers; ++layer)
        names.push_back(prefix + "encoder.albert_layer_groups." +
                        std::to_string(group) + ".albert_layers." +
                        std::to_string(layer) + "." + name.str());
    return names;
  }

  void declareLayers() {
    auto linear = [&](StringRef symbol, StringRef name, int64_t out,
                      int64_t in) {
      return declareLinear(("layers." + symbol).str(), getLayerNames(name), out,
                           in, /*isStack=*/true);
    };
    auto norm = [&](StringRef symbol, StringRef name) {
      return declareNorm(("layers." + symbol).str(), getLayerNames(name),
                         model.hidden, /*isStack=*/true);
    };
    int64_t d = model.hidden, wide = model.intermediate;
    layers.q = linear("q", "attention.query", d, d);
    layers.k = linear("k", "attention.key", d, d);
    layers.v = linear("v", "attention.value", d, d);
    layers.dense = linear("dense", "attention.dense", d, d);
    layers.attentionNorm = norm("attention_norm", "attention.LayerNorm");
    layers.up = linear("up", "ffn", wide, d);
    layers.down = linear("down", "ffn_output", d, wide);
    layers.norm = norm("norm", "full_layer_layer_norm");
  }

  void declareHead() {
    head.emplace();
    head->dense = declareLinear("head_dense", {"predictions.dense"},
                                model.embedding, model.hidden,
                                /*isStack=*/false);
    head->norm = declareNorm("head_norm", {"predictions.LayerNorm"},
                             model.embedding, /*isStack=*/false);
    head->words.weight = words;
    head->words.bias = declareParam("head_bias", {"predictions.bias"},
                                    {model.vocabulary}, /*isStack=*/false);
    tensors.takeCopy("predictions.decoder.weight",
                     prefix + "embeddings.word_embeddings.weight",
                     "ALBERT's head is its table of words; remove the copy");
    tensors.takeCopy("predictions.decoder.bias", "predictions.bias",
                     "both are the head's bias; remove the wrong one");
  }

  LinearParams declareLinear(std::string symbol, ArrayRef<std::string> names,
                             int64_t out, int64_t in, bool isStack) {
    LinearParams linear;
    linear.weight =
        declareParam(symbol, addSuffix(names, ".weight"), {out, in}, isStack);
    linear.bias = declareParam(symbol + "_bias", addSuffix(names, ".bias"),
                               {out}, isStack);
    return linear;
  }

  NormParams declareNorm(std::string symbol, ArrayRef<std::string> names,
                         int64_t width, bool isStack) {
    return {declareParam(symbol, addSuffix(names, ".weight"), {width}, isStack),
            declareParam(symbol + "_bias", addSuffix(names, ".bias"), {width},
                         isStack)};
  }

  static SmallVector<std::string> addSuffix(ArrayRef<std::string> names,
                                            StringRef suffix) {
    return llvm::map_to_vector(
        names, [&](const std::string &name) { return name + suffix.str(); });
  }

  /// One parameter of the tensors `keys`, all of them of one shape and type.
  Param declareParam(StringRef symbol, ArrayRef<std::string> keys,
                     ArrayRef<int64_t> shape, bool isStack) {
    SmallVector<const ArchiveTensor *> stack = tensors.takeStack(keys, shape);
    if (stack.empty())
      return Param();
    return declareStack(builder, loc, symbol, stack, shape, PartAttr(),
                        isStack);
  }

  const Albert &model;
  TensorTable &tensors;
  OpBuilder &builder;
  Location loc;
  std::string prefix;
};

class AlbertBuilder {
public:
  AlbertBuilder(const Albert &model, TensorTable &tensors, MLIRContext &context)
      : model(model), tensors(tensors), loc(UnknownLoc::get(&context)),
        builder(&context), rows(builder, loc),
        params(model, tensors, builder, loc) {}

  llvm::Expected<OwningOpRef<ModuleOp>> build(ImportLog &log) {
    OwningOpRef<ModuleOp> module(ModuleOp::create(loc));
    builder.setInsertionPointToEnd(module->getBody());
    params.declare(log);
    if (llvm::Error error = tensors.finish())
      return std::move(error);
    buildBlock();
    buildFunction();
    return std::move(module);
  }

private:
  //===--- Layers ---------------------------------------------------------===//

  void buildBlock() {
    OpBuilder::InsertionGuard guard(builder);
    RankedTensorType type = rows.getRows(model.hidden);
    auto block =
        BlockOp::create(builder, loc, "layer",
                        builder.getFunctionType({type}, {type}), /*caches=*/1);
    Block *body = builder.createBlock(&block.getBody(), {}, {type}, {loc});
    const LayerParams &layer = params.layers;
    Value h = body->getArgument(0);
    Value a = norm(rows.add(h, buildAttention(h)), layer.attentionNorm);
    Value wide = rows.activate(rows.linear(a, layer.up), model.activation);
    Value y = norm(rows.add(a, rows.linear(wide, layer.down)), layer.norm);
    YieldOp::create(builder, loc, y);
  }

  Value buildAttention(Value h) {
    const LayerParams &layer = params.layers;
    SmallVector<Value> qkv = rows.linear(h, {&layer.q, &layer.k, &layer.v});
    AppendOp::create(builder, loc, qkv[1], qkv[2], /*cache=*/0, model.heads);
    double headDim = static_cast<double>(model.hidden / model.heads);
    auto scale = static_cast<float>(1.0 / std::sqrt(headDim));
    Value o = AttendOp::create(builder, loc, qkv[0].getType(), qkv[0],
                               /*cache=*/0, model.heads, model.heads,
                               llvm::APFloat(scale), Mask::Full,
                               /*window=*/IntegerAttr());
    return rows.linear(o, layer.dense);
  }

  Value norm(Value x, const NormParams &norm) {
    return NormOp::create(builder, loc, x.getType(), NormKind::Layer, x,
                          rows.getSymbol(norm.weight.symbol),
                          /*plus=*/FloatAttr(),
                          rows.getSymbol(norm.bias->symbol),
                          llvm::APFloat(model.eps), /*heads=*/IntegerAttr());
  }

  //===--- The model function ---------------------------------------------===//

  void buildFunction() {
    OpBuilder::InsertionGuard guard(builder);
    auto ids =
        RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
    auto function = func::FuncOp::create(builder, loc, "model",
                                         builder.getFunctionType({ids}, {}));
    builder.setInsertionPointToStart(function.addEntryBlock());
    Value x = buildEmbedding(function.getArgument(0));
    rows.trace("embedding", x, /*isSingle=*/true);
    for (int64_t visit = 0; visit < model.visits;) {
      int64_t group = model.getGroup(visit), first = visit;
      while (visit < model.visits && model.getGroup(visit) == group)
        ++visit;
      x = buildGroup(group, visit - first, x);
    }
    buildOutputs(function, x);
  }

  Value buildEmbedding(Value tokens) {
    auto lookUp = [&](Value ids, const Param &table) -> Value {
      return EmbedOp::create(builder, loc, rows.getRows(model.embedding), ids,
                             table.symbol, llvm::APFloat(1.0f));
    };
    auto getIds = [&](RowField field) -> Value {
      return RowIdsOp::create(builder, loc, tokens.getType(), field);
    };
    Value words = lookUp(tokens, params.words);
    Value types = lookUp(getIds(RowField::TokenType), params.types);
    Value positions = lookUp(getIds(RowField::Position), params.positions);
    Value sum = rows.add(rows.add(words, types), positions);
    return rows.linear(norm(sum, params.embeddingNorm), params.mapping);
  }

  /// `visits` visits of a group, one after another.
  Value buildGroup(int64_t group, int64_t visits, Value x) {
    return rows.buildLoop(visits, x, [&](Value, Value state) {
      int64_t first = group * model.groupLayers;
      if (model.groupLayers == 1)
        state = buildApply(state, {}, builder.getAffineConstantExpr(first));
      else
        state = rows.buildLoop(
            model.groupLayers, state, [&](Value layer, Value inner) {
              return buildApply(inner, layer,
                                builder.getAffineDimExpr(0) + first);
            });
      rows.trace("hidden", state);
      return state;
    });
  }

  Value buildApply(Value x, ValueRange indices, AffineExpr layer) {
    AffineExpr zero = builder.getAffineConstantExpr(0);
    auto getMap = [&](AffineExpr expr) {
      return AffineMap::get(indices.size(), /*symbolCount=*/0, expr);
    };
    return ApplyOp::create(builder, loc, x.getType(), "layer", x, indices,
                           getMap(layer), getMap(zero), getMap(zero))
        .getResult(0);
  }

  /// Returns logits or the last states, and what the pooler makes of them. The
  /// pooler runs for every row that is read out, though only the first of a
  /// sequence is kept: one more matrix a row, where each visit has some twelve
  /// of that size.
  void buildOutputs(func::FuncOp function, Value x) {
    SmallVector<Value> values;
    SmallVector<OutputAttr> names;
    auto add = [&](StringRef name, Value value, bool isFirst) {
      values.push_back(value);
      names.push_back(OutputAttr::get(builder.getContext(),
                                      builder.getStringAttr(name), isFirst));
    };
    if (params.head)
      add(kLogitsOutput, buildHead(*params.head, x), false);
    else
      add("last_hidden_state", x, false);
    if (params.pooler)
      add("pooler_output",
          rows.activate(rows.linear(x, *params.pooler), ActivationKind::Tanh),
          true);
    func::ReturnOp::create(builder, loc, values);
    function.setFunctionType(builder.getFunctionType(
        function.getArgumentTypes(), TypeRange(ValueRange(values))));
    for (auto [number, name] : llvm::enumerate(names))
      function.setResultAttr(number, kOutputAttr, name);
  }

  Value buildHead(const HeadParams &head, Value x) {
    Value t = rows.activate(rows.linear(x, head.dense), model.activation);
    return rows.linear(norm(t, head.norm), head.words);
  }

  const Albert &model;
  TensorTable &tensors;
  Location loc;
  OpBuilder builder;
  RowBuilder rows;
  AlbertParams params;
};
} // namespace

llvm::Expected<OwningOpRef<ModuleOp>> rondo::buildAlbert(const Albert &model,
                                                         TensorTable &tensors,
                                                         ImportLog &log,
                                                         MLIRContext &context) {
  return AlbertBuilder(model, tensors, context).build(log);
}
