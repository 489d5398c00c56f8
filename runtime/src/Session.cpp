//===- Session.cpp - memory and threads of a running model ----------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Compiled code trusts its context blindly, so every row is checked here.
//===----------------------------------------------------------------------===//
#include "Session.h"
#include "Machine.h"

#include <algorithm>

using namespace rondo_rt;

//===----------------------------------------------------------------------===//
// Creation
//===----------------------------------------------------------------------===//

/// Threads for a session; never more than CPUs unless asked for.
static Error chooseThreads(const rondo_rt_session_options &options,
                           uint32_t &threads) {
  constexpr uint32_t kMostThreads = 1024;
  if (options.threads > kMostThreads)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "%u threads asked for, at most %u are possible",
                     options.threads, kMostThreads);
  threads = options.threads ? options.threads : allowedCores();
  if (!(options.flags & RONDO_RT_SESSION_OVERSUBSCRIBE))
    threads = std::min(threads, allowedCpus());
  return nullptr;
}

Error Session::create(const Model &model,
                      const rondo_rt_session_options &options,
                      std::unique_ptr<Session> &session) {
  if (options.flags &
      ~(RONDO_RT_SESSION_OVERSUBSCRIBE | RONDO_RT_SESSION_TRACE))
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT, "unknown flags %x",
                     options.flags);
  if (!model.entry(RONDO_RT_ENTRY_FULL))
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "model was loaded for inspection; load it without "
                     "RONDO_RT_MODEL_INSPECT to run it");
  uint32_t threads = 0;
  if (Error error = chooseThreads(options, threads))
    return error;
  std::unique_ptr<Session> fresh(new Session(model));
  if (Error error = fresh->allocate(options, threads))
    return error;
  if (Error error = Team::create(threads, fresh->team_))
    return error;
  fresh->fillContext();
  session = std::move(fresh);
  return nullptr;
}

Error Session::checkMemory(uint32_t threads, uint64_t &kvLimit) const {
  const Manifest &manifest = model_.manifest();
  uint64_t limit = memoryLimit();
  // In floating point, since the sum of sizes may exceed 64 bits.
  double fixed =
      static_cast<double>(manifest.weightBytes) +
      static_cast<double>(manifest.arenaBytes) +
      static_cast<double>(manifest.stateBytes()) * manifest.rowsInFlight() +
      static_cast<double>(manifest.scratchBytes) * threads;
  double sequence = static_cast<double>(manifest.pagesPerSequence()) *
                    static_cast<double>(manifest.kv.pageBytes);
  if (fixed + sequence > static_cast<double>(limit))
    return makeError(
        RONDO_RT_STATUS_OUT_OF_MEMORY,
        "model needs %s of weights, %s of arena, %s of scratch for each of %u "
        "threads and %s for one sequence of %u positions, but this machine has "
        "%s; compile with smaller --weights, --context or --rows",
        formatBytes(manifest.weightBytes).c_str(),
        formatBytes(manifest.arenaBytes).c_str(),
        formatBytes(manifest.scratchBytes).c_str(), threads,
        formatBytes(static_cast<uint64_t>(std::min(sequence, 1e18))).c_str(),
        manifest.context, formatBytes(limit).c_str());
  kvLimit = limit - static_cast<uint64_t>(fixed);
  return nullptr;
}

