//===- SchedulerTest.cpp - requests into steps ----------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The rule behind most cases: how requests are batched and cut changes nothing.
//===----------------------------------------------------------------------===//
#include "FillPolicy.h"
#include "TestSupport.h"

#include <doctest/doctest.h>
#include <map>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

namespace {

using Tokens = std::vector<uint32_t>;

Scheduler makeScheduler(const Session &session,
                        rondo_rt_scheduler_options options = {}) {
  rondo_rt_scheduler *scheduler = nullptr;
  Result result =
      rondo_rt_scheduler_create(session.get(), &options, &scheduler);
  REQUIRE_MESSAGE(result.ok(), result.message);
  return Scheduler(scheduler);
}

rondo_rt_request_options makeRequest(const Tokens &prompt, uint32_t newTokens) {
  rondo_rt_request_options options = {};
  options.tokens = prompt.data();
  options.token_count = prompt.size();
  options.new_tokens = newTokens;
  options.sampling.top_p = 1;
  return options;
}

uint32_t submit(const Scheduler &scheduler,
                const rondo_rt_request_options &options) {
  uint32_t request = RONDO_RT_NONE;
  Result result =
      rondo_rt_scheduler_submit(scheduler.get(), &options, &request);
  REQUIRE_MESSAGE(result.ok(), result.message);
  return request;
}

uint32_t runToEnd(const Scheduler &scheduler) {
  uint32_t steps = 0;
  for (uint32_t unfinished = 1; unfinished; ++steps) {
    Result result = rondo_rt_scheduler_step(scheduler.get(), &unfinished);
    REQUIRE_MESSAGE(result.ok(), result.message);
    REQUIRE(steps < 100000);
  }
  return steps;
}

Tokens tokensOf(const Scheduler &scheduler, uint32_t request) {
  uint32_t count = 0;
  const uint32_t *tokens =
      rondo_rt_scheduler_tokens(scheduler.get(), request, &count);
  return Tokens(tokens, tokens + count);
}

/// Prompts of different lengths, more than the bundle has sequences.
std::vector<Tokens> makePrompts() {
  std::vector<Tokens> prompts;
  for (uint32_t length : {1u, 40u, 7u, 130u, 16u, 3u, 200u})
    prompts.push_back(makePrompt(length, length));
  return prompts;
}

/// Everything generated for makePrompts() under the given options.
std::vector<Tokens> generateAll(const Session &session, uint32_t chunk,
                                bool oneByOne, rondo_rt_sampling sampling,
                                uint32_t flags = 0,
                                uint32_t schedulerFlags = 0) {
  rondo_rt_scheduler_options options = {};
  options.chunk = chunk;
  options.flags = schedulerFlags;
  Scheduler scheduler = makeScheduler(session, options);
  std::vector<Tokens> prompts = makePrompts();
  for (const Tokens &prompt : prompts) {
    rondo_rt_request_options request = makeRequest(prompt, 12);
    request.sampling = sampling;
    request.flags = flags;
    submit(scheduler, request);
    if (oneByOne)
      runToEnd(scheduler);
  }
  runToEnd(scheduler);
  std::vector<Tokens> generated;
  for (uint32_t request = 0; request < prompts.size(); ++request) {
    CHECK(rondo_rt_scheduler_request_status(scheduler.get(), request) ==
          nullptr);
    generated.push_back(tokensOf(scheduler, request));
  }
  return generated;
}

} // namespace

