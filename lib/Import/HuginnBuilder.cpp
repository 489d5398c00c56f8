//===- HuginnBuilder.cpp - the module of Huginn ---------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   rondo.param @layers.q layers(P + C) ... part ...   prelude and coda
//   rondo.param @core.q layers(B) ... part ...
//   rondo.block @layer, @core
//   func.func @model(%tokens, %s0 {rondo.input}) {
//     %e = loop P { apply @layer }
//     %s = loop R carries(%s = %s0) {
//       linear %s, [@adapter.state] + linear %e, [@adapter.injected]
//       loop B { apply @core } }
//     norm, loop C { apply @layer }, norm, head
//
// Core and outer layers are blocks of their own: all applies of a block share
// the places of their rows, and %e must outlive the core's visits.
//
//===----------------------------------------------------------------------===//
#include "Huginn.h"
#include "RowBuilder.h"
#include "Support.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLExtras.h"
#include <cmath>

using namespace mlir;
using namespace rondo;

namespace {
/// Parameters of layers that one block runs, stacked.
struct LayerParams {
  NormParams norms[4];
  LinearParams q, k, v, o, gate, up, down;
};

/// Rows and columns of stored matrices that are parameters of their own.
struct Place {
  int64_t first = 0;
  int64_t column = 0;
};

/// Takes the tensors and declares them.
class HuginnParams {
public:
  HuginnParams(const Huginn &model, TensorTable &tensors, OpBuilder &builder,
               Location loc)
      : model(model), shape(model.shape), tensors(tensors), builder(builder),
        loc(loc) {}

  void declare() {
    SmallVector<int64_t, 2> table = {shape.vocabulary, shape.hidden};
    embedding = declareSingle("embed", "transformer.wte.weight", table);
    SmallVector<std::string> prefixes = getPrefixes("prelude", model.prelude);
    llvm::append_range(prefixes, getPrefixes("coda", model.coda));
    declareLayers("layers.", prefixes, outer);
    declareLayers("core.", getPrefixes("core_block", model.core), core);
    declareAdapter();
    finalNorm.weight =
        declareSingle("final_norm", "transformer.ln_f.weight", {shape.hidden});
    if (shape.tied) {
      head = embedding;
      tensors.takeCopy("lm_head.weight", "transformer.wte.weight",
                       "it is tied by the configuration; set "
                       "'tie_embeddings' to false to use both");
    } else {
      head = declareSingle("head", "lm_head.weight", table);
    }
  }

  Param embedding, head;
  NormParams finalNorm;
  LayerParams outer, core;
  LinearParams adapterState, adapterInjected;

private:
  using Stack = SmallVector<const ArchiveTensor *>;

  static SmallVector<std::string> getPrefixes(StringRef part, int64_t count) {
    return llvm::map_to_vector(llvm::seq<int64_t>(0, count), [&](int64_t i) {
      return ("transformer." + part + "." + Twine(i) + ".").str();
    });
  }

  /// One tensor of each layer; empty after an error.
  Stack take(ArrayRef<std::string> prefixes, StringRef name,
             ArrayRef<int64_t> stored) {
    auto keys = llvm::map_to_vector(prefixes, [&](const std::string &prefix) {
      return prefix + name.str();
    });
    return tensors.takeStack(keys, stored);
  }

  /// Declares `rows` rows of each tensor of `stack`, from `place` on, as a
  /// matrix of `columns` or, without, as a vector.
  Param declareParam(const Twine &symbol, const Stack &stack, int64_t rows,
                     std::optional<int64_t> columns, Place place,
                     bool isStack) {
    if (stack.empty())
      return Param();
    SmallVector<int64_t, 2> own = {rows};
    if (columns)
      own.push_back(*columns);
    const ArchiveTensor &first = *stack.front();
    PartAttr part;
    if (ArrayRef(own) != ArrayRef<int64_t>(first.shape))
      part = PartAttr::get(builder.getContext(), first.shape, place.first, rows,
                           rows, place.column);
    return declareStack(builder, loc, symbol, stack, own, part, isStack);
  }

  Param declareSingle(StringRef symbol, StringRef key,
                      ArrayRef<int64_t> stored) {
    const ArchiveTensor *tensor = tensors.take(key, stored);
    Stack stack;
    if (tensor)
      stack.push_back(tensor);
    std::optional<int64_t> columns;
    if (stored.size() > 1)
      columns = stored[1];
    return declareParam(symbol, stack, stored[0], columns, Place(),
                        /*isStack=*/false);
  }

