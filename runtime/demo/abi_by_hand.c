/*===- abi_by_hand.c - a code image written by hand ------------*- C -*-===*\
|* Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.       *|
|* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception                  *|
\*===--------------------------------------------------------------------===*/
/* What the compiler emits, as a person would write it: a looped toy model that
   uses every part of abi.h. All numbers are small integers in floats, so that
   any order of additions gives the same bits. blob.ld lays the image out.

   state[d] = (token * (d + 3) + position) mod 17
   for each execution: write K[d] = state[d], V[d] = state[d + 4] into its slot,
   then state[d] = (state[d] + sum over visible positions of (d even ? K : V)[d
   mod 4]
                 + step[side][d]) mod 31
   logits[v] = (sum over d of state[d] * ((v * (d + 3)) mod 13)) mod 64 +
   head[v]     */
#include "rondo_rt/abi.h"

enum {
  kHidden = 8,
  kHeadDim = 4,
  kVocabulary = 40,
  kSlots = 2,
  kHeadOffset =
      64, /* bytes from the weights' start to head[]; before: step[2][8] */
  kTraceWidest = kHidden,
  kFinalTracePoint = 2,
  kFinalTraceWidth = 4,
};

/* K and V of one position: floats
 * [kSlots][2][RONDO_RT_PAGE_POSITIONS][kHeadDim] of a page. */
static float *kvAt(rondo_rt_context *context, uint32_t sequence,
                   uint32_t position, uint32_t slot, uint32_t isValue) {
  uint64_t pageFloats =
      (uint64_t)kSlots * 2 * RONDO_RT_PAGE_POSITIONS * kHeadDim;
  uint32_t page =
      context->page_table[(uint64_t)sequence * context->page_table_stride +
                          position / RONDO_RT_PAGE_POSITIONS];
  return (float *)context->kv + page * pageFloats +
         ((slot * 2 + isValue) * RONDO_RT_PAGE_POSITIONS +
          position % RONDO_RT_PAGE_POSITIONS) *
             kHeadDim;
}

static float *stateOf(rondo_rt_context *context, uint32_t row) {
  return (float *)context->arena + (uint64_t)row * kHidden;
}

static void keepTrace(rondo_rt_context *context, uint32_t point, uint32_t row,
                      uint32_t width) {
  if (!context->trace || point == RONDO_RT_NONE)
    return;
  float *to = context->trace + point * context->trace_stride +
              (uint64_t)row * kTraceWidest;
  for (uint32_t d = 0; d < width; ++d)
    to[d] = stateOf(context, row)[d];
}

static void appendKv(rondo_rt_context *context, uint32_t row, uint32_t slot) {
  const rondo_rt_row *r = &context->rows[row];
  for (uint32_t isValue = 0; isValue < 2; ++isValue) {
    float *to = kvAt(context, r->sequence, r->position, slot, isValue);
    for (uint32_t d = 0; d < kHeadDim; ++d)
      to[d] = stateOf(context, row)[isValue * kHeadDim + d];
  }
}

static void attend(rondo_rt_context *context, uint32_t row,
                   const rondo_rt_execution *execution) {
  const rondo_rt_row *r = &context->rows[row];
  const float *step =
      (const float *)context->weights + execution->side * kHidden;
  float *state = stateOf(context, row);
  for (uint32_t d = 0; d < kHidden; ++d) {
    float sum = state[d] + step[d];
    for (uint32_t p = 0; p < r->visible; ++p)
      sum +=
          kvAt(context, r->sequence, p, execution->slot, d % 2)[d % kHeadDim];
    state[d] = (float)((int32_t)sum % 31);
  }
}

/* One execution of every row: rows of any visit share it, each with its own
   entry of the schedule. All K and V are written before any row attends. */
static void runBody(rondo_rt_context *context, uint32_t thread,
                    uint32_t visit) {
  const rondo_rt_execution *executions = context->executions;
  for (uint32_t row = thread; row < context->row_count;
       row += context->thread_count)
    appendKv(context, row,
             executions[context->visit_begin[visit + context->rows[row].visit]]
                 .slot);
  context->barrier(context, thread);
  for (uint32_t row = thread; row < context->row_count;
       row += context->thread_count) {
    const rondo_rt_execution *execution =
        &executions[context->visit_begin[visit + context->rows[row].visit]];
    attend(context, row, execution);
    keepTrace(context, execution->trace, row, kHidden);
  }
  context->barrier(context, thread);
}

__attribute__((aligned(16))) void rondo_prelude(rondo_rt_context *context,
                                                uint32_t thread) {
  for (uint32_t row = thread; row < context->row_count;
       row += context->thread_count)
    for (uint32_t d = 0; d < kHidden; ++d)
      stateOf(context, row)[d] = (float)((context->rows[row].token * (d + 3) +
                                          context->rows[row].position) %
                                         17);
}

__attribute__((aligned(16))) void rondo_depth_step(rondo_rt_context *context,
                                                   uint32_t thread) {
  runBody(context, thread, 0); /* every row names its visit itself */
}

__attribute__((aligned(16))) void rondo_coda(rondo_rt_context *context,
                                             uint32_t thread) {
  const float *head = (const float *)(context->weights + kHeadOffset);
  for (uint32_t row = thread; row < context->row_count;
       row += context->thread_count)
    keepTrace(context, kFinalTracePoint, row, kFinalTraceWidth);
  for (uint32_t o = 0; o < context->output_count; ++o) {
    const float *state = stateOf(context, context->output_rows[o]);
    for (uint32_t v = thread; v < kVocabulary; v += context->thread_count) {
      int32_t sum = 0;
      for (uint32_t d = 0; d < kHidden; ++d)
        sum += (int32_t)state[d] * (int32_t)(v * (d + 3) % 13);
      context->logits[(uint64_t)o * kVocabulary + v] =
          (float)(sum % 64) + head[v];
    }
  }
}

__attribute__((aligned(16))) void rondo_full(rondo_rt_context *context,
                                             uint32_t thread) {
  rondo_prelude(context, thread);
  for (uint32_t visit = 0; visit < context->visit_count; ++visit)
    runBody(context, thread, visit);
  rondo_coda(context, thread);
}
