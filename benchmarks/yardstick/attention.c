// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scores are computed for whole panels of positions; what lies beyond the last
// visible one is masked before the softmax.

#include "attention.h"

#include "simd.h"

#include <math.h>

enum { kHalf = kHeadSize / 2, kDimPanels = kHeadSize / kPanel };

static const float kMasked = -1e30f;

static uint16_t *keysOf(const Model *model, int slot, int kvHead) {
  size_t index = (size_t)slot * kKvHeads + kvHead;
  return model->keys + index * kMaxPositions * kHeadSize;
}

static uint16_t *valuesOf(const Model *model, int slot, int kvHead) {
  size_t index = (size_t)slot * kKvHeads + kvHead;
  return model->values + index * kMaxPositions * kHeadSize;
}

/// Rotates one head, multiplies it by `factor` and rounds it to bf16.
INLINE void rotate(const Model *model, int position, const float *x,
                   float factor, float *out) {
  const float *cosines = model->rope + position * kHeadSize;
  const float *sines = cosines + kHalf;
  for (int j = 0; j < kHalf; j += kLanes) {
    Floats c = mulFloats(loadFloats(cosines + j), splatFloat(factor));
    Floats s = mulFloats(loadFloats(sines + j), splatFloat(factor));
    Floats a = loadFloats(x + j), b = loadFloats(x + j + kHalf);
    Floats low = subFloats(mulFloats(a, c), mulFloats(b, s));
    Floats high = addFloats(mulFloats(a, s), mulFloats(b, c));
    storeFloats(out + j, roundToBf16(low));
    storeFloats(out + j + kHalf, roundToBf16(high));
  }
}

void appendKv(const Model *model, int slot, int kvHead, int position,
              const float *qkv) {
  float key[kHeadSize];
  rotate(model, position, qkv + (kHeads + kvHead) * kHeadSize, 1.0f, key);
  uint16_t *keys = keysOf(model, slot, kvHead) +
                   (size_t)(position / kPanel) * kPanel * kHeadSize;
  for (int d = 0; d < kHeadSize; ++d)
    keys[d / 2 * (2 * kPanel) + position % kPanel * 2 + d % 2] =
        bf16Bits(key[d]);
  const float *value = qkv + (kHeads + kKvHeads + kvHead) * kHeadSize;
  for (int d = 0; d < kHeadSize; ++d) {
    uint16_t *pair = valuesOf(model, slot, kvHead) +
                     (size_t)(d / kPanel) * kMaxPositions * kPanel +
                     (size_t)(position / 2) * (2 * kPanel) + d % kPanel * 2;
    pair[position % 2] = bf16Bits(value[d]);
    // The kernel reads pairs: a partner of weight 0 must not be a NaN.
    if (position % 2 == 0)
      pair[1] = 0;
  }
}

/// Turns scores [0, count) into exp(score - largest) and those up to the next
/// multiple of a panel into 0. Returns the largest; `total` gets the sum.
INLINE float softmaxRow(float *scores, int count, float *total) {
  int padded = (count + kPanel - 1) / kPanel * kPanel;
  for (int i = count; i < padded; ++i)
    scores[i] = kMasked;
  Floats top = splatFloat(kMasked);
  for (int i = 0; i < padded; i += kLanes)
    top = maxFloats(top, loadFloats(scores + i));
  float largest = largestOf(top);
  Floats sum = zeroFloats();
  for (int i = 0; i < padded; i += kLanes) {
    Floats e =
        expFloats(subFloats(loadFloats(scores + i), splatFloat(largest)));
    storeFloats(scores + i, e);
    sum = addFloats(sum, e);
  }
  for (int i = count; i < padded; ++i)
    scores[i] = 0;
  *total = sumOf(sum);
  return largest;
}

const uint16_t *chunkKeys(const Model *model, int slot, int kvHead, int chunk) {
  return keysOf(model, slot, kvHead) + (size_t)chunk * kChunk * kHeadSize;
}

static void prefetch(const void *address, int bytes) {
  for (int i = 0; i < bytes; i += 64)
    _mm_prefetch((const char *)address + i, _MM_HINT_T0);
}

static float queryFactor(void) { return 1.0f / sqrtf((float)kHeadSize); }

