//===- BundleTest.cpp - which bundles are accepted ------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Each case breaks one thing of a valid bundle, with hashes made right again,
// and expects the message that names it.
//===----------------------------------------------------------------------===//
#include "Hash.h"
#include "TestSupport.h"

#include <cmath>
#include <cstring>
#include <doctest/doctest.h>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

namespace {

/// The result of loading a bundle whose complete manifest was changed.
template <typename Change> Result loadChanged(Change change) {
  Parts parts = makeParts();
  parts.changeManifest = change;
  return load(assemble(parts));
}

/// The same for one number of the code header.
template <typename T> Result loadWithCode(size_t offset, T value) {
  Parts parts = makeParts();
  std::memcpy(parts.tensor("code.cpu").data() + offset, &value, sizeof(value));
  return load(assemble(parts));
}

/// The result of replacing text of the manifest.
Result loadReplaced(const std::string &from, const std::string &to) {
  Parts parts = makeParts();
  parts.changeText = [&](std::string &text) {
    size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    text.replace(at, from.size(), to);
  };
  return load(assemble(parts));
}

} // namespace

TEST_CASE("a valid bundle loads and tells what it is") {
  DemoOptions options;
  options.tokenizer = true;
  Model model = loadValid(options);
  const rondo_rt_model_info *info = rondo_rt_model_get_info(model.get());
  CHECK(info->vocabulary == kVocabulary);
  CHECK(info->context == kContext);
  CHECK(info->depth == kVisits);
  CHECK(info->execution_count == 2);
  CHECK(info->executions[1].slot == 1);
  CHECK(info->stop_token_count == 1);
  CHECK(info->stop_tokens[0] == 39);
  uint64_t bytes = 0;
  const void *tokenizer =
      rondo_rt_model_tensor(model.get(), "tokenizer.json", &bytes);
  REQUIRE(tokenizer);
  CHECK(std::string(static_cast<const char *>(tokenizer), bytes) ==
        "{\"demo\": true}");
  CHECK(rondo_rt_model_tensor(model.get(), "nothing", &bytes) == nullptr);
  CHECK(Result(rondo_rt_model_verify(model.get())).ok());
}

TEST_CASE("the hash is the published one") {
  // From the xxHash repository's sanity checks: XXH3-128 of no input, seed 0.
  CHECK(rondo_rt::hashBytes("", 0) == "99aa06d3014798d86001c324468d497f");
}

TEST_CASE("files that are no bundles") {
  CHECK(load("").mentions("the file is empty"));
  CHECK(load("short").mentions("too short"));
  CHECK(load(std::string(5000, '\xff')).mentions("does not begin as a bundle"));
  CHECK(load("GGUF" + std::string(5000, '\3')).mentions("a GGUF checkpoint"));
  CHECK(load("GGUF" + std::string(5000, '\3')).mentions("with rondoc"));
  CHECK(load(std::string(8, '\x7f') + "{}").mentions("header length"));
  std::string wrongStart =
      std::string("\x10\0\0\0\0\0\0\0", 8) + "{}" + std::string(100, ' ');
  CHECK(load(wrongStart).mentions("multiple of 4096"));
  uint64_t length = 4088;
  std::string frame(reinterpret_cast<char *>(&length), 8);
  auto withHeader = [&](std::string header) {
    header.resize(length, ' ');
    return frame + header;
  };
  CHECK(load(withHeader("[1]")).mentions("not a JSON object"));
  CHECK(load(withHeader("{\"a\" 1}")).mentions("not valid JSON"));
  CHECK(load(withHeader("{}")).mentions("__metadata__"));
  CHECK(load(withHeader("{\"__metadata__\": 3}")).mentions("an object"));
  CHECK(load(withHeader("{\"__metadata__\": {}}")).mentions("is missing"));
  rondo_rt_model *model = nullptr;
  CHECK(Result(rondo_rt_model_load("/nonexistent/a.rondo", nullptr, &model))
            .mentions("cannot open"));
  CHECK(
      Result(rondo_rt_model_load("/", nullptr, &model)).mentions("not a file"));
  CHECK(model == nullptr);
}

TEST_CASE("deep nesting is an error, not a stack overflow") {
  uint64_t length = 8 * 4096 - 8;
  std::string header =
      "{\"a\": " + std::string(15000, '[') + std::string(15000, ']') + "}";
  header.resize(length, ' ');
  std::string frame(reinterpret_cast<char *>(&length), 8);
  CHECK(load(frame + header).mentions("nested deeper"));
}

