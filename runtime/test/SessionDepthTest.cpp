//===- SessionDepthTest.cpp - rows at mixed depths ------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Whatever rows share a step and wherever they stand in it, a row computes what
// the reference does.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <random>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

namespace {

using Rows = std::vector<rondo_rt_row>;

uint32_t openSequence(const Session &session) {
  uint32_t sequence = RONDO_RT_NONE;
  REQUIRE(Result(rondo_rt_sequence_create(session.get(), &sequence)).ok());
  return sequence;
}

Result prelude(const Session &session, const Rows &rows) {
  return rondo_rt_session_prelude(session.get(), rows.data(), rows.size());
}

Result depthStep(const Session &session, const Rows &rows) {
  return rondo_rt_session_depth_step(session.get(), rows.data(), rows.size());
}

/// Reads out the rows that `outputs` lists.
Result coda(const Session &session, const Rows &rows,
            std::vector<uint32_t> outputs) {
  return rondo_rt_session_coda(session.get(), rows.data(), rows.size(),
                               outputs.data(), outputs.size());
}

std::vector<float> logitsOf(const Session &session, uint32_t output) {
  const float *logits =
      rondo_rt_session_logits(session.get()) + output * kVocabulary;
  return std::vector<float>(logits, logits + kVocabulary);
}

rondo_rt_row rowAt(uint32_t sequence, uint32_t position, uint32_t token,
                   uint32_t visit, rondo_rt_row_kind kind = RONDO_RT_ROW_FULL) {
  rondo_rt_row row = makeRow(sequence, position, token);
  row.visit = visit;
  row.kind = kind;
  return row;
}

/// Sequences in flight, driven by chance.
class RandomWalk {
public:
  RandomWalk(const Session &session, uint32_t seed) : session(session) {
    random.seed(seed);
    for (uint32_t s = 0; s < kSequences; ++s) {
      openSequence(session);
      prompts.push_back(makePrompt(1 + random() % 150, seed + s));
      references.push_back(computeReference(prompts.back()));
      visits.emplace_back();
    }
  }

  /// Lets rows in, runs some and takes some out, until all have left.
  void run() {
    while (left < total()) {
      enter();
      advance();
      leave();
    }
    CHECK(rondo_rt_session_rows_in_flight(session.get()) == 0);
  }
  uint32_t mixedSteps = 0;

private:
  /// Visit of a row that has left.
  static constexpr uint32_t kGone = kVisits + 1;

  uint32_t total() const {
    size_t rows = 0;
    for (const auto &prompt : prompts)
      rows += prompt.size();
    return rows;
  }

  void submit(Rows rows, Result (*call)(const Session &, const Rows &)) {
    std::shuffle(rows.begin(), rows.end(), random);
    if (rows.empty())
      return;
    Result result = call(session, rows);
    REQUIRE_MESSAGE(result.ok(), result.message);
  }

  void enter() {
    Rows rows;
    for (uint32_t s = 0; s < kSequences; ++s)
      for (uint32_t n = random() % 5; n > 0; --n) {
        uint32_t position = visits[s].size();
        bool full =
            rows.size() == kRows ||
            rondo_rt_session_rows_in_flight(session.get()) + rows.size() ==
                2 * kRows + kSequences;
        if (full || position == prompts[s].size())
          break;
        rows.push_back(rowAt(s, position, prompts[s][position], 0));
        visits[s].push_back(0);
      }
    submit(rows, prelude);
  }

  /// Rows of any visits: a row may come along if the one before it is further
  /// or comes too.
  void advance() {
    Rows rows;
    uint32_t visitsSeen = 0;
    for (uint32_t s = 0; s < kSequences; ++s) {
      uint32_t before = kGone; // visit of the position before, after the step
      for (uint32_t p = 0; p < visits[s].size(); ++p) {
        uint32_t &visit = visits[s][p];
        if (visit < kVisits && before > visit && rows.size() < kRows &&
            random() % 4) {
          visitsSeen |= 1u << visit;
          rows.push_back(rowAt(s, p, prompts[s][p], visit++));
        }
        before = visit;
      }
    }
    mixedSteps += visitsSeen == 3;
    submit(rows, depthStep);
  }