Error Session::allocate(const rondo_rt_session_options &options,
                        uint32_t threads) {
  const Manifest &manifest = model_.manifest();
  uint64_t kvLimit = 0;
  if (Error error = checkMemory(threads, kvLimit))
    return error;
  if (options.kv_bytes_limit)
    kvLimit = std::min(kvLimit, options.kv_bytes_limit);
  if (Error error = kv_.create(manifest, kvLimit))
    return error;
  if (Error error = Mapping::allocate(manifest.arenaBytes, "the arena", arena_))
    return error;
  // Threads write to their scratch all the time: no cache line is shared.
  context_.scratch_stride = roundUp(manifest.scratchBytes, kPageBytes);
  if (Error error = Mapping::allocate(context_.scratch_stride * threads,
                                      "the threads' scratch", scratch_))
    return error;
  if (Error error = Mapping::allocate(manifest.logitsStride * manifest.rows *
                                          sizeof(float),
                                      "the logits", logits_))
    return error;
  if (options.flags & RONDO_RT_SESSION_TRACE) {
    if (manifest.trace.empty())
      return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                       "bundle keeps no trace; compile with --trace-points");
    uint64_t stride =
        static_cast<uint64_t>(manifest.widestTracePoint()) * manifest.rows;
    if (Error error =
            Mapping::allocate(stride * manifest.trace.size() * sizeof(float),
                              "the trace", trace_))
      return error;
    context_.trace_stride = stride;
  }
  if (Error error = flight_.create(manifest))
    return error;
  order_.reserve(manifest.rows);
  descriptors_.reserve(manifest.rows);
  moving_.reserve(manifest.rows);
  tracedAt_.resize(manifest.rows);
  sequences_.resize(manifest.sequences);
  inputs_.create(manifest);
  routing_.create(manifest);
  model_.populateWeights();
  return nullptr;
}

/// What compiled code calls between two stages.
static void stageBarrier(rondo_rt_context *context, uint32_t thread) {
  static_cast<Team *>(context->runtime)->barrier(thread);
}

void Session::fillVisits() {
  context_.executions = visits_.executions();
  context_.visit_begin = visits_.begin();
  context_.visit_count = visits_.count();
}

void Session::fillContext() {
  context_.abi_version = RONDO_RT_ABI_VERSION;
  context_.struct_size = sizeof(context_);
  context_.thread_count = team_->size();
  fillVisits();
  context_.page_table_stride = kv_.pageTableStride();
  context_.weights = model_.weights();
  context_.arena = arena_.data();
  context_.scratch = scratch_.data();
  context_.kv = kv_.data();
  context_.page_table = kv_.pageTable();
  context_.logits = reinterpret_cast<float *>(logits_.data());
  context_.computed = routing_.computed();
  context_.computed_stride = routing_.stride();
  context_.trace = reinterpret_cast<float *>(trace_.data());
  context_.barrier = stageBarrier;
  context_.runtime = team_.get();
  full_ = model_.entry(RONDO_RT_ENTRY_FULL);
}

//===----------------------------------------------------------------------===//
// Sequences
//===----------------------------------------------------------------------===//

Error Session::createSequence(uint32_t &sequence) {
  for (uint32_t index = 0; index < sequences_.size(); ++index) {
    if (sequences_[index].open)
      continue;
    sequences_[index] = {/*open=*/true, /*length=*/0};
    sequence = index;
    return nullptr;
  }
  return makeError(RONDO_RT_STATUS_EXHAUSTED,
                   "all %zu sequences are in use; free one or compile with "
                   "--sequences=%zu",
                   sequences_.size(), 2 * sequences_.size());
}

Error Session::checkOpen(uint32_t sequence) const {
  if (sequence < sequences_.size() && sequences_[sequence].open)
    return nullptr;
  return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                   "sequence %u is not open; create it first", sequence);
}

Error Session::checkNoneOpen(const char *what) const {
  for (uint32_t index = 0; index < sequences_.size(); ++index)
    if (sequences_[index].open)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "%s cannot change while sequence %u is open; free it "
                       "first",
                       what, index);
  return nullptr;
}

void Session::freeSequence(uint32_t sequence) {
  if (sequence >= sequences_.size() || !sequences_[sequence].open)
    return;
  flight_.truncate(sequence, 0);
  kv_.truncate(sequence, 0);
  routing_.truncate(sequence, 0);
  sequences_[sequence] = {};
}

Error Session::reserve(uint32_t sequence, uint32_t length) {
  if (Error error = checkOpen(sequence))
    return error;
  uint32_t context = model_.manifest().context;
  if (length > context)
    return makeError(
        RONDO_RT_STATUS_EXHAUSTED,
        "sequence %u needs %u positions, the bundle holds %u; use a "
        "shorter one or compile with --context=%u",
        sequence, length, context, length);
  if (Error error = inputs_.check(sequence, length))
    return error;
  return kv_.reserve(sequence, length);
}

