//===- SessionDepth.cpp - steps of rows at mixed depths -------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A call checks its rows one by one and marks them, so that a row that comes
// twice or runs ahead of its sequence is found; only then does anything change.
//===----------------------------------------------------------------------===//
#include "Session.h"

#include <algorithm>

using namespace rondo_rt;

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

Error Session::checkMixedDepths() const {
  const Manifest &manifest = model_.manifest();
  if (manifest.cohort)
    return makeError(
        RONDO_RT_STATUS_UNSUPPORTED,
        "all positions of the model's sequences see each other, so its rows "
        "cannot be at different depths; run whole steps");
  if (manifest.routesPrompts())
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the model routes the positions of a prompt together, so "
                     "they cannot be at different depths; run whole steps, or "
                     "compile with --routing=causal");
  if (!manifest.kv.chunkInvariant)
    return makeError(
        RONDO_RT_STATUS_UNSUPPORTED,
        "the model's KV policy depends on how a prompt is cut, so its rows "
        "cannot be at different depths; run whole steps");
  return nullptr;
}

/// What holds for the rows of every call.
Error Session::checkDepthCall(const rondo_rt_row *rows,
                              uint32_t rowCount) const {
  if (Error error = checkMixedDepths())
    return error;
  if (visits_.count() > UINT16_MAX)
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the schedule has %u visits, a row can tell apart %u; run "
                     "whole steps",
                     visits_.count(), UINT16_MAX);
  if (Error error = checkRowCount(rowCount))
    return error;
  for (uint32_t i = 0; i < rowCount; ++i) {
    const rondo_rt_row &row = rows[i];
    if (Error error = checkOpen(row.sequence))
      return error;
    if (Error error = checkIds(row, i))
      return error;
    if (row.kind > RONDO_RT_ROW_GHOST ||
        (row.flags & ~RONDO_RT_ROW_SPECULATIVE) || row.place || row.reserved)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u has kind %u and flags %u, which this version "
                       "does not know; use the kinds and flags of abi.h",
                       i, row.kind, row.flags);
    if (row.visible == 0 || row.visible > row.position + 1)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u may see %u positions, it can see 1 to %u", i,
                       row.visible, row.position + 1);
  }
  return nullptr;
}

/// New rows: each sequence goes on without a gap, in whatever order.
Error Session::checkEntering(const rondo_rt_row *rows, uint32_t rowCount) {
  if (rowCount > flight_.capacity() - flight_.size())
    return makeError(
        RONDO_RT_STATUS_EXHAUSTED,
        "%u rows are in flight and %u more do not fit, a session keeps %u; "
        "take some to the coda first or compile with more --rows",
        flight_.size(), rowCount, flight_.capacity());
  sortRows(rows, rowCount);
  for (uint32_t i = 0; i < rowCount; ++i) {
    const rondo_rt_row &row = rows[order_[i]];
    const rondo_rt_row *previous = i ? &rows[order_[i - 1]] : nullptr;
    bool continues = previous && previous->sequence == row.sequence;
    uint32_t expected =
        continues ? previous->position + 1 : sequences_[row.sequence].length;
    if (row.position != expected)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u of sequence %u has position %u, expected %u",
                       order_[i], row.sequence, row.position, expected);
    if (row.visit != 0)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u enters at visit %u; rows enter at visit 0",
                       order_[i], row.visit);
  }
  return nullptr;
}

/// Finds and marks the rows of a call that are in flight.
Error Session::callRows(const rondo_rt_row *rows, uint32_t rowCount) {
  for (uint32_t i = 0; i < rowCount; ++i) {
    const rondo_rt_row &row = rows[i];
    RowInFlight *found = flight_.find(row.sequence, row.position);
    if (!found)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u (sequence %u, position %u) has no state; let it "
                       "enter with the prelude first",
                       i, row.sequence, row.position);
    if (found->called)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u (sequence %u, position %u) is in the call "
                       "twice; leave one out",
                       i, row.sequence, row.position);
    if (found->visit != row.visit)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u (sequence %u, position %u) asks for visit %u, "
                       "but comes to visit %u of %u next",
                       i, row.sequence, row.position, row.visit, found->visit,
                       visits_.count());
    if (found->kind != RONDO_RT_ROW_FULL && row.kind == RONDO_RT_ROW_FULL)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u (sequence %u, position %u) has exited and "
                       "cannot be full again; keep kind %u",
                       i, row.sequence, row.position, found->kind);
    found->called = true;
  }
  return nullptr;
}