TEST_CASE("greedy generation is the reference's, however it is batched") {
  Model model = loadValid();
  Session session = makeSession(model);
  std::vector<Tokens> expected;
  for (const Tokens &prompt : makePrompts())
    expected.push_back(referenceGreedy(prompt, 12));
  rondo_rt_sampling greedy = {0, 1, 0, 0};
  for (uint32_t chunk : {0u, 1u, 5u, 100u})
    for (bool oneByOne : {false, true})
      CHECK(generateAll(session, chunk, oneByOne, greedy) == expected);
  CHECK(generateAll(session, 0, false, greedy, RONDO_RT_REQUEST_RECOMPUTE) ==
        expected);
  for (uint32_t chunk : {0u, 1u, 5u})
    for (uint32_t flags : {0u, RONDO_RT_REQUEST_RECOMPUTE})
      CHECK(generateAll(session, chunk, false, greedy, flags,
                        RONDO_RT_SCHEDULER_DEPTHWISE) == expected);
}

TEST_CASE("drawn tokens depend on the seed and not on the batch") {
  Model model = loadValid();
  Session session = makeSession(model);
  rondo_rt_sampling sampling = {4, 0.95f, 30, 17};
  std::vector<Tokens> drawn = generateAll(session, 0, false, sampling);
  CHECK(generateAll(session, 3, true, sampling) == drawn);
  CHECK(generateAll(session, 0, false, sampling) == drawn);
  sampling.seed = 18;
  CHECK(generateAll(session, 0, false, sampling) != drawn);
}

TEST_CASE("generation ends with a stop token, which is kept") {
  Model model = loadValid();
  Session session = makeSession(model);
  Tokens prompt = {1, 2, 3};
  Tokens expected = referenceGreedy(prompt, 12);
  Tokens stop = {expected[4]};
  Scheduler scheduler = makeScheduler(session);
  rondo_rt_request_options request = makeRequest(prompt, 12);
  request.stop_tokens = stop.data();
  request.stop_token_count = 1;
  submit(scheduler, request);
  runToEnd(scheduler);
  Tokens generated = tokensOf(scheduler, 0);
  CHECK(generated.back() == stop[0]);
  CHECK(generated.size() <= 5);
  CHECK(generated ==
        Tokens(expected.begin(), expected.begin() + generated.size()));
}

namespace {
/// What an observer saw.
struct Seen {
  std::map<std::pair<uint32_t, uint32_t>, std::vector<float>> logits;
  uint32_t mostRows = 0;
  uint32_t mostOfOneRequest = 0;
};

void observe(void *user, const rondo_rt_step_view *view) {
  auto *seen = static_cast<Seen *>(user);
  seen->mostRows = std::max(seen->mostRows, view->row_count);
  std::map<uint32_t, uint32_t> rows;
  for (uint32_t i = 0; i < view->row_count; ++i)
    seen->mostOfOneRequest =
        std::max(seen->mostOfOneRequest, ++rows[view->requests[i]]);
  for (uint32_t i = 0; i < view->output_count; ++i) {
    uint32_t row = view->output_rows[i];
    const float *logits = view->logits + i * kVocabulary;
    seen->logits[{view->requests[row], view->rows[row].position}] =
        std::vector<float>(logits, logits + kVocabulary);
  }
}
} // namespace

TEST_CASE("the observer gets the logits of whole prompts if asked to") {
  Model model = loadValid();
  Session session = makeSession(model);
  Seen seen;
  rondo_rt_scheduler_options options = {5, observe, &seen, 0};
  Scheduler scheduler = makeScheduler(session, options);
  std::vector<Tokens> prompts = makePrompts();
  for (const Tokens &prompt : prompts) {
    rondo_rt_request_options request = makeRequest(prompt, 0);
    request.flags = RONDO_RT_REQUEST_ALL_LOGITS;
    submit(scheduler, request);
  }
  runToEnd(scheduler);
  for (uint32_t request = 0; request < prompts.size(); ++request) {
    Reference reference = computeReference(prompts[request]);
    for (uint32_t p = 0; p < prompts[request].size(); ++p)
      CHECK(seen.logits[{request, p}] == reference.logits[p]);
  }
  CHECK(seen.mostOfOneRequest == 5);
  CHECK(seen.mostRows == 16); // several requests shared a step
}

