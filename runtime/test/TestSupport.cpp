//===- TestSupport.cpp - what the runtime's tests share -------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

MemoryFile::MemoryFile(const std::string &bytes)
    : file_(memfd_create("bundle", MFD_CLOEXEC)) {
  REQUIRE(file_ >= 0);
  REQUIRE(::write(file_, bytes.data(), bytes.size()) ==
          static_cast<ssize_t>(bytes.size()));
}

MemoryFile::~MemoryFile() { close(file_); }

void MemoryFile::write(uint64_t offset, char byte) {
  REQUIRE(pwrite(file_, &byte, 1, static_cast<off_t>(offset)) == 1);
}

void MemoryFile::resize(uint64_t bytes) {
  REQUIRE(ftruncate(file_, static_cast<off_t>(bytes)) == 0);
}

std::string MemoryFile::path() const {
  return "/proc/self/fd/" + std::to_string(file_);
}

Result::Result(rondo_rt_status *status)
    : code(rondo_rt_status_get_code(status)),
      message(rondo_rt_status_message(status)) {
  rondo_rt_status_free(status);
}

bool Result::mentions(const std::string &text) const {
  bool found = !ok() && message.find(text) != std::string::npos;
  if (!found)
    MESSAGE("got: " << (ok() ? "success" : message));
  return found;
}

Result rondo_rt_test::load(const std::string &bytes, Model *model,
                           uint32_t flags) {
  MemoryFile file(bytes);
  rondo_rt_model_options options = {};
  options.flags = flags;
  rondo_rt_model *loaded = nullptr;
  Result result = rondo_rt_model_load(file.path().c_str(), &options, &loaded);
  CHECK(result.ok() == (loaded != nullptr));
  Model owner(loaded);
  if (model)
    *model = std::move(owner);
  return result;
}

Model rondo_rt_test::loadValid(const DemoOptions &options) {
  Model model;
  Result result = load(assemble(makeParts(options)), &model);
  REQUIRE_MESSAGE(result.ok(), result.message);
  return model;
}

Session rondo_rt_test::makeSession(const Model &model, uint32_t threads,
                                   uint64_t kvLimit, uint32_t flags) {
  rondo_rt_session_options options = {
      threads, flags | RONDO_RT_SESSION_OVERSUBSCRIBE, kvLimit};
  rondo_rt_session *session = nullptr;
  Result result = rondo_rt_session_create(model.get(), &options, &session);
  REQUIRE_MESSAGE(result.ok(), result.message);
  return Session(session);
}

rondo_rt_row rondo_rt_test::makeRow(uint32_t sequence, uint32_t position,
                                    uint32_t token) {
  rondo_rt_row row = {};
  row.sequence = sequence;
  row.position = position;
  row.token = token;
  row.visible = position + 1;
  return row;
}

Reference rondo_rt_test::computeReference(const std::vector<uint32_t> &tokens) {
  std::vector<float> weights = demoWeights();
  std::vector<std::vector<float>> state(tokens.size(),
                                        std::vector<float>(kHidden));
  for (uint32_t p = 0; p < tokens.size(); ++p)
    for (uint32_t d = 0; d < kHidden; ++d)
      state[p][d] = static_cast<float>((tokens[p] * (d + 3) + p) % 17);
  Reference reference;
  for (uint32_t visit = 0; visit < kVisits; ++visit) {
    std::vector<std::vector<float>> next = state;
    for (uint32_t p = 0; p < tokens.size(); ++p)
      for (uint32_t d = 0; d < kHidden; ++d) {
        int64_t sum = static_cast<int64_t>(state[p][d]) +
                      static_cast<int64_t>(weights[visit * kHidden + d]);
        // Even elements sum keys, which are the lower half of the state.
        for (uint32_t seen = 0; seen <= p; ++seen)
          sum += static_cast<int64_t>(state[seen][d % 2 * 4 + d % 4]);
        next[p][d] = static_cast<float>(sum % 31);
      }
    state = next;
    reference.state.push_back(state);
  }
  for (const std::vector<float> &row : state) {
    std::vector<float> logits;
    for (uint32_t v = 0; v < kVocabulary; ++v) {
      int64_t sum = 0;
      for (uint32_t d = 0; d < kHidden; ++d)
        sum += static_cast<int64_t>(row[d]) * (v * (d + 3) % 13);
      logits.push_back(static_cast<float>(sum % 64) + weights[2 * kHidden + v]);
    }
    reference.logits.push_back(logits);
  }
  return reference;
}

std::vector<uint32_t>
rondo_rt_test::referenceGreedy(std::vector<uint32_t> tokens, uint32_t count) {
  std::vector<uint32_t> added;
  while (added.size() < count) {
    std::vector<float> logits = computeReference(tokens).logits.back();
    added.push_back(std::max_element(logits.begin(), logits.end()) -
                    logits.begin());
    tokens.push_back(added.back());
  }
  return added;
}

std::vector<uint32_t> rondo_rt_test::makePrompt(uint32_t length,
                                                uint32_t seed) {
  std::vector<uint32_t> prompt;
  for (uint32_t i = 0; i < length; ++i)
    prompt.push_back((seed * 31 + i * (7 + seed) + i * i) % kVocabulary);
  return prompt;
}
