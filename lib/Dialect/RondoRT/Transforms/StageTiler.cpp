//===- StageTiler.cpp - one stage, written for one row ----------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A stage with linears becomes: statistics of the norms in front of them, one
// pack of each input in each form, and one tile for each *group* of results. A
// linear whose results only linears of the stage read is part of their packs.
// Results that an operation of the epilogue combines (gate and up) form a
// group: one unit has a panel of each, so that the thread that has them
// finishes in registers. A stage without a root becomes tiles alone.
//
//===----------------------------------------------------------------------===//
#include "StageTiler.h"
#include "StageRoots.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

namespace {
/// What one tile computes.
struct TileGroup {
  SmallVector<OpResult> outputs; // results of linears
  SmallVector<Value> yielded;    // values that leave the stage
  SmallVector<Operation *> effects;
  LayoutAttr layout;
  int64_t panels = 1; // chunks of a unit
};

class StageTiler {
public:
  StageTiler(StageOp stage, const LayoutMap &layouts, WeightSymbols &weights,
             const TilingOptions &options, const IRMapping &physical)
      : stage(stage), options(options), builder(stage),
        context{weights,
                layouts,
                stage,
                physical,
                options.positions,
                NormMap(),
                ExitMap(),
                DenseMap<Operation *, Value>()} {}

  StageOp tile() {
    SmallVector<Type> types;
    for (Value result : stage.getResults())
      types.push_back(context.layouts.getPhysicalType(result));
    tiled =
        StageOp::create(builder, stage.getLoc(), types, stage.getNameAttr());
    builder.setInsertionPointToStart(&tiled.getBody().emplaceBlock());
    if (!tileRoots())
      return nullptr;
    builder.setInsertionPointToEnd(&tiled.getBody().front());
    auto values =
        llvm::map_to_vector(getStageYield().getValues(),
                            [&](Value value) { return results.lookup(value); });
    rt::YieldOp::create(builder, stage.getLoc(), values);
    return tiled;
  }

private:
  /// Several linears may share a stage, and so may embeddings; attention and
  /// routing have one to themselves.
  bool tileRoots() {
    Block &block = stage.getBody().front();
    for (Operation &op : block)
      if (hasNoTiles(&op))
        return tileAlone(block);
    for (auto linear : block.getOps<rondo::LinearOp>()) {
      packed.push_back(linear);
      if (!linear.feedsLinears())
        linears.push_back(linear);
    }
    return linears.empty() ? tileRows() : tileLinears();
  }

  /// Operations that become one operation each.
  bool tileAlone(Block &block) {
    return llvm::all_of(block, [&](Operation &op) {
      if (!hasNoTiles(&op))
        return true;
      Value result = rt::tileAlone(builder, context, &op);
      results.map(op.getResult(0), result);
      return result != nullptr;
    });
  }

  rt::YieldOp getStageYield() {
    return cast<rt::YieldOp>(stage.getBody().front().getTerminator());
  }

  bool isInside(Value value) {
    Operation *def = value.getDefiningOp();
    return def && def->getParentOp() == stage;
  }

  //===--------------------------------------------------------------------===//
  // Roots
  //===--------------------------------------------------------------------===//

  bool tileLinears() {
    if (!emitAllStatistics(linears.back()))
      return false;
    for (rondo::LinearOp linear : packed)
      if (!emitPack(linear))
        return false;
    for (TileGroup &group : formGroups())
      if (!emitTile(group))
        return false;
    return true;
  }

  /// A stage without root: one tile for each width of what it leaves.
  bool tileRows() {
    if (!emitAllStatistics(getStageYield()))
      return false;
    llvm::MapVector<LayoutAttr, TileGroup> groups;
    auto groupOf = [&](Value value) -> TileGroup & {
      TileGroup &group = groups[context.layouts.get(value)];
      group.layout = context.layouts.get(value);
      return group;
    };
    for (Value value : getStageYield().getValues())
      groupOf(value).yielded.push_back(value);
    for (Operation &op : stage.getBody().front()) {
      if (isa<rondo::TraceOp>(op))
        groupOf(op.getOperand(0)).effects.push_back(&op);
      if (isa<rondo::AppendOp>(op))
        for (Value operand : op.getOperands()) {
          TileGroup &group = groupOf(operand);
          if (!llvm::is_contained(group.effects, &op))
            group.effects.push_back(&op);
        }
    }
    for (auto &[layout, group] : groups) {
      group.panels = hasHeadNorm() ? layout.getHeadLanes() / kLanes : 1;
      if (!emitTile(group))
        return false;
    }
    return true;
  }

  bool hasHeadNorm() {
    return llvm::any_of(stage.getBody().front(), [](Operation &op) {
      auto norm = dyn_cast<rondo::NormOp>(op);
      return norm && norm.getHeads();
    });
  }

