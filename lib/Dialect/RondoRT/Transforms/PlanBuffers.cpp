//===- PlanBuffers.cpp - give everything its place -----------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   body @b inputs [0] {                        body @b inputs [0] {
//   ^bb0(%x: tensor<?x64xf32>):                   %x = buffer offset(0)
//     %y = stage "s" -> tensor<?x64xf32> {  ==>   %y = buffer offset(4096)
//       %t = tile ... { yield %v }                stage "s" {
//       yield %t }                                  tile ... { store %v, %y } }
//     return %y                                   return }
//
//===----------------------------------------------------------------------===//
#include "BufferPlan.h"
#include "WeightPlan.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/RondoRT/Transforms/Passes.h"

#include "rondo_rt/abi.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

namespace rondo::rt {
#define GEN_PASS_DEF_PLANBUFFERSPASS
#include "rondo/Dialect/RondoRT/Transforms/Passes.h.inc"
} // namespace rondo::rt

namespace {
/// Rewrites one body from tensors to buffers.
class BodyRewriter {
public:
  BodyRewriter(BodyOp body, BodyBuffers &buffers, ArenaPlan &plan)
      : body(body), buffers(buffers), plan(plan),
        builder(OpBuilder::atBlockBegin(&body.getBody().front())) {}

  void rewrite() {
    Block &block = body.getBody().front();
    SmallVector<StageOp> stages(body.getOps<StageOp>());
    if (body.getKind() != BodyKind::Prelude)
      for (Value argument : block.getArguments())
        createBuffer(argument);
    for (StageOp stage : stages)
      for (Value result : stage.getResults())
        createBuffer(result);
    appendCopies(block);
    for (StageOp stage : stages)
      rewriteStage(stage);
    block.getTerminator()->eraseOperands(
        0, block.getTerminator()->getNumOperands());
    for (StageOp stage : llvm::reverse(stages))
      stage.erase();
    if (body.getKind() != BodyKind::Prelude)
      block.eraseArguments(0, block.getNumArguments());
    else
      block.getArgument(0).dropAllUses();
  }

private:
  void createBuffer(Value value) {
    auto tensor = cast<RankedTensorType>(value.getType());
    auto type = MemRefType::get(tensor.getShape(), tensor.getElementType());
    auto it = buffers.logits.find(value);
    bool isLogits = it != buffers.logits.end();
    auto buffer = BufferOp::create(
        builder, value.getLoc(), type,
        isLogits ? it->second : buffers.offsets.lookup(value), isLogits);
    memory.map(value, buffer.getResult());
  }

  /// One more stage that copies values into their states.
  void appendCopies(Block &block) {
    if (buffers.copies.empty())
      return;
    OpBuilder end(block.getTerminator());
    auto stage = StageOp::create(end, body.getLoc(), TypeRange(),
                                 end.getStringAttr("copy"));
    OpBuilder inside = OpBuilder::atBlockBegin(&stage.getBody().emplaceBlock());
    for (auto [value, offset] : buffers.copies) {
      auto type = cast<MemRefType>(memory.lookup(value).getType());
      auto target =
          BufferOp::create(builder, body.getLoc(), type, offset, false);
      auto tile = TileOp::create(inside, body.getLoc(), TypeRange(),
                                 type.getDimSize(1) / kLanes, /*panels=*/1,
                                 /*scratch=*/IntegerAttr());
      Block &region = tile.getBody().emplaceBlock();
      Value index = region.addArgument(end.getIndexType(), body.getLoc());
      OpBuilder chunk = OpBuilder::atBlockBegin(&region);
      Value loaded = LoadOp::create(
          chunk, body.getLoc(), VectorType::get({kLanes}, chunk.getF32Type()),
          memory.lookup(value), index, 1, 0);
      StoreOp::create(chunk, body.getLoc(), loaded, target, index, 1, 0);
      rt::YieldOp::create(chunk, body.getLoc(), ValueRange());
    }
    rt::YieldOp::create(inside, body.getLoc(), ValueRange());
  }

