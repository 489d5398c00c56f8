//===- Scheduler.cpp - requests into steps --------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One step: admit waiting requests, grant rows, commit pages, build the rows in
// the order the ABI wants, run, show the observer, sample.
//===----------------------------------------------------------------------===//
#include "Scheduler.h"

#include <algorithm>
#include <chrono>

using namespace rondo_rt;

//===----------------------------------------------------------------------===//
// Requests
//===----------------------------------------------------------------------===//

Scheduler::Scheduler(Session &session,
                     const rondo_rt_scheduler_options &options)
    : session_(session), options_(options) {
  const Manifest &manifest = session.model().manifest();
  if (options_.chunk == 0 || options_.chunk > manifest.rows)
    options_.chunk = manifest.rows;
  bySequence_.assign(manifest.sequences, RONDO_RT_NONE);
  waiting_.reserve(manifest.rowsInFlight());
  loads_.resize(session.model().visitCount()); // as many classes at most
  rows_.reserve(manifest.rows);
  rowRequests_.reserve(manifest.rows);
  outputRows_.reserve(manifest.rows);
}

/// An error if the model's prompts cannot be cut into chunks of `tokens`, which
/// is not the default.
static Error checkChunk(const Manifest &manifest, uint32_t tokens) {
  if (manifest.cohort)
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "all positions of the model's sequences see each other, "
                     "so no prompt can be cut into chunks of %u tokens; leave "
                     "the chunk at its default",
                     tokens);
  if (manifest.routesPrompts())
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the model routes the positions of a prompt together, so "
                     "none can be cut into chunks of %u tokens; leave the "
                     "chunk at its default",
                     tokens);
  if (!manifest.kv.chunkInvariant)
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the model's KV policy depends on how a prompt is cut, so "
                     "only the default chunk of %u tokens is allowed",
                     manifest.rows);
  return nullptr;
}

Error Scheduler::create(Session &session,
                        const rondo_rt_scheduler_options &options,
                        std::unique_ptr<Scheduler> &scheduler) {
  const Manifest &manifest = session.model().manifest();
  if (options.flags & ~RONDO_RT_SCHEDULER_DEPTHWISE)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT, "unknown flags %x",
                     options.flags);
  if (options.flags & RONDO_RT_SCHEDULER_DEPTHWISE)
    if (Error error = session.checkMixedDepths())
      return error;
  if (options.chunk && options.chunk != manifest.rows)
    if (Error error = checkChunk(manifest, options.chunk))
      return error;
  scheduler.reset(new Scheduler(session, options));
  return nullptr;
}

Scheduler::~Scheduler() {
  for (Request &request : requests_)
    if (request.state == State::Active)
      session_.freeSequence(request.sequence);
}

Error Scheduler::checkTokenTypes(
    const rondo_rt_request_options &options) const {
  if (!options.token_types)
    return nullptr;
  uint32_t types = session_.model().manifest().tokenTypes;
  for (uint32_t i = 0; i < options.token_count; ++i)
    if (options.token_types[i] >= types)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       types ? "token type %u at position %u is not below the "
                               "model's %u types"
                             : "token type %u at position %u: the model has %u "
                               "types; give none",
                       options.token_types[i], i, types);
  return nullptr;
}

/// A sequence whose positions all see each other is one step.
Error Scheduler::checkCohort(const rondo_rt_request_options &options) const {
  const Manifest &manifest = session_.model().manifest();
  if (!manifest.cohort)
    return nullptr;
  if (options.new_tokens)
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the model is no decoder: all positions of a sequence see "
                     "each other, so none comes next; ask for no new tokens, "
                     "but for the outputs of the prompt");
  if (options.token_count <= manifest.rows)
    return nullptr;
  return makeError(RONDO_RT_STATUS_EXHAUSTED,
                   "all positions of a sequence see each other and need one "
                   "step, but there are %u tokens and a step has %u rows; "
                   "compile with --rows=%u or give fewer tokens",
                   options.token_count, manifest.rows, options.token_count);
}