TEST_CASE("the manifest's hash is checked") {
  Parts parts = makeParts();
  parts.changeHeader = [](Json &header) {
    std::string &hash =
        header["__metadata__"]["rondo.manifest_hash"].get_ref<std::string &>();
    hash[3] = hash[3] == '0' ? '1' : '0';
  };
  CHECK(load(assemble(parts)).mentions("manifest does not match its hash"));
}

TEST_CASE("manifests with other text than JSON allows") {
  CHECK(loadReplaced("\"rows\":16", "\"rows\":NaN").mentions("not valid JSON"));
  CHECK(
      loadReplaced("\"rows\":16", "\"rows\":1e999").mentions("not valid JSON"));
  CHECK(loadReplaced("\"rows\":16", "\"rows\":16,\"rows\":16")
            .mentions("duplicate key 'rows'"));
  CHECK(loadReplaced("\"rows\":16", "\"rows\":16.0")
            .mentions("'manifest.rows' must be an integer"));
  CHECK(loadReplaced("\"rows\":16", "\"rows\":99999999999999999999999")
            .mentions("'manifest.rows' must be an integer"));
  CHECK(loadReplaced("\"slots\":2", "\"slots\":2,\"slots\":2")
            .mentions("duplicate key 'slots'"));
}

TEST_CASE("versions are checked before anything else") {
  Result format = loadChanged([](Json &manifest) {
    manifest["format"] = 2;
    manifest["a key of the future"] = 1;
  });
  CHECK(format.code == RONDO_RT_STATUS_UNSUPPORTED);
  CHECK(format.mentions("format 2, ABI 2"));
  CHECK(loadChanged([](Json &m) { m["abi"] = 7; }).mentions("ABI 7"));
  CHECK(loadChanged([](Json &m) { m.erase("abi"); }).mentions("no 'format'"));
}

static Json makeInput(const char *init, uint32_t state, uint32_t width,
                      double deviation = 1.0) {
  return {{"name", "x"},
          {"state", state},
          {"width", width},
          {"init", init},
          {"deviation", deviation}};
}

/// A trace of one point.
static Json makeTrace(const char *form, int width) {
  Json point = {{"name", "x"}, {"index", 0}, {"width", width}, {"form", form}};
  return Json::array({point});
}

/// An entry of `routing`.
static Json makeRouting(int state, int firstVisit, int visits,
                        const char *scope) {
  return {{"state", state},
          {"first_visit", firstVisit},
          {"visits", visits},
          {"scope", scope}};
}