/// Rows of a depth step: one class of visits, and none ahead of its sequence.
Error Session::checkVisits(const rondo_rt_row *rows, uint32_t rowCount) {
  for (uint32_t i = 0; i < rowCount; ++i) {
    const rondo_rt_row &row = rows[i];
    if (row.visit >= visits_.count())
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u is at visit %u, the schedule has %u; take it to "
                       "the coda",
                       i, row.visit, visits_.count());
    if (visits_.classOf(row.visit) != visits_.classOf(rows[0].visit))
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u at visit %u and row 0 at visit %u execute other "
                       "bodies or layers; run them in two steps",
                       i, row.visit, rows[0].visit);
    const RowInFlight *earlier =
        flight_.before(*flight_.find(row.sequence, row.position));
    if (earlier && earlier->visit + earlier->called <= row.visit)
      return makeError(
          RONDO_RT_STATUS_INVALID_ARGUMENT,
          "row %u (sequence %u, position %u) needs K and V of visit %u, but "
          "position %u comes to visit %u only; run that first, or both in one "
          "step",
          i, row.sequence, row.position, row.visit, earlier->position,
          earlier->visit);
  }
  return nullptr;
}

/// Rows that leave, and those of them that are read out.
Error Session::checkLeaving(const rondo_rt_row *rows, uint32_t rowCount,
                            const uint32_t *outputRows,
                            uint32_t outputCount) const {
  for (uint32_t i = 0; i < rowCount; ++i)
    if (rows[i].visit != visits_.count())
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u comes to visit %u of %u next, the coda is "
                       "behind the last; run the others first",
                       i, rows[i].visit, visits_.count());
  if (Error error = checkOutputs(outputRows, outputCount, rowCount))
    return error;
  for (uint32_t i = 0; i < outputCount; ++i)
    if (rows[outputRows[i]].kind != RONDO_RT_ROW_FULL)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "row %u has kind %u and cannot be read out; leave it "
                       "out of the output rows",
                       outputRows[i], rows[outputRows[i]].kind);
  return nullptr;
}

/// Marks end with the call that made them.
void Session::uncallRows(const rondo_rt_row *rows, uint32_t rowCount) {
  for (uint32_t i = 0; i < rowCount; ++i)
    if (RowInFlight *row = flight_.find(rows[i].sequence, rows[i].position))
      row->called = false;
}

//===----------------------------------------------------------------------===//
// Running
//===----------------------------------------------------------------------===//

/// Orders the rows as attention wants them, and rows of one depth together:
/// they share side parameters. Writes `order_`.
void Session::sortRows(const rondo_rt_row *rows, uint32_t rowCount) {
  order_.resize(rowCount);
  for (uint32_t i = 0; i < rowCount; ++i)
    order_[i] = i;
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    const rondo_rt_row &x = rows[a], &y = rows[b];
    if (x.visit != y.visit)
      return x.visit < y.visit;
    return x.sequence != y.sequence ? x.sequence < y.sequence
                                    : x.position < y.position;
  });
}

/// Fills the context's rows in the order of `order_`; states move for those
/// whose kind keeps them.
void Session::placeRows(const rondo_rt_row *rows, bool keepVisits) {
  uint32_t count = order_.size();
  descriptors_.resize(count);
  moving_.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    const rondo_rt_row &row = rows[order_[i]];
    descriptors_[i] = row;
    if (!keepVisits)
      descriptors_[i].visit = 0;
    moving_[i] = flight_.find(row.sequence, row.position);
    tracedAt_[order_[i]] = i;
  }
  context_.rows = descriptors_.data();
  context_.row_count = count;
}

namespace {
/// What the threads of a step at mixed depths share.
struct DepthCall {
  rondo_rt_entry_fn entry;
  rondo_rt_context *context;
  Team *team;
  RowsInFlight *flight;
  RowInFlight *const *rows; // [context->row_count]
  const ModelInputs *inputs;
  DepthEnds ends;
};

/// This thread's share of the rows, between the entry's two barriers.
template <typename Move>
void moveRows(DepthCall &call, uint32_t thread, Move move) {
  uint64_t count = call.context->row_count, threads = call.team->size();
  for (uint64_t i = count * thread / threads;
       i < count * (thread + 1) / threads; ++i)
    move(*call.rows[i], call.context->arena, i);
}

void runDepthCall(void *argument, uint32_t thread) {
  auto &call = *static_cast<DepthCall *>(argument);
  if (!call.ends.gather) // rows enter
    fillInputs(*call.inputs, *call.context, *call.team, thread);
  else
    moveRows(call, thread, [&](RowInFlight &row, char *arena, uint32_t i) {
      call.flight->gather(row, arena, i);
    });
  call.team->barrier(thread);
  call.entry(call.context, thread);
  call.team->barrier(thread);
  if (call.ends.scatter)
    moveRows(call, thread, [&](RowInFlight &row, char *arena, uint32_t i) {
      bool hasState = call.ends.gather; // else it gets its first one now
      if (!hasState || call.context->rows[i].kind != RONDO_RT_ROW_KV_ONLY)
        call.flight->scatter(row, arena, i);
    });
}
} // namespace

