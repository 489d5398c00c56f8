// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// K and V live in the same panels as weights, so that attention is made of the
// same kernels: scores are rows times panels of 32 positions, and the result
// is rows times panels of 32 dimensions.

#ifndef RONDO_BENCHMARKS_YARDSTICK_ATTENTION_H
#define RONDO_BENCHMARKS_YARDSTICK_ATTENTION_H

#include "model.h"

/// A chunk's unfinished softmax for each query head of one KV head.
typedef struct {
  _Alignas(64) float sums[kGroupHeads][kHeadSize]; // of exp(score - top) * V
  float tops[kGroupHeads];
  float weights[kGroupHeads]; // of exp(score - top)
} PartialAttention;

/// Writes K and V of one position, given its unrotated projections.
void appendKv(const Model *model, int slot, int kvHead, int position,
              const float *qkv);

/// Attention of one row over positions [chunk * kChunk, ...], at most kChunk
/// of them and none after `position`. Meanwhile it fetches the keys of the
/// member's next chunk, given by its first key (or null).
void attendChunk(const Model *model, int slot, int kvHead, int chunk,
                 int position, const float *qkv, const uint16_t *nextKeys,
                 PartialAttention *result);

/// The first key of a chunk.
const uint16_t *chunkKeys(const Model *model, int slot, int kvHead, int chunk);

/// Combines the chunks of one KV head in order: out[kGroupHeads][kHeadSize].
void mergeChunks(const PartialAttention *chunks, int count, float *out);

/// Causal attention of rows [first, first + count) of one query head, with K
/// and V of positions up to them in the cache. `qkv` and `out` have a row for
/// each position; `count` is at most kQueryBlock.
enum { kQueryBlock = 48 };
void attendBlock(const Model *model, int slot, int head, int first, int count,
                 const float *qkv, float *out);

#endif // RONDO_BENCHMARKS_YARDSTICK_ATTENTION_H
