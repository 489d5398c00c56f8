//===- Manifest.cpp - a bundle's description of itself --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Keys stand in the order of docs/Bundle.md. Text from checkpoints is brought
// to valid UTF-8, which JSON needs.
//
//===----------------------------------------------------------------------===//
#include "Manifest.h"

#include "rondo/Bundle/Bundle.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/JSON.h"

using namespace mlir;
using namespace rondo;
using llvm::json::OStream;

static std::string clean(StringRef text) { return llvm::json::fixUTF8(text); }

static std::string getText(ModuleOp module, StringRef key) {
  auto text = module->getAttrOfType<StringAttr>(key);
  return text ? clean(text.getValue()) : "";
}

Attribute rondo::getOption(ModuleOp module, StringRef key) {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  return options ? options.get(key) : nullptr;
}

static int64_t getInteger(ModuleOp module, StringRef key) {
  auto value = dyn_cast_or_null<IntegerAttr>(getOption(module, key));
  return value ? value.getInt() : 0;
}

static bool getFlag(ModuleOp module, StringRef key) {
  auto value = dyn_cast_or_null<BoolAttr>(getOption(module, key));
  return value && value.getValue();
}

std::string rondo::getProducer() {
  return "rondo " RONDO_VERSION ", LLVM " LLVM_VERSION_STRING;
}

//===----------------------------------------------------------------------===//
// Schedule
//===----------------------------------------------------------------------===//

static rt::ScheduleOp findSchedule(ModuleOp module) {
  for (auto schedule : module.getOps<rt::ScheduleOp>())
    return schedule;
  return nullptr;
}

FailureOr<std::vector<rondo_rt_execution>>
rondo::getExecutions(ModuleOp module) {
  rt::ScheduleOp schedule = findSchedule(module);
  if (!schedule)
    return module.emitError("expected a 'rondo_rt.schedule', which phase "
                            "'step' makes");
  std::vector<rondo_rt_execution> executions;
  for (size_t i = 0; i < schedule.getBodies().size(); ++i) {
    rondo_rt_execution execution = {};
    execution.body = schedule.getBodies()[i];
    execution.layer = schedule.getLayers()[i];
    execution.side = schedule.getSides()[i];
    execution.slot = schedule.getSlots()[i];
    int64_t trace = schedule.getTraces()[i];
    execution.trace = trace < 0 ? RONDO_RT_NONE : trace;
    executions.push_back(execution);
  }
  return executions;
}

static void writeSchedule(OStream &json, const ManifestInputs &inputs) {
  rt::ScheduleOp schedule = findSchedule(inputs.module);
  json.attribute("executions", schedule.getBodies().size());
  json.attributeArray("visit_begin", [&] {
    for (int64_t begin : schedule.getVisits())
      json.value(begin);
  });
  json.attributeArray("bodies", [&] {
    for (const std::string &name : inputs.plan.bodies)
      json.object([&] { json.attribute("name", clean(name)); });
  });
  json.attributeArray("blocks", [&] {
    for (const BlockPlan &block : inputs.plan.blocks)
      json.object([&] {
        json.attribute("name", clean(block.name));
        json.attribute("layers", block.layers);
        json.attribute("visits", block.visits);
      });
  });
  json.attribute("unique_layers", inputs.plan.uniqueLayers);
  json.attribute("executed_layers", inputs.plan.executedLayers);
  json.attribute("depth", inputs.plan.depth);
}

//===----------------------------------------------------------------------===//
// Target, KV cache, tokens
//===----------------------------------------------------------------------===//

static void writeTarget(OStream &json, ModuleOp module) {
  auto target = module->getAttrOfType<DictionaryAttr>(kTargetAttr);
  auto text = [&](StringRef key) {
    auto value = target ? target.getAs<StringAttr>(key) : nullptr;
    return value ? clean(value.getValue()) : std::string();
  };
  json.attribute("kind", text("kind"));
  json.attribute("cpu", text("cpu"));
  json.attributeArray("features", [&] {
    if (auto features = target ? target.getAs<ArrayAttr>("features") : nullptr)
      for (StringAttr feature : features.getAsRange<StringAttr>())
        json.value(clean(feature.getValue()));
  });
}

/// Name of the storage type of keys and values.
static std::string getKVType(ModuleOp module) {
  auto type = dyn_cast_or_null<TypeAttr>(getOption(module, "kv"));
  std::string text;
  llvm::raw_string_ostream os(text);
  if (type)
    os << type.getValue();
  return text;
}