void Session::runDepth(rondo_rt_entry which, DepthEnds ends) {
  DepthCall call = {model_.entry(which), &context_, team_.get(), &flight_,
                    moving_.data(),      &inputs_,  ends};
  team_->run(runDepthCall, &call);
}

//===----------------------------------------------------------------------===//
// The three calls
//===----------------------------------------------------------------------===//

Error Session::prelude(const rondo_rt_row *rows, uint32_t rowCount) {
  if (Error error = checkDepthCall(rows, rowCount))
    return error;
  if (Error error = checkEntering(rows, rowCount))
    return error;
  for (uint32_t i = 0; i < rowCount; ++i)
    if (Error error = reserve(rows[i].sequence, rows[i].position + 1))
      return error;
  flight_.enter(rows, rowCount);
  routing_.enter(rows, rowCount);
  placeRows(rows, /*keepVisits=*/false);
  context_.output_count = 0;
  runDepth(RONDO_RT_ENTRY_PRELUDE, {/*gather=*/false, /*scatter=*/true});
  for (uint32_t i = 0; i < rowCount; ++i) {
    uint32_t &length = sequences_[rows[i].sequence].length;
    length = std::max(length, rows[i].position + 1);
  }
  return nullptr;
}

Error Session::depthStep(const rondo_rt_row *rows, uint32_t rowCount) {
  if (Error error = checkDepthCall(rows, rowCount))
    return error;
  Error error = callRows(rows, rowCount);
  if (!error)
    error = checkVisits(rows, rowCount);
  uncallRows(rows, rowCount);
  if (error)
    return error;
  sortRows(rows, rowCount);
  placeRows(rows, /*keepVisits=*/true);
  context_.output_count = 0;
  context_.visit_first = rows[0].visit;
  runDepth(RONDO_RT_ENTRY_DEPTH_STEP, {/*gather=*/true, /*scatter=*/true});
  context_.visit_first = 0;
  for (uint32_t i = 0; i < rowCount; ++i) {
    moving_[i]->kind = descriptors_[i].kind;
    if (routing_.noteVisit(descriptors_[i], i, arena_.data()))
      ++moving_[i]->visit;
    else
      leaveLoop(*moving_[i]);
  }
  return nullptr;
}

/// Takes a row that no later visit of its loop computes behind the loop; but
/// not past rows of its sequence whose keys and values it reads there.
void Session::leaveLoop(RowInFlight &row) {
  uint32_t next = routing_.behind(row.visit);
  const RowInFlight *earlier = flight_.before(row);
  row.visit =
      earlier ? std::min(next, std::max(earlier->visit, row.visit + 1)) : next;
}

uint32_t Session::nextVisit(uint32_t sequence, uint32_t position) {
  const RowInFlight *row = flight_.find(sequence, position);
  return row ? row->visit : RONDO_RT_NONE;
}

Error Session::coda(const rondo_rt_row *rows, uint32_t rowCount,
                    const uint32_t *outputRows, uint32_t outputCount) {
  if (Error error = checkDepthCall(rows, rowCount))
    return error;
  Error error = callRows(rows, rowCount);
  if (!error)
    error = checkLeaving(rows, rowCount, outputRows, outputCount);
  if (error) {
    uncallRows(rows, rowCount);
    return error;
  }
  order_.resize(rowCount); // as they are: `outputRows` counts them so
  for (uint32_t i = 0; i < rowCount; ++i)
    order_[i] = i;
  placeRows(rows, /*keepVisits=*/false);
  context_.output_rows = outputRows;
  context_.output_count = outputCount;
  runDepth(RONDO_RT_ENTRY_CODA, {/*gather=*/true, /*scatter=*/false});
  flight_.leaveCalled();
  return nullptr;
}
