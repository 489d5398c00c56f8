//===- SessionTest.cpp - steps, sequences and memory ----------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

#include <doctest/doctest.h>
#include <numeric>
#include <xmmintrin.h>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

namespace {

constexpr uint64_t kPageBytes = 8192; // of the toy model

uint32_t openSequence(const Session &session) {
  uint32_t sequence = RONDO_RT_NONE;
  Result result = rondo_rt_sequence_create(session.get(), &sequence);
  REQUIRE_MESSAGE(result.ok(), result.message);
  return sequence;
}

/// A step whose rows all give logits.
Result step(const Session &session, const std::vector<rondo_rt_row> &rows) {
  std::vector<uint32_t> outputs(rows.size());
  std::iota(outputs.begin(), outputs.end(), 0u);
  return rondo_rt_session_step(session.get(), rows.data(), rows.size(),
                               outputs.data(), outputs.size());
}

std::vector<float> logitsOf(const Session &session, uint32_t output) {
  const float *logits =
      rondo_rt_session_logits(session.get()) + output * kVocabulary;
  return std::vector<float>(logits, logits + kVocabulary);
}

/// Computes a prompt in steps of `chunk` rows; logits of every position.
std::vector<std::vector<float>> prefill(const Session &session,
                                        uint32_t sequence,
                                        const std::vector<uint32_t> &tokens,
                                        uint32_t chunk) {
  std::vector<std::vector<float>> logits;
  for (uint32_t begin = 0; begin < tokens.size(); begin += chunk) {
    std::vector<rondo_rt_row> rows;
    for (uint32_t p = begin; p < tokens.size() && p < begin + chunk; ++p)
      rows.push_back(makeRow(sequence, p, tokens[p]));
    Result result = step(session, rows);
    REQUIRE_MESSAGE(result.ok(), result.message);
    for (uint32_t i = 0; i < rows.size(); ++i)
      logits.push_back(logitsOf(session, i));
  }
  return logits;
}

} // namespace

TEST_CASE("steps compute what the reference does, for any cut and team") {
  Model model = loadValid();
  std::vector<uint32_t> tokens = makePrompt(290, 3); // three pages
  Reference reference = computeReference(tokens);
  for (uint32_t threads : {1u, 2u, 3u})
    for (uint32_t chunk : {1u, 7u, 16u}) {
      CAPTURE(threads);
      CAPTURE(chunk);
      Session session = makeSession(model, threads);
      CHECK(rondo_rt_session_threads(session.get()) == threads);
      CHECK(prefill(session, openSequence(session), tokens, chunk) ==
            reference.logits);
    }
}

TEST_CASE("sequences of one step do not see each other") {
  Model model = loadValid();
  Session session = makeSession(model);
  uint32_t a = openSequence(session), b = openSequence(session);
  std::vector<uint32_t> first = makePrompt(8, 1), second = makePrompt(8, 2);
  std::vector<rondo_rt_row> rows;
  for (uint32_t p = 0; p < 8; ++p)
    rows.push_back(makeRow(a, p, first[p]));
  for (uint32_t p = 0; p < 8; ++p)
    rows.push_back(makeRow(b, p, second[p]));
  REQUIRE(step(session, rows).ok());
  for (uint32_t p = 0; p < 8; ++p) {
    CHECK(logitsOf(session, p) == computeReference(first).logits[p]);
    CHECK(logitsOf(session, 8 + p) == computeReference(second).logits[p]);
  }
  CHECK(rondo_rt_sequence_length(session.get(), a) == 8);
}

TEST_CASE("a row sees only what it is told to") {
  Model model = loadValid();
  Session session = makeSession(model);
  uint32_t sequence = openSequence(session);
  std::vector<uint32_t> tokens = makePrompt(4, 5);
  prefill(session, sequence, tokens, 4);
  // Blind to the second half: the state differs from the causal one.
  rondo_rt_row row = makeRow(sequence, 4, 1);
  row.visible = 2;
  REQUIRE(step(session, {row}).ok());
  std::vector<float> blind = logitsOf(session, 0);
  tokens.push_back(1);
  CHECK(blind != computeReference(tokens).logits[4]);
}

