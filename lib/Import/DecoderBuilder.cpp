//===- DecoderBuilder.cpp - the module of a decoder -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   rondo.param @layers.q layers(N) ...           one stack a tensor of a layer
//   rondo.block @layer(%x) { ... }                one a group of layers
//   func.func @model(%tokens) {
//     %x = rondo.embed %tokens, @embed
//     %y = rondo.loop VISITS ... {                a segment: loop over visits
//       rondo.loop COUNT ... {                      around a loop over layers
//         rondo.apply @layer ... layer(...) slot(...)
//     %n = rondo.norm rms %y, @final_norm
//     %logits = rondo.linear %n, [@head]
//
//===----------------------------------------------------------------------===//
#include "RouteBuilder.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/STLExtras.h"
#include <cmath>

using namespace mlir;
using namespace rondo;

namespace {
class DecoderBuilder {
public:
  DecoderBuilder(const Decoder &decoder, TensorTable &tensors,
                 MLIRContext &context)
      : decoder(decoder), tensors(tensors), loc(UnknownLoc::get(&context)),
        builder(&context), rows(builder, loc) {}

  llvm::Expected<OwningOpRef<ModuleOp>> build() {
    OwningOpRef<ModuleOp> module(ModuleOp::create(loc));
    builder.setInsertionPointToEnd(module->getBody());
    params = declareParams(decoder, tensors, builder, loc);
    if (llvm::Error error = tensors.finish())
      return std::move(error);
    bool reuses =
        llvm::any_of(decoder.schedule.segments, [](const Segment &segment) {
          return !segment.kv.appends(segment.visits - 1);
        });
    bool isPlain = llvm::any_of(decoder.schedule.segments,
                                [&](const Segment &s) { return !isRouted(s); });
    for (const LayerGroup &group : params.groups)
      for (bool isSelected : {false, true}) {
        if (isSelected ? !decoder.router : !isPlain)
          continue;
        buildBlock(group, {/*appends=*/true, isSelected});
        if (reuses && (isSelected || !decoder.router))
          buildBlock(group, {/*appends=*/false, isSelected});
        if (isSelected && appendsAhead())
          buildBlock(group, {/*appends=*/true, isSelected,
                             decoder.schedule.getVisits()});
      }
    if (decoder.router) {
      router.emplace(builder, loc, rows, decoder, *params.router);
      router->buildBlocks();
    }
    buildFunction();
    return std::move(module);
  }

private:
  /// What tells the blocks of one layer apart.
  struct Variant {
    bool appends;         // else it reads what an earlier execution left
    bool isSelected;      // it computes the rows that a router selected
    int64_t versions = 1; // that it appends
  };

  /// Whether the first visit appends the versions of all.
  bool appendsAhead() const {
    return llvm::any_of(decoder.schedule.segments, [](const Segment &segment) {
      return segment.kv == KVPolicy::getHybrid();
    });
  }

  static std::string getBlockName(const LayerGroup &group, Variant variant) {
    return std::string(variant.isSelected ? "routed_layer" : "layer") +
           (variant.appends ? "" : "_reuse") +
           (variant.versions > 1 ? "_first" : "") + group.suffix;
  }

  bool isRouted(const Segment &segment) const {
    return decoder.router && segment.looped;
  }

  //===--- Blocks ---------------------------------------------------------===//

  /// One layer. Unless it appends, it reads the keys and values that an
  /// earlier execution left in its slot.
  void buildBlock(const LayerGroup &group, Variant variant) {
    int64_t appends = variant.appends ? variant.versions : 0;
    OpBuilder::InsertionGuard guard(builder);
    RankedTensorType type = rows.getRows(decoder.hidden);
    auto block = BlockOp::create(builder, loc, getBlockName(group, variant),
                                 builder.getFunctionType({type}, {type}),
                                 variant.versions);
    Block *body = builder.createBlock(&block.getBody(), {}, {type}, {loc});
    Value x = body->getArgument(0);
    x = decoder.order == LayerOrder::Parallel
            ? buildParallel(group, x, appends)
            : buildSequential(group, x, appends);
    if (group.encoding)
      x = rows.scale(x, *group.encoding);
    YieldOp::create(builder, loc, x);
  }

