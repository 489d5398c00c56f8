//===- Manifest.cpp - what a bundle says about itself ---------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One function for each part of the JSON. Limits are far above any real model
// and low enough that no product of sizes in the runtime overflows 64 bits.
//===----------------------------------------------------------------------===//
#include "Manifest.h"
#include "Json.h"

#include <algorithm>

using namespace rondo_rt;

static constexpr uint64_t kMaxCount = 1u << 24;   // rows, context, layers ...
static constexpr uint64_t kMaxBytes = 1ull << 48; // the address space
static constexpr uint64_t kMaxWidth = 1u << 28;   // floats of a row
static constexpr uint64_t kMaxU64 = ~0ull;

const TensorEntry *Manifest::findTensor(std::string_view name) const {
  for (const TensorEntry &tensor : tensors)
    if (tensor.name == name)
      return &tensor;
  return nullptr;
}

uint32_t Manifest::widestTracePoint() const {
  uint32_t widest = 0;
  for (const TracePoint &point : trace)
    widest = std::max(widest, point.width);
  return widest;
}

uint64_t Manifest::stateBytes() const {
  uint64_t bytes = 0;
  for (const StatePlace &state : states)
    bytes += state.rowBytes;
  return bytes;
}

uint32_t Manifest::pagesPerSequence() const {
  return (context + RONDO_RT_PAGE_POSITIONS - 1) / RONDO_RT_PAGE_POSITIONS;
}

/// Calls `read(reader, index)` for each object of an array.
template <typename Read>
static Error readEach(const Json &array, const std::string &where, Read read) {
  size_t index = 0;
  for (const Json &element : array) {
    ObjectReader reader(element, where + "[" + std::to_string(index++) + "]");
    read(reader);
    if (Error error = reader.finish())
      return error;
  }
  return nullptr;
}

static Error readTarget(const Json &json, Manifest &manifest) {
  ObjectReader reader(json, "manifest.target");
  manifest.targetKind = reader.text("kind");
  reader.text("cpu");
  reader.texts("features");
  if (Error error = reader.finish())
    return error;
  if (manifest.targetKind != "cpu")
    return makeError(
        RONDO_RT_STATUS_UNSUPPORTED,
        "bundle is for target '%.40s'; this runtime executes 'cpu', "
        "so compile with --target=cpu",
        manifest.targetKind.c_str());
  return nullptr;
}

/// The page must hold what its shape says; padding beyond that is the
/// compiler's.
static Error readKv(const Json &json, KvLayout &kv) {
  ObjectReader reader(json, "manifest.kv");
  kv.type = reader.text("type");
  kv.slots = reader.integer("slots", 0, 0xffff);
  uint64_t heads = reader.integer("heads", 0, kMaxCount);
  uint64_t headDim = reader.integer("head_dim", 0, kMaxCount);
  uint64_t padded = reader.integer("padded_head_dim", headDim, kMaxCount);
  reader.integer("page_positions", RONDO_RT_PAGE_POSITIONS,
                 RONDO_RT_PAGE_POSITIONS);
  kv.pageBytes = reader.integer("page_bytes", 0, kMaxBytes);
  reader.text("policy");
  kv.chunkInvariant = reader.boolean("chunk_invariant");
  if (Error error = reader.finish())
    return error;
  bool wide = kv.type == "f32";
  if (!wide && kv.type != "bf16" && kv.type != "f16")
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "'manifest.kv.type' must be f32, bf16 or f16, got '%.40s'",
                     kv.type.c_str());
  if (kv.pageBytes % RONDO_RT_ALIGNMENT)
    return makeError(
        RONDO_RT_STATUS_INVALID_BUNDLE,
        "'manifest.kv.page_bytes' must be a multiple of %u, got %llu",
        RONDO_RT_ALIGNMENT, (unsigned long long)kv.pageBytes);
  kv.positionBytes = 2 * heads * padded * (wide ? 4 : 2);
  // In floating point, since the product may exceed 64 bits.
  double needed = static_cast<double>(kv.positionBytes) * kv.slots *
                  RONDO_RT_PAGE_POSITIONS;
  if (static_cast<double>(kv.pageBytes) < needed)
    return makeError(
        RONDO_RT_STATUS_INVALID_BUNDLE,
        "'manifest.kv.page_bytes' is %llu, too few for %u positions of "
        "%u slots, which need %.0f",
        (unsigned long long)kv.pageBytes, RONDO_RT_PAGE_POSITIONS, kv.slots,
        needed);
  return nullptr;
}