  void leave() {
    Rows rows;
    for (uint32_t s = 0; s < kSequences; ++s)
      for (uint32_t p = 0; p < visits[s].size(); ++p)
        if (visits[s][p] == kVisits && rows.size() < kRows && random() % 3) {
          rows.push_back(rowAt(s, p, prompts[s][p], kVisits));
          visits[s][p] = kGone;
        }
    if (rows.empty())
      return;
    std::shuffle(rows.begin(), rows.end(), random);
    std::vector<uint32_t> outputs(rows.size());
    for (uint32_t i = 0; i < rows.size(); ++i)
      outputs[i] = i;
    Result result = coda(session, rows, outputs);
    REQUIRE_MESSAGE(result.ok(), result.message);
    for (uint32_t i = 0; i < rows.size(); ++i)
      CHECK(logitsOf(session, i) ==
            references[rows[i].sequence].logits[rows[i].position]);
    left += rows.size();
  }

  const Session &session;
  std::mt19937 random;
  std::vector<std::vector<uint32_t>> prompts;
  std::vector<Reference> references;
  std::vector<std::vector<uint32_t>> visits; // [sequence][position] comes next
  uint32_t left = 0;
};

/// A session with a sequence of two rows at visit 0.
struct TwoRows {
  Model model = loadValid();
  Session session = makeSession(model);
  uint32_t sequence = openSequence(session);

  TwoRows() {
    REQUIRE(
        prelude(session, {rowAt(sequence, 0, 3, 0), rowAt(sequence, 1, 4, 0)})
            .ok());
  }
  rondo_rt_row row(uint32_t position, uint32_t visit,
                   rondo_rt_row_kind kind = RONDO_RT_ROW_FULL) const {
    return rowAt(sequence, position, 3 + position, visit, kind);
  }
};

} // namespace

TEST_CASE("rows at mixed depths compute what the reference does") {
  Model model = loadValid();
  for (uint32_t seed = 0; seed < 8; ++seed) {
    CAPTURE(seed);
    Session session = makeSession(model, 1 + seed % 3);
    RandomWalk walk(session, seed);
    walk.run();
    CHECK(walk.mixedSteps > 5);
  }
}

TEST_CASE("a trace keeps the caller's order of rows") {
  DemoOptions options;
  options.tracePoints = true;
  Model model = loadValid(options);
  Session session = makeSession(model, 2, 0, RONDO_RT_SESSION_TRACE);
  uint32_t a = openSequence(session), b = openSequence(session);
  REQUIRE(prelude(session, {rowAt(a, 0, 3, 0), rowAt(b, 0, 4, 0)}).ok());
  REQUIRE(depthStep(session, {rowAt(a, 0, 3, 0)}).ok());
  REQUIRE(depthStep(session, {rowAt(a, 0, 3, 1), rowAt(b, 0, 4, 0)}).ok());
  Reference first = computeReference({3}), second = computeReference({4});
  const float *traceA = rondo_rt_session_trace(session.get(), 1, 0);
  const float *traceB = rondo_rt_session_trace(session.get(), 0, 1);
  CHECK(std::equal(traceA, traceA + kHidden, first.state[1][0].begin()));
  CHECK(std::equal(traceB, traceB + kHidden, second.state[0][0].begin()));
}

TEST_CASE("steps at mixed depths and whole steps follow each other") {
  TwoRows two;
  const Session &session = two.session;
  std::vector<uint32_t> tokens = {3, 4, 5};
  rondo_rt_row third = makeRow(two.sequence, 2, 5);
  uint32_t output = 0;
  auto whole = [&] {
    return Result(rondo_rt_session_step(session.get(), &third, 1, &output, 1));
  };
  CHECK(whole().mentions("of which rows are in flight; take them to the coda"));
  for (uint32_t visit = 0; visit < kVisits; ++visit)
    REQUIRE(depthStep(session, {two.row(0, visit), two.row(1, visit)}).ok());
  REQUIRE(coda(session, {two.row(0, 2), two.row(1, 2)}, {}).ok());
  CHECK(rondo_rt_sequence_length(session.get(), two.sequence) == 2);
  REQUIRE(whole().ok());
  CHECK(logitsOf(session, 0) == computeReference(tokens).logits[2]);
}