void attendChunk(const Model *model, int slot, int kvHead, int chunk,
                 int position, const float *qkv, const uint16_t *nextKeys,
                 PartialAttention *result) {
  enum { kPanelBytes = kPanel * kHeadSize * 2 };
  _Alignas(64) float queries[kGroupHeads][kHeadSize];
  _Alignas(64) float scores[kGroupHeads][kChunk];
  int first = chunk * kChunk;
  int count = position + 1 - first < kChunk ? position + 1 - first : kChunk;
  int panels = (count + kPanel - 1) / kPanel;
  for (int g = 0; g < kGroupHeads; ++g)
    rotate(model, position, qkv + (kvHead * kGroupHeads + g) * kHeadSize,
           queryFactor(), queries[g]);
  const uint16_t *keys = chunkKeys(model, slot, kvHead, chunk);
  const uint16_t *values =
      valuesOf(model, slot, kvHead) + (size_t)first * kPanel;
  const size_t dimStride = (size_t)kMaxPositions * kPanel;
  for (int p = 0; p < panels; ++p) {
    // The values of as many positions come while these scores are computed.
    for (int d = 0; d < kDimPanels; ++d)
      prefetch(values + d * dimStride + p * kPanel * kPanel,
               kPanelBytes / kDimPanels);
    tileBf16Wide(kGroupHeads, (const char *)queries, sizeof queries[0],
                 (const char *)(keys + (size_t)p * kPanel * kHeadSize),
                 kHeadSize, scores[0] + p * kPanel, kChunk);
  }
  for (int g = 0; g < kGroupHeads; ++g)
    result->tops[g] = softmaxRow(scores[g], count, &result->weights[g]);
  for (int d = 0; d < kDimPanels; ++d) {
    if (nextKeys)
      prefetch(nextKeys + d * kChunk * kHeadSize / kDimPanels,
               kChunk / kPanel * kPanelBytes / kDimPanels);
    tileBf16Wide(kGroupHeads, (const char *)scores, sizeof scores[0],
                 (const char *)(values + d * dimStride), (count + 1) / 2 * 2,
                 result->sums[0] + d * kPanel, kHeadSize);
  }
}

static void mergeHead(const PartialAttention *chunks, int count, int g,
                      float *out) {
  float top = kMasked, total = 0;
  for (int c = 0; c < count; ++c)
    top = fmaxf(top, chunks[c].tops[g]);
  Floats sums[kHeadSize / kLanes];
  for (int v = 0; v < kHeadSize / kLanes; ++v)
    sums[v] = zeroFloats();
  for (int c = 0; c < count; ++c) {
    float factor = expf(chunks[c].tops[g] - top);
    total += factor * chunks[c].weights[g];
    for (int v = 0; v < kHeadSize / kLanes; ++v)
      sums[v] = fmaFloats(splatFloat(factor),
                          loadFloats(chunks[c].sums[g] + v * kLanes), sums[v]);
  }
  for (int v = 0; v < kHeadSize / kLanes; ++v)
    storeFloats(out + v * kLanes, mulFloats(sums[v], splatFloat(1 / total)));
}

void mergeChunks(const PartialAttention *chunks, int count, float *out) {
  for (int g = 0; g < kGroupHeads; ++g)
    mergeHead(chunks, count, g, out + g * kHeadSize);
}

/// Runs tiles of rows against `panels` panels, `stride` elements apart.
static void tileRows(int rows, const float *x, size_t xStride,
                     const uint16_t *panel, size_t stride, int panels, int K,
                     float *y, size_t yStride) {
  for (int r = 0; r < rows; r += kTileRows) {
    int tile = rows - r < kTileRows ? rows - r : kTileRows;
    for (int p = 0; p < panels; ++p)
      tileBf16Wide(tile, (const char *)(x + r * xStride),
                   xStride * sizeof(float), (const char *)(panel + p * stride),
                   K, y + r * yStride + p * kPanel, yStride);
  }
}

void attendBlock(const Model *model, int slot, int head, int first, int count,
                 const float *qkv, float *out) {
  _Alignas(64) float queries[kQueryBlock][kHeadSize];
  _Alignas(64) float scores[kQueryBlock][kMaxRows];
  int kvHead = head / kGroupHeads;
  int panels = (first + count + kPanel - 1) / kPanel;
  float inverse[kQueryBlock];
  for (int r = 0; r < count; ++r)
    rotate(model, first + r,
           qkv + (size_t)(first + r) * kQkv + head * kHeadSize, queryFactor(),
           queries[r]);
  tileRows(count, queries[0], kHeadSize, keysOf(model, slot, kvHead),
           kPanel * kHeadSize, panels, kHeadSize, scores[0], kMaxRows);
  for (int r = 0; r < count; ++r) {
    float total;
    int visible = first + r + 1;
    softmaxRow(scores[r], visible, &total);
    int padded = (visible + kPanel - 1) / kPanel * kPanel;
    memset(scores[r] + padded, 0, (panels * kPanel - padded) * sizeof(float));
    inverse[r] = 1.0f / total;
  }
  float *result = out + (size_t)first * kHidden + head * kHeadSize;
  tileRows(count, scores[0], kMaxRows, valuesOf(model, slot, kvHead),
           (size_t)kMaxPositions * kPanel, kDimPanels,
           (first + count + 1) / 2 * 2, result, kHidden);
  for (int r = 0; r < count; ++r)
    for (int d = 0; d < kHeadSize; d += kLanes) {
      float *at = result + (size_t)r * kHidden + d;
      storeFloats(at, mulFloats(loadFloats(at), splatFloat(inverse[r])));
    }
}