  /// A fused matrix as one parameter for each of `parts`, in order of rows.
  void
  declareFused(StringRef group, const Stack &stack, int64_t columns,
               ArrayRef<std::tuple<StringRef, int64_t, LinearParams *>> parts) {
    Place place;
    for (auto [name, rows, to] : parts) {
      to->weight = declareParam(group + name, stack, rows, columns, place,
                                /*isStack=*/true);
      place.first += rows;
    }
  }

  void declareLayers(StringRef group, ArrayRef<std::string> prefixes,
                     LayerParams &layer) {
    int64_t hidden = shape.hidden, wide = shape.intermediate;
    for (unsigned i = 0; i < 4; ++i) {
      std::string name = "norm_" + std::to_string(i + 1);
      layer.norms[i].weight =
          declareParam(group + name, take(prefixes, name + ".weight", {hidden}),
                       hidden, std::nullopt, Place(), /*isStack=*/true);
    }
    declareFused(
        group, take(prefixes, "attn.Wqkv.weight", {3 * hidden, hidden}), hidden,
        {{"q", hidden, &layer.q},
         {"k", hidden, &layer.k},
         {"v", hidden, &layer.v}});
    if (model.qkBias)
      declareBiases(group, prefixes, layer);
    declareFused(group, take(prefixes, "attn.proj.weight", {hidden, hidden}),
                 hidden, {{"o", hidden, &layer.o}});
    declareFused(group, take(prefixes, "mlp.fc.weight", {2 * wide, hidden}),
                 hidden,
                 {{"gate", wide, &layer.gate}, {"up", wide, &layer.up}});
    declareFused(group, take(prefixes, "mlp.proj.weight", {hidden, wide}), wide,
                 {{"down", hidden, &layer.down}});
  }

  /// Of each head of q, then of k.
  void declareBiases(StringRef group, ArrayRef<std::string> prefixes,
                     LayerParams &layer) {
    Stack stack =
        take(prefixes, "attn.qk_bias", {2, 1, shape.heads, shape.headDim});
    Place place;
    for (auto [name, to] :
         {std::pair("q_bias", &layer.q), {"k_bias", &layer.k}}) {
      to->bias = declareParam(group + name, stack, shape.hidden, std::nullopt,
                              place, /*isStack=*/true);
      place.first += shape.hidden;
    }
  }

  /// Its columns for the state come first.
  void declareAdapter() {
    int64_t hidden = shape.hidden;
    const ArchiveTensor *tensor =
        tensors.take("transformer.adapter.weight", {hidden, 2 * hidden});
    if (!tensor)
      return;
    Place place;
    for (auto [name, to] : {std::pair("adapter.state", &adapterState),
                            {"adapter.injected", &adapterInjected}}) {
      to->weight = declareParam(name, {tensor}, hidden, hidden, place,
                                /*isStack=*/false);
      place.column += hidden;
    }
  }

  const Huginn &model;
  const Decoder &shape;
  TensorTable &tensors;
  OpBuilder &builder;
  Location loc;
};

class HuginnBuilder {
public:
  HuginnBuilder(const Huginn &model, TensorTable &tensors, MLIRContext &context)
      : model(model), shape(model.shape), tensors(tensors),
        loc(UnknownLoc::get(&context)), builder(&context), rows(builder, loc),
        params(model, tensors, builder, loc) {}

  llvm::Expected<OwningOpRef<ModuleOp>> build() {
    OwningOpRef<ModuleOp> module(ModuleOp::create(loc));
    builder.setInsertionPointToEnd(module->getBody());
    params.declare();
    if (llvm::Error error = tensors.finish())
      return std::move(error);
    buildBlock("layer", params.outer);
    buildBlock("core", params.core);
    buildFunction();
    return std::move(module);
  }

private:
  void buildBlock(StringRef name, const LayerParams &layer) {
    OpBuilder::InsertionGuard guard(builder);
    RankedTensorType type = rows.getRows(shape.hidden);
    auto block =
        BlockOp::create(builder, loc, name,
                        builder.getFunctionType({type}, {type}), /*caches=*/1);
    Block *body = builder.createBlock(&block.getBody(), {}, {type}, {loc});
    Value x = body->getArgument(0);
    x = rows.add(buildAttention(layer, x), x);
    x = rows.norm(x, layer.norms[1], shape);
    x = rows.add(buildMLP(layer, x), x);
    YieldOp::create(builder, loc, rows.norm(x, layer.norms[3], shape));
  }