  //===--------------------------------------------------------------------===//
  // Prologue
  //===--------------------------------------------------------------------===//

  /// Sum over the row of `fn` of each chunk of `value`.
  Value emitReduce(Value value,
                   llvm::function_ref<Value(OpBuilder &, Value)> fn) {
    auto reduce =
        ReduceOp::create(builder, value.getLoc(), builder.getF32Type(),
                         getFlatLayout(value.getType()));
    Block &block = reduce.getBody().emplaceBlock();
    Value index = block.addArgument(builder.getIndexType(), value.getLoc());
    OpBuilder inside = OpBuilder::atBlockBegin(&block);
    ChunkEvaluator chunks(context, inside, index, /*panels=*/1);
    Value chunk = chunks.get(value, 0);
    if (!chunk)
      return nullptr;
    rt::YieldOp::create(inside, value.getLoc(), fn(inside, chunk));
    return reduce.getResult();
  }

  /// Computes the scalars of an exit, which stands in a stage of its own.
  void emitExitScalars(rondo::ExitOp exit) {
    Location loc = exit.getLoc();
    Value first = arith::ConstantIndexOp::create(builder, loc, 0);
    auto load = [&](Value rows) -> Value {
      return LoadOp::create(builder, loc,
                            VectorType::get({kLanes}, builder.getF32Type()),
                            context.physical.lookup(rows), first);
    };
    context.exits[exit] =
        emitExit(builder, exit, load(exit.getGate()), load(exit.getRecord()));
  }

  /// Computes the statistics of `op`, if it is a whole-row norm or an exit.
  bool emitStatistics(Operation *op) {
    if (auto exit = dyn_cast<rondo::ExitOp>(op)) {
      emitExitScalars(exit);
      return true;
    }
    auto norm = dyn_cast<rondo::NormOp>(op);
    if (!norm || norm.getHeads())
      return true;
    Location loc = op->getLoc();
    int64_t width = cast<RankedTensorType>(norm.getType()).getDimSize(1);
    NormStatistics statistics;
    if (norm.getKind() == NormKind::Layer) {
      Value sum = emitReduce(norm.getInput(),
                             [](OpBuilder &, Value chunk) { return chunk; });
      if (!sum)
        return false;
      Value count = arith::ConstantOp::create(builder, loc,
                                              builder.getF32FloatAttr(width));
      statistics.mean = arith::DivFOp::create(builder, loc, sum, count);
    }
    Value squares = emitReduce(norm.getInput(), [&](OpBuilder &b, Value chunk) {
      if (statistics.mean) {
        Value mean = vector::BroadcastOp::create(b, loc, chunk.getType(),
                                                 statistics.mean);
        chunk = arith::SubFOp::create(b, loc, chunk, mean);
      }
      return arith::MulFOp::create(b, loc, chunk, chunk).getResult();
    });
    if (!squares)
      return false;
    statistics.scale =
        emitInverseDeviation(builder, loc, squares, width, norm.getEps());
    context.norms[norm] = statistics;
    return true;
  }

  /// The statistics of all whole-row norms before `end`.
  bool emitAllStatistics(Operation *end) {
    for (Operation &op : stage.getBody().front()) {
      if (&op == end)
        break;
      if (!emitStatistics(&op))
        return false;
    }
    return true;
  }

  RowFormat getRowFormat(rondo::LinearOp linear) {
    switch (linear.getArithmetic().value_or(Arithmetic::Exact)) {
    case Arithmetic::Exact:
      return RowFormat::F32;
    case Arithmetic::BF16Dot:
      return options.nativeBF16 ? RowFormat::BF16Pair : RowFormat::BF16AsF32;
    case Arithmetic::Int8Dynamic:
      return RowFormat::Int8Group;
    }
    llvm_unreachable("unknown arithmetic mode");
  }

  /// Packs the rows that `linear` reads, unless they are packed so already;
  /// false after an error.
  bool emitPack(rondo::LinearOp linear) {
    Value input = linear.getInput();
    for (rondo::LinearOp other : packed) {
      Value rows = context.packedRows.lookup(other);
      if (rows && other.getInput() == input &&
          getRowFormat(other) == getRowFormat(linear)) {
        context.packedRows[linear] = rows;
        return true;
      }
    }
    auto pack = PackOp::create(
        builder, linear.getLoc(), PackedRowsType::get(stage.getContext()),
        getFlatLayout(input.getType()), getRowFormat(linear),
        /*scratch=*/IntegerAttr(), /*shared=*/IntegerAttr(),
        /*outputs=*/IntegerAttr());
    Block &block = pack.getBody().emplaceBlock();
    Value index = block.addArgument(builder.getIndexType(), linear.getLoc());
    OpBuilder inside = OpBuilder::atBlockBegin(&block);
    ChunkEvaluator chunks(context, inside, index, /*panels=*/1);
    Value chunk = chunks.get(input, 0);
    if (!chunk)
      return false;
    rt::YieldOp::create(inside, linear.getLoc(), chunk);
    context.packedRows[linear] = pack.getResult();
    return true;
  }