TEST_CASE("rows ahead of their sequence or their state are refused") {
  TwoRows two;
  const Session &session = two.session;
  auto refused = [&](const Rows &rows, const char *message) {
    bool mentioned = depthStep(session, rows).mentions(message);
    CHECK(rondo_rt_session_rows_in_flight(session.get()) == 2);
    return mentioned;
  };
  CHECK(refused({}, "a required pointer is null"));
  CHECK(refused(Rows(17, two.row(0, 0)), "17 rows, must have 1 to 16"));
  CHECK(refused({two.row(2, 0)}, "(sequence 0, position 2) has no state; let "
                                 "it enter"));
  CHECK(refused({rowAt(3, 0, 1, 0)}, "sequence 3 is not open"));
  CHECK(refused({two.row(0, 0), two.row(0, 0)}, "in the call twice"));
  CHECK(
      refused({two.row(0, 1)}, "asks for visit 1, but comes to visit 0 of 2"));
  CHECK(refused({two.row(1, 0)}, "needs K and V of visit 0, but position 0 "
                                 "comes to visit 0 only"));
  CHECK(refused({rowAt(two.sequence, 0, kVocabulary, 0)}, "the vocabulary"));
  rondo_rt_row row = two.row(0, 0);
  row.visible = 2;
  CHECK(refused({row}, "may see 2 positions, it can see 1 to 1"));
  row = two.row(0, 0);
  row.kind = 3;
  CHECK(refused({row}, "kind 3"));
  CHECK(coda(session, {two.row(0, 0)}, {0})
            .mentions("comes to visit 0 of 2 next, the coda is behind"));
  // A refused call leaves no marks: the same rows can run.
  for (uint32_t visit = 0; visit < kVisits; ++visit)
    REQUIRE(depthStep(session, {two.row(1, visit), two.row(0, visit)}).ok());
  CHECK(refused({two.row(0, 2)}, "the schedule has 2; take it to the coda"));
  CHECK(coda(session, {two.row(0, 2)}, {0, 0}).mentions("must ascend"));
  REQUIRE(coda(session, {two.row(1, 2)}, {0}).ok());
  CHECK(logitsOf(session, 0) == computeReference({3, 4}).logits[1]);
  CHECK(coda(session, {two.row(1, 2)}, {0}).mentions("has no state"));
}

TEST_CASE("rows enter in sequence, at visit 0, while there is room") {
  Model model = loadValid();
  Session session = makeSession(model);
  uint32_t a = openSequence(session), b = openSequence(session);
  CHECK(prelude(session, {rowAt(a, 1, 1, 0)})
            .mentions("has position 1, expected 0"));
  CHECK(prelude(session, {rowAt(a, 0, 1, 0), rowAt(a, 0, 1, 0)})
            .mentions("has position 0, expected 1"));
  CHECK(prelude(session, {rowAt(a, 0, 1, 1)}).mentions("enters at visit 1"));
  CHECK(rondo_rt_model_get_info(model.get())->rows_in_flight == 36);
  for (uint32_t begin = 0; begin < 32; begin += kRows) {
    Rows rows;
    for (uint32_t p = begin; p < begin + kRows; ++p)
      rows.push_back(rowAt(a, p, 1, 0));
    REQUIRE(prelude(session, rows).ok());
  }
  Rows rows;
  for (uint32_t p = 0; p < 5; ++p)
    rows.push_back(rowAt(b, p, 1, 0));
  Result result = prelude(session, rows);
  CHECK(result.code == RONDO_RT_STATUS_EXHAUSTED);
  CHECK(result.mentions("32 rows are in flight and 5 more do not fit"));
  // Places come back when a sequence is cut or ends.
  REQUIRE(Result(rondo_rt_sequence_truncate(session.get(), a, 20)).ok());
  CHECK(rondo_rt_session_rows_in_flight(session.get()) == 20);
  REQUIRE(prelude(session, rows).ok());
  rondo_rt_sequence_free(session.get(), a);
  CHECK(rondo_rt_session_rows_in_flight(session.get()) == 5);
}

TEST_CASE("visits of other layers take another step") {
  Parts parts = makeParts();
  parts.tensor("schedule.executions")[16 + 2] = 1; // layer of visit 1
  Model model;
  REQUIRE(load(assemble(parts), &model).ok());
  const rondo_rt_model_info *info = rondo_rt_model_get_info(model.get());
  CHECK(info->visit_count == 2);
  CHECK(info->visit_classes[0] != info->visit_classes[1]);
  Session session = makeSession(model);
  uint32_t a = openSequence(session), b = openSequence(session);
  REQUIRE(prelude(session, {rowAt(a, 0, 3, 0), rowAt(b, 0, 4, 0)}).ok());
  REQUIRE(depthStep(session, {rowAt(a, 0, 3, 0)}).ok());
  CHECK(depthStep(session, {rowAt(a, 0, 3, 1), rowAt(b, 0, 4, 0)})
            .mentions("row 1 at visit 0 and row 0 at visit 1 execute other "
                      "bodies or layers; run them in two steps"));
}

