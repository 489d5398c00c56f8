//===- CohortTest.cpp - models whose sequences run as a whole -------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The toy model sums over what a row may see, so its code serves here as well:
// only the manifest says that all positions of a sequence see each other.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

#include <doctest/doctest.h>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

namespace {

using Rows = std::vector<rondo_rt_row>;
using Tokens = std::vector<uint32_t>;

/// The toy model of scope `cohort`, with three token types.
Model loadCohort(bool hasLogits = true) {
  Parts parts = makeParts();
  parts.changeManifest = [hasLogits](Json &manifest) {
    manifest["scope"] = "cohort";
    manifest["token_types"] = 3;
    manifest["kv"]["chunk_invariant"] = false;
    if (!hasLogits)
      manifest["outputs"] = {
          {{"name", "states"}, {"width", 4}, {"offset", 0}, {"first", false}},
          {{"name", "pooled"}, {"width", 2}, {"offset", 32}, {"first", true}}};
  };
  Model model;
  Result result = load(assemble(parts), &model);
  REQUIRE_MESSAGE(result.ok(), result.message);
  return model;
}

/// A whole sequence, all of which each row sees.
Rows makeSequence(uint32_t sequence, const Tokens &tokens) {
  Rows rows;
  for (uint32_t p = 0; p < tokens.size(); ++p) {
    rows.push_back(makeRow(sequence, p, tokens[p]));
    rows.back().visible = tokens.size();
  }
  return rows;
}

Result step(const Session &session, const Rows &rows) {
  return rondo_rt_session_step(session.get(), rows.data(), rows.size(), nullptr,
                               0);
}

/// What the scheduler showed of each request.
struct Seen {
  uint32_t steps = 0;
  std::vector<Rows> rows;                 // by request
  std::vector<std::vector<float>> logits; // by request, all rows
};

void observe(void *user, const rondo_rt_step_view *view) {
  auto *seen = static_cast<Seen *>(user);
  ++seen->steps;
  for (uint32_t i = 0; i < view->output_count; ++i) {
    uint32_t row = view->output_rows[i], request = view->requests[row];
    seen->rows.resize(std::max<size_t>(seen->rows.size(), request + 1));
    seen->logits.resize(seen->rows.size());
    seen->rows[request].push_back(view->rows[row]);
    const float *logits = view->logits + i * kVocabulary;
    seen->logits[request].insert(seen->logits[request].end(), logits,
                                 logits + kVocabulary);
  }
}

/// Runs prompts to their end.
Seen run(const Model &model, const std::vector<Tokens> &prompts,
         const std::vector<Tokens> &types) {
  Session session = makeSession(model);
  Seen seen;
  rondo_rt_scheduler_options options = {0, observe, &seen, 0};
  rondo_rt_scheduler *created = nullptr;
  REQUIRE(Result(rondo_rt_scheduler_create(session.get(), &options, &created))
              .ok());
  Scheduler scheduler(created);
  for (size_t i = 0; i < prompts.size(); ++i) {
    rondo_rt_request_options request = {};
    request.tokens = prompts[i].data();
    request.token_count = prompts[i].size();
    request.token_types = types.empty() ? nullptr : types[i].data();
    request.flags = RONDO_RT_REQUEST_ALL_LOGITS;
    request.sampling.top_p = 1;
    uint32_t number = 0;
    REQUIRE(Result(rondo_rt_scheduler_submit(created, &request, &number)).ok());
  }
  for (uint32_t unfinished = 1; unfinished;)
    REQUIRE(Result(rondo_rt_scheduler_step(created, &unfinished)).ok());
  return seen;
}

/// Why a request of the cohort is refused.
Result submit(const Model &model, const Tokens &prompt, uint32_t newTokens,
              const Tokens &types = {}) {
  Session session = makeSession(model);
  rondo_rt_scheduler *created = nullptr;
  REQUIRE(
      Result(rondo_rt_scheduler_create(session.get(), nullptr, &created)).ok());
  Scheduler scheduler(created);
  rondo_rt_request_options request = {};
  request.tokens = prompt.data();
  request.token_count = prompt.size();
  request.new_tokens = newTokens;
  request.token_types = types.empty() ? nullptr : types.data();
  request.sampling.top_p = 1;
  uint32_t number = 0;
  return Result(rondo_rt_scheduler_submit(created, &request, &number));
}

} // namespace

TEST_CASE("a model tells its outputs, its scope and its token types") {
  Model model = loadCohort(/*hasLogits=*/false);
  const rondo_rt_model_info *info = rondo_rt_model_get_info(model.get());
  CHECK(info->cohort == 1);
  CHECK(info->token_types == 3);
  REQUIRE(info->output_count == 2);
  CHECK(info->outputs[0].name == std::string("states"));
  CHECK(info->outputs[0].width == 4);
  CHECK(info->outputs[0].first == 0);
  CHECK(info->outputs[1].name == std::string("pooled"));
  CHECK(info->outputs[1].offset == 32);
  CHECK(info->outputs[1].first == 1);
}