  Value buildSequential(const LayerGroup &group, Value x, int64_t appends) {
    Value q = buildQuery(group, x, appends);
    Value o = rows.linear(attend(q), group.o);
    x = rows.add(x, endBranch(o, group.attentionOutNorm));
    Value down = rows.linear(buildInner(group, x), group.down);
    return rows.add(x, endBranch(down, group.mlpOutNorm));
  }

  /// The norm behind a branch, where the model has one.
  Value endBranch(Value branch, const std::optional<NormParams> &norm) {
    return norm ? rows.norm(branch, *norm, decoder) : branch;
  }

  /// The MLP's first half stands before attention and its second one after, so
  /// that matrices that do not need each other are neighbours.
  Value buildParallel(const LayerGroup &group, Value x, int64_t appends) {
    Value q = buildQuery(group, x, appends);
    Value inner = buildInner(group, x);
    Value o = rows.linear(attend(q), group.o);
    return rows.add(rows.add(x, o), rows.linear(inner, group.down));
  }

  /// Turned queries; keys and values are appended to so many caches.
  Value buildQuery(const LayerGroup &group, Value x, int64_t appends) {
    Value a = rows.norm(x, group.attentionNorm, decoder);
    Value q;
    if (!appends) {
      q = rows.linear(a, group.q);
    } else {
      SmallVector<Value> qkv = rows.linear(a, {&group.q, &group.k, &group.v});
      q = qkv[0];
      Value k = turn(qkv[1], group.kNorm, decoder.kvHeads);
      for (int64_t cache = 0; cache < appends; ++cache)
        AppendOp::create(builder, loc, k, qkv[2], cache, decoder.kvHeads);
    }
    return turn(q, group.qNorm, decoder.heads);
  }

  Value attend(Value q) {
    float scale = 1.0 / std::sqrt(static_cast<double>(decoder.headDim));
    return AttendOp::create(builder, loc, q.getType(), q, /*cache=*/0,
                            decoder.heads, decoder.kvHeads,
                            llvm::APFloat(scale), Mask::Causal,
                            /*window=*/IntegerAttr());
  }

  /// Norm of each head, where the model has one, and rope.
  Value turn(Value heads, const std::optional<NormParams> &norm,
             int64_t count) {
    if (norm)
      heads = rows.norm(heads, *norm, decoder, count);
    return rows.rope(heads, count, decoder);
  }

  /// What `down` reads.
  Value buildInner(const LayerGroup &group, Value x) {
    Value m = rows.norm(x, group.mlpNorm, decoder);
    if (!group.gate)
      return rows.activate(rows.linear(m, group.up), decoder.activation);
    SmallVector<Value> wide = rows.linear(m, {&*group.gate, &group.up});
    Value gate = rows.activate(wide[0], decoder.activation);
    return rows.multiply(gate, wide[1]);
  }

  //===--- The model function ---------------------------------------------===//

  void buildFunction() {
    OpBuilder::InsertionGuard guard(builder);
    auto tokens =
        RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type());
    auto function = func::FuncOp::create(
        builder, loc, "model",
        builder.getFunctionType({tokens}, {rows.getRows(decoder.vocabulary)}));
    builder.setInsertionPointToStart(function.addEntryBlock());
    Value x = EmbedOp::create(builder, loc, rows.getRows(decoder.hidden),
                              function.getArgument(0), params.embedding.symbol,
                              llvm::APFloat(decoder.embeddingScale));
    rows.trace("embedding", x, /*isSingle=*/true);
    for (const Segment &segment : decoder.schedule.segments) {
      x = buildSegment(segment, x);
      if (!segment.trace.empty())
        rows.trace(segment.trace, x, /*isSingle=*/true);
    }
    if (decoder.schedule.finalNorm)
      x = rows.norm(x, params.finalNorm, decoder);
    rows.trace("final", x, /*isSingle=*/true);
    Value logits = rows.linear(x, LinearParams{params.head, {}, {}});
    func::ReturnOp::create(builder, loc, logits);
  }

