//===- DerivePlan.cpp - what a bundle's manifest says of the code ---------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Reads the numbers off the execution level: sizes of weights that stages
// stream, shapes of what they start from and end in. Nothing is decided here.
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Plan.h"

#include "PackedStorage.h"
#include "rondo/Bundle/StoredLayers.h"
#include "rondo/Dialect/Rondo/Analysis/KVPolicy.h"
#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"
#include "rondo_rt/abi.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SmallPtrSet.h"

#include <algorithm>
#include <map>

using namespace mlir;
using namespace rondo;

namespace {

/// Collects a plan; the first thing that is missing ends it.
class PlanBuilder {
public:
  explicit PlanBuilder(ModuleOp module) : module(module), symbols(module) {}

  FailureOr<Plan> build();

private:
  LogicalResult readModuleAttributes();
  LogicalResult readSchedule();
  void keepLayers();
  LogicalResult readTokens();
  LogicalResult readOutputs();
  LogicalResult readStates();
  LogicalResult readInputs(const std::map<int64_t, int64_t> &offsets);
  LogicalResult readRouting(const std::map<int64_t, int64_t> &offsets);
  int64_t getStateAt(int64_t offset);
  void readStages(rt::BodyOp body);
  StagePlan describe(rt::BodyOp body, rt::StageOp stage);
  int64_t countExecutions(rt::BodyOp body);
  void pickArithmetic();

  ModuleOp module;
  SymbolTable symbols;
  rt::ScheduleOp schedule;
  Plan plan;
  /// Weight bytes that contractions read, by the form of their rows.
  llvm::MapVector<rt::RowFormat, int64_t> bytesByFormat;
};

} // namespace

//===----------------------------------------------------------------------===//
// Module attributes
//===----------------------------------------------------------------------===//

/// An integer of a dictionary, 0 if it is not there.
static int64_t getInteger(DictionaryAttr dictionary, StringRef key) {
  auto value = dictionary.getAs<IntegerAttr>(key);
  return value ? value.getInt() : 0;
}

/// Bytes of an element of keys and values.
static int64_t getKVElementBytes(ModuleOp module) {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  auto type = options ? options.getAs<TypeAttr>("kv") : nullptr;
  return type ? type.getValue().getIntOrFloatBitWidth() / 8 : sizeof(float);
}

static FailureOr<KVPlan> readKV(ModuleOp module, DictionaryAttr kv) {
  KVPlan plan;
  if (auto name = module->getAttrOfType<StringAttr>(kKVPolicyAttr)) {
    llvm::Expected<KVPolicy> policy = KVPolicy::parse(name);
    if (!policy)
      return module.emitError(toString(policy.takeError()));
    plan.chunkInvariant = policy->isChunkInvariant();
  }
  plan.slots = getInteger(kv, "slots");
  plan.heads = getInteger(kv, "heads");
  plan.headDim = getInteger(kv, "head_dim");
  int64_t lanes = getInteger(kv, "key_lanes") + getInteger(kv, "value_lanes");
  // One number in the manifest: where keys and values differ, their mean.
  plan.paddedHeadDim = lanes / 2;
  plan.pageBytes = RONDO_RT_PAGE_POSITIONS * plan.slots * plan.heads * lanes *
                   getKVElementBytes(module);
  return plan;
}