TEST_CASE("rows at mixed depths leave with the logits of whole steps") {
  Model model = loadValid();
  Session session = makeSession(model);
  Seen seen;
  rondo_rt_scheduler_options options = {5, observe, &seen,
                                        RONDO_RT_SCHEDULER_DEPTHWISE};
  Scheduler scheduler = makeScheduler(session, options);
  std::vector<Tokens> prompts = makePrompts();
  uint32_t unfinished = 0;
  for (const Tokens &prompt : prompts) {
    rondo_rt_request_options request = makeRequest(prompt, 3);
    request.flags = RONDO_RT_REQUEST_ALL_LOGITS;
    submit(scheduler, request); // while the rows of those before are in flight
    REQUIRE(Result(rondo_rt_scheduler_step(scheduler.get(), &unfinished)).ok());
  }
  runToEnd(scheduler);
  uint64_t tokens = 0;
  for (uint32_t request = 0; request < prompts.size(); ++request) {
    Reference reference = computeReference(prompts[request]);
    for (uint32_t p = 0; p < prompts[request].size(); ++p)
      CHECK(seen.logits[{request, p}] == reference.logits[p]);
    CHECK(tokensOf(scheduler, request) == referenceGreedy(prompts[request], 3));
    tokens += prompts[request].size();
  }
  rondo_rt_timing timing = rondo_rt_scheduler_timing(scheduler.get());
  CHECK(timing.prefill_tokens == tokens);
  CHECK(timing.decode_tokens == 2 * prompts.size());
  CHECK(rondo_rt_session_rows_in_flight(session.get()) == 0);
}

TEST_CASE("a new request does not wait for the rows of long prompts") {
  Model model = loadValid();
  Session session = makeSession(model);
  rondo_rt_scheduler_options options = {};
  options.flags = RONDO_RT_SCHEDULER_DEPTHWISE;
  Scheduler scheduler = makeScheduler(session, options);
  for (uint32_t seed : {1u, 2u, 3u})
    submit(scheduler, makeRequest(makePrompt(250, seed), 1));
  uint32_t unfinished = 0;
  for (int i = 0; i < 4; ++i)
    REQUIRE(Result(rondo_rt_scheduler_step(scheduler.get(), &unfinished)).ok());
  Tokens prompt = {7};
  uint32_t brief = submit(scheduler, makeRequest(prompt, 1));
  uint32_t steps = 0;
  for (; tokensOf(scheduler, brief).empty(); ++steps)
    REQUIRE(Result(rondo_rt_scheduler_step(scheduler.get(), &unfinished)).ok());
  CHECK(steps <= 6); // two visits, behind rows that were there before
  CHECK(unfinished == 3);
  CHECK(tokensOf(scheduler, brief) == referenceGreedy(prompt, 1));
}

TEST_CASE("the policy fills steps, then takes the deepest") {
  using rondo_rt::chooseClass;
  CHECK(chooseClass({{3, 0}, {5, 2}, {4, 9}}, 16) == 1);
  CHECK(chooseClass({{5, 0}, {5, 2}, {5, 1}}, 16) == 1);
  CHECK(chooseClass({{0, 0}, {40, 2}, {16, 7}}, 16) == 2);
  rondo_rt::WaitingRow deep = {0, 0, 2, false, 9}, fresh = {1, 0, 0, true, 1},
                       prompt = {2, 0, 0, false, 0},
                       later = {2, 1, 0, false, 2};
  CHECK(goesFirst(deep, fresh));
  CHECK(goesFirst(fresh, prompt));
  CHECK(goesFirst(prompt, later));
  CHECK_FALSE(goesFirst(later, prompt));
}

TEST_CASE(
    "logits are computed for the last row only if nothing more is asked") {
  Model model = loadValid();
  Session session = makeSession(model);
  Seen seen;
  rondo_rt_scheduler_options options = {0, observe, &seen, 0};
  Scheduler scheduler = makeScheduler(session, options);
  submit(scheduler, makeRequest(makePrompt(20, 1), 2));
  runToEnd(scheduler);
  CHECK(seen.logits.size() == 2);
  CHECK(seen.logits.count({0, 19}) == 1);
  CHECK(seen.logits.count({0, 20}) == 1);
}

