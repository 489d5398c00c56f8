// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Many tokens at once. Stages are split into small pieces of work that members
// claim: (panel, block of rows) for a matrix, (head, block of rows) for
// attention. Pieces that follow each other share a panel, so weights come from
// memory once.

#include "step.h"

enum { kRowBlock = 96 }; // rows that meet a panel while it is in cache

typedef struct {
  const Model *model;
  State *state;
  const TypeKernels *kernels;
  int thread, rows, claim;
} Member;

/// A matrix with its operands. `finish` takes a row of results to its place:
/// 32 floats of `out`, which has `stride` of them for each row.
typedef struct {
  const char *weights;
  int units, panelsOfUnit, K;
  size_t panelBytes;
  void (*finish)(float *out, const float *tile);
  float *out;
  int stride;
} Product;

enum { kTileStride = 2 * kPanel }; // floats from row to row of a tile

static void finishStage(Member *m) {
  teamBarrier(m->thread);
  // The counter of the stage just left is free: all members have passed it.
  m->state->claims[m->claim].next = 0;
  m->claim = (m->claim + 1) % 8;
}

static int claimItem(const Member *m) {
  return atomic_fetch_add_explicit(&m->state->claims[m->claim].next, 1,
                                   memory_order_relaxed);
}

static int smaller(int a, int b) { return a < b ? a : b; }

static const char *preparedRow(const Member *m, int row, int K) {
  return m->state->prepared + row * rowBytes(K);
}

/// The panels of a unit as the kernel wants them, expanded if it does.
static void readyPanels(const Member *m, const Product *product, int unit,
                        const char *panels[2]) {
  size_t bytes = product->panelBytes;
  for (int p = 0; p < product->panelsOfUnit; ++p) {
    panels[p] = product->weights + (unit * product->panelsOfUnit + p) * bytes;
    if (!m->kernels->expand)
      continue;
    char *expanded =
        m->state->expanded[m->thread] + p * expandedBytes(product->K);
    m->kernels->expand(panels[p], product->K, expanded);
    panels[p] = expanded;
  }
}

/// Tiles of nearly equal height, so that none is left with a single row.
static void multiplyBlock(const Member *m, const Product *product, int unit,
                          int first, int rows) {
  int tiles = (rows + m->kernels->manyRows - 1) / m->kernels->manyRows;
  const char *panels[2];
  readyPanels(m, product, unit, panels);
  for (int t = 0; t < tiles; ++t) {
    int begin = rows * t / tiles, count = rows * (t + 1) / tiles - begin;
    float *out = product->out + (size_t)(first + begin) * product->stride +
                 unit * kPanel;
    // Results go to a new line each: ask for them before they are needed.
    for (int i = 0; i < count * kPanel; i += kCacheLine / sizeof(float))
      __builtin_prefetch(out + i / kPanel * product->stride + i % kPanel,
                         /*for writing=*/1);
    _Alignas(64) float tile[kTileRows * kTileStride];
    for (int p = 0; p < product->panelsOfUnit; ++p)
      m->kernels->tileMany(count, preparedRow(m, first + begin, product->K),
                           rowBytes(product->K), panels[p], product->K,
                           tile + p * kPanel, kTileStride);
    for (int r = 0; r < count; ++r)
      product->finish(out + r * product->stride, tile + r * kTileStride);
  }
}

static void runProduct(Member *m, const Product *product) {
  int blocks = (m->rows + kRowBlock - 1) / kRowBlock;
  for (int i; (i = claimItem(m)) < blocks * product->units;) {
    int first = i % blocks * kRowBlock;
    multiplyBlock(m, product, i / blocks, first,
                  smaller(kRowBlock, m->rows - first));
  }
  finishStage(m);
}

static void storeRow(float *out, const float *tile) {
  memcpy(out, tile, kPanel * sizeof(float));
}

static void addRow(float *out, const float *tile) {
  for (int i = 0; i < kPanel; i += kLanes)
    storeFloats(out + i, addFloats(loadFloats(out + i), loadFloats(tile + i)));
}

/// A tile row of a gate panel and an up panel.
static void storeActivation(float *out, const float *tile) {
  for (int i = 0; i < kPanel; i += kLanes)
    storeFloats(out + i, mulFloats(siluFloats(loadFloats(tile + i)),
                                   loadFloats(tile + kPanel + i)));
}