TEST_CASE("malformed steps are refused and change nothing") {
  Model model = loadValid();
  Session session = makeSession(model);
  uint32_t a = openSequence(session), b = openSequence(session);
  auto refused = [&](std::vector<rondo_rt_row> rows, const char *message) {
    bool mentioned = step(session, rows).mentions(message);
    CHECK(rondo_rt_sequence_length(session.get(), a) == 0);
    return mentioned;
  };
  CHECK(refused({}, "a required pointer is null"));
  CHECK(refused(std::vector<rondo_rt_row>(17, makeRow(a, 0, 1)), "17 rows"));
  CHECK(refused({makeRow(a, 0, kVocabulary)}, "the vocabulary has 40"));
  CHECK(refused({makeRow(a, 1, 1)}, "has position 1, expected 0"));
  CHECK(refused({makeRow(a, 0, 1), makeRow(a, 0, 1)}, "expected 1"));
  CHECK(refused({makeRow(b, 0, 1), makeRow(a, 0, 1)}, "sort rows"));
  CHECK(refused({makeRow(3, 0, 1)}, "sequence 3 is not open"));
  CHECK(refused({makeRow(99, 0, 1)}, "sequence 99 is not open"));
  rondo_rt_row row = makeRow(a, 0, 1);
  row.visible = 2;
  CHECK(refused({row}, "may see 2 positions"));
  row.visible = 0;
  CHECK(refused({row}, "may see 0 positions"));
  row = makeRow(a, 0, 1);
  row.visit = 1;
  CHECK(refused({row}, "visit 1"));
  row = makeRow(a, 0, 1);
  row.kind = RONDO_RT_ROW_GHOST;
  CHECK(refused({row}, "kind 2"));
  row = makeRow(a, 0, 1);
  uint32_t outputs[] = {0, 0};
  CHECK(Result(rondo_rt_session_step(session.get(), &row, 1, outputs, 2))
            .mentions("must ascend"));
  outputs[0] = 1;
  CHECK(Result(rondo_rt_session_step(session.get(), &row, 1, outputs, 1))
            .mentions("be below 1"));
}

TEST_CASE("sequences run out, and come back") {
  Model model = loadValid();
  Session session = makeSession(model);
  for (uint32_t i = 0; i < kSequences; ++i)
    CHECK(openSequence(session) == i);
  uint32_t sequence = 0;
  Result result = rondo_rt_sequence_create(session.get(), &sequence);
  CHECK(result.code == RONDO_RT_STATUS_EXHAUSTED);
  CHECK(result.mentions("--sequences=8"));
  rondo_rt_sequence_free(session.get(), 2);
  rondo_rt_sequence_free(session.get(), 2); // once more does nothing
  CHECK(openSequence(session) == 2);
}

TEST_CASE("pages are committed as sequences grow and reused when they end") {
  Model model = loadValid();
  Session session = makeSession(model);
  CHECK(rondo_rt_session_kv_bytes(session.get()) == 0);
  uint32_t a = openSequence(session);
  REQUIRE(Result(rondo_rt_sequence_reserve(session.get(), a, 128)).ok());
  CHECK(rondo_rt_session_kv_bytes(session.get()) == kPageBytes);
  REQUIRE(Result(rondo_rt_sequence_reserve(session.get(), a, 129)).ok());
  CHECK(rondo_rt_session_kv_bytes(session.get()) == 2 * kPageBytes);
  prefill(session, a, makePrompt(200, 1), 16);
  rondo_rt_sequence_free(session.get(), a);
  // Another sequence in the used pages computes the same as in fresh ones.
  uint32_t b = openSequence(session);
  std::vector<uint32_t> tokens = makePrompt(250, 9);
  CHECK(prefill(session, b, tokens, 16) == computeReference(tokens).logits);
  CHECK(rondo_rt_session_kv_bytes(session.get()) == 2 * kPageBytes);
  CHECK(Result(rondo_rt_sequence_reserve(session.get(), b, 301))
            .mentions("--context=301"));
}