  //===--------------------------------------------------------------------===//
  // Groups
  //===--------------------------------------------------------------------===//

  /// Results of the stage's linears that `value` depends on.
  void collectOutputs(Value value, llvm::SetVector<OpResult> &outputs) {
    if (!isInside(value))
      return;
    if (llvm::is_contained(linears, value.getDefiningOp())) {
      outputs.insert(cast<OpResult>(value));
      return;
    }
    for (Value operand : value.getDefiningOp()->getOperands())
      collectOutputs(operand, outputs);
  }

  SmallVector<TileGroup> formGroups() {
    // Every value that is kept joins the results it is made of.
    llvm::MapVector<OpResult, OpResult> leader;
    for (rondo::LinearOp linear : linears)
      for (OpResult result : linear->getResults())
        leader[result] = result;
    auto join = [&](Value value) -> OpResult {
      llvm::SetVector<OpResult> outputs;
      collectOutputs(value, outputs);
      OpResult first = leader[outputs.front()];
      for (OpResult output : outputs) {
        OpResult old = leader[output];
        for (auto &[result, its] : leader)
          if (its == old)
            its = first;
      }
      return first;
    };
    for (Value value : getStageYield().getValues())
      join(value);
    for (Operation &op : stage.getBody().front())
      if (isa<rondo::AppendOp, rondo::TraceOp>(op))
        for (Value operand : op.getOperands())
          join(operand);

    llvm::MapVector<OpResult, TileGroup> groups;
    for (auto [result, its] : leader)
      groups[its].outputs.push_back(result);
    for (Value value : getStageYield().getValues())
      groups[join(value)].yielded.push_back(value);
    for (Operation &op : stage.getBody().front())
      if (isa<rondo::AppendOp, rondo::TraceOp>(op))
        for (Value operand : op.getOperands())
          if (TileGroup &group = groups[join(operand)];
              !llvm::is_contained(group.effects, &op))
            group.effects.push_back(&op);

    SmallVector<TileGroup> result;
    for (auto &[first, group] : groups) {
      group.layout = context.layouts.get(group.outputs.front());
      if (hasHeadNorm() && group.layout.getHeads() > 1)
        group.panels = group.layout.getHeadLanes() / kLanes;
      result.push_back(std::move(group));
    }
    return result;
  }

  //===--------------------------------------------------------------------===//
  // Tiles
  //===--------------------------------------------------------------------===//

  bool emitTile(TileGroup &group) {
    SmallVector<Type> types;
    for (Value value : group.yielded)
      types.push_back(context.layouts.getPhysicalType(value));
    int64_t units = group.layout.getLanes() / kLanes / group.panels;
    auto tile =
        TileOp::create(builder, stage.getLoc(), types, units, group.panels,
                       /*scratch=*/IntegerAttr());
    Block &block = tile.getBody().emplaceBlock();
    Value unit = block.addArgument(builder.getIndexType(), stage.getLoc());
    OpBuilder inside = OpBuilder::atBlockBegin(&block);
    ChunkEvaluator chunks(context, inside, unit, group.panels);
    for (rondo::LinearOp linear : linears)
      emitContractions(group, linear, inside, unit, chunks);
    SmallVector<Value> yielded;
    for (Value value : group.yielded)
      for (int64_t panel = 0; panel < group.panels; ++panel)
        yielded.push_back(chunks.get(value, panel));
    if (llvm::is_contained(yielded, Value()))
      return false;
    for (Operation *op : group.effects)
      if (!emitEffect(op, group, inside, unit, chunks))
        return false;
    rt::YieldOp::create(inside, stage.getLoc(), yielded);
    for (auto [value, result] : llvm::zip(group.yielded, tile.getResults()))
      results.map(value, result);
    return true;
  }

  static FlatSymbolRefAttr getWeight(OpResult result) {
    auto linear = cast<rondo::LinearOp>(result.getOwner());
    return cast<FlatSymbolRefAttr>(
        linear.getWeights()[result.getResultNumber()]);
  }

  /// The results of `linear` that belong to `group`. What varies by depth is
  /// packed apart from what does not, so that nothing is stored twice.
  void emitContractions(TileGroup &group, rondo::LinearOp linear,
                        OpBuilder &inside, Value unit, ChunkEvaluator &chunks) {
    llvm::MapVector<int64_t, SmallVector<unsigned>> byDepths;
    for (OpResult result : group.outputs)
      if (result.getOwner() == linear)
        byDepths[context.weights.getParam(getWeight(result)).getDepthCount()]
            .push_back(result.getResultNumber());
    for (auto &[depths, outputs] : byDepths)
      emitContractions(group, linear, outputs, inside, unit, chunks);
  }