/// First row of a member's share; even, since V is stored in pairs of rows.
static int rowShareBegin(const Member *m, int thread) {
  return smaller(2 * shareBegin((m->rows + 1) / 2, thread), m->rows);
}

static void prepareRows(Member *m, const float *x, int K, int normed) {
  int end = rowShareBegin(m, m->thread + 1);
  for (int row = rowShareBegin(m, m->thread); row < end; ++row) {
    _Alignas(64) float buffer[kHidden];
    const float *source = x + (size_t)row * K;
    if (normed)
      normRow(m->model, source, buffer);
    m->kernels->prepareMany(normed ? buffer : source, K,
                            m->state->prepared + row * rowBytes(K));
  }
  finishStage(m);
}

static void appendRows(Member *m, int slot) {
  int end = rowShareBegin(m, m->thread + 1);
  for (int row = rowShareBegin(m, m->thread); row < end; ++row)
    for (int kvHead = 0; kvHead < kKvHeads; ++kvHead)
      appendKv(m->model, slot, kvHead, row,
               m->state->manyQkv + (size_t)row * kQkv);
  finishStage(m);
}

static void attendRows(Member *m, int slot) {
  int blocks = (m->rows + kQueryBlock - 1) / kQueryBlock;
  // The longest blocks first, so that no member is left with one at the end.
  for (int i; (i = claimItem(m)) < blocks * kHeads;) {
    int first = (blocks - 1 - i / kHeads) * kQueryBlock;
    attendBlock(m->model, slot, i % kHeads, first,
                smaller(kQueryBlock, m->rows - first), m->state->manyQkv,
                m->state->manyAttention);
  }
  finishStage(m);
}

static void runLayer(Member *m, int layer, int slot) {
  const LayerOffsets *offsets = &m->model->offsets;
  const char *weights = m->model->weights + layer * offsets->end;
  State *state = m->state;
  size_t bytes = panelBytes(m->model->body, kHidden);
  size_t downBytes = panelBytes(m->model->body, kFeedForward);
  Product qkv = {
      weights + offsets->qkv, kQkv / kPanel, 1, kHidden, bytes, storeRow,
      state->manyQkv,         kQkv};
  Product output = {
      weights + offsets->output, kHidden / kPanel, 1, kHidden, bytes, addRow,
      state->manyHidden,         kHidden};
  Product gateUp = {weights + offsets->gateUp,
                    kFeedForward / kPanel,
                    2,
                    kHidden,
                    bytes,
                    storeActivation,
                    state->manyAct,
                    kFeedForward};
  Product down = {weights + offsets->down,
                  kHidden / kPanel,
                  1,
                  kFeedForward,
                  downBytes,
                  addRow,
                  state->manyHidden,
                  kHidden};
  prepareRows(m, state->manyHidden, kHidden, /*normed=*/1);
  runProduct(m, &qkv);
  appendRows(m, slot);
  attendRows(m, slot);
  prepareRows(m, state->manyAttention, kHidden, /*normed=*/0);
  runProduct(m, &output);
  prepareRows(m, state->manyHidden, kHidden, /*normed=*/1);
  runProduct(m, &gateUp);
  prepareRows(m, state->manyAct, kFeedForward, /*normed=*/0);
  runProduct(m, &down);
}

static void runMember(int thread, void *argument) {
  Member m = *(const Member *)argument;
  m.thread = thread;
  setFloatMode();
  int count = m.model->layers * m.model->visits;
  for (int slot = 0; slot < count; ++slot)
    runLayer(&m, slot % m.model->layers, slot);
  _Alignas(64) float normed[kHidden];
  normRow(m.model, m.state->manyHidden + (size_t)(m.rows - 1) * kHidden,
          normed);
  kTypeKernels[m.model->headType].prepare(normed, kHidden,
                                          m.state->rows[thread]);
  runHeadShare(m.model, m.state, thread, m.state->rows[thread]);
}

int prefillStep(const Model *model, State *state, int rows) {
  for (int i = 0; i < rows * kHidden; ++i)
    state->manyHidden[i] =
        (float)((i % kHidden * 37 + i / kHidden) % 64) / 32.0f - 1.0f;
  Member common = {.model = model, .state = state, .rows = rows};
  common.kernels = &kTypeKernels[model->body];
  for (int i = 0; i < 8; ++i)
    state->claims[i].next = 0;
  teamRun(runMember, &common);
  return largestLogit(state);
}
