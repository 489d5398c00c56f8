//===- TileStages.cpp - write each stage for one row --------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   stage "norm.gate.up.silu.mul" {        stage "norm.gate.up.silu.mul" {
//     %n = norm rms %x, @w                   %s = reduce { load %x, square }
//     %g, %u = linear %n, [@g, @u]    ==>    %p = pack { load %x, * scale, * @w
//     }
//     ...                                    tile units(48) { contract,
//     contract,
//   }                                          activate, mulf } }
//
//===----------------------------------------------------------------------===//
#include "StageTiler.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/RondoRT/Transforms/Passes.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

namespace rondo::rt {
#define GEN_PASS_DEF_TILESTAGESPASS
#include "rondo/Dialect/RondoRT/Transforms/Passes.h.inc"
} // namespace rondo::rt

/// Geometry of a KV slot, the same for all caches of the model.
struct KVGeometry {
  int64_t heads = 0, headDim = 0, keyLanes = 0, valueLanes = 0;

  bool operator==(const KVGeometry &o) const {
    return heads == o.heads && headDim == o.headDim && keyLanes == o.keyLanes &&
           valueLanes == o.valueLanes;
  }
};

/// Reads the geometry off one append.
static KVGeometry getGeometry(rondo::AppendOp append,
                              const LayoutMap &layouts) {
  LayoutAttr key = layouts.get(append.getKey());
  LayoutAttr value = layouts.get(append.getValue());
  return {static_cast<int64_t>(append.getHeads()),
          key.getWidth() / key.getHeads(), key.getHeadLanes(),
          value.getHeadLanes()};
}

