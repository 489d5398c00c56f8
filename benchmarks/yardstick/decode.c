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

/// The matrix that a stage reads: where it is and how it is cut.
typedef struct {
  const char *weights;
  int units;        // what is split among members
  size_t unitBytes; // one panel, or a gate and an up panel
} Matrix;

static int unitBegin(const Member *m, const Matrix *matrix) {
  return shareBegin(matrix->units, m->thread);
}

static int unitEnd(const Member *m, const Matrix *matrix) {
  return shareBegin(matrix->units, m->thread + 1);
}

/// Ends a stage. While the others finish, the first lines of the own share of
/// the next matrix come closer.
static void finishStage(const Member *m, const Matrix *next) {
  const char *at = next->weights + unitBegin(m, next) * next->unitBytes;
  for (int i = 0; i < m->model->prefetchBytes; i += kCacheLine)
    _mm_prefetch(at + i, _MM_HINT_T1);
  teamBarrier(m->thread);
}

static void prepare(const Member *m, const float *x, int K) {
  m->kernels->prepare(x, K, m->row);
}

static void prepareNormed(const Member *m) {
  _Alignas(64) float normed[kHidden];
  normRow(m->model, m->state->hidden, normed);
  prepare(m, normed, kHidden);
}

static void multiply(const Member *m, const char *panel, int K, float *y) {
  m->kernels->tile(1, m->row, 0, panel, K, y, 0);
}

static void projectQkv(const Member *m, const Matrix *qkv) {
  prepareNormed(m);
  for (int p = unitBegin(m, qkv); p < unitEnd(m, qkv); ++p)
    multiply(m, qkv->weights + p * qkv->unitBytes, kHidden,
             m->state->qkv + p * kPanel);
}

static void attend(const Member *m, int slot) {
  int items = kKvHeads * m->chunks;
  int end = shareBegin(items, m->thread + 1);
  for (int i = shareBegin(items, m->thread); i < end; ++i) {
    int kvHead = i / m->chunks, chunk = i % m->chunks;
    if (chunk == m->chunks - 1)
      appendKv(m->model, slot, kvHead, m->position, m->state->qkv);
    attendChunk(m->model, slot, kvHead, chunk, m->position, m->state->qkv,
                &m->state->partial[kvHead][chunk]);
  }
}

/// hidden += matrix * row, for the own panels.
static void addProduct(const Member *m, const Matrix *matrix, int K) {
  for (int p = unitBegin(m, matrix); p < unitEnd(m, matrix); ++p) {
    _Alignas(64) float y[kPanel];
    multiply(m, matrix->weights + p * matrix->unitBytes, K, y);
    float *hidden = m->state->hidden + p * kPanel;
    for (int i = 0; i < kPanel; i += kLanes)
      storeFloats(hidden + i,
                  addFloats(loadFloats(hidden + i), loadFloats(y + i)));
  }
}

static void projectOutput(const Member *m, const Matrix *output) {
  _Alignas(64) float merged[kHidden];
  for (int kvHead = 0; kvHead < kKvHeads; ++kvHead)
    mergeChunks(m->state->partial[kvHead], m->chunks,
                merged + kvHead * kGroupHeads * kHeadSize);
  prepare(m, merged, kHidden);
  addProduct(m, output, kHidden);
}

static void gateAndUp(const Member *m, const Matrix *gateUp) {
  prepareNormed(m);
  for (int p = unitBegin(m, gateUp); p < unitEnd(m, gateUp); ++p) {
    _Alignas(64) float y[2 * kPanel];
    const char *panel = gateUp->weights + p * gateUp->unitBytes;
    multiply(m, panel, kHidden, y);
    multiply(m, panel + gateUp->unitBytes / 2, kHidden, y + kPanel);
    float *act = m->state->act + p * kPanel;
    for (int i = 0; i < kPanel; i += kLanes)
      storeFloats(act + i, mulFloats(siluFloats(loadFloats(y + i)),
                                     loadFloats(y + kPanel + i)));
  }
}

static void runLayer(const Member *m, int layer, int slot, const Matrix *next) {
  const LayerOffsets *offsets = &m->model->offsets;
  const char *weights = m->model->weights + layer * offsets->end;
  size_t bytes = panelBytes(m->model->body, kHidden);
  Matrix output = {weights + offsets->output, kHidden / kPanel, bytes};
  Matrix gateUp = {weights + offsets->gateUp, kFeedForward / kPanel, 2 * bytes};
  Matrix down = {weights + offsets->down, kHidden / kPanel,
                 panelBytes(m->model->body, kFeedForward)};
  Matrix qkv = {weights + offsets->qkv, kQkv / kPanel, bytes};
  projectQkv(m, &qkv);
  finishStage(m, &output);
  attend(m, slot);
  finishStage(m, &output);
  projectOutput(m, &output);
  finishStage(m, &gateUp);
  gateAndUp(m, &gateUp);
  finishStage(m, &down);
  prepare(m, m->state->act, kFeedForward);
  addProduct(m, &down, kFeedForward);
  finishStage(m, next);
}

static void runStack(const Member *m) {
  const Model *model = m->model;
  int count = model->layers * model->visits;
  for (int slot = 0; slot < count; ++slot) {
    int nextLayer = (slot + 1) % model->layers;
    Matrix next = {model->weights + nextLayer * model->offsets.end,
                   kQkv / kPanel, panelBytes(model->body, kHidden)};
    if (slot == count - 1)
      next = (Matrix){model->head, kVocabulary / kPanel,
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
