// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels for f32 and bf16 weights.

#include "kernels.h"
#include "tile.h"

INLINE void f32Kernel(int rows, int first, int vectors, const TileArguments *a,
                      int begin, int count, Floats (*sums)[kPanelVectors]) {
  const float *w = (const float *)a->panel + begin * kPanel + first * kLanes;
  for (int k = begin; k < begin + count; ++k, w += kPanel) {
    Floats weights[kPanelVectors];
    UNROLL for (int v = 0; v < vectors; ++v) weights[v] =
        loadFloats(w + v * kLanes);
    UNROLL for (int r = 0; r < rows; ++r) {
      Floats x = splatFloat(floatRow(a, r)[k]);
      UNROLL for (int v = 0; v < vectors; ++v) sums[r][v] =
          fmaFloats(weights[v], x, sums[r][v]);
      KEEP_ORDER();
    }
  }
}

/// A register holds pairs (even, odd) of one output; both become f32 by moving
/// their bits. Odd first: the order of the hardware's dot product.
INLINE void bf16WideKernel(int rows, int first, int vectors,
                           const TileArguments *a, int begin, int count,
                           Floats (*sums)[kPanelVectors]) {
  const Ints upper = splatInt((int)0xffff0000);
  const char *w = a->panel + (size_t)begin * kPanel * 2 + first * sizeof(Ints);
  for (int k = begin; k < begin + count; k += 2, w += kPanel * 4) {
    Floats weights[kPanelVectors];
    UNROLL for (int odd = 1; odd >= 0; --odd) {
      UNROLL for (int v = 0; v < vectors; ++v) {
        Ints pairs = loadInts(w + v * sizeof(Ints));
        weights[v] =
            asFloats(odd ? andInts(pairs, upper) : shiftLeftInts(pairs, 16));
      }
      UNROLL for (int r = 0; r < rows; ++r) {
        Floats x = splatFloat(floatRow(a, r)[k + odd]);
        UNROLL for (int v = 0; v < vectors; ++v) sums[r][v] =
            fmaFloats(weights[v], x, sums[r][v]);
        KEEP_ORDER();
      }
    }
  }
}

#ifdef __AVX512BF16__
INLINE void bf16Kernel(int rows, int first, int vectors, const TileArguments *a,
                       int begin, int count, Floats (*sums)[kPanelVectors]) {
  const char *w = a->panel + (size_t)begin * kPanel * 2 + first * sizeof(Ints);
  for (int k = begin; k < begin + count; k += 2, w += kPanel * 4)
    UNROLL for (int v = 0; v < vectors; ++v) {
      Ints pairs = loadInts(w + v * sizeof(Ints));
      UNROLL for (int r = 0; r < rows; ++r) {
        Ints x = splatQuad(a->x + r * a->xStride + (size_t)k * 2);
        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], (__m512bh)pairs, (__m512bh)x);
      }
    }
}
#else
#define bf16Kernel bf16WideKernel
#endif

DEFINE_TILE(tileF32, f32Kernel)
DEFINE_TILE(tileBf16, bf16Kernel)
DEFINE_TILE(tileBf16Wide, bf16WideKernel)
DEFINE_STREAMS(streamF32, f32Kernel, 4)
DEFINE_STREAMS(streamBf16, bf16Kernel, 8)

void prepareF32(const float *x, int K, char *row) {
  memcpy(row, x, (size_t)K * sizeof(float));
}

void prepareBf16(const float *x, int K, char *row) {
  for (int k = 0; k < K; k += kLanes) {
#ifdef __AVX512BF16__
    __m256i narrow = (__m256i)_mm512_cvtneps_pbh(loadFloats(x + k));
    _mm256_storeu_si256((__m256i *)(row + (size_t)k * 2), narrow);
#else
    storeFloats((float *)row + k, roundToBf16(loadFloats(x + k)));
#endif
  }
}