TEST_CASE("a step has whole sequences of a cohort") {
  Model model = loadCohort();
  Session session = makeSession(model);
  uint32_t sequence = 0;
  REQUIRE(Result(rondo_rt_sequence_create(session.get(), &sequence)).ok());
  Rows rows = makeSequence(sequence, {1, 2, 3});
  rows[1].visible = 2;
  CHECK(step(session, rows)
            .mentions("row 1 may see 2 positions, but all positions of the "
                      "model's sequences "
                      "see each other; set 'visible' to 3"));
  rows = makeSequence(sequence, {1, 2, 3});
  rows[2].token_type = 3;
  CHECK(step(session, rows)
            .mentions("row 2 has token type 3, the model has 3 types"));
  rows[2].token_type = 2;
  CHECK(step(session, rows).ok());
  rows = {makeRow(sequence, 3, 1)};
  rows[0].visible = 4;
  CHECK(step(session, rows)
            .mentions("row 0 continues sequence 0, but all positions of the "
                      "model's sequences "
                      "see each other; truncate it to 0 and give all its rows "
                      "in one step"));
  CHECK(Result(rondo_rt_sequence_truncate(session.get(), sequence, 0)).ok());
  CHECK(step(session, makeSequence(sequence, {4, 5})).ok());
  CHECK(Result(rondo_rt_session_prelude(session.get(), rows.data(), 1))
            .mentions("cannot be at different depths; run whole steps"));
}

TEST_CASE("sequences of a cohort are steps that others may share") {
  Model model = loadCohort();
  // 16 rows a step: none of them may be cut.
  std::vector<Tokens> prompts = {makePrompt(7, 1), makePrompt(16, 2),
                                 makePrompt(5, 3), makePrompt(4, 4)};
  std::vector<Tokens> types;
  for (const Tokens &prompt : prompts)
    types.push_back(Tokens(prompt.size(), prompt.size() % 3));
  Seen together = run(model, prompts, types);
  CHECK(together.steps == 2);
  for (size_t i = 0; i < prompts.size(); ++i) {
    Seen alone = run(model, {prompts[i]}, {types[i]});
    CHECK(alone.steps == 1);
    CHECK(alone.logits[0] == together.logits[i]);
    for (const rondo_rt_row &row : together.rows[i]) {
      CHECK(row.visible == prompts[i].size());
      CHECK(row.token_type == prompts[i].size() % 3);
    }
  }
  // The first row sees what comes behind it.
  Seen shorter = run(model, {{prompts[0].begin(), prompts[0].end() - 1}}, {});
  CHECK(!std::equal(shorter.logits[0].begin(),
                    shorter.logits[0].begin() + kVocabulary,
                    together.logits[0].begin()));
}

TEST_CASE("requests that a cohort cannot serve are refused") {
  Model model = loadCohort();
  CHECK(submit(model, {1, 2}, 1).mentions("none comes next"));
  CHECK(submit(model, makePrompt(17, 1), 0)
            .mentions("there are 17 tokens and a step has 16 rows; compile "
                      "with --rows=17"));
  CHECK(submit(model, {1, 2}, 0, {0, 3})
            .mentions("token type 3 at position 1 is not below the model's 3 "
                      "types"));
  CHECK(submit(loadValid(), {1, 2}, 0, {0, 0})
            .mentions("the model has 0 types; give none"));
  Session session = makeSession(model);
  rondo_rt_scheduler *created = nullptr;
  rondo_rt_scheduler_options options = {4, nullptr, nullptr, 0};
  CHECK(Result(rondo_rt_scheduler_create(session.get(), &options, &created))
            .mentions("no prompt can be cut into chunks of 4 tokens"));
  options = {0, nullptr, nullptr, RONDO_RT_SCHEDULER_DEPTHWISE};
  CHECK(Result(rondo_rt_scheduler_create(session.get(), &options, &created))
            .mentions("its rows cannot be at different depths"));
}

TEST_CASE("no tokens are drawn from a model without logits") {
  Parts parts = makeParts();
  parts.changeManifest = [](Json &manifest) {
    manifest["outputs"][0]["name"] = "states";
  };
  Model model;
  REQUIRE(load(assemble(parts), &model).ok());
  CHECK(submit(model, {1, 2}, 0).ok());
  CHECK(submit(model, {1, 2}, 1)
            .mentions("the model has no logits to draw tokens from, but "
                      "'states'; ask for no new tokens"));
}