/// A prompt whose positions are routed together is one step.
Error Scheduler::checkRouted(const rondo_rt_request_options &options) const {
  const Manifest &manifest = session_.model().manifest();
  bool recomputes = options.flags & RONDO_RT_REQUEST_RECOMPUTE;
  if (manifest.routesCalls() && options.new_tokens && !recomputes)
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the keys and values that this model's router leaves hold "
                     "for one step, so no new token can read them; recompute "
                     "the sequence for each new token (rondo-run --recompute)");
  uint64_t rows = options.token_count;
  if (recomputes && options.new_tokens)
    rows += options.new_tokens - 1;
  if (!manifest.routesPrompts() || rows <= manifest.rows)
    return nullptr;
  return makeError(
      RONDO_RT_STATUS_EXHAUSTED,
      "the model routes the positions of a prompt together, in "
      "one step, but there are %llu tokens and a step has %u rows; "
      "compile with --rows=%llu or give fewer tokens",
      (unsigned long long)rows, manifest.rows, (unsigned long long)rows);
}

Error Scheduler::checkRequest(const rondo_rt_request_options &options) const {
  const Manifest &manifest = session_.model().manifest();
  if (options.flags &
      ~(RONDO_RT_REQUEST_ALL_LOGITS | RONDO_RT_REQUEST_RECOMPUTE))
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT, "unknown flags %x",
                     options.flags);
  if (options.token_count == 0)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "a prompt must have at least one token");
  for (uint32_t i = 0; i < options.token_count; ++i)
    if (options.tokens[i] >= manifest.vocabulary)
      return makeError(
          RONDO_RT_STATUS_INVALID_ARGUMENT,
          "token %u at position %u is outside the vocabulary of %u",
          options.tokens[i], i, manifest.vocabulary);
  if (Error error = checkTokenTypes(options))
    return error;
  if (Error error = checkCohort(options))
    return error;
  if (Error error = checkRouted(options))
    return error;
  if (options.new_tokens && !manifest.hasLogits())
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the model has no logits to draw tokens from, but "
                     "'%.40s'; ask for no new tokens",
                     manifest.outputs.front().name.c_str());
  // The last new token is never an input.
  uint64_t needed = static_cast<uint64_t>(options.token_count) +
                    (options.new_tokens ? options.new_tokens - 1 : 0);
  if (needed > manifest.context)
    return makeError(
        RONDO_RT_STATUS_EXHAUSTED,
        "%u prompt and %u new tokens need a context of %llu, the "
        "bundle has %u; ask for fewer or compile with --context=%llu",
        options.token_count, options.new_tokens, (unsigned long long)needed,
        manifest.context, (unsigned long long)needed);
  return checkSampling(options.sampling);
}

Error Scheduler::submit(const rondo_rt_request_options &options,
                        uint32_t &number) {
  if (Error error = checkRequest(options))
    return error;
  Request request;
  request.tokens.assign(options.tokens, options.tokens + options.token_count);
  if (options.token_types)
    request.tokenTypes.assign(options.token_types,
                              options.token_types + options.token_count);
  request.tokens.reserve(static_cast<size_t>(options.token_count) +
                         options.new_tokens);
  request.visits.reserve(options.new_tokens);
  request.stopTokens.assign(options.stop_tokens,
                            options.stop_tokens + options.stop_token_count);
  request.promptLength = options.token_count;
  request.newTokens = options.new_tokens;
  request.flags = options.flags;
  request.sampling = options.sampling;
  number = requests_.size();
  requests_.push_back(std::move(request));
  return nullptr;
}

const uint32_t *Scheduler::tokens(uint32_t request, uint32_t &count) const {
  count = 0;
  if (request >= requests_.size())
    return nullptr;
  const Request &found = requests_[request];
  count = found.tokens.size() - found.promptLength;
  return found.tokens.data() + found.promptLength;
}

const uint32_t *Scheduler::visits(uint32_t request, uint32_t &count) const {
  count = 0;
  if (request >= requests_.size())
    return nullptr;
  count = requests_[request].visits.size();
  return requests_[request].visits.data();
}