  Value buildSegment(const Segment &segment, Value x) {
    int64_t base = nextSlot;
    nextSlot += segment.getSlots();
    if (!segment.looped)
      return buildLayers(segment, x, base, /*range=*/nullptr,
                         /*visit=*/nullptr);
    if (segment.layerMajor)
      return buildLayerMajor(segment, x, base);
    if (isRouted(segment))
      return buildRouted(segment, x, base);
    Carried carried = beginVisits(x);
    for (const VisitRange &range : getRanges(segment))
      carried =
          rows.buildLoop(range.count, carried, [&](Value visit, Carried state) {
            state[0] = buildLayers(segment, state[0], base, &range, visit);
            endVisit(segment, state);
            return state;
          });
    return endVisits(segment, carried);
  }

  /// Visits of the rows that a router selects.
  Value buildRouted(const Segment &segment, Value x, int64_t base) {
    Carried carried{x, router->begin(x)};
    for (const VisitRange &range : getRanges(segment))
      carried =
          rows.buildLoop(range.count, carried, [&](Value visit, Carried state) {
            Value y = router->enter(state[0], state[1], visit, range.first);
            y = buildLayers(segment, y, base, &range, visit);
            state[0] = router->leave(y, state[0], state[1]);
            if (!decoder.router->isChoice())
              rows.trace("hidden", state[0]);
            return state;
          });
    rows.trace("depth", carried[1], /*isSingle=*/true, TraceForm::Integers);
    return router->end(carried[0], x, carried[1]);
  }

  //===--- Visits ---------------------------------------------------------===//

  /// What a loop over visits carries: the state and, with early exits, the rows
  /// chosen so far and the record of `rondo.exit`.
  using Carried = RowBuilder::Carried;

  Carried beginVisits(Value x) {
    if (!decoder.exit || !decoder.exit->threshold)
      return {x};
    return {x, x, rows.fill({-1, 0, 1}, x)};
  }

  SmallVector<VisitRange> getRanges(const Segment &segment) {
    return segment.kv.getRanges(segment.visits, builder.getContext());
  }

  void endVisit(const Segment &segment, Carried &carried) {
    if (segment.normAfterVisit)
      carried[0] = rows.norm(carried[0], params.finalNorm, decoder);
    rows.trace("hidden", carried[0]);
    if (!decoder.exit)
      return;
    Value gate = rows.linear(carried[0], *params.exitGate);
    // A choice between visits is no place to save time.
    gate.getDefiningOp<LinearOp>().setArithmetic(Arithmetic::Exact);
    rows.trace("exit", gate, /*isSingle=*/false, TraceForm::Numbers);
    if (!decoder.exit->threshold)
      return;
    auto exit =
        ExitOp::create(builder, loc, carried[1].getType(), carried[2].getType(),
                       ExitRule::Cumulative, carried[0], gate, carried[1],
                       carried[2], llvm::APFloat(*decoder.exit->threshold),
                       ExitScope::Row, KVAfterExit::Ghost);
    carried[1] = exit.getNextChosen();
    carried[2] = exit.getNextRecord();
  }

  /// What is read out.
  Value endVisits(const Segment &segment, const Carried &carried) {
    if (!decoder.exit)
      return carried[0];
    bool exits = carried.size() > 1;
    Value depth =
        exits ? carried[2]
              : rows.fill({static_cast<float>(segment.visits - 1)}, carried[0]);
    rows.trace("depth", depth, /*isSingle=*/true, TraceForm::Integers);
    return exits ? carried[1] : carried[0];
  }

  //===--- Layers ---------------------------------------------------------===//

  /// The layers of a segment that belong to one group.
  struct Part {
    const LayerGroup *group;
    int64_t first, count;
    bool isTraced; // each execution is a trace point `layer`
  };