TEST_CASE("requests that cannot be served are refused") {
  Model model = loadValid();
  Session session = makeSession(model);
  Scheduler scheduler = makeScheduler(session);
  auto refuse = [&](const rondo_rt_request_options &options) {
    uint32_t request = 0;
    return Result(
        rondo_rt_scheduler_submit(scheduler.get(), &options, &request));
  };
  Tokens prompt = {1, 40};
  CHECK(refuse(makeRequest({}, 1)).mentions("at least one token"));
  CHECK(refuse(makeRequest(prompt, 1)).mentions("token 40 at position 1"));
  prompt = makePrompt(299, 1);
  CHECK(refuse(makeRequest(prompt, 3)).mentions("--context=301"));
  prompt = {1};
  rondo_rt_request_options request = makeRequest(prompt, 1);
  request.flags = 64;
  CHECK(refuse(request).mentions("unknown flags"));
  request.flags = 0;
  request.sampling.temperature = -1;
  CHECK(refuse(request).mentions("temperature"));
  request.sampling = {1, 0, 0, 0};
  CHECK(refuse(request).mentions("top-p"));
  CHECK(tokensOf(scheduler, 5).empty());
}

TEST_CASE("the last position of the context can be used") {
  Model model = loadValid();
  Session session = makeSession(model);
  Scheduler scheduler = makeScheduler(session);
  Tokens prompt = makePrompt(299, 1);
  submit(scheduler, makeRequest(prompt, 2));
  runToEnd(scheduler);
  CHECK(tokensOf(scheduler, 0) == referenceGreedy(prompt, 2));
}

TEST_CASE("a request without memory fails alone") {
  Model model = loadValid();
  uint32_t flags = 0;
  SUBCASE("in whole steps") {}
  SUBCASE("at mixed depths") { flags = RONDO_RT_SCHEDULER_DEPTHWISE; }
  Session session = makeSession(model, 2, 2 * 8192); // two pages
  Scheduler scheduler = makeScheduler(session, {0, nullptr, nullptr, flags});
  Tokens lengthy = makePrompt(280, 1), brief = makePrompt(5, 2);
  submit(scheduler, makeRequest(lengthy, 1));
  submit(scheduler, makeRequest(brief, 4));
  runToEnd(scheduler);
  const rondo_rt_status *status =
      rondo_rt_scheduler_request_status(scheduler.get(), 0);
  CHECK(rondo_rt_status_get_code(status) == RONDO_RT_STATUS_OUT_OF_MEMORY);
  CHECK(rondo_rt_scheduler_request_status(scheduler.get(), 1) == nullptr);
  CHECK(tokensOf(scheduler, 1) == referenceGreedy(brief, 4));
}

TEST_CASE("cancelling ends a run between two steps and frees its sequences") {
  Model model = loadValid();
  Session session = makeSession(model);
  {
    Scheduler scheduler = makeScheduler(session);
    for (const Tokens &prompt : makePrompts())
      submit(scheduler, makeRequest(prompt, 20));
    uint32_t unfinished = 0;
    REQUIRE(Result(rondo_rt_scheduler_step(scheduler.get(), &unfinished)).ok());
    rondo_rt_scheduler_cancel(scheduler.get());
    Result result = rondo_rt_scheduler_step(scheduler.get(), &unfinished);
    CHECK(result.code == RONDO_RT_STATUS_CANCELLED);
  }
  for (uint32_t i = 0; i < kSequences; ++i) {
    uint32_t sequence = 0;
    CHECK(Result(rondo_rt_sequence_create(session.get(), &sequence)).ok());
  }
}