  Value buildAttention(const LayerParams &layer, Value x) {
    Value a = rows.norm(x, layer.norms[0], shape);
    SmallVector<Value> qkv = rows.linear(a, {&layer.q, &layer.k, &layer.v});
    Value k = rows.rope(qkv[1], shape.heads, shape);
    AppendOp::create(builder, loc, k, qkv[2], /*cache=*/0, shape.heads);
    Value q = rows.rope(qkv[0], shape.heads, shape);
    float scale = 1.0 / std::sqrt(static_cast<double>(shape.headDim));
    Value o = AttendOp::create(builder, loc, q.getType(), q, /*cache=*/0,
                               shape.heads, shape.heads, llvm::APFloat(scale),
                               Mask::Causal, /*window=*/IntegerAttr());
    return rows.linear(o, layer.o);
  }

  Value buildMLP(const LayerParams &layer, Value x) {
    Value m = rows.norm(x, layer.norms[2], shape);
    SmallVector<Value> wide = rows.linear(m, {&layer.gate, &layer.up});
    Value gate = rows.activate(wide[0], ActivationKind::SiLU);
    return rows.linear(rows.multiply(gate, wide[1]), layer.down);
  }

  void buildFunction() {
    OpBuilder::InsertionGuard guard(builder);
    auto tokens =
        RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
    RankedTensorType type = rows.getRows(shape.hidden);
    auto function = func::FuncOp::create(
        builder, loc, "model",
        builder.getFunctionType({tokens, type},
                                {rows.getRows(shape.vocabulary)}));
    function.setArgAttr(
        1, kInputAttr,
        InputAttr::get(builder.getContext(), "initial_state", InputInit::Normal,
                       builder.getF64FloatAttr(model.deviation)));
    builder.setInsertionPointToStart(function.addEntryBlock());
    Value x = EmbedOp::create(builder, loc, type, function.getArgument(0),
                              params.embedding.symbol,
                              llvm::APFloat(shape.embeddingScale));
    rows.trace("embedding", x, /*isSingle=*/true);
    Value injected = buildLayers({"layer", model.prelude}, x);
    rows.trace("prelude", injected, /*isSingle=*/true);
    x = buildCore(function.getArgument(1), injected);
    x = rows.norm(x, params.finalNorm, shape);
    rows.trace("latent", x, /*isSingle=*/true);
    x = buildLayers(
        {"layer", model.coda, model.prelude,
         model.prelude + model.core * model.kv.getVersionCount(model.visits)},
        x);
    rows.trace("coda", x, /*isSingle=*/true);
    x = rows.norm(x, params.finalNorm, shape);
    rows.trace("final", x, /*isSingle=*/true);
    func::ReturnOp::create(builder, loc,
                           rows.linear(x, LinearParams{params.head, {}, {}}));
  }

  Value buildCore(Value state, Value injected) {
    return rows.buildLoop(model.visits, state, [&](Value visit, Value s) {
      s = rows.add(rows.linear(s, params.adapterState),
                   rows.linear(injected, params.adapterInjected));
      s = buildLayers({"core", model.core, 0, model.prelude, visit}, s);
      rows.trace("hidden", s);
      return s;
    });
  }

  /// A loop over layers of a block.
  struct Layers {
    StringRef block;
    int64_t count;
    int64_t first = 0;     // in the block's stack
    int64_t slot = 0;      // of the first, at the first visit
    Value visit = nullptr; // of the loop around it
  };

  Value buildLayers(const Layers &layers, Value x) {
    return rows.buildLoop(layers.count, x, [&](Value layer, Value state) {
      SmallVector<Value, 2> indices;
      AffineExpr side = builder.getAffineConstantExpr(0);
      AffineExpr slot = builder.getAffineConstantExpr(layers.slot);
      if (layers.visit) {
        indices.push_back(layers.visit);
        side = builder.getAffineDimExpr(0);
        VisitRange all =
            model.kv.getRanges(model.visits, builder.getContext()).front();
        slot = slot + all.version * layers.count;
      }
      AffineExpr inner = builder.getAffineDimExpr(indices.size());
      indices.push_back(layer);
      auto getMap = [&](AffineExpr expr) {
        return AffineMap::get(indices.size(), /*symbolCount=*/0, expr);
      };
      return ApplyOp::create(builder, loc, state.getType(), layers.block, state,
                             indices, getMap(inner + layers.first),
                             getMap(side), getMap(slot + inner))
          .getResult(0);
    });
  }

  const Huginn &model;
  const Decoder &shape;
  TensorTable &tensors;
  Location loc;
  OpBuilder builder;
  RowBuilder rows;
  HuginnParams params;
};
} // namespace

llvm::Expected<OwningOpRef<ModuleOp>> rondo::buildHuginn(const Huginn &model,
                                                         TensorTable &tensors,
                                                         MLIRContext &context) {
  return HuginnBuilder(model, tensors, context).build();
}