const rondo_rt_status *Scheduler::status(uint32_t request) const {
  return request < requests_.size() ? requests_[request].status.get() : nullptr;
}

void Scheduler::finish(Request &request, Error status) {
  if (request.state == State::Active) {
    dropWaiting(bySequence_[request.sequence]);
    bySequence_[request.sequence] = RONDO_RT_NONE;
    session_.freeSequence(request.sequence);
  }
  request.granted = 0;
  request.state = State::Done;
  request.status = std::move(status);
}

Error Scheduler::cancelRequest(uint32_t request) {
  if (request >= requests_.size())
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "there is no request %u, %zu were submitted", request,
                     requests_.size());
  if (requests_[request].state != State::Done)
    finish(requests_[request],
           makeError(RONDO_RT_STATUS_CANCELLED, "cancelled"));
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Building a step
//===----------------------------------------------------------------------===//

/// Opens a sequence for waiting requests, in order, while there are any.
void Scheduler::admit() {
  for (uint32_t number = 0; number < requests_.size(); ++number) {
    Request &request = requests_[number];
    if (request.state != State::Waiting)
      continue;
    if (session_.createSequence(request.sequence))
      return; // all in use: it waits
    request.state = State::Active;
    bySequence_[request.sequence] = number;
  }
}

/// Gives a request rows and commits their pages; returns how many.
uint32_t Scheduler::grant(Request &request, uint32_t left) {
  uint32_t wanted = std::min(request.pending(), options_.chunk);
  const Manifest &manifest = session_.model().manifest();
  bool whole = !manifest.kv.chunkInvariant || manifest.routesPrompts();
  if (whole && wanted > left)
    return 0; // would cut the prompt elsewhere than the canonical chunks do
  uint32_t rows = std::min(wanted, left);
  if (rows == 0)
    return 0;
  if (Error error =
          session_.reserve(request.sequence, request.computed + rows)) {
    finish(request, std::move(error));
    return 0;
  }
  request.granted = rows;
  return rows;
}

void Scheduler::grantRows() {
  uint32_t left = session_.model().manifest().rows;
  uint32_t count = bySequence_.size();
  for (bool decoding : {true, false})
    for (uint32_t i = 0; i < count; ++i) {
      uint32_t number = bySequence_[(turn_ + i) % count];
      if (number == RONDO_RT_NONE || requests_[number].granted ||
          requests_[number].decoding() != decoding)
        continue;
      left -= grant(requests_[number], left);
    }
  turn_ = (turn_ + 1) % count;
}

bool Scheduler::wantsLogits(const Request &request, uint32_t position) const {
  if ((request.flags & RONDO_RT_REQUEST_ALL_LOGITS) &&
      position < request.promptLength)
    return true;
  return position + 1 == request.tokens.size() && request.newTokens > 0;
}

rondo_rt_row Scheduler::makeRow(const Request &request,
                                uint32_t position) const {
  rondo_rt_row row = {};
  row.position = position;
  row.token = request.tokens[position];
  row.sequence = request.sequence;
  bool cohort = session_.model().manifest().cohort;
  row.visible = cohort ? request.promptLength : position + 1;
  if (position < request.tokenTypes.size())
    row.token_type = request.tokenTypes[position];
  row.kind = RONDO_RT_ROW_FULL;
  return row;
}

void Scheduler::appendRows(uint32_t number) {
  Request &request = requests_[number];
  for (uint32_t i = 0; i < request.granted; ++i) {
    uint32_t position = request.computed + i;
    if (wantsLogits(request, position))
      outputRows_.push_back(rows_.size());
    rows_.push_back(makeRow(request, position));
    rowRequests_.push_back(number);
  }
}

void Scheduler::buildRows() {
  rows_.clear();
  rowRequests_.clear();
  outputRows_.clear();
  for (uint32_t number : bySequence_)
    if (number != RONDO_RT_NONE)
      appendRows(number);
}

//===----------------------------------------------------------------------===//
// Running it
//===----------------------------------------------------------------------===//