  void rewriteStage(StageOp stage) {
    OpBuilder at(stage);
    auto rewritten =
        StageOp::create(at, stage.getLoc(), TypeRange(), stage.getNameAttr());
    rewritten.getBody().takeBody(stage.getBody());
    Block &block = rewritten.getBody().front();
    auto yield = cast<rt::YieldOp>(block.getTerminator());
    // What each value inside is stored to.
    DenseMap<Value, Value> targets;
    for (auto [value, result] :
         llvm::zip(yield.getValues(), stage.getResults()))
      targets[value] = memory.lookup(result);
    yield.getValuesMutable().clear();
    replaceLoads(rewritten);
    int64_t scratch = 0;
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto pack = dyn_cast<PackOp>(op))
        placePack(pack, scratch);
      else if (auto tile = dyn_cast<TileOp>(op))
        rewriteTile(tile, targets, scratch);
      else if (auto attend = dyn_cast<rt::AttendOp>(op))
        rewriteAttend(attend, targets, scratch);
      else if (auto embed = dyn_cast<rt::EmbedOp>(op))
        rewriteEmbed(embed, targets);
      else if (auto route = dyn_cast<rt::RouteOp>(op))
        rewriteRoute(route, targets);
      else if (auto select = dyn_cast<rt::SelectRowsOp>(op))
        rewriteSelect(select, targets);
    }
    plan.scratchBytes = std::max(plan.scratchBytes, scratch);
  }

  void replaceLoads(StageOp stage) {
    stage.walk([&](Operation *op) {
      for (OpOperand &operand : op->getOpOperands())
        if (Value buffer = memory.lookupOrNull(operand.get()))
          operand.set(buffer);
    });
  }

  int64_t takeScratch(int64_t &scratch, int64_t bytes) {
    int64_t offset = scratch;
    scratch = llvm::alignTo(scratch + bytes, RONDO_RT_ALIGNMENT);
    return offset;
  }

  void placePack(PackOp pack, int64_t &scratch) {
    int64_t row = getRowBytes(pack.getFormat(), pack.getLayout().getLanes());
    pack.setScratch(takeScratch(scratch, kFewRows * row));
    pack.setShared(buffers.shared.lookup(pack));
    if (!pack.getBody().getOps<ContractOp>().empty())
      pack.setOutputs(
          takeScratch(scratch, kRowBlock * pack.getLayout().getLanes() * 4));
  }

  void rewriteTile(TileOp tile, DenseMap<Value, Value> &targets,
                   int64_t &scratch) {
    OpBuilder at(tile);
    int64_t panels = tile.getPanels();
    auto contractions = llvm::range_size(tile.getBody().getOps<ContractOp>());
    IntegerAttr place;
    if (contractions)
      place = at.getI64IntegerAttr(
          takeScratch(scratch, kRowBlock * contractions * kLanes * 4));
    auto rewritten =
        TileOp::create(at, tile.getLoc(), TypeRange(), tile.getUnitsAttr(),
                       tile.getPanelsAttr(), place);
    rewritten.getBody().takeBody(tile.getBody());
    Block &block = rewritten.getBody().front();
    auto yield = cast<rt::YieldOp>(block.getTerminator());
    OpBuilder end(yield);
    for (auto [i, result] : llvm::enumerate(tile.getResults()))
      for (int64_t panel = 0; panel < panels; ++panel)
        StoreOp::create(
            end, tile.getLoc(), yield.getOperand(i * panels + panel),
            targets.lookup(result), block.getArgument(0), panels, panel);
    yield.getValuesMutable().clear();
    tile.erase();
  }

  void rewriteAttend(rt::AttendOp attend, DenseMap<Value, Value> &targets,
                     int64_t &scratch) {
    OpBuilder at(attend);
    rt::AttendOp::create(
        at, attend.getLoc(), Type(), attend.getQuery(),
        targets.lookup(attend.getResult()), attend.getCacheAttr(),
        attend.getHeadsAttr(), attend.getKvHeadsAttr(), attend.getHeadDimAttr(),
        attend.getScaleAttr(), attend.getWindowAttr(),
        at.getI64IntegerAttr(takeScratch(scratch, getAttendScratch(attend))),
        at.getI64IntegerAttr(buffers.shared.lookup(attend)));
    attend.erase();
  }

  /// Queries, scores, partial and running results of one block of query rows.
  int64_t getAttendScratch(rt::AttendOp attend) {
    auto kv = body->getParentOfType<ModuleOp>()->getAttrOfType<DictionaryAttr>(
        "rondo_rt.kv");
    int64_t keyLanes = cast<IntegerAttr>(kv.get("key_lanes")).getInt();
    int64_t valueLanes = cast<IntegerAttr>(kv.get("value_lanes")).getInt();
    int64_t queries = getQueryBlock(attend.getHeads() / attend.getKvHeads());
    return queries * (keyLanes * 4 + RONDO_RT_PAGE_POSITIONS * 4 +
                      2 * getPartialBytes(valueLanes) + RONDO_RT_ALIGNMENT);
  }

  void rewriteRoute(rt::RouteOp route, DenseMap<Value, Value> &targets) {
    OpBuilder at(route);
    rt::RouteOp::create(at, route.getLoc(), Type(), route.getRule(),
                        route.getScores(), route.getRecord(),
                        targets.lookup(route.getResult()), route.getColumns(),
                        route.getFunction(), route.getAlpha(),
                        route.getAdditive(), route.getCapacitiesAttr(),
                        route.getThresholdAttr(), route.getBiasesAttr(),
                        at.getI64IntegerAttr(buffers.shared.lookup(route)));
    route.erase();
  }

  void rewriteSelect(rt::SelectRowsOp select, DenseMap<Value, Value> &targets) {
    OpBuilder at(select);
    rt::SelectRowsOp::create(
        at, select.getLoc(), Type(), select.getSource(), select.getRecord(),
        targets.lookup(select.getResult()), select.getPlaces());
    select.erase();
  }

  void rewriteEmbed(rt::EmbedOp embed, DenseMap<Value, Value> &targets) {
    OpBuilder at(embed);
    rt::EmbedOp::create(at, embed.getLoc(), Type(), embed.getTableAttr(),
                        embed.getFieldAttr(), embed.getWidthAttr(),
                        embed.getScaleAttr(),
                        targets.lookup(embed.getResult()));
    embed.erase();
  }

  BodyOp body;
  BodyBuffers &buffers;
  ArenaPlan &plan;
  OpBuilder builder; // at the head of the body
  IRMapping memory;  // tensor -> buffer
};
} // namespace