/// Visits may be empty, but none may begin before the one in front of it.
static Error readVisitBegin(const Json &array, Manifest &manifest) {
  for (const Json &element : array) {
    uint64_t begin =
        element.is_number_unsigned() ? element.get<uint64_t>() : kMaxU64;
    uint64_t previous =
        manifest.visitBegin.empty() ? 0 : manifest.visitBegin.back();
    if (begin > manifest.executions || begin < previous)
      return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                       "'manifest.schedule.visit_begin' must ascend from 0 to "
                       "%u, the number of executions",
                       manifest.executions);
    manifest.visitBegin.push_back(static_cast<uint32_t>(begin));
  }
  if (manifest.visitBegin.size() < 2 || manifest.visitBegin.front() != 0 ||
      manifest.visitBegin.back() != manifest.executions)
    return makeError(
        RONDO_RT_STATUS_INVALID_BUNDLE,
        "'manifest.schedule.visit_begin' must start with 0 and end "
        "with %u, the number of executions",
        manifest.executions);
  return nullptr;
}

static Error readSchedule(const Json &json, Manifest &manifest) {
  ObjectReader reader(json, "manifest.schedule");
  manifest.executions = reader.integer("executions", 1, kMaxCount);
  const Json &visitBegin = reader.array("visit_begin");
  const Json &bodies = reader.array("bodies");
  const Json &blocks = reader.array("blocks");
  reader.integer("unique_layers", 0, kMaxCount);
  reader.integer("executed_layers", 0, kMaxCount);
  manifest.depth = reader.integer("depth", 0, kMaxCount);
  if (Error error = reader.finish())
    return error;
  if (Error error = readVisitBegin(visitBegin, manifest))
    return error;
  Error error =
      readEach(bodies, reader.where() + ".bodies", [&](ObjectReader &body) {
        manifest.bodies.push_back(body.text("name"));
      });
  if (error)
    return error;
  return readEach(blocks, reader.where() + ".blocks", [](ObjectReader &block) {
    block.text("name");
    block.integer("layers", 1, kMaxCount);
    block.integer("visits", 1, kMaxCount);
  });
}

/// Whether the entries are right is known when the code header is read.
static Error readEntries(const Json &json, Manifest &manifest) {
  static const char *const kNames[] = {"full", "prelude", "depth_step", "coda"};
  static_assert(sizeof(kNames) / sizeof(*kNames) == RONDO_RT_ENTRY_COUNT);
  ObjectReader reader(json, "manifest.entries");
  for (unsigned i = 0; i < RONDO_RT_ENTRY_COUNT; ++i)
    manifest.entries[i] = reader.integer(kNames[i], 0, kMaxBytes);
  return reader.finish();
}

/// Rows are copied from and to the arena, so they must lie inside of it, and
/// apart.
static Error readStates(const Json &json, Manifest &manifest) {
  Error error = readEach(json, "manifest.states", [&](ObjectReader &reader) {
    StatePlace state;
    state.offset = reader.integer("offset", 0, kMaxBytes);
    state.rowBytes = reader.integer("row_bytes", 1, kMaxWidth);
    manifest.states.push_back(state);
  });
  if (error)
    return error;
  uint64_t end = 0;
  for (const StatePlace &state : manifest.states) {
    if (state.offset < end)
      return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                       "'manifest.states' must ascend without overlap, but one "
                       "begins at %llu and the one before it ends at %llu",
                       (unsigned long long)state.offset,
                       (unsigned long long)end);
    end = state.offset + state.rowBytes * manifest.rows;
  }
  if (end > manifest.arenaBytes)
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "'manifest.states' end at byte %llu of an arena of %llu",
                     (unsigned long long)end,
                     (unsigned long long)manifest.arenaBytes);
  return nullptr;
}