Error Scheduler::step(uint32_t &unfinished) {
  if (cancelled_.load(std::memory_order_relaxed))
    return makeError(RONDO_RT_STATUS_CANCELLED, "cancelled between two steps");
  admit();
  bool depthwise = options_.flags & RONDO_RT_SCHEDULER_DEPTHWISE;
  if (Error error = depthwise ? stepDepthwise() : runStep())
    return error;
  unfinished = 0;
  for (const Request &request : requests_)
    unfinished += request.state != State::Done;
  return nullptr;
}

Error Scheduler::runStep() {
  grantRows();
  buildRows();
  if (rows_.empty())
    return nullptr;
  auto begin = std::chrono::steady_clock::now();
  if (Error error = session_.step(rows_.data(), rows_.size(),
                                  outputRows_.data(), outputRows_.size()))
    return error;
  std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - begin;
  recordTime(elapsed.count(), countPromptRows() > 0);
  observeStep();
  for (uint32_t number : bySequence_)
    if (number != RONDO_RT_NONE) {
      requests_[number].computed += requests_[number].granted;
      requests_[number].granted = 0;
    }
  sampleOutputs();
  return nullptr;
}

void Scheduler::observeStep() {
  if (!options_.observer)
    return;
  rondo_rt_step_view view = {};
  view.rows = rows_.data();
  view.requests = rowRequests_.data();
  view.row_count = rows_.size();
  view.output_rows = outputRows_.data();
  view.output_count = outputRows_.size();
  view.logits = session_.logits();
  options_.observer(options_.observer_user, &view);
}

/// Rows of `rows_` that compute tokens of a prompt.
uint32_t Scheduler::countPromptRows() const {
  uint32_t prompt = 0;
  for (size_t i = 0; i < rows_.size(); ++i)
    prompt += rows_[i].position < requests_[rowRequests_[i]].promptLength;
  return prompt;
}

/// Counts the tokens of `rows_`, which are computed now, and the time of a step
/// that ran tokens of a prompt or did not.
void Scheduler::recordTime(double seconds, bool hasPrompt) {
  uint64_t prompt = countPromptRows();
  ++timing_.steps;
  timing_.prefill_tokens += prompt;
  timing_.decode_tokens += rows_.size() - prompt;
  (hasPrompt ? timing_.prefill_seconds : timing_.decode_seconds) += seconds;
}

void Scheduler::sampleOutputs() {
  uint64_t stride = session_.model().manifest().logitsStride;
  for (size_t i = 0, output = 0; i < rows_.size(); ++i) {
    bool hasLogits = output < outputRows_.size() && outputRows_[output] == i;
    const float *logits =
        hasLogits ? session_.logits() + stride * output++ : nullptr;
    uint32_t number = rowRequests_[i];
    if (requests_[number].tokens.size() == rows_[i].position + 1)
      sampleNext(number, logits);
  }
}

/// Everything known of a request is computed: draws the next token or ends it.
void Scheduler::sampleNext(uint32_t number, const float *logits) {
  Request &request = requests_[number];
  if (request.newTokens == 0)
    return finish(request, nullptr);
  uint32_t drawn = request.tokens.size() - request.promptLength;
  uint32_t token = 0;
  Error error = sampler_.sample(
      logits, session_.model().manifest().vocabulary, request.sampling,
      randomUnit(request.sampling.seed, number, drawn), token);
  if (error)
    return finish(request, std::move(error));
  request.visits.push_back(session_.visitsOf(
      request.sequence, static_cast<uint32_t>(request.tokens.size()) - 1));
  request.tokens.push_back(token);
  bool stop = std::count(request.stopTokens.begin(), request.stopTokens.end(),
                         token) != 0;
  if (stop || drawn + 1 == request.newTokens)
    return finish(request, nullptr);
  if (request.flags & RONDO_RT_REQUEST_RECOMPUTE) {
    if (Error failed = session_.truncate(request.sequence, 0))
      return finish(request, std::move(failed));
    request.computed = request.entered = 0;
  }
}