TEST_CASE("every number of the manifest is checked") {
  using Change = void (*)(Json &);
  struct {
    Change change;
    const char *message;
  } const kCases[] = {
      {[](Json &m) { m["rows"] = 0; }, "manifest.rows"},
      {[](Json &m) { m["rows"] = -1; }, "manifest.rows"},
      {[](Json &m) { m["context"] = 1u << 30; }, "manifest.context"},
      {[](Json &m) { m["sequences"] = 0; }, "manifest.sequences"},
      {[](Json &m) { m["arena_bytes"] = ~0ull; }, "manifest.arena_bytes"},
      {[](Json &m) { m["logits_stride"] = 39; }, "manifest.outputs[0].width"},
      {[](Json &m) { m["outputs"] = "logits"; }, "manifest.outputs"},
      {[](Json &m) { m["outputs"] = Json::array(); }, "at least one output"},
      {[](Json &m) { m["outputs"][0]["width"] = 39; }, "logits of all rows"},
      {[](Json &m) { m["outputs"][0]["first"] = true; }, "logits of all rows"},
      {[](Json &m) { m["outputs"].push_back(m["outputs"][0]); },
       "manifest.outputs[1].offset"},
      {[](Json &m) { m["scope"] = "step"; }, "must be row or cohort"},
      {[](Json &m) { m["token_types"] = -1; }, "manifest.token_types"},
      {[](Json &m) { m["target"]["kind"] = "nvptx"; }, "target 'nvptx'"},
      {[](Json &m) { m["kv"]["type"] = "f8"; }, "manifest.kv.type"},
      {[](Json &m) { m["kv"]["page_positions"] = 64; }, "page_positions"},
      {[](Json &m) { m["kv"]["page_bytes"] = 8191; }, "multiple of 64"},
      {[](Json &m) { m["kv"]["page_bytes"] = 4096; }, "too few"},
      {[](Json &m) { m["kv"]["heads"] = 1u << 24; }, "too few"},
      {[](Json &m) { m["kv"]["padded_head_dim"] = 3; }, "padded_head_dim"},
      {[](Json &m) { m["schedule"]["visit_begin"] = {0, 2, 1}; }, "ascend"},
      {[](Json &m) { m["schedule"]["visit_begin"] = {0, 1}; }, "end with 2"},
      {[](Json &m) { m["schedule"]["visit_begin"] = {0, 1, 2.0}; }, "ascend"},
      {[](Json &m) { m["schedule"]["executions"] = 1; }, "visit_begin"},
      {[](Json &m) { m["schedule"]["bodies"] = Json::array(); }, "body 0"},
      {[](Json &m) { m["kv"]["slots"] = 1; }, "slot 1"},
      {[](Json &m) { m.erase("states"); }, "manifest.states' is missing"},
      {[](Json &m) { m["routing"] = {makeRouting(1, 0, 1, "row")}; },
       "'manifest.routing' must hold one loop at most"},
      {[](Json &m) { m["routing"] = {makeRouting(0, 1, 9, "cohort")}; },
       "'manifest.routing' must hold one loop at most"},
      {[](Json &m) { m["routing"] = {makeRouting(0, 0, 1, "model")}; },
       "scope"},
      {[](Json &m) { m["states"][0]["row_bytes"] = 0; }, "row_bytes"},
      {[](Json &m) { m["states"][0]["row_bytes"] = 36; }, "an arena of 512"},
      {[](Json &m) { m["states"].push_back(m["states"][0]); },
       "must ascend without overlap"},
      {[](Json &m) { m.erase("inputs"); }, "manifest.inputs' is missing"},
      {[](Json &m) { m["inputs"] = {makeInput("zeros", 0, 9)}; },
       "input 'x' of 9 floats does not fit state 0"},
      {[](Json &m) { m["inputs"] = {makeInput("zeros", 1, 8)}; },
       "does not fit state 1"},
      {[](Json &m) { m["inputs"] = {makeInput("ones", 0, 8)}; },
       "has the init 'ones'"},
      {[](Json &m) { m["inputs"] = {makeInput("normal", 0, 8, -1.0)}; },
       "deviation' must be a finite number of at least 0"},
      {[](Json &m) { m["stop_tokens"] = {-1}; }, "manifest.stop_tokens"},
      {[](Json &m) { m["trace"] = makeTrace("sums", 1); },
       "form' is 'sums', expected one of rows, numbers, integers"},
      {[](Json &m) { m["trace"] = makeTrace("numbers", 2); },
       "width' must be in [1, 1], got 2"},
      {[](Json &m) { m["target"]["features"] = {1}; }, "strings only"},
      {[](Json &m) { m["weight_bytes"] = 1; }, "manifest.packing"},
      {[](Json &m) { m["weight_bytes"] = 1000; }, "its manifest says 1000"},
      {[](Json &m) { m["weightless"] = true; }, "its manifest says"},
      {[](Json &m) { m["packing"][1]["offset"] = 60; }, "overlaps"},
      {[](Json &m) { m["packing"][1]["name"] = "weight.x"; },
       "not the tensor of that name"},
      {[](Json &m) { m["entries"]["coda"] = 64; }, "entry points"},
  };
  for (const auto &each : kCases) {
    CAPTURE(std::string(each.message));
    CHECK(loadChanged(each.change).mentions(each.message));
  }
}

TEST_CASE("the tensor table is checked") {
  using Change = void (*)(Json &);
  struct {
    Change change;
    const char *message;
  } const kCases[] = {
      {[](Json &m) { m["tensors"][0]["offset"] = 1; }, "misaligned"},
      {[](Json &m) { m["tensors"][1]["offset"] = 64; }, "overlaps"},
      {[](Json &m) { m["tensors"][3]["offset"] = ~0ull; }, "must be in"},
      {[](Json &m) { m["tensors"][3]["bytes"] = 1ull << 48; }, "the manifest "
                                                               "needs"},
      {[](Json &m) { m["tensors"][3]["bytes"] = 0; }, "is empty"},
      {[](Json &m) { std::swap(m["tensors"][0], m["tensors"][1]); },
       "out of order"},
      {[](Json &m) { m["tensors"][1]["name"] = "code.cpu"; }, "out of order"},
      {[](Json &m) { m["tensors"][1]["name"] = "other"; }, "unknown tensor"},
      {[](Json &m) { m["tensors"].erase(3); }, "the manifest needs"},
      {[](Json &m) { m["tensors"] = Json::array(); }, "the manifest needs"},
      {[](Json &m) { m["tensors"][1]["bytes"] = 16; }, "disagree"},
  };
  for (const auto &each : kCases) {
    CAPTURE(std::string(each.message));
    CHECK(loadChanged(each.change).mentions(each.message));
  }
}