  void emitContractions(TileGroup &group, rondo::LinearOp linear,
                        ArrayRef<unsigned> outputs, OpBuilder &inside,
                        Value unit, ChunkEvaluator &chunks) {
    SmallVector<FlatSymbolRefAttr> params;
    SmallVector<LayoutAttr> layouts;
    for (unsigned output : outputs) {
      params.push_back(getWeight(linear->getResult(output)));
      layouts.push_back(context.layouts.get(linear->getResult(output)));
    }
    Value rows = context.packedRows.lookup(linear);
    PackedOp packed = context.weights.getPacked(params, layouts, group.panels);
    int64_t stride = group.panels * outputs.size();
    VectorType type = VectorType::get({kLanes}, inside.getF32Type());
    for (auto [i, output] : llvm::enumerate(outputs))
      for (int64_t panel = 0; panel < group.panels; ++panel) {
        Value chunk = ContractOp::create(
            inside, linear.getLoc(), type, rows, packed.getSymName(), unit,
            /*first=*/0, stride,
            static_cast<int64_t>(i) * group.panels + panel);
        chunks.set(linear.getResult(output), panel,
                   addBias(linear, output, layouts[i], inside, unit,
                           group.panels, panel, chunk));
      }
  }

  Value addBias(rondo::LinearOp linear, unsigned output, LayoutAttr layout,
                OpBuilder &inside, Value unit, int64_t panels, int64_t panel,
                Value chunk) {
    if (!linear.getBiases())
      return chunk;
    auto bias = dyn_cast<FlatSymbolRefAttr>((*linear.getBiases())[output]);
    if (!bias)
      return chunk;
    VectorOp vector = context.weights.getVector(bias, layout, /*repeat=*/1);
    Value load = LoadVectorOp::create(inside, linear.getLoc(),
                                      cast<VectorType>(chunk.getType()),
                                      vector.getSymName(), unit, panels, panel);
    return arith::AddFOp::create(inside, linear.getLoc(), chunk, load);
  }

  /// `chunk` from lane `column` on.
  static Value moveToFront(OpBuilder &builder, Value chunk, int64_t column) {
    SmallVector<int64_t> lanes;
    for (int64_t lane = 0; lane < kLanes; ++lane)
      lanes.push_back((lane + column) % kLanes);
    return vector::ShuffleOp::create(builder, chunk.getLoc(), chunk, chunk,
                                     lanes);
  }

  bool emitEffect(Operation *op, TileGroup &group, OpBuilder &inside,
                  Value unit, ChunkEvaluator &chunks) {
    for (int64_t panel = 0; panel < group.panels; ++panel) {
      if (auto trace = dyn_cast<rondo::TraceOp>(op)) {
        Value chunk = chunks.get(trace.getValue(), panel);
        if (!chunk)
          return false;
        if (int64_t column = trace.getColumn())
          chunk = moveToFront(inside, chunk, column);
        rt::TraceOp::create(inside, op->getLoc(), chunk,
                            op->getAttrOfType<IntegerAttr>("point").getInt(),
                            trace.getWidth(), op->hasAttr("fixed"), unit);
        continue;
      }
      auto append = cast<rondo::AppendOp>(op);
      for (auto [side, value] :
           {std::pair(CacheSide::Key, append.getKey()),
            std::pair(CacheSide::Value, append.getValue())}) {
        if (!belongsTo(value, group))
          continue;
        Value chunk = chunks.get(value, panel);
        if (!chunk)
          return false;
        rt::AppendOp::create(inside, op->getLoc(), side, chunk,
                             append.getCache(), unit, group.panels, panel);
      }
    }
    return true;
  }

  /// Whether `group` computes `value`.
  bool belongsTo(Value value, TileGroup &group) {
    if (group.outputs.empty())
      return context.layouts.get(value) == group.layout;
    llvm::SetVector<OpResult> outputs;
    collectOutputs(value, outputs);
    return llvm::is_contained(group.outputs, outputs.front());
  }

  StageOp stage;
  const TilingOptions &options;
  OpBuilder builder;
  TilingContext context;
  StageOp tiled;
  SmallVector<rondo::LinearOp> linears; // whose results the tiles are
  SmallVector<rondo::LinearOp> packed;  // these, and those of the prologue
  IRMapping results;                    // value of the stage -> physical result
};
} // namespace

StageOp rondo::rt::tileStage(StageOp stage, const LayoutMap &layouts,
                             WeightSymbols &weights,
                             const TilingOptions &options,
                             const IRMapping &physical) {
  return StageTiler(stage, layouts, weights, options, physical).tile();
}