TEST_CASE("a ghost runs on for others and is never read out") {
  TwoRows two;
  auto ghost = [&](uint32_t visit) {
    return two.row(0, visit, RONDO_RT_ROW_GHOST);
  };
  for (uint32_t visit = 0; visit < kVisits; ++visit)
    REQUIRE(depthStep(two.session, {ghost(visit), two.row(1, visit)}).ok());
  CHECK(coda(two.session, {ghost(2), two.row(1, 2)}, {0})
            .mentions("row 0 has kind 2 and cannot be read out"));
  CHECK(coda(two.session, {two.row(0, 2)}, {0})
            .mentions("has exited and cannot be full again; keep kind 2"));
  REQUIRE(coda(two.session, {ghost(2), two.row(1, 2)}, {1}).ok());
  CHECK(logitsOf(two.session, 0) == computeReference({3, 4}).logits[1]);
}

TEST_CASE("a kv-only row writes K and V from the state that it left with") {
  TwoRows two;
  REQUIRE(depthStep(two.session,
                    {two.row(0, 0, RONDO_RT_ROW_KV_ONLY), two.row(1, 0)})
              .ok());
  REQUIRE(depthStep(two.session,
                    {two.row(0, 1, RONDO_RT_ROW_KV_ONLY), two.row(1, 1)})
              .ok());
  REQUIRE(coda(two.session,
               {two.row(0, 2, RONDO_RT_ROW_KV_ONLY), two.row(1, 2)}, {1})
              .ok());
  // The toy model by hand: K and V of position 0 are those of its first state
  // at both visits.
  std::vector<float> weights = demoWeights();
  int first[kHidden], state[kHidden];
  for (int d = 0; d < int(kHidden); ++d) {
    first[d] = 3 * (d + 3) % 17;
    state[d] = (4 * (d + 3) + 1) % 17;
  }
  for (uint32_t visit = 0; visit < kVisits; ++visit) {
    int own[kHidden];
    std::copy(state, state + kHidden, own);
    for (uint32_t d = 0; d < kHidden; ++d) {
      uint32_t seen = d % 2 * 4 + d % 4; // V is the upper half
      state[d] = (own[d] + int(weights[visit * kHidden + d]) + first[seen] +
                  own[seen]) %
                 31;
    }
  }
  std::vector<float> expected;
  for (uint32_t v = 0; v < kVocabulary; ++v) {
    int sum = 0;
    for (uint32_t d = 0; d < kHidden; ++d)
      sum += state[d] * int(v * (d + 3) % 13);
    expected.push_back(float(sum % 64) + weights[2 * kHidden + v]);
  }
  CHECK(logitsOf(two.session, 0) == expected);
  CHECK(expected != computeReference({3, 4}).logits[1]);
}

TEST_CASE("a model that depends on the cut of prompts runs whole steps only") {
  Parts parts = makeParts();
  parts.manifest["kv"]["chunk_invariant"] = false;
  Model model;
  REQUIRE(load(assemble(parts), &model).ok());
  Session session = makeSession(model);
  CHECK(prelude(session, {rowAt(openSequence(session), 0, 1, 0)})
            .mentions("depends on how a prompt is cut"));
}

TEST_CASE("a schedule of more visits than a row can tell apart") {
  Parts parts = makeParts();
  Json visitBegin = Json::array();
  for (uint32_t visit = 0; visit < 65536; ++visit)
    visitBegin.push_back(std::min(visit, 2u));
  visitBegin.push_back(2);
  parts.manifest["schedule"]["visit_begin"] = visitBegin;
  Model model;
  REQUIRE(load(assemble(parts), &model).ok());
  Session session = makeSession(model);
  CHECK(prelude(session, {rowAt(openSequence(session), 0, 1, 0)})
            .mentions("has 65536 visits, a row can tell apart 65535"));
}
