// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A Llama of SmolLM2-135M's shape with random weights, and one step over it:
// one row (decode) or many (prefill), run by all members of the team together.

#ifndef RONDO_BENCHMARKS_YARDSTICK_MODEL_H
#define RONDO_BENCHMARKS_YARDSTICK_MODEL_H

#include "panels.h"

enum {
  kHidden = 576,
  kFeedForward = 1536,
  kHeads = 9,
  kKvHeads = 3,
  kHeadSize = 64,
  kGroupHeads = kHeads / kKvHeads, // query heads that share K and V
  kVocabulary = 49152,
  kQkv = (kHeads + 2 * kKvHeads) * kHeadSize,
  kMaxPositions = 1024,
  kMaxRows = 512,
  kChunk = 128 // positions that one piece of decode attention covers
};

/// Where the matrices of one layer begin, in bytes from the layer's start.
/// Gate panel i and up panel i lie side by side.
typedef struct {
  size_t qkv, output, gateUp, down, end;
} LayerOffsets;

typedef struct {
  int layers, visits; // the stack of layers is executed `visits` times
  WeightType body, headType;
  int prefetchBytes; // of the next stage's weights, before each barrier
  LayerOffsets offsets;
  char *weights;    // [layers][offsets.end]
  char *head;       // [kVocabulary / 32] panels
  uint16_t *keys;   // [slot][kv head][position / 32][kHeadSize / 2][32][2]
  uint16_t *values; // [slot][kv head][kHeadSize / 32][position / 2][32][2]
  float *rope;      // [position][cos 32, sin 32]
  float *norm;      // [kHidden]
} Model;

/// Rows of a step and all its intermediate results. One for each model.
typedef struct State State;

/// Allocates and fills a model; repeatable from run to run.
void createModel(Model *model);

State *createState(void);

/// Runs one token at `position`. Returns the index of the largest logit.
int decodeStep(const Model *model, State *state, int position);

/// Runs `rows` tokens from position 0 and the head for the last of them.
int prefillStep(const Model *model, State *state, int rows);

/// Bytes that one decoded token reads: weights, and K and V up to `position`.
size_t weightBytesPerToken(const Model *model);
size_t kvBytesPerToken(const Model *model, int position);

/// Compares every kernel with plain arithmetic in double. Prints what differs
/// and returns the number of failures.
int checkKernels(void);

#endif // RONDO_BENCHMARKS_YARDSTICK_MODEL_H