  SmallVector<Part> splitByGroup(const Segment &segment) {
    SmallVector<Part> parts;
    int64_t end = segment.first + segment.count;
    for (const LayerGroup &group : params.groups) {
      int64_t first = std::max(segment.first, group.first);
      int64_t last = std::min(end, group.first + group.count);
      if (first < last)
        parts.push_back({&group, first, last - first,
                         decoder.traceLayers && segment.trace.empty()});
    }
    return parts;
  }

  /// One visit of a segment: a loop over the layers of each group in it.
  Value buildLayers(const Segment &segment, Value x, int64_t base,
                    const VisitRange *range, Value visit) {
    // Versions of a layer stand together where one visit appends them all.
    bool together = segment.kv == KVPolicy::getHybrid();
    int64_t layerStride = together ? segment.visits : 1;
    int64_t versionStride = together ? 1 : segment.count;
    for (const Part &part : splitByGroup(segment)) {
      int64_t slot = base + (part.first - segment.first) * layerStride;
      x = rows.buildLoop(part.count, x, [&](Value layer, Value state) {
        return buildApply(
            {part, layer, slot, layerStride, versionStride, range, visit},
            state);
      });
    }
    return x;
  }

  /// A loop over the layers around loops over the visits of each.
  Value buildLayerMajor(const Segment &segment, Value x, int64_t base) {
    int64_t versions = segment.kv.getVersionCount(segment.visits);
    for (const Part &part : splitByGroup(segment)) {
      int64_t slot = base + (part.first - segment.first) * versions;
      x = rows.buildLoop(part.count, x, [&](Value layer, Value state) {
        for (const VisitRange &range : getRanges(segment))
          state =
              rows.buildLoop(range.count, state, [&](Value visit, Value inner) {
                return buildApply({part, layer, slot, /*layerStride=*/versions,
                                   /*versionStride=*/1, &range, visit},
                                  inner);
              });
        return state;
      });
    }
    return x;
  }

  /// An execution of a layer, by the loops around it.
  struct Site {
    const Part &part;
    Value layer; // from the part's first
    int64_t firstSlot;
    int64_t layerStride;     // from one layer to the next, in slots
    int64_t versionStride;   // from one version of a layer to the next
    const VisitRange *range; // null: the layer is visited once
    Value visit;             // from the range's first
  };

  Value buildApply(const Site &site, Value x) {
    SmallVector<Value, 2> indices;
    AffineExpr side = builder.getAffineConstantExpr(0);
    AffineExpr slot = builder.getAffineConstantExpr(site.firstSlot);
    Variant variant{/*appends=*/true, /*isSelected=*/false};
    if (site.range) {
      indices.push_back(site.visit);
      side = builder.getAffineDimExpr(0) + site.range->first;
      slot = slot + site.range->version * site.versionStride;
      variant = {site.range->appends, decoder.router.has_value(),
                 site.range->appendsAhead ? decoder.schedule.getVisits() : 1};
    }
    AffineExpr inner = builder.getAffineDimExpr(indices.size());
    indices.push_back(site.layer);
    auto getMap = [&](AffineExpr expr) {
      return AffineMap::get(indices.size(), /*symbolCount=*/0, expr);
    };
    int64_t firstLayer = site.part.first - site.part.group->first;
    auto apply = ApplyOp::create(
        builder, loc, x.getType(), getBlockName(*site.part.group, variant), x,
        indices, getMap(inner + firstLayer), getMap(side),
        getMap(slot + inner * site.layerStride));
    if (site.part.isTraced)
      rows.trace("layer", apply.getResult(0));
    return apply.getResult(0);
  }

  const Decoder &decoder;
  TensorTable &tensors;
  Location loc;
  OpBuilder builder;
  RowBuilder rows;
  DecoderParams params;
  std::optional<RouteBuilder> router;
  int64_t nextSlot = 0;
};
} // namespace

llvm::Expected<OwningOpRef<ModuleOp>>
rondo::buildDecoder(const Decoder &decoder, TensorTable &tensors,
                    MLIRContext &context) {
  return DecoderBuilder(decoder, tensors, context).build();
}