static void writeKV(OStream &json, const ManifestInputs &inputs) {
  const KVPlan &kv = inputs.plan.kv;
  json.attribute("type", getKVType(inputs.module));
  json.attribute("slots", kv.slots);
  json.attribute("heads", kv.heads);
  json.attribute("head_dim", kv.headDim);
  json.attribute("padded_head_dim", kv.paddedHeadDim);
  json.attribute("page_positions", RONDO_RT_PAGE_POSITIONS);
  json.attribute("page_bytes", kv.pageBytes);
  json.attribute("policy", getText(inputs.module, kKVPolicyAttr));
  json.attribute("chunk_invariant", kv.chunkInvariant);
}

static void writeStopTokens(OStream &json, ModuleOp module) {
  Attribute tokens = module->getAttr(kStopTokensAttr);
  if (auto dense = dyn_cast_or_null<DenseI64ArrayAttr>(tokens))
    for (int64_t token : dense.asArrayRef())
      json.value(token);
  else if (auto array = dyn_cast_or_null<ArrayAttr>(tokens))
    for (IntegerAttr token : array.getAsRange<IntegerAttr>())
      json.value(token.getInt());
}

//===----------------------------------------------------------------------===//
// Tables
//===----------------------------------------------------------------------===//

static void writeEntries(OStream &json, const rondo_rt_code_header &code) {
  static constexpr const char *kNames[RONDO_RT_ENTRY_COUNT] = {
      "full", "prelude", "depth_step", "coda"};
  for (unsigned i = 0; i < RONDO_RT_ENTRY_COUNT; ++i)
    json.attribute(kNames[i], code.entries[i]);
}

static void writeStates(OStream &json, const Plan &plan) {
  for (const StatePlan &state : plan.states)
    json.object([&] {
      json.attribute("offset", state.offset);
      json.attribute("row_bytes", state.rowBytes);
    });
}

static void writeInputs(OStream &json, const Plan &plan) {
  for (const InputPlan &input : plan.inputs)
    json.object([&] {
      json.attribute("name", clean(input.name));
      json.attribute("state", input.state);
      json.attribute("width", input.width);
      json.attribute("init", input.init);
      json.attribute("deviation", input.deviation);
    });
}

static void writeRouting(OStream &json, const Plan &plan) {
  for (const RoutingPlan &routing : plan.routing)
    json.object([&] {
      json.attribute("state", routing.state);
      json.attribute("first_visit", routing.firstVisit);
      json.attribute("visits", routing.visits);
      json.attribute("scope", routing.scope);
    });
}

static void writeStages(OStream &json, const Plan &plan) {
  for (const StagePlan &stage : plan.stages)
    json.object([&] {
      json.attribute("name", clean(stage.name));
      json.attribute("executions", stage.executions);
      json.attribute("bytes", stage.bytes);
      json.attribute("side_bytes", stage.sideBytes);
      json.attribute("flops", stage.flops);
    });
}

static void writeTrace(OStream &json, const Plan &plan) {
  for (const TracePlan &point : plan.trace)
    json.object([&] {
      json.attribute("name", clean(point.name));
      json.attribute("index", point.index);
      json.attribute("width", point.width);
      json.attribute("form", clean(point.form));
    });
}

static void writeTensors(OStream &json, llvm::ArrayRef<FileTensor> tensors) {
  for (const FileTensor &tensor : tensors)
    json.object([&] {
      json.attribute("name", clean(tensor.name));
      json.attribute("offset", tensor.offset);
      json.attribute("bytes", tensor.bytes);
      json.attribute("hash", tensor.hash);
    });
}

static void writePacking(OStream &json,
                         const std::vector<WeightTensor> &weights) {
  for (const WeightTensor &weight : weights)
    json.object([&] {
      json.attribute("name", clean(weight.name));
      json.attribute("offset", weight.offset);
      json.attribute("bytes", weight.bytes);
      json.attribute("type", stringify(weight.type).lower());
      json.attribute("k", weight.k);
      json.attribute("units", weight.units);
      json.attribute("entries", weight.entries);
      json.attribute("entry_stride", weight.entryStride);
      json.attributeArray("sources", [&] {
        for (const std::string &source : weight.sources)
          json.value(clean(source));
      });
    });
}