TEST_CASE("a sequence cut short continues as if the rest had never been") {
  Model model = loadValid();
  Session session = makeSession(model);
  uint32_t sequence = openSequence(session);
  prefill(session, sequence, makePrompt(200, 1), 16);
  CHECK(Result(rondo_rt_sequence_truncate(session.get(), sequence, 201))
            .mentions("cannot be cut to 201"));
  REQUIRE(Result(rondo_rt_sequence_truncate(session.get(), sequence, 5)).ok());
  std::vector<uint32_t> tokens = makePrompt(200, 1);
  tokens.resize(5);
  tokens.push_back(33);
  REQUIRE(step(session, {makeRow(sequence, 5, 33)}).ok());
  CHECK(logitsOf(session, 0) == computeReference(tokens).logits[5]);
}

TEST_CASE("a limit on KV pages is a status of the sequence that meets it") {
  Model model = loadValid();
  Session session = makeSession(model, 2, 2 * kPageBytes);
  uint32_t a = openSequence(session), b = openSequence(session);
  REQUIRE(Result(rondo_rt_sequence_reserve(session.get(), a, 100)).ok());
  Result result = rondo_rt_sequence_reserve(session.get(), b, 200);
  CHECK(result.code == RONDO_RT_STATUS_OUT_OF_MEMORY);
  CHECK(result.mentions("sequence 1 needs another KV page"));
  // It left nothing behind: the page it had got is free again.
  REQUIRE(Result(rondo_rt_sequence_reserve(session.get(), a, 200)).ok());
  CHECK(step(session, {makeRow(b, 0, 1)}).mentions("sequence 1"));
  CHECK(step(session, {makeRow(a, 0, 1)}).ok());
}

TEST_CASE("a model beyond this machine's memory is refused with a proposal") {
  Parts parts = makeParts();
  parts.manifest["arena_bytes"] = 1ull << 46;
  Model model;
  REQUIRE(load(assemble(parts), &model).ok());
  rondo_rt_session *session = nullptr;
  Result result = rondo_rt_session_create(model.get(), nullptr, &session);
  CHECK(result.code == RONDO_RT_STATUS_OUT_OF_MEMORY);
  CHECK(result.mentions("70.4 TB of arena"));
  CHECK(result.mentions("compile with smaller --weights"));
  CHECK(session == nullptr);
}

TEST_CASE("the trace holds the state of every row") {
  DemoOptions options;
  options.tracePoints = true;
  Model model = loadValid(options);
  Session session = makeSession(model, 2, 0, RONDO_RT_SESSION_TRACE);
  std::vector<uint32_t> tokens = makePrompt(9, 4);
  Reference reference = computeReference(tokens);
  prefill(session, openSequence(session), tokens, 16);
  for (uint32_t row = 0; row < 9; ++row)
    for (uint32_t point = 0; point < 3; ++point) {
      const float *kept = rondo_rt_session_trace(session.get(), point, row);
      REQUIRE(kept);
      uint32_t visit = point < 2 ? point : 1;
      for (uint32_t d = 0; d < (point < 2 ? 8 : 4); ++d)
        CHECK(kept[d] == reference.state[visit][row][d]);
    }
  CHECK(rondo_rt_session_trace(session.get(), 3, 0) == nullptr);
  CHECK(rondo_rt_session_trace(session.get(), 0, 9) == nullptr);
  CHECK(rondo_rt_model_trace_form(model.get(), 0) == RONDO_RT_TRACE_ROWS);
  Model plain = loadValid();
  rondo_rt_session_options sessionOptions = {1, RONDO_RT_SESSION_TRACE, 0};
  rondo_rt_session *none = nullptr;
  CHECK(Result(rondo_rt_session_create(plain.get(), &sessionOptions, &none))
            .mentions("--trace-points"));
}