Error Session::truncate(uint32_t sequence, uint32_t length) {
  if (Error error = checkOpen(sequence))
    return error;
  if (length > sequences_[sequence].length)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "sequence %u has %u positions, cannot be cut to %u",
                     sequence, sequences_[sequence].length, length);
  sequences_[sequence].length = length;
  routing_.truncate(sequence, length);
  flight_.truncate(sequence, length);
  kv_.truncate(sequence, length);
  return nullptr;
}

uint32_t Session::length(uint32_t sequence) const {
  return sequence < sequences_.size() ? sequences_[sequence].length : 0;
}

//===----------------------------------------------------------------------===//
// Inputs and depth
//===----------------------------------------------------------------------===//

/// Rows read the keys and values that earlier positions left at the same visit,
/// so one depth holds for all positions of a sequence.
Error Session::setDepth(uint32_t depth) {
  if (Error error = checkNoneOpen("the depth"))
    return error;
  if (!model_.manifest().routing.empty() && depth != visits_.depth())
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "a router chooses the depth of each position of this "
                     "model; leave the depth out");
  if (Error error = visits_.setDepth(depth))
    return error;
  fillVisits();
  return nullptr;
}

Error Session::setInput(const char *name, const float *values,
                        uint32_t positions, uint32_t width) {
  if (Error error = checkNoneOpen("an input"))
    return error;
  return inputs_.give(name, values, positions, width);
}

Error Session::setSeed(uint64_t seed) {
  if (Error error = checkNoneOpen("the seed of inputs"))
    return error;
  inputs_.setSeed(seed);
  return nullptr;
}

//===----------------------------------------------------------------------===//
// The step
//===----------------------------------------------------------------------===//

/// What the code looks up in tables is inside of them.
Error Session::checkIds(const rondo_rt_row &row, uint32_t index) const {
  const Manifest &manifest = model_.manifest();
  if (row.token >= manifest.vocabulary)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u has token %u, the vocabulary has %u", index,
                     row.token, manifest.vocabulary);
  if (row.token_type && row.token_type >= manifest.tokenTypes)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u has token type %u, the model has %u types; give 0 "
                     "where it has none",
                     index, row.token_type, manifest.tokenTypes);
  return nullptr;
}

Error Session::checkRow(const rondo_rt_row &row, const rondo_rt_row *previous,
                        uint32_t index) const {
  if (Error error = checkOpen(row.sequence))
    return error;
  if (Error error = checkIds(row, index))
    return error;
  bool continues = previous && previous->sequence == row.sequence;
  if (previous && previous->sequence > row.sequence)
    return makeError(
        RONDO_RT_STATUS_INVALID_ARGUMENT,
        "row %u of sequence %u follows one of sequence %u; sort rows "
        "by sequence",
        index, row.sequence, previous->sequence);
  uint32_t expected =
      continues ? previous->position + 1 : sequences_[row.sequence].length;
  if (row.position != expected)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u of sequence %u has position %u, expected %u",
                     index, row.sequence, row.position, expected);
  if (!continues && flight_.hasSequence(row.sequence))
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u continues sequence %u, of which rows are in "
                     "flight; take them to the coda first",
                     index, row.sequence);
  if (row.kind != RONDO_RT_ROW_FULL || row.visit != 0 ||
      (row.flags & ~RONDO_RT_ROW_SPECULATIVE) || row.place || row.reserved)
    return makeError(
        RONDO_RT_STATUS_INVALID_ARGUMENT,
        "row %u has kind %u, visit %u and flags %u; a step runs full "
        "rows from visit 0",
        index, row.kind, row.visit, row.flags);
  return nullptr;
}

Error Session::checkRowCount(uint32_t rowCount) const {
  uint32_t most = model_.manifest().rows;
  if (rowCount > 0 && rowCount <= most)
    return nullptr;
  return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                   "step has %u rows, must have 1 to %u; split it or compile "
                   "with --rows=%u",
                   rowCount, most, rowCount);
}

Error Session::checkOutputs(const uint32_t *outputRows, uint32_t outputCount,
                            uint32_t rowCount) const {
  for (uint32_t i = 0; i < outputCount; ++i)
    if (outputRows[i] >= rowCount || (i && outputRows[i] <= outputRows[i - 1]))
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "output row %u is %u; they must ascend and be below %u",
                       i, outputRows[i], rowCount);
  return nullptr;
}