static void writeArchives(OStream &json, ModuleOp module) {
  auto archives = module->getAttrOfType<ArrayAttr>(kArchivesAttr);
  if (!archives)
    return;
  for (DictionaryAttr archive : archives.getAsRange<DictionaryAttr>())
    json.object([&] {
      for (StringRef key : {"name", "hash"}) {
        auto text = archive.getAs<StringAttr>(key);
        json.attribute(key, text ? clean(text.getValue()) : std::string());
      }
    });
}

/// The storage type that most bytes of matrices have.
static std::string getMainType(const std::vector<WeightTensor> &weights) {
  llvm::MapVector<StorageType, int64_t> bytes;
  for (const WeightTensor &weight : weights)
    if (weight.k != 0)
      bytes[weight.type] += weight.bytes;
  std::pair<StorageType, int64_t> most = {StorageType::F32, 0};
  for (auto entry : bytes)
    if (entry.second > most.second)
      most = entry;
  return stringify(most.first).lower();
}

static uint64_t getRegionBytes(const std::vector<WeightTensor> &weights) {
  return weights.empty() ? 0 : weights.back().offset + weights.back().bytes;
}

//===----------------------------------------------------------------------===//
// The whole
//===----------------------------------------------------------------------===//

static void writeShape(OStream &json, const ManifestInputs &inputs) {
  json.attribute("vocabulary", inputs.plan.vocabulary);
  for (StringRef key : {"context", "sequences", "rows"})
    json.attribute(key, getInteger(inputs.module, key));
  json.attribute("hidden", inputs.plan.hidden);
  json.attribute("arena_bytes", inputs.plan.arenaBytes);
  json.attribute("scratch_bytes", inputs.plan.scratchBytes);
  json.attribute("logits_stride", inputs.plan.logitsStride);
  json.attribute("token_types", inputs.plan.tokenTypes);
  json.attribute("scope", inputs.plan.cohort ? "cohort" : "row");
  json.attributeArray("outputs", [&] {
    for (const OutputPlan &output : inputs.plan.outputs)
      json.object([&] {
        json.attribute("name", clean(output.name));
        json.attribute("width", output.width);
        json.attribute("offset", output.offset);
        json.attribute("first", output.first);
      });
  });
}

std::string rondo::writeManifest(const ManifestInputs &inputs,
                                 llvm::ArrayRef<FileTensor> tensors) {
  ModuleOp module = inputs.module;
  std::string text;
  llvm::raw_string_ostream os(text);
  OStream json(os);
  json.object([&] {
    json.attribute("format", 1);
    json.attribute("abi", RONDO_RT_ABI_VERSION);
    json.attribute("producer", getProducer());
    json.attributeObject("target", [&] { writeTarget(json, module); });
    json.attribute("architecture", getText(module, kArchitectureAttr));
    json.attribute("name", getText(module, kNameAttr));
    writeShape(json, inputs);
    json.attributeObject("kv", [&] { writeKV(json, inputs); });
    json.attribute("arithmetic", inputs.plan.arithmetic);
    json.attribute("weights", getMainType(inputs.weights));
    json.attributeArray("stop_tokens", [&] { writeStopTokens(json, module); });
    json.attributeObject("schedule", [&] { writeSchedule(json, inputs); });
    json.attributeObject("entries", [&] { writeEntries(json, inputs.code); });
    json.attributeArray("states", [&] { writeStates(json, inputs.plan); });
    json.attributeArray("inputs", [&] { writeInputs(json, inputs.plan); });
    json.attributeArray("routing", [&] { writeRouting(json, inputs.plan); });
    json.attributeArray("stages", [&] { writeStages(json, inputs.plan); });
    json.attributeArray("trace", [&] { writeTrace(json, inputs.plan); });
    json.attribute("weight_bytes", getRegionBytes(inputs.weights));
    json.attributeArray("tensors", [&] { writeTensors(json, tensors); });
    json.attributeArray("packing", [&] { writePacking(json, inputs.weights); });
    json.attributeArray("archives", [&] { writeArchives(json, module); });
    json.attribute("chat_template", inputs.chatTemplate);
    json.attribute("tokenizer", inputs.tokenizer);
    json.attribute("weightless", getFlag(module, "weightless"));
    json.attribute("trace_points", getFlag(module, "trace"));
  });
  return text;
}
