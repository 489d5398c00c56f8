//===- DemoBundle.cpp - bundles of the hand-written image -----------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "DemoBundle.h"
#include "Hash.h"
#include "Memory.h"
#include "rondo_rt/abi.h"

#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

using namespace rondo_rt_demo;
using rondo_rt::hashBytes;
using rondo_rt::roundUp;

static constexpr uint64_t kStepBytes = 2 * kHidden * sizeof(float);
static constexpr uint64_t kHeadBytes = kVocabulary * sizeof(float);

std::string &Parts::tensor(const std::string &name) {
  for (auto &tensor : tensors)
    if (tensor.first == name)
      return tensor.second;
  throw std::out_of_range(name);
}

std::string rondo_rt_demo::readDemoImage() {
  std::ifstream file(RONDO_RT_DEMO_IMAGE, std::ios::binary);
  std::ostringstream bytes;
  if (!(bytes << file.rdbuf()))
    throw std::runtime_error("cannot read " RONDO_RT_DEMO_IMAGE);
  return bytes.str();
}

std::vector<float> rondo_rt_demo::demoWeights() {
  std::vector<float> weights;
  for (uint32_t i = 0; i < 2 * kHidden; ++i)
    weights.push_back(static_cast<float>(i * 5 % 11));
  for (uint32_t v = 0; v < kVocabulary; ++v)
    weights.push_back(static_cast<float>(v * 7 % 10));
  return weights;
}

static std::string bytesOf(const void *data, size_t bytes) {
  return std::string(static_cast<const char *>(data), bytes);
}

static std::string makeSchedule(bool tracePoints) {
  rondo_rt_execution executions[kVisits] = {};
  for (uint16_t visit = 0; visit < kVisits; ++visit) {
    executions[visit].side = visit;
    executions[visit].slot = visit;
    executions[visit].trace = tracePoints ? visit : RONDO_RT_NONE;
  }
  return bytesOf(executions, sizeof(executions));
}

static Json makePoint(const char *name, int index, uint64_t width) {
  return {{"name", name}, {"index", index}, {"width", width}, {"form", "rows"}};
}

static Json makeManifest(const std::string &image, const DemoOptions &options) {
  rondo_rt_code_header header;
  std::memcpy(&header, image.data(), sizeof(header));
  Json trace = Json::array();
  if (options.tracePoints)
    trace = {makePoint("hidden", 0, kHidden), makePoint("hidden", 1, kHidden),
             makePoint("final", -1, 4)};
  auto packing = [](const char *name, uint64_t offset, uint64_t bytes) {
    return Json{{"name", name},  {"offset", offset},      {"bytes", bytes},
                {"type", "f32"}, {"k", bytes / 4},        {"units", 1},
                {"entries", 1},  {"entry_stride", bytes}, {"sources", {name}}};
  };
  return {{"format", 1},
          {"abi", RONDO_RT_ABI_VERSION},
          {"producer", "written by hand"},
          {"target",
           {{"kind", "cpu"}, {"cpu", "x86-64"}, {"features", Json::array()}}},
          {"architecture", "demo"},
          {"name", "toy model of the ABI"},
          {"vocabulary", kVocabulary},
          {"context", kContext},
          {"sequences", kSequences},
          {"rows", kRows},
          {"hidden", kHidden},
          {"arena_bytes", kRows * kHidden * sizeof(float)},
          {"scratch_bytes", 0},
          {"logits_stride", kVocabulary},
          {"token_types", 0},
          {"scope", "row"},
          {"outputs",
           {{{"name", "logits"},
             {"width", kVocabulary},
             {"offset", 0},
             {"first", false}}}},
          {"kv",
           {{"type", "f32"},
            {"slots", 2},
            {"heads", 1},
            {"head_dim", 4},
            {"padded_head_dim", 4},
            {"page_positions", RONDO_RT_PAGE_POSITIONS},
            {"page_bytes", 2 * 2 * 4 * 4 * RONDO_RT_PAGE_POSITIONS},
            {"policy", "per-depth"},
            {"chunk_invariant", true}}},
          {"arithmetic", "exact"},
          {"weights", "f32"},
          {"stop_tokens", {39}},
          {"schedule",
           {{"executions", kVisits},
            {"visit_begin", {0, 1, 2}},
            {"bodies", {{{"name", "step"}}}},
            {"blocks", {{{"name", "step"}, {"layers", 1}, {"visits", 2}}}},
            {"unique_layers", 2},
            {"executed_layers", 2},
            {"depth", kVisits}}},
          {"entries",
           {{"full", header.entries[0]},
            {"prelude", header.entries[1]},
            {"depth_step", header.entries[2]},
            {"coda", header.entries[3]}}},
          {"states", {{{"offset", 0}, {"row_bytes", kHidden * sizeof(float)}}}},
          {"routing", Json::array()},
          {"inputs", Json::array()},
          {"stages",
           {{{"name", "step.attend"},
             {"executions", kVisits},
             {"bytes", kStepBytes / 2},
             {"side_bytes", 0},
             {"flops", 2 * kHidden}},
            {{"name", "head"},
             {"executions", 1},
             {"bytes", kHeadBytes},
             {"side_bytes", 0},
             {"flops", 2 * kHidden * kVocabulary}}}},
          {"trace", trace},
          {"weight_bytes", kStepBytes + kHeadBytes},
          {"packing",
           {packing("weight.step", 0, kStepBytes),
            packing("weight.head", kStepBytes, kHeadBytes)}},
          {"archives", Json::array()},
          {"chat_template", false},
          {"tokenizer", options.tokenizer},
          {"weightless", options.weightless},
          {"trace_points", options.tracePoints}};
}