TEST_CASE("the header must say what the manifest implies") {
  auto loadHeader = [](auto change) {
    Parts parts = makeParts();
    parts.changeHeader = change;
    return load(assemble(parts));
  };
  CHECK(loadHeader([](Json &header) {
          header["extra"] = 1;
        }).mentions("header lists"));
  CHECK(loadHeader([](Json &header) {
          header["code.cpu"]["dtype"] = "I8";
        }).mentions("disagree on tensor 'code.cpu'"));
  CHECK(loadHeader([](Json &header) {
          header.erase("weight.head");
        }).mentions("lacks tensor 'weight.head'"));
  CHECK(loadHeader([](Json &header) {
          header.erase("pad.0");
        }).mentions("lacks tensor 'pad.0'"));
  CHECK(loadHeader([](Json &header) {
          header["__metadata__"]["more"] = "x";
        }).mentions("unknown key 'more'"));
}

TEST_CASE("the code header is checked") {
  CHECK(loadWithCode<uint32_t>(0, 1).mentions("code image has magic"));
  Result abi = loadWithCode<uint32_t>(4, 3);
  CHECK(abi.code == RONDO_RT_STATUS_UNSUPPORTED);
  CHECK(abi.mentions("code image has ABI 3"));
  CHECK(loadWithCode<uint64_t>(16, 64).mentions("code image has magic"));
  CHECK(loadWithCode<uint32_t>(24, 200).mentions("a context of 200"));
  CHECK(loadWithCode<uint32_t>(28, 5).mentions("5 entries"));
  CHECK(loadWithCode<uint64_t>(32, 1ull << 40).mentions("entry points"));
  // Manifest and image agree on an entry outside of the image, or misaligned.
  for (uint64_t entry : {uint64_t(0), uint64_t(72), uint64_t(1) << 40}) {
    Parts parts = makeParts();
    std::memcpy(parts.tensor("code.cpu").data() + 32, &entry, sizeof(entry));
    parts.manifest["entries"]["full"] = entry;
    CHECK(load(assemble(parts)).mentions("entry points"));
  }
}

TEST_CASE("a bundle for another CPU is refused, but can be looked at") {
  Parts parts = makeParts();
  uint64_t features = 1ull << 63;
  std::memcpy(parts.tensor("code.cpu").data() + 8, &features, sizeof(features));
  std::string bytes = assemble(parts);
  Result result = load(bytes);
  CHECK(result.code == RONDO_RT_STATUS_UNSUPPORTED);
  CHECK(result.mentions("unknown bit 63"));
  Model model;
  CHECK(load(bytes, &model, RONDO_RT_MODEL_INSPECT).ok());
  rondo_rt_session *session = nullptr;
  CHECK(Result(rondo_rt_session_create(model.get(), nullptr, &session))
            .mentions("loaded for inspection"));
}

TEST_CASE("the schedule is checked") {
  auto loadSchedule = [](size_t offset, uint32_t value, size_t bytes) {
    Parts parts = makeParts();
    std::memcpy(parts.tensor("schedule.executions").data() + offset, &value,
                bytes);
    return load(assemble(parts));
  };
  CHECK(loadSchedule(16, 1, 2).mentions("execution 1 of the schedule"));
  CHECK(loadSchedule(6, 2, 2).mentions("slot 2"));
  CHECK(loadSchedule(8, 0, 4).mentions("trace point 0"));
  CHECK(loadSchedule(12, 1, 4).mentions("execution 0"));
  Parts parts = makeParts();
  parts.tensor("schedule.executions").resize(16);
  CHECK(load(assemble(parts)).mentions("2 executions need 32"));
}

TEST_CASE("damaged weights are found by verification only") {
  Parts parts = makeParts();
  std::string bytes = assemble(parts);
  bytes.back() ^= 1;
  Model model;
  REQUIRE(load(bytes, &model).ok());
  CHECK(Result(rondo_rt_model_verify(model.get()))
            .mentions("'weight.head' does not match its hash"));
}

TEST_CASE("a weightless bundle fills its weights from the seed") {
  DemoOptions options;
  options.weightless = true;
  Model a = loadValid(options), b = loadValid(options);
  Session first = makeSession(a), second = makeSession(b);
  auto logitsOf = [](const Session &session) {
    uint32_t sequence = 0, output = 0;
    REQUIRE(Result(rondo_rt_sequence_create(session.get(), &sequence)).ok());
    rondo_rt_row row = makeRow(sequence, 0, 1);
    REQUIRE(
        Result(rondo_rt_session_step(session.get(), &row, 1, &output, 1)).ok());
    const float *logits = rondo_rt_session_logits(session.get());
    return std::vector<float>(logits, logits + kVocabulary);
  };
  std::vector<float> logits = logitsOf(first);
  CHECK(logits == logitsOf(second));
  // The fractions are the head's weights: all in the documented range.
  for (float value : logits) {
    float fraction = std::abs(value - std::round(value));
    CHECK(fraction > 0.005f);
    CHECK(fraction < 0.04f);
  }
}