static Error parseInit(const std::string &text, InputPlace &input) {
  input.init = text == "zeros"    ? InputInit::Zeros
               : text == "normal" ? InputInit::Normal
                                  : InputInit::Given;
  if (input.init != InputInit::Given || text == "given")
    return nullptr;
  return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                   "input '%.40s' has the init '%.40s', this runtime knows "
                   "given, zeros and normal; compile the model again with this "
                   "version",
                   input.name.c_str(), text.c_str());
}

/// Rows are written to states, so they must fit.
static Error readInputs(const Json &json, Manifest &manifest) {
  std::vector<std::string> inits;
  Error error = readEach(json, "manifest.inputs", [&](ObjectReader &reader) {
    InputPlace input;
    input.name = reader.text("name");
    input.state = reader.integer("state", 0, kMaxCount);
    input.width = reader.integer("width", 1, kMaxWidth);
    inits.push_back(reader.text("init"));
    input.deviation = reader.number("deviation");
    manifest.inputs.push_back(std::move(input));
  });
  for (size_t i = 0; !error && i < manifest.inputs.size(); ++i) {
    InputPlace &input = manifest.inputs[i];
    if (input.state >= manifest.states.size() ||
        input.width * sizeof(float) > manifest.states[input.state].rowBytes)
      return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                       "input '%.40s' of %u floats does not fit state %u of "
                       "the manifest",
                       input.name.c_str(), input.width, input.state);
    error = parseInit(inits[i], input);
  }
  return error;
}

/// A record holds the depth as its first number, and visits are in the
/// schedule.
static Error readRouting(const Json &json, Manifest &manifest) {
  Error error = readEach(json, "manifest.routing", [&](ObjectReader &reader) {
    RoutingPlace place;
    place.state = reader.integer("state", 0, kMaxCount);
    place.firstVisit = reader.integer("first_visit", 0, kMaxCount);
    place.visits = reader.integer("visits", 1, INT16_MAX);
    size_t scope = reader.word("scope", {"row", "cohort", "call"});
    place.cohort = scope > 0;
    place.call = scope == 2;
    manifest.routing.push_back(place);
  });
  if (error || manifest.routing.empty())
    return error;
  const RoutingPlace &place = manifest.routing.front();
  uint64_t visits = manifest.visitBegin.size() - 1;
  if (manifest.routing.size() == 1 && place.state < manifest.states.size() &&
      manifest.states[place.state].rowBytes >= sizeof(float) &&
      static_cast<uint64_t>(place.firstVisit) + place.visits <= visits)
    return nullptr;
  return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                   "'manifest.routing' must hold one loop at most, with a "
                   "state of the manifest and visits of the schedule");
}

static Error readScope(const std::string &scope, Manifest &manifest) {
  manifest.cohort = scope == "cohort";
  if (manifest.cohort || scope == "row")
    return nullptr;
  return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                   "'manifest.scope' must be row or cohort, got '%.40s'",
                   scope.c_str());
}

/// What is drawn from must be logits of the vocabulary's width at the start of
/// a row.
static Error readOutputs(const Json &json, Manifest &manifest) {
  uint64_t end = 0;
  Error error = readEach(json, "manifest.outputs", [&](ObjectReader &reader) {
    Output output;
    output.name = reader.text("name");
    output.offset = reader.integer("offset", end, manifest.logitsStride);
    output.width =
        reader.integer("width", 1, manifest.logitsStride - output.offset);
    output.first = reader.boolean("first");
    end = output.offset + output.width;
    manifest.outputs.push_back(std::move(output));
  });
  if (error)
    return error;
  if (manifest.outputs.empty())
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "'manifest.outputs' must name at least one output");
  const Output &first = manifest.outputs.front();
  if (manifest.hasLogits() &&
      (first.offset || first.first || first.width != manifest.vocabulary))
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "'manifest.outputs' must have logits of all rows at "
                     "offset 0, %u wide, got offset %u and width %u",
                     manifest.vocabulary, first.offset, first.width);
  return nullptr;
}