Parts rondo_rt_demo::makeParts(const DemoOptions &options) {
  Parts parts;
  std::string image = readDemoImage();
  parts.manifest = makeManifest(image, options);
  parts.tensors.emplace_back("code.cpu", std::move(image));
  parts.tensors.emplace_back("schedule.executions",
                             makeSchedule(options.tracePoints));
  if (options.tokenizer)
    parts.tensors.emplace_back("tokenizer.json", "{\"demo\": true}");
  if (options.weightless)
    return parts;
  std::vector<float> weights = demoWeights();
  parts.tensors.emplace_back("weight.step",
                             bytesOf(weights.data(), kStepBytes));
  parts.tensors.emplace_back("weight.head",
                             bytesOf(weights.data() + 2 * kHidden, kHeadBytes));
  return parts;
}

/// Where a tensor may start, as an offset in a data section that starts at
/// `dataStart` of the file.
static uint64_t placeTensor(const std::string &name, uint64_t end,
                            uint64_t dataStart, bool firstWeight) {
  uint64_t alignment = firstWeight          ? rondo_rt::kHugePageBytes
                       : name == "code.cpu" ? rondo_rt::kPageBytes
                                            : RONDO_RT_ALIGNMENT;
  return roundUp(dataStart + end, alignment) - dataStart;
}

static Json tableEntry(uint64_t begin, uint64_t end) {
  return {{"dtype", "U8"},
          {"shape", {end - begin}},
          {"data_offsets", {begin, end}}};
}

/// The header and data for a data section that starts at `dataStart`.
static std::pair<std::string, std::string> layOut(const Parts &parts,
                                                  uint64_t dataStart) {
  Json manifest = parts.manifest, table = Json::object();
  std::string data;
  Json &listed = manifest["tensors"] = Json::array();
  bool weights = false;
  unsigned gaps = 0;
  for (const auto &[name, bytes] : parts.tensors) {
    bool weight = name.compare(0, 7, "weight.") == 0;
    uint64_t end = data.size();
    uint64_t offset = placeTensor(name, end, dataStart, weight && !weights);
    weights |= weight;
    if (offset > end)
      table["pad." + std::to_string(gaps++)] = tableEntry(end, offset);
    data.resize(offset, '\0');
    data += bytes;
    table[name] = tableEntry(offset, data.size());
    listed.push_back({{"name", name},
                      {"offset", offset},
                      {"bytes", bytes.size()},
                      {"hash", hashBytes(bytes.data(), bytes.size())}});
  }
  if (parts.changeManifest)
    parts.changeManifest(manifest);
  std::string text = manifest.dump();
  if (parts.changeText)
    parts.changeText(text);
  Json header = {
      {"__metadata__",
       {{"rondo.manifest", text},
        {"rondo.manifest_hash", hashBytes(text.data(), text.size())}}}};
  header.update(table);
  if (parts.changeHeader)
    parts.changeHeader(header);
  return {header.dump(), std::move(data)};
}

std::string rondo_rt_demo::assemble(const Parts &parts) {
  // The header's length depends on where the data starts and the other way
  // round.
  uint64_t dataStart = rondo_rt::kPageBytes;
  for (;;) {
    auto [header, data] = layOut(parts, dataStart);
    uint64_t length = dataStart - sizeof(uint64_t);
    if (header.size() > length) {
      dataStart =
          roundUp(header.size() + sizeof(uint64_t), rondo_rt::kPageBytes);
      continue;
    }
    header.resize(length, ' ');
    return bytesOf(&length, sizeof(length)) + header + data;
  }
}
