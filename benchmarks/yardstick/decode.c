// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One token. Every layer is five stages with a barrier after each:
//
//   norm, QKV | rope, KV append, attention | merge, output, residual |
//   norm, gate and up, silu | down, residual
//
// What a stage needs of a whole row (norm, quantising, merging) every member
// computes for itself: that takes less time than a barrier. A matrix's panels
// are split statically, so that a member reads one contiguous range, and no
// output depends on the number of members.

#include "step.h"

typedef struct {
  const Model *model;
  State *state;
  const TypeKernels *kernels;
  int thread, position, chunks;
  char *row; // this member's prepared row
} Member;

/// The matrix that a stage reads. A unit is what is split among members: one
/// panel, or a gate and an up panel.
typedef struct {
  const char *weights;
  int units, panelsOfUnit, K;
  size_t panelBytes;
} Matrix;

static int unitBegin(const Member *m, const Matrix *matrix) {
  return shareBegin(matrix->units, m->thread);
}

static int unitEnd(const Member *m, const Matrix *matrix) {
  return shareBegin(matrix->units, m->thread + 1);
}

/// Ends a stage. While the others finish, the first lines of what this member
/// reads next come closer.
static void finishStageBefore(const Member *m, const void *next) {
  const char *at = next;
  for (int i = 0; i < m->model->prefetchBytes; i += kCacheLine)
    _mm_prefetch(at + i, _MM_HINT_T1);
  teamBarrier(m->thread);
}

static void finishStage(const Member *m, const Matrix *next) {
  size_t unitBytes = next->panelsOfUnit * next->panelBytes;
  finishStageBefore(m, next->weights + unitBegin(m, next) * unitBytes);
}

static void prepare(const Member *m, const float *x, int K) {
  m->kernels->prepare(x, K, m->row);
}

static void prepareNormed(const Member *m) {
  _Alignas(64) float normed[kHidden];
  normRow(m->model, m->state->hidden, normed);
  prepare(m, normed, kHidden);
}

/// Multiplies the own units; `out` is indexed by output of the whole matrix.
static void multiplyShare(const Member *m, const Matrix *matrix, float *out) {
  int panels = matrix->panelsOfUnit;
  multiplyPanels(m->kernels, m->row, matrix->weights, matrix->panelBytes,
                 panels * unitBegin(m, matrix), panels * unitEnd(m, matrix),
                 matrix->K, out);
}

static void attend(const Member *m, int slot) {
  int items = kKvHeads * m->chunks;
  int end = shareBegin(items, m->thread + 1);
  for (int i = shareBegin(items, m->thread); i < end; ++i) {
    int kvHead = i / m->chunks, chunk = i % m->chunks;
    const uint16_t *nextKeys = NULL;
    if (i + 1 < end)
      nextKeys =
          chunkKeys(m->model, slot, (i + 1) / m->chunks, (i + 1) % m->chunks);
    if (chunk == m->chunks - 1)
      appendKv(m->model, slot, kvHead, m->position, m->state->qkv);
    attendChunk(m->model, slot, kvHead, chunk, m->position, m->state->qkv,
                nextKeys, &m->state->partial[kvHead][chunk]);
  }
}

/// hidden += matrix * row, for the own panels.
static void addProduct(const Member *m, const Matrix *matrix) {
  float *product = m->state->product, *hidden = m->state->hidden;
  multiplyShare(m, matrix, product);
  int end = unitEnd(m, matrix) * kPanel;
  for (int i = unitBegin(m, matrix) * kPanel; i < end; i += kLanes)
    storeFloats(hidden + i,
                addFloats(loadFloats(hidden + i), loadFloats(product + i)));
}

static void projectOutput(const Member *m, const Matrix *output) {
  _Alignas(64) float merged[kHidden];
  for (int kvHead = 0; kvHead < kKvHeads; ++kvHead)
    mergeChunks(m->state->partial[kvHead], m->chunks,
                merged + kvHead * kGroupHeads * kHeadSize);
  prepare(m, merged, kHidden);
  addProduct(m, output);
}

static void gateAndUp(const Member *m, const Matrix *matrix) {
  prepareNormed(m);
  multiplyShare(m, matrix, m->state->gateUp);
  for (int p = unitBegin(m, matrix); p < unitEnd(m, matrix); ++p) {
    const float *gate = m->state->gateUp + 2 * p * kPanel, *up = gate + kPanel;
    float *act = m->state->act + p * kPanel;
    for (int i = 0; i < kPanel; i += kLanes)
      storeFloats(act + i, mulFloats(siluFloats(loadFloats(gate + i)),
                                     loadFloats(up + i)));
  }
}

static void runLayer(const Member *m, int layer, int slot, const Matrix *next) {
  const LayerOffsets *offsets = &m->model->offsets;
  const char *weights = m->model->weights + layer * offsets->end;
  size_t bytes = panelBytes(m->model->body, kHidden);
  Matrix qkv = {weights + offsets->qkv, kQkv / kPanel, 1, kHidden, bytes};
  Matrix output = {weights + offsets->output, kHidden / kPanel, 1, kHidden,
                   bytes};
  Matrix gateUp = {weights + offsets->gateUp, kFeedForward / kPanel, 2, kHidden,
                   bytes};
  Matrix down = {weights + offsets->down, kHidden / kPanel, 1, kFeedForward,
                 panelBytes(m->model->body, kFeedForward)};
  prepareNormed(m);
  multiplyShare(m, &qkv, m->state->qkv);
  int item = shareBegin(kKvHeads * m->chunks, m->thread);
  finishStageBefore(
      m, chunkKeys(m->model, slot, item / m->chunks, item % m->chunks));
  attend(m, slot);
  finishStage(m, &output);
  projectOutput(m, &output);
  finishStage(m, &gateUp);
  gateAndUp(m, &gateUp);
  finishStage(m, &down);
  prepare(m, m->state->act, kFeedForward);
  addProduct(m, &down);
  finishStage(m, next);
}

static void runStack(const Member *m) {
  const Model *model = m->model;
  int count = model->layers * model->visits;
  for (int slot = 0; slot < count; ++slot) {
    int nextLayer = (slot + 1) % model->layers;
    Matrix next = {model->weights + nextLayer * model->offsets.end,
                   kQkv / kPanel, 1, kHidden, panelBytes(model->body, kHidden)};
    if (slot == count - 1)
      next = (Matrix){model->head, kVocabulary / kPanel, 1, kHidden,
                      panelBytes(model->headType, kHidden)};
    runLayer(m, slot % model->layers, slot, &next);
  }
}

static void runMember(int thread, void *argument) {
  Member m = *(const Member *)argument;
  m.thread = thread;
  m.row = m.state->rows[thread];
  setFloatMode();
  runStack(&m);
  m.kernels = &kTypeKernels[m.model->headType];
  prepareNormed(&m);
  runHeadShare(m.model, m.state, thread, m.row);
}

int decodeStep(const Model *model, State *state, int position) {
  for (int i = 0; i < kHidden; ++i)
    state->hidden[i] = (float)((i * 37 + position) % 64) / 32.0f - 1.0f;
  Member common = {.model = model, .state = state};
  common.kernels = &kTypeKernels[model->body];
  common.position = position;
  common.chunks = position / kChunk + 1;
  teamRun(runMember, &common);
  return largestLogit(state);
}