LogicalResult rondo::rt::planBuffers(ModuleOp module) {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  if (!options)
    return module.emitError("expected the module attribute '")
           << kOptionsAttr << "'";
  ArenaPlan plan;
  plan.rows = cast<IntegerAttr>(options.get("rows")).getInt();
  plan.context = cast<IntegerAttr>(options.get("context")).getInt();
  planStates(module, plan);
  for (BodyOp body : module.getOps<BodyOp>()) {
    FailureOr<BodyBuffers> buffers = planBody(body, plan);
    if (failed(buffers))
      return failure();
    BodyRewriter(body, *buffers, plan).rewrite();
  }
  Builder builder(module.getContext());
  auto set = [&](StringRef name, int64_t value) {
    module->setAttr(name, builder.getI64IntegerAttr(value));
  };
  if (plan.selection)
    set("rondo_rt.selection", *plan.selection);
  set("rondo_rt.arena_bytes", plan.arenaBytes);
  set("rondo_rt.scratch_bytes", plan.scratchBytes);
  set("rondo_rt.weight_bytes", planWeights(module));
  return success();
}

namespace {
struct PlanBuffersPass
    : public rondo::rt::impl::PlanBuffersPassBase<PlanBuffersPass> {
  void runOnOperation() override {
    if (failed(planBuffers(getOperation())))
      signalPassFailure();
  }
};
} // namespace