static Error readStages(const Json &json, Manifest &manifest) {
  return readEach(json, "manifest.stages", [&](ObjectReader &reader) {
    Stage stage;
    stage.name = reader.text("name");
    stage.executions = reader.integer("executions", 0, kMaxCount);
    stage.bytes = reader.integer("bytes", 0, kMaxBytes);
    stage.sideBytes = reader.integer("side_bytes", 0, stage.bytes);
    stage.flops = reader.integer("flops", 0, kMaxBytes);
    manifest.stages.push_back(std::move(stage));
  });
}

static Error readTrace(const Json &json, Manifest &manifest) {
  return readEach(json, "manifest.trace", [&](ObjectReader &reader) {
    TracePoint point;
    point.name = reader.text("name");
    point.index =
        static_cast<int32_t>(reader.integerOrMinusOne("index", kMaxCount));
    point.form = static_cast<rondo_rt_trace_form>(reader.word(
        "form", {"rows", "numbers", "integers", "present", "positions"}));
    bool isRow = point.form == RONDO_RT_TRACE_ROWS;
    point.width = reader.integer("width", 1, isRow ? kMaxWidth : 1);
    manifest.trace.push_back(std::move(point));
  });
}

static Error readTensors(const Json &json, Manifest &manifest) {
  return readEach(json, "manifest.tensors", [&](ObjectReader &reader) {
    TensorEntry tensor;
    tensor.name = reader.text("name");
    tensor.offset = reader.integer("offset", 0, kMaxBytes);
    tensor.bytes = reader.integer("bytes", 0, kMaxBytes);
    tensor.hash = reader.text("hash");
    manifest.tensors.push_back(std::move(tensor));
  });
}

static Error readPacking(const Json &json, Manifest &manifest) {
  // Offsets and sizes are read against the region's end, so sums cannot
  // overflow.
  return readEach(json, "manifest.packing", [&](ObjectReader &reader) {
    Packing packing;
    packing.name = reader.text("name");
    packing.offset = reader.integer("offset", 0, manifest.weightBytes);
    packing.bytes =
        reader.integer("bytes", 0, manifest.weightBytes - packing.offset);
    packing.type = reader.text("type");
    reader.integer("k", 0, kMaxBytes);
    reader.integer("units", 0, kMaxBytes);
    reader.integer("entries", 0, kMaxCount);
    reader.integer("entry_stride", 0, kMaxBytes);
    reader.texts("sources");
    manifest.packing.push_back(std::move(packing));
  });
}

/// A stop token beyond the vocabulary is harmless: it is never drawn.
static Error readStopTokens(const Json &array, Manifest &manifest) {
  for (const Json &element : array) {
    if (!element.is_number_unsigned() ||
        element.get<uint64_t>() >= RONDO_RT_NONE)
      return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                       "'manifest.stop_tokens' must hold token ids only");
    manifest.stopTokens.push_back(element.get<uint32_t>());
  }
  return nullptr;
}

/// Members that only people and other programs read are checked for their type.
static void readDescription(ObjectReader &reader) {
  reader.text("producer");
  reader.text("architecture");
  reader.text("name");
  reader.integer("hidden", 1, kMaxWidth);
  reader.boolean("chat_template");
  reader.boolean("tokenizer");
  reader.boolean("trace_points");
}

