//===- BundleFuzzTest.cpp - damage anywhere is an error -------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Exhaustive rather than random: every byte of header, manifest, code and
// schedule flipped, every leaf of the manifest replaced, the file cut
// everywhere.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

#include <cstring>
#include <doctest/doctest.h>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

namespace {

Result loadFile(const MemoryFile &file) {
  rondo_rt_model *model = nullptr;
  Result result = rondo_rt_model_load(file.path().c_str(), nullptr, &model);
  rondo_rt_model_free(model);
  return result;
}

/// End of the parts that are checked at load: where the first weight starts.
uint64_t endOfChecked(const std::string &bytes) {
  std::vector<float> weights = demoWeights();
  return bytes.size() - weights.size() * sizeof(float);
}

/// All paths to leaves and containers of a JSON value.
void collectPaths(const Json &value, const Json::json_pointer &path,
                  std::vector<Json::json_pointer> &paths) {
  if (value.is_object())
    for (const auto &member : value.items())
      collectPaths(member.value(), path / member.key(), paths);
  else if (value.is_array())
    for (size_t i = 0; i < value.size(); ++i)
      collectPaths(value[i], path / i, paths);
  paths.push_back(path);
}

} // namespace

TEST_CASE("a flip of any byte that is checked at load is an error") {
  std::string bytes = assemble(makeParts());
  uint64_t headerLength = 0;
  std::memcpy(&headerLength, bytes.data(), sizeof(headerLength));
  uint64_t dense = 8 + headerLength + makeParts().tensor("code.cpu").size() +
                   makeParts().tensor("schedule.executions").size() + 64;
  REQUIRE(dense < endOfChecked(bytes));
  MemoryFile file(bytes);
  uint64_t accepted = 0;
  auto flip = [&](uint64_t at, char mask) {
    file.write(at, bytes[at] ^ mask);
    if (loadFile(file).ok()) {
      ++accepted;
      MESSAGE("flip " << int(mask) << " at byte " << at << " was accepted");
    }
    file.write(at, bytes[at]);
  };
  for (uint64_t at = 0; at < dense; ++at) {
    flip(at, static_cast<char>(1 << at % 8));
    flip(at, '\xff');
  }
  // The long padding before the weights, at intervals.
  for (uint64_t at = dense; at < endOfChecked(bytes); at += 65521)
    flip(at, 1);
  flip(endOfChecked(bytes) - 1, 4);
  CHECK(accepted == 0);
  CHECK(loadFile(file).ok()); // all flips were undone
}

TEST_CASE("a file cut anywhere, or too long, is an error") {
  std::string bytes = assemble(makeParts());
  MemoryFile file(bytes);
  uint64_t accepted = 0;
  for (uint64_t size = bytes.size(); size-- > bytes.size() - 300;) {
    file.resize(size);
    accepted += loadFile(file).ok();
  }
  for (uint64_t size = bytes.size() - 301; size > 20000; size -= 9973) {
    file.resize(size);
    accepted += loadFile(file).ok();
  }
  for (uint64_t size = 20000; size-- > 0; size -= size % 7) {
    file.resize(size);
    accepted += loadFile(file).ok();
  }
  CHECK(accepted == 0);
  CHECK(load(bytes + '\0').mentions("the manifest needs"));
  CHECK(load(bytes + std::string(4096, '\0')).mentions("the manifest needs"));
}

TEST_CASE("no member of the manifest can be left out or replaced") {
  DemoOptions options;
  options.tracePoints = true;
  Json complete;
  Parts parts = makeParts(options);
  parts.changeManifest = [&](Json &manifest) { complete = manifest; };
  REQUIRE(load(assemble(parts)).ok());
  std::vector<Json::json_pointer> paths;
  collectPaths(complete, Json::json_pointer(), paths);
  auto loadWith = [&](auto change) {
    parts.changeManifest = change;
    return load(assemble(parts));
  };
  const Json kReplacements[] = {
      nullptr, Json::array({Json::array()}), -7, 1.5, {{"x", 1}}};
  for (const Json::json_pointer &path : paths) {
    CAPTURE(path.to_string());
    for (const Json &replacement : kReplacements)
      CHECK_FALSE(loadWith([&](Json &m) { m[path] = replacement; }).ok());
    if (complete[path].is_object())
      CHECK(loadWith([&](Json &m) {
              m[path]["unknown"] = 1;
            }).mentions("unknown key"));
    if (!path.empty() && complete[path.parent_pointer()].is_object())
      CHECK_FALSE(loadWith([&](Json &m) {
                    m[path.parent_pointer()].erase(path.back());
                  }).ok());
    if (complete[path].is_number())
      CHECK_FALSE(loadWith([&](Json &m) { m[path] = ~0ull; }).ok());
  }
}
