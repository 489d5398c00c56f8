// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What all kernels are made of. Every kernel is one function that adds the
// products of inputs [begin, begin + count) to sums, for a number of rows and
// of vectors of a panel; it is inlined for each case:
//
// - tiles, for many rows: two vectors at a time, so that the accumulators of
// six
//   rows fit into the registers;
// - streams, for one row: whole panels, several at once, a piece of each in
//   turn. A core that reads four places gets more out of memory than one that
//   reads one, since it does not wait at every page.
//
// What an output is does not depend on that choice: one chain of f32 fma along
// K in a fixed order, with exact integer sums inside a group of 32.

#ifndef RONDO_BENCHMARKS_YARDSTICK_TILE_H
#define RONDO_BENCHMARKS_YARDSTICK_TILE_H

#include "panels.h"
#include "simd.h"

/// Most vectors of a panel that one kernel call takes for many rows.
enum { kTileVectors = 2 };

/// Keeps the loads of one row behind those of the row before. Left alone, the
/// compiler starts all rows at once and runs out of registers.
#define KEEP_ORDER() __asm__ volatile("" ::: "memory")

/// The same for a sum of integers, which the compiler would also reassociate.
#define KEEP(sum) __asm__ volatile("" : "+v"(sum)::"memory")

INLINE Ints splatQuad(const void *address) {
  int32_t quad;
  memcpy(&quad, address, sizeof quad);
  return splatInt(quad);
}

typedef struct {
  const char *x;
  size_t xStride;
  const char *panel;
  int K;
  float *y;
  size_t yStride;
} TileArguments;

INLINE const float *floatRow(const TileArguments *a, int row) {
  return (const float *)(a->x + row * a->xStride);
}

INLINE const QuantGroup *quantRow(const TileArguments *a, int row, int group) {
  return (const QuantGroup *)(a->x + row * a->xStride) + group;
}

INLINE void clear(int rows, int vectors, Floats (*sums)[kPanelVectors]) {
  UNROLL for (int r = 0; r < rows; ++r) UNROLL for (int v = 0; v < vectors; ++v)
      sums[r][v] = zeroFloats();
}

INLINE void store(int rows, int first, int vectors, const TileArguments *a,
                  Floats (*sums)[kPanelVectors]) {
  UNROLL for (int r = 0; r < rows; ++r) UNROLL for (int v = 0; v < vectors; ++v)
      storeFloats(a->y + r * a->yStride + (first + v) * kLanes, sums[r][v]);
}

// A function for each number of rows: inside one large function the compiler
// allocates registers worse.
#define DEFINE_ROWS(name, kernel, rows)                                        \
  static __attribute__((noinline)) void name##rows(const TileArguments *in) {  \
    TileArguments a = *in; /* a copy that nobody else can change */            \
    for (int first = 0; first < kPanelVectors; first += kTileVectors) {        \
      Floats sums[kTileRows][kPanelVectors];                                   \
      clear(rows, kTileVectors, sums);                                         \
      kernel(rows, first, kTileVectors, &a, 0, a.K, sums);                     \
      store(rows, first, kTileVectors, &a, sums);                              \
    }                                                                          \
  }
#define DEFINE_TILE(name, kernel)                                              \
  DEFINE_ROWS(name, kernel, 1)                                                 \
  DEFINE_ROWS(name, kernel, 2)                                                 \
  DEFINE_ROWS(name, kernel, 3)                                                 \
  DEFINE_ROWS(name, kernel, 4)                                                 \
  DEFINE_ROWS(name, kernel, 5)                                                 \
  DEFINE_ROWS(name, kernel, 6)                                                 \
  void name(int rows, const char *x, size_t xStride, const char *panel, int K, \
            float *y, size_t yStride) {                                        \
    static void (*const byRows[])(const TileArguments *) = {                   \
        name##1, name##2, name##3, name##4, name##5, name##6};                 \
    TileArguments a = {x, xStride, panel, K, y, yStride};                      \
    byRows[rows - 1](&a);                                                      \
  }

// `piece` is the number of inputs, dividing K, that one turn of a stream takes:
// half a kilobyte of weights or a group.
#define DEFINE_STREAMS(name, kernel, piece)                                    \
  void name(int count, const char *x, const char *const *panels, int K,        \
            float *const *y) {                                                 \
    Floats sums[kMaxStreams][1][kPanelVectors];                                \
    for (int s = 0; s < count; ++s)                                            \
      clear(1, kPanelVectors, sums[s]);                                        \
    TileArguments a = {.x = x, .K = K};                                        \
    for (int k = 0; k < K; k += piece)                                         \
      for (int s = 0; s < count; ++s) {                                        \
        a.panel = panels[s];                                                   \
        kernel(1, 0, kPanelVectors, &a, k, piece, sums[s]);                    \
      }                                                                        \
    for (int s = 0; s < count; ++s) {                                          \
      a.y = y[s];                                                              \
      store(1, 0, kPanelVectors, &a, sums[s]);                                 \
    }                                                                          \
  }

#endif // RONDO_BENCHMARKS_YARDSTICK_TILE_H