TEST_CASE("fewer visits leave the state of the last one") {
  DemoOptions options;
  options.tracePoints = true;
  Model model = loadValid(options);
  Session session = makeSession(model, 2, 0, RONDO_RT_SESSION_TRACE);
  auto setDepth = [&](uint32_t depth) {
    return Result(rondo_rt_session_set_depth(session.get(), depth));
  };
  REQUIRE(setDepth(1).ok());
  CHECK(rondo_rt_session_reaches(session.get(), 0));
  CHECK(!rondo_rt_session_reaches(session.get(), 1));
  CHECK(rondo_rt_session_reaches(session.get(), 2));
  std::vector<uint32_t> tokens = makePrompt(9, 4);
  Reference reference = computeReference(tokens);
  uint32_t sequence = openSequence(session);
  std::vector<std::vector<float>> shallow =
      prefill(session, sequence, tokens, 16);
  CHECK(shallow != reference.logits);
  for (uint32_t row = 0; row < 9; ++row) {
    CHECK(rondo_rt_session_trace(session.get(), 1, row) == nullptr);
    const float *last = rondo_rt_session_trace(session.get(), 2, row);
    for (uint32_t d = 0; d < 4; ++d)
      CHECK(last[d] == reference.state[0][row][d]);
  }
  CHECK(setDepth(2).mentions("the depth cannot change while sequence 0 is "
                             "open; free it first"));
  rondo_rt_sequence_free(session.get(), sequence);
  REQUIRE(setDepth(2).ok());
  CHECK(prefill(session, openSequence(session), tokens, 16) ==
        reference.logits);
}

TEST_CASE("a depth that the model lacks is refused") {
  Model model = loadValid();
  Session session = makeSession(model);
  for (uint32_t depth : {0u, 3u})
    CHECK(Result(rondo_rt_session_set_depth(session.get(), depth))
              .mentions("is not within 1 to 2, which the model is compiled "
                        "for"));
  std::vector<uint32_t> tokens = makePrompt(5, 2);
  CHECK(prefill(session, openSequence(session), tokens, 16) ==
        computeReference(tokens).logits);
}

TEST_CASE("inputs are refused that the model lacks, and while sequences run") {
  Model model = loadValid();
  Session session = makeSession(model);
  float row[4] = {};
  CHECK(Result(rondo_rt_session_set_input(session.get(), "x", row, 1, 4))
            .mentions("model takes no input 'x', beside tokens it takes "
                      "nothing"));
  openSequence(session);
  CHECK(Result(rondo_rt_session_set_input(session.get(), "x", row, 1, 4))
            .mentions("an input cannot change while sequence 0 is open"));
  CHECK(Result(rondo_rt_session_set_input_seed(session.get(), 1))
            .mentions("the seed of inputs cannot change while sequence 0"));
  CHECK(Result(rondo_rt_session_set_input(session.get(), nullptr, row, 1, 4))
            .mentions("a required pointer is null"));
}

TEST_CASE("a step leaves the caller's floating-point settings alone") {
  Model model = loadValid();
  Session session = makeSession(model);
  unsigned before = _mm_getcsr();
  unsigned strange = before | 0x6000; // round toward zero
  _mm_setcsr(strange);
  Result result = step(session, {makeRow(openSequence(session), 0, 1)});
  unsigned after = _mm_getcsr();
  _mm_setcsr(before);
  CHECK(result.ok());
  CHECK(after == strange);
}

TEST_CASE("null pointers and unknown flags are refused") {
  Model model = loadValid();
  Session session = makeSession(model);
  rondo_rt_session_options options = {1, 8, 0};
  rondo_rt_session *none = nullptr;
  CHECK(Result(rondo_rt_session_create(model.get(), &options, &none))
            .mentions("unknown flags 8"));
  options = {100000, 0, 0};
  CHECK(Result(rondo_rt_session_create(model.get(), &options, &none))
            .mentions("100000 threads"));
  CHECK_FALSE(Result(rondo_rt_session_create(nullptr, nullptr, &none)).ok());
  CHECK_FALSE(
      Result(rondo_rt_session_create(model.get(), nullptr, nullptr)).ok());
  CHECK_FALSE(Result(rondo_rt_model_load(nullptr, nullptr, nullptr)).ok());
  CHECK_FALSE(Result(rondo_rt_sequence_create(session.get(), nullptr)).ok());
  CHECK(none == nullptr);
  CHECK(Result(static_cast<rondo_rt_status *>(nullptr)).ok());
}