/// Merges the geometry of the appends of `body` into `geometry`.
static LogicalResult mergeGeometry(BodyOp body, const LayoutMap &layouts,
                                   KVGeometry &geometry) {
  WalkResult result = body.walk([&](rondo::AppendOp append) {
    KVGeometry here = getGeometry(append, layouts);
    if (geometry.heads == 0)
      geometry = here;
    if (geometry == here)
      return WalkResult::advance();
    append.emitOpError("expected all KV caches of a model to have ")
        << geometry.heads << " heads of " << geometry.headDim
        << " dimensions, got " << here.heads << " of " << here.headDim;
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

/// What differs between the heads of `attend` and those of the caches.
static void reportHeads(rondo::AttendOp attend, LayoutAttr query,
                        const KVGeometry &geometry) {
  int64_t width = query.getWidth() / query.getHeads();
  InFlightDiagnostic error = attend.emitOpError("expected ");
  if (static_cast<int64_t>(attend.getKvHeads()) != geometry.heads)
    error << geometry.heads << " KV heads, as 'rondo.append' stores, got "
          << attend.getKvHeads();
  else if (width != geometry.headDim)
    error << "queries of " << geometry.headDim
          << " dimensions a head, as the keys of 'rondo.append', got " << width;
  else
    error << "queries and keys whose heads turn alike and stand in "
          << geometry.keyLanes << " lanes, got queries of "
          << query.getHeadLanes() << "; apply the same 'rondo.rope' to both";
}

/// Queries must have as many lanes a head as keys.
static LogicalResult verifyQueries(BodyOp body, const LayoutMap &layouts,
                                   const KVGeometry &geometry) {
  WalkResult result = body.walk([&](rondo::AttendOp attend) {
    LayoutAttr query = layouts.get(attend.getQuery());
    if (static_cast<int64_t>(attend.getKvHeads()) == geometry.heads &&
        query.getHeadLanes() == geometry.keyLanes &&
        query.getWidth() / query.getHeads() == geometry.headDim)
      return WalkResult::advance();
    reportHeads(attend, query, geometry);
    return WalkResult::interrupt();
  });
  return failure(result.wasInterrupted());
}

/// Tiles the stages of `body` and gives its arguments physical types.
static LogicalResult tileBody(BodyOp body, const LayoutMap &layouts,
                              WeightSymbols &weights,
                              const TilingOptions &options) {
  SmallVector<StageOp> stages(body.getOps<StageOp>());
  IRMapping physical;
  Block &block = body.getBody().front();
  // Stand-ins for arguments are arguments of the physical type.
  unsigned count = block.getNumArguments();
  if (body.getKind() != BodyKind::Prelude)
    for (unsigned i = 0; i < count; ++i) {
      BlockArgument argument = block.getArgument(i);
      physical.map(argument,
                   block.addArgument(layouts.getPhysicalType(argument),
                                     argument.getLoc()));
    }
  for (StageOp stage : stages) {
    StageOp tiled = tileStage(stage, layouts, weights, options, physical);
    if (!tiled)
      return failure();
    physical.map(stage.getResults(), tiled.getResults());
  }
  Operation *end = block.getTerminator();
  for (OpOperand &operand : end->getOpOperands())
    operand.set(physical.lookup(operand.get()));
  for (StageOp stage : llvm::reverse(stages))
    stage.erase();
  if (body.getKind() != BodyKind::Prelude)
    block.eraseArguments(0, count);
  return success();
}

/// Slots that the schedule uses.
static int64_t countSlots(ModuleOp module) {
  SmallVector<int64_t> caches;
  for (BodyOp body : module.getOps<BodyOp>())
    if (body.getKind() == BodyKind::Block) {
      caches.resize(std::max<size_t>(caches.size(), body.getNumber() + 1));
      caches[body.getNumber()] = body.getCaches();
    }
  int64_t slots = 0;
  for (ScheduleOp schedule : module.getOps<ScheduleOp>())
    for (auto [body, slot] :
         llvm::zip(schedule.getBodies(), schedule.getSlots()))
      slots = std::max(slots, slot + caches[body]);
  return slots;
}

static TilingOptions readOptions(ModuleOp module) {
  TilingOptions options;
  auto dict = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  options.positions = cast<IntegerAttr>(dict.get("context")).getInt();
  auto target = module->getAttrOfType<DictionaryAttr>(kTargetAttr);
  for (Attribute feature : cast<ArrayAttr>(target.get("features")))
    options.nativeBF16 |= cast<StringAttr>(feature).getValue() == "avx512-bf16";
  return options;
}

LogicalResult rondo::rt::tileStages(ModuleOp module) {
  for (StringRef name : {kOptionsAttr, kTargetAttr})
    if (!module->getAttrOfType<DictionaryAttr>(name))
      return module.emitError("expected the module attribute '") << name << "'";
  TilingOptions options = readOptions(module);
  WeightSymbols weights(module);
  KVGeometry geometry;
  SmallVector<std::pair<BodyOp, LayoutMap>> bodies;
  for (BodyOp body : module.getOps<BodyOp>()) {
    FailureOr<LayoutMap> layouts = LayoutMap::infer(body);
    if (failed(layouts) || failed(mergeGeometry(body, *layouts, geometry)))
      return failure();
    bodies.emplace_back(body, std::move(*layouts));
  }
  for (auto &[body, layouts] : bodies)
    if (failed(verifyQueries(body, layouts, geometry)) ||
        failed(tileBody(body, layouts, weights, options)))
      return failure();

  Builder builder(module.getContext());
  auto entry = [&](StringRef name, int64_t value) {
    return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
  };
  module->setAttr("rondo_rt.kv", builder.getDictionaryAttr(
                                     {entry("heads", geometry.heads),
                                      entry("head_dim", geometry.headDim),
                                      entry("key_lanes", geometry.keyLanes),
                                      entry("value_lanes", geometry.valueLanes),
                                      entry("slots", countSlots(module))}));
  return success();
}

namespace {
struct TileStagesPass
    : public rondo::rt::impl::TileStagesPassBase<TileStagesPass> {
  void runOnOperation() override {
    if (failed(tileStages(getOperation())))
      signalPassFailure();
  }
};
} // namespace