/// Says which versions the bundle has if they are not ours.
static Error checkVersions(const Json &json) {
  auto number = [&](const char *key) -> uint64_t {
    auto it = json.find(key);
    return it != json.end() && it->is_number_unsigned() ? it->get<uint64_t>()
                                                        : kMaxU64;
  };
  // Before anything else: another version may have other keys.
  if (json.is_object() && number("format") == 1 &&
      number("abi") == RONDO_RT_ABI_VERSION)
    return nullptr;
  if (!json.is_object() || !json.contains("format") || !json.contains("abi"))
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "manifest has no 'format' and 'abi' version");
  return makeError(
      RONDO_RT_STATUS_UNSUPPORTED,
      "bundle has format %.20s, ABI %.20s, this runtime reads format "
      "1, ABI %u; compile the model again with this version",
      json["format"].dump().c_str(), json["abi"].dump().c_str(),
      RONDO_RT_ABI_VERSION);
}

static Error readParts(const Json &json, Manifest &manifest) {
  ObjectReader reader(json, "manifest");
  reader.integer("format", 1, 1);
  reader.integer("abi", RONDO_RT_ABI_VERSION, RONDO_RT_ABI_VERSION);
  readDescription(reader);
  manifest.vocabulary = reader.integer("vocabulary", 1, kMaxWidth);
  manifest.context = reader.integer("context", 1, kMaxCount);
  manifest.sequences = reader.integer("sequences", 1, 1u << 16);
  manifest.rows = reader.integer("rows", 1, 1u << 20);
  manifest.arenaBytes = reader.integer("arena_bytes", 0, kMaxBytes);
  manifest.scratchBytes = reader.integer("scratch_bytes", 0, kMaxBytes);
  manifest.logitsStride = reader.integer("logits_stride", 1, kMaxWidth);
  manifest.tokenTypes = reader.integer("token_types", 0, kMaxCount);
  manifest.weightBytes = reader.integer("weight_bytes", 0, kMaxBytes);
  manifest.arithmetic = reader.text("arithmetic");
  manifest.weightType = reader.text("weights");
  manifest.weightless = reader.boolean("weightless");
  std::string scope = reader.text("scope");
  const Json &outputs = reader.array("outputs");
  const Json &target = reader.object("target");
  const Json &kv = reader.object("kv");
  const Json &stopTokens = reader.array("stop_tokens");
  const Json &schedule = reader.object("schedule");
  const Json &entries = reader.object("entries");
  const Json &states = reader.array("states");
  const Json &inputs = reader.array("inputs");
  const Json &routing = reader.array("routing");
  const Json &stages = reader.array("stages");
  const Json &trace = reader.array("trace");
  const Json &tensors = reader.array("tensors");
  const Json &packing = reader.array("packing");
  const Json &archives = reader.array("archives");
  if (Error error = reader.finish())
    return error;
  if (Error error = readScope(scope, manifest))
    return error;
  if (Error error = readOutputs(outputs, manifest))
    return error;
  if (Error error = readTarget(target, manifest))
    return error;
  if (Error error = readKv(kv, manifest.kv))
    return error;
  if (Error error = readStopTokens(stopTokens, manifest))
    return error;
  if (Error error = readSchedule(schedule, manifest))
    return error;
  if (Error error = readEntries(entries, manifest))
    return error;
  if (Error error = readStates(states, manifest))
    return error;
  if (Error error = readInputs(inputs, manifest))
    return error;
  if (Error error = readRouting(routing, manifest))
    return error;
  if (Error error = readStages(stages, manifest))
    return error;
  if (Error error = readTrace(trace, manifest))
    return error;
  if (Error error = readTensors(tensors, manifest))
    return error;
  if (Error error = readPacking(packing, manifest))
    return error;
  return readEach(archives, "manifest.archives", [](ObjectReader &archive) {
    archive.text("name");
    archive.text("hash");
  });
}

Error rondo_rt::parseManifest(std::string_view text, Manifest &manifest) {
  Json json;
  if (Error error = parseJson(text, "manifest", json))
    return error;
  if (Error error = checkVersions(json))
    return error;
  return readParts(json, manifest);
}