TEST_CASE("a request is cancelled alone, and another gets its place") {
  Model model = loadValid();
  uint32_t flags = 0;
  SUBCASE("in whole steps") {}
  SUBCASE("at mixed depths") { flags = RONDO_RT_SCHEDULER_DEPTHWISE; }
  Session session = makeSession(model);
  Scheduler scheduler = makeScheduler(session, {0, nullptr, nullptr, flags});
  std::vector<Tokens> prompts;
  for (uint32_t i = 0; i < kSequences + 2; ++i) {
    prompts.push_back(makePrompt(3 + 7 * i, i));
    submit(scheduler, makeRequest(prompts.back(), 6));
  }
  uint32_t unfinished = 0;
  for (int i = 0; i < 3; ++i)
    REQUIRE(Result(rondo_rt_scheduler_step(scheduler.get(), &unfinished)).ok());
  uint32_t waiting = kSequences; // in a sequence are the ones before it
  for (uint32_t request : {0u, waiting, 0u})
    CHECK(Result(rondo_rt_scheduler_cancel_request(scheduler.get(), request))
              .ok());
  CHECK(Result(rondo_rt_scheduler_cancel_request(scheduler.get(), 99))
            .mentions("there is no request 99"));
  runToEnd(scheduler);
  for (uint32_t i = 0; i < prompts.size(); ++i) {
    const rondo_rt_status *status =
        rondo_rt_scheduler_request_status(scheduler.get(), i);
    if (i == 0 || i == waiting) {
      CHECK(rondo_rt_status_get_code(status) == RONDO_RT_STATUS_CANCELLED);
      continue;
    }
    CHECK(status == nullptr);
    CHECK(tokensOf(scheduler, i) == referenceGreedy(prompts[i], 6));
  }
  CHECK(Result(rondo_rt_scheduler_cancel_request(scheduler.get(), 1)).ok());
  CHECK(tokensOf(scheduler, 1).size() == 6);
}

TEST_CASE("timing counts every token once") {
  Model model = loadValid();
  Session session = makeSession(model);
  Scheduler scheduler = makeScheduler(session);
  submit(scheduler, makeRequest(makePrompt(33, 1), 5));
  runToEnd(scheduler);
  rondo_rt_timing timing = rondo_rt_scheduler_timing(scheduler.get());
  CHECK(timing.prefill_tokens == 33);
  CHECK(timing.decode_tokens == 4); // the fifth is never an input
  CHECK(timing.steps == 3 + 4);
  CHECK(timing.prefill_seconds > 0);
  CHECK(timing.decode_seconds > 0);
}

TEST_CASE("a model that depends on the cut of prompts gets one cut only") {
  Parts parts = makeParts();
  parts.manifest["kv"]["chunk_invariant"] = false;
  Model model;
  REQUIRE(load(assemble(parts), &model).ok());
  Session session = makeSession(model);
  rondo_rt_scheduler_options options = {5, nullptr, nullptr, 0};
  rondo_rt_scheduler *none = nullptr;
  CHECK(Result(rondo_rt_scheduler_create(session.get(), &options, &none))
            .mentions("default chunk of 16"));
  options = {0, nullptr, nullptr, RONDO_RT_SCHEDULER_DEPTHWISE};
  CHECK(Result(rondo_rt_scheduler_create(session.get(), &options, &none))
            .mentions("cannot be at different depths; run whole steps"));
  options.flags = 4;
  CHECK(Result(rondo_rt_scheduler_create(session.get(), &options, &none))
            .mentions("unknown flags 4"));
  // Two prompts of 20: the second may not have the 12 rows the first leaves.
  Seen seen;
  options = {0, observe, &seen, 0};
  Scheduler scheduler = makeScheduler(session, options);
  submit(scheduler, makeRequest(makePrompt(20, 1), 0));
  submit(scheduler, makeRequest(makePrompt(20, 2), 0));
  CHECK(runToEnd(scheduler) == 3); // 16 | 16 or 4 | the rest
  CHECK(seen.mostOfOneRequest == 16);
}