/// `end` is the length of the row's sequence after the step.
Error Session::checkVisible(const rondo_rt_row &row, uint32_t end,
                            uint32_t index) const {
  if (row.visible == 0 || row.visible > end)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u may see %u positions, sequence %u has %u", index,
                     row.visible, row.sequence, end);
  if (model_.manifest().routesCalls() && sequences_[row.sequence].length)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u continues sequence %u, but the keys and values "
                     "that this model's router leaves hold for one step; "
                     "truncate it to 0 and give all its rows in one step",
                     index, row.sequence);
  if (!model_.manifest().cohort)
    return nullptr;
  if (sequences_[row.sequence].length)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u continues sequence %u, but all positions of the "
                     "model's sequences see each other; truncate it to 0 and "
                     "give all its rows in one step",
                     index, row.sequence);
  if (row.visible != end)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "row %u may see %u positions, but all positions of the "
                     "model's sequences see each other; set 'visible' to %u",
                     index, row.visible, end);
  return nullptr;
}

Error Session::checkStep(const rondo_rt_row *rows, uint32_t rowCount,
                         const uint32_t *outputRows,
                         uint32_t outputCount) const {
  if (Error error = checkRowCount(rowCount))
    return error;
  for (uint32_t i = 0; i < rowCount; ++i)
    if (Error error = checkRow(rows[i], i ? &rows[i - 1] : nullptr, i))
      return error;
  // Positions are known to be in order now: the last row of a sequence is its
  // end.
  for (uint32_t i = rowCount, end = 0; i-- > 0;) {
    if (i + 1 == rowCount || rows[i + 1].sequence != rows[i].sequence)
      end = rows[i].position + 1;
    if (Error error = checkVisible(rows[i], end, i))
      return error;
  }
  return checkOutputs(outputRows, outputCount, rowCount);
}

void rondo_rt::fillInputs(const ModelInputs &inputs,
                          const rondo_rt_context &context, Team &team,
                          uint32_t thread) {
  if (inputs.empty())
    return;
  uint64_t count = context.row_count, threads = team.size();
  inputs.fill(context.rows, count * thread / threads,
              count * (thread + 1) / threads, context.arena);
  team.barrier(thread);
}

namespace {
/// What the threads of a step share.
struct StepCall {
  rondo_rt_entry_fn entry;
  rondo_rt_context *context;
  Team *team;
  const ModelInputs *inputs;
};
} // namespace

Error Session::step(const rondo_rt_row *rows, uint32_t rowCount,
                    const uint32_t *outputRows, uint32_t outputCount) {
  if (Error error = checkStep(rows, rowCount, outputRows, outputCount))
    return error;
  for (uint32_t i = 0; i < rowCount; ++i)
    if (i + 1 == rowCount || rows[i + 1].sequence != rows[i].sequence)
      if (Error error = reserve(rows[i].sequence, rows[i].position + 1))
        return error;
  context_.rows = rows;
  context_.row_count = rowCount;
  context_.output_rows = outputRows;
  context_.output_count = outputCount;
  for (uint32_t i = 0; i < rowCount; ++i)
    tracedAt_[i] = i;
  StepCall call = {full_, &context_, team_.get(), &inputs_};
  team_->run(
      [](void *argument, uint32_t thread) {
        auto *step = static_cast<StepCall *>(argument);
        fillInputs(*step->inputs, *step->context, *step->team, thread);
        step->entry(step->context, thread);
      },
      &call);
  for (uint32_t i = 0; i < rowCount; ++i)
    sequences_[rows[i].sequence].length = rows[i].position + 1;
  routing_.note(rows, rowCount, arena_.data());
  return nullptr;
}

const float *Session::trace(uint32_t point, uint32_t row) const {
  const Manifest &manifest = model_.manifest();
  if (!context_.trace || point >= manifest.trace.size() ||
      row >= context_.row_count || !visits_.reaches(point))
    return nullptr;
  return context_.trace + point * context_.trace_stride +
         static_cast<uint64_t>(tracedAt_[row]) * manifest.widestTracePoint();
}
