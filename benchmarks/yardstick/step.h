// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What decode and prefill share: the state of a step and the ends of it.

#ifndef RONDO_BENCHMARKS_YARDSTICK_STEP_H
#define RONDO_BENCHMARKS_YARDSTICK_STEP_H

#include "../support/team.h"
#include "attention.h"
#include "simd.h"

#include <stdatomic.h>

enum { kMaxChunks = kMaxPositions / kChunk };

/// The best logit that one member found.
typedef struct {
  _Alignas(2 * kCacheLine) float value;
  int index;
} Candidate;

struct State {
  // Decode: one row.
  _Alignas(64) float hidden[kHidden];
  float qkv[kQkv];
  float product[kHidden];
  float gateUp[2 * kFeedForward]; // 32 of gate, 32 of up, ...
  float act[kFeedForward];
  float logits[kVocabulary];
  PartialAttention partial[kKvHeads][kMaxChunks];
  Candidate candidates[kMaxThreads];
  char *rows[kMaxThreads]; // a prepared row for each member

  // Prefill: many rows, row after row.
  float *manyHidden, *manyQkv, *manyAttention, *manyAct;
  char *prepared;
  char *expanded[kMaxThreads]; // up to two panels for each member
  // One counter of claimed work for each stage of the running layer.
  struct {
    _Alignas(2 * kCacheLine) atomic_int next;
  } claims[8];
};

/// The weighted RMS norm of a row of kHidden values.
void normRow(const Model *model, const float *x, float *out);

/// Multiplies a prepared row by panels [begin, end) of a matrix, in several
/// streams. Panel p writes out[32 * p + 0..31].
void multiplyPanels(const TypeKernels *kernels, const char *row,
                    const char *weights, size_t panelBytes, int begin, int end,
                    int K, float *out);

/// This member's share of the head for a prepared row; sets its candidate.
void runHeadShare(const Model *model, State *state, int thread,
                  const char *row);

/// Index of the largest logit, ties to the lowest; after all members ended.
int largestLogit(const State *state);

/// Flushes denormals, as the hardware's bf16 dot product does.
void setFloatMode(void);

#endif // RONDO_BENCHMARKS_YARDSTICK_STEP_H