LogicalResult PlanBuilder::readModuleAttributes() {
  auto kv = module->getAttrOfType<DictionaryAttr>("rondo_rt.kv");
  auto arena = module->getAttrOfType<IntegerAttr>("rondo_rt.arena_bytes");
  auto scratch = module->getAttrOfType<IntegerAttr>("rondo_rt.scratch_bytes");
  if (!kv || !arena || !scratch)
    return module.emitError("expected the module attributes 'rondo_rt.kv', "
                            "'rondo_rt.arena_bytes' and "
                            "'rondo_rt.scratch_bytes' of phase 'buffers'");
  FailureOr<KVPlan> kvPlan = readKV(module, kv);
  if (failed(kvPlan))
    return failure();
  plan.kv = *kvPlan;
  plan.arenaBytes = arena.getInt();
  plan.scratchBytes = scratch.getInt();
  auto points = module->getAttrOfType<ArrayAttr>("rondo_rt.trace_points");
  if (!points)
    return success();
  for (DictionaryAttr point : points.getAsRange<DictionaryAttr>()) {
    auto name = point.getAs<StringAttr>("name");
    auto form = point.getAs<StringAttr>("form");
    plan.trace.push_back({name ? name.str() : "", getInteger(point, "index"),
                          getInteger(point, "width"),
                          form ? form.str() : "rows"});
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Schedule
//===----------------------------------------------------------------------===//

LogicalResult PlanBuilder::readSchedule() {
  for (auto op : module.getOps<rt::ScheduleOp>())
    schedule = op;
  if (!schedule)
    return module.emitError("expected a 'rondo_rt.schedule'");
  for (auto body : module.getOps<rt::BodyOp>()) {
    if (body.getKind() != rt::BodyKind::Block)
      continue;
    size_t number = body.getNumber();
    plan.bodies.resize(std::max(plan.bodies.size(), number + 1));
    plan.blocks.resize(plan.bodies.size());
    plan.bodies[number] = plan.blocks[number].name = body.getSymName().str();
  }
  // Of each body, how often it runs with which layer.
  std::vector<std::map<int64_t, int64_t>> runs(plan.bodies.size());
  for (auto [body, layer] :
       llvm::zip(schedule.getBodies(), schedule.getLayers())) {
    if (body >= static_cast<int64_t>(runs.size()))
      return schedule.emitOpError("names body ")
             << body << ", which the module lacks";
    ++runs[body][layer];
  }
  for (auto [block, layers] : llvm::zip(plan.blocks, runs)) {
    block.layers = layers.size();
    for (auto [layer, times] : layers)
      block.visits = std::max(block.visits, times);
  }
  keepLayers();
  return success();
}

/// What keeps no KV cache is work between layers (a norm), and no block of
/// them.
void PlanBuilder::keepLayers() {
  std::map<std::string, rt::BodyOp> blocks, cached;
  for (auto body : module.getOps<rt::BodyOp>()) {
    if (body.getKind() != rt::BodyKind::Block)
      continue;
    blocks[body.getSymName().str()] = body;
    if (body.getCaches() > 0)
      cached[body.getSymName().str()] = body;
  }
  const auto &kept = cached.empty() ? blocks : cached;
  llvm::erase_if(plan.blocks, [&](const BlockPlan &block) {
    return !kept.count(block.name);
  });

  StoredLayers layers(module);
  for (auto [body, layer] :
       llvm::zip(schedule.getBodies(), schedule.getLayers())) {
    auto place = kept.find(plan.bodies[body]);
    if (place == kept.end())
      continue;
    ++plan.executedLayers;
    layers.addExecution(place->second, layer);
  }
  plan.uniqueLayers = layers.count();
  plan.depth = layers.getDepth();
}

int64_t PlanBuilder::countExecutions(rt::BodyOp body) {
  if (body.getKind() != rt::BodyKind::Block)
    return 1;
  return llvm::count(schedule.getBodies(),
                     static_cast<int64_t>(body.getNumber()));
}

//===----------------------------------------------------------------------===//
// Stages
//===----------------------------------------------------------------------===//

/// Weights of one entry of `packed`, without padding.
static int64_t countWeights(rt::PackedOp packed) {
  int64_t outputs = 0;
  for (Attribute layout : packed.getRows())
    outputs += cast<rt::LayoutAttr>(layout).getWidth();
  return outputs * packed.getK();
}

static void addVector(rt::VectorOp vector, StagePlan &stage) {
  stage.bytes += getEntryBytes(vector);
  if (vector.getDepths() > 1)
    stage.sideBytes += getEntryBytes(vector);
}

StagePlan PlanBuilder::describe(rt::BodyOp body, rt::StageOp stage) {
  StagePlan result;
  result.name = (body.getSymName() + "." + stage.getName()).str();
  result.executions = countExecutions(body);
  llvm::SmallPtrSet<Operation *, 4> seen;
  stage.walk([&](Operation *op) {
    if (auto contract = dyn_cast<rt::ContractOp>(op)) {
      auto packed = symbols.lookup<rt::PackedOp>(contract.getWeights());
      if (!packed || !seen.insert(packed).second)
        return;
      result.bytes += packed.getEntryBytes();
      if (packed.getDepths() > 1)
        result.sideBytes += packed.getEntryBytes();
      result.flops += 2 * countWeights(packed);
      if (auto pack = contract.getRows().getDefiningOp<rt::PackOp>())
        bytesByFormat[pack.getFormat()] +=
            packed.getEntryBytes() * result.executions;
    } else if (auto load = dyn_cast<rt::LoadVectorOp>(op)) {
      auto vector = symbols.lookup<rt::VectorOp>(load.getVector());
      if (vector && seen.insert(vector).second)
        addVector(vector, result);
    } else if (auto embed = dyn_cast<rt::EmbedOp>(op)) {
      // One lane of a panel for each row.
      if (auto packed = symbols.lookup<rt::PackedOp>(embed.getTable()))
        result.bytes += packed.getPanelBytes() / rt::kLanes;
    }
  });
  return result;
}

void PlanBuilder::readStages(rt::BodyOp body) {
  for (auto stage : body.getOps<rt::StageOp>())
    plan.stages.push_back(describe(body, stage));
}

/// The mode in which most weights are used.
void PlanBuilder::pickArithmetic() {
  plan.arithmetic = "exact";
  int64_t most = 0;
  for (auto [format, bytes] : bytesByFormat) {
    if (bytes <= most)
      continue;
    most = bytes;
    plan.arithmetic = format == rt::RowFormat::F32         ? "exact"
                      : format == rt::RowFormat::Int8Group ? "int8-dynamic"
                                                           : "bf16-dot";
  }
}

//===----------------------------------------------------------------------===//
// States
//===----------------------------------------------------------------------===//

/// A state that no body reads lives in no row, so the inputs of blocks and coda
/// are all that there are. Their buffers come first in a body, in the order of
/// its inputs.
LogicalResult PlanBuilder::readStates() {
  std::map<int64_t, int64_t> rowBytes; // by offset
  std::map<int64_t, int64_t> offsets;  // by number
  for (auto body : module.getOps<rt::BodyOp>()) {
    if (body.getKind() == rt::BodyKind::Prelude)
      continue;
    for (auto [number, buffer] :
         llvm::zip(body.getInputs(), body.getOps<rt::BufferOp>())) {
      rowBytes[buffer.getOffset()] =
          cast<MemRefType>(buffer.getType()).getDimSize(1) * sizeof(float);
      offsets[number] = buffer.getOffset();
    }
  }
  for (auto [offset, bytes] : rowBytes)
    plan.states.push_back({offset, bytes});
  if (failed(readRouting(offsets)))
    return failure();
  return readInputs(offsets);
}

/// Number of the state that stands at `offset`.
int64_t PlanBuilder::getStateAt(int64_t offset) {
  auto place = llvm::find_if(plan.states, [&](const StatePlan &state) {
    return state.offset == offset;
  });
  return place - plan.states.begin();
}

/// The routed loop by the state of its records.
LogicalResult
PlanBuilder::readRouting(const std::map<int64_t, int64_t> &offsets) {
  auto routing = module->getAttrOfType<DictionaryAttr>("rondo_rt.routing");
  if (!routing)
    return success();
  auto scope = routing.getAs<StringAttr>("scope");
  auto offset = offsets.find(getInteger(routing, "state"));
  if (!scope || offset == offsets.end())
    return module.emitError("attribute 'rondo_rt.routing' expected a scope and "
                            "a state that a body reads, got ")
           << routing;
  plan.routing.push_back({getStateAt(offset->second),
                          getInteger(routing, "first_visit"),
                          getInteger(routing, "visits"), scope.str()});
  return success();
}

/// Inputs by their states, which stand at `offsets`.
LogicalResult
PlanBuilder::readInputs(const std::map<int64_t, int64_t> &offsets) {
  auto inputs = module->getAttrOfType<ArrayAttr>("rondo_rt.inputs");
  if (!inputs)
    return success();
  for (Attribute element : inputs) {
    auto entry = dyn_cast<DictionaryAttr>(element);
    auto input = entry ? entry.getAs<InputAttr>("input") : nullptr;
    auto offset =
        input ? offsets.find(getInteger(entry, "state")) : offsets.end();
    if (offset == offsets.end())
      return module.emitError("attribute 'rondo_rt.inputs' expected an input "
                              "with a state that a body reads, got ")
             << element;
    FloatAttr deviation = input.getDeviation();
    plan.inputs.push_back({input.getName().str(), getStateAt(offset->second),
                           getInteger(entry, "width"),
                           stringifyInputInit(input.getInit()).str(),
                           deviation ? deviation.getValueAsDouble() : 0.0});
  }
  return success();
}

//===----------------------------------------------------------------------===//
// What goes in and what comes out
//===----------------------------------------------------------------------===//

/// What embeddings look up, by their tables' sizes. A prelude that maps what it
/// looked up to another width ends in a contraction.
LogicalResult PlanBuilder::readTokens() {
  int64_t tokens = 0;
  module.walk([&](rt::EmbedOp embed) {
    plan.hidden = embed.getWidth();
    auto packed = symbols.lookup<rt::PackedOp>(embed.getTable());
    if (!packed)
      return;
    int64_t entries = cast<rt::LayoutAttr>(packed.getRows()[0]).getWidth();
    if (embed.getField() == RowField::Token)
      tokens = tokens ? std::min(tokens, entries) : entries;
    else if (embed.getField() == RowField::TokenType)
      plan.tokenTypes =
          plan.tokenTypes ? std::min(plan.tokenTypes, entries) : entries;
  });
  for (auto body : module.getOps<rt::BodyOp>())
    if (body.getKind() == rt::BodyKind::Prelude)
      body.walk([&](rt::ContractOp contract) {
        auto packed = symbols.lookup<rt::PackedOp>(contract.getWeights());
        if (packed)
          plan.hidden = cast<rt::LayoutAttr>(packed.getRows()[0]).getWidth();
      });
  plan.vocabulary = tokens;
  if (tokens)
    return success();
  return module.emitError("expected an embedding of tokens");
}

/// Results stand one after another in a row of the logits buffer, each padded
/// to whole chunks. Logits have the vocabulary's width.
LogicalResult PlanBuilder::readOutputs() {
  auto outputs = module->getAttrOfType<ArrayAttr>(kOutputsAttr);
  plan.logitsStride = rt::getLogitsLanes(module);
  if (!outputs || outputs.empty() || !plan.logitsStride)
    return module.emitError("expected the module attribute '")
           << kOutputsAttr
           << "' of phase 'step' and a stage that writes outputs";
  int64_t end = 0;
  for (DictionaryAttr output : outputs.getAsRange<DictionaryAttr>()) {
    auto name = output.getAs<StringAttr>("name");
    auto first = output.getAs<BoolAttr>("first");
    int64_t width = getInteger(output, "width");
    plan.outputs.push_back(
        {name ? name.str() : "", width, end, first && first.getValue()});
    end += llvm::alignTo(width, rt::kLanes);
  }
  if (plan.outputs.front().name == kLogitsOutput)
    plan.vocabulary = plan.outputs.front().width;
  auto scope = module->getAttrOfType<StringAttr>(kScopeAttr);
  plan.cohort = scope && scope.getValue() == "cohort";
  plan.kv.chunkInvariant &= !plan.cohort;
  return success();
}

FailureOr<Plan> PlanBuilder::build() {
  if (failed(readModuleAttributes()) || failed(readSchedule()) ||
      failed(readTokens()) || failed(readOutputs()))
    return failure();
  if (failed(readStates()))
    return failure();
  for (auto body : module.getOps<rt::BodyOp>())
    readStages(body);
  pickArithmetic();
  return plan;
}

FailureOr<Plan> rondo::derivePlan(ModuleOp module) {
  return PlanBuilder(module).build();
}
