// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Kernels for q8_0 and q4_0 weights and rows that were quantised to int8 in
// groups of 32.

#include "kernels.h"
#include "tile.h"

/// sums += float(products) * (weight scale * row scale), for one group.
INLINE void addScaled(int rows, int first, int vectors, const TileArguments *a,
                      int group, const char *scales,
                      Ints products[kTileRows][kPanelVectors],
                      Floats (*sums)[kPanelVectors]) {
  UNROLL for (int v = 0; v < vectors; ++v) {
    Floats scale = floatsFromHalf(scales + (first + v) * kLanes * 2);
    UNROLL for (int r = 0; r < rows; ++r) {
      Floats both = mulFloats(scale, splatFloat(quantRow(a, r, group)->scale));
      sums[r][v] = fmaFloats(floatsFromInts(products[r][v]), both, sums[r][v]);
    }
  }
}

/// Four products of each 32-bit lane added to `sum`, one side unsigned.
#ifdef __AVX512VNNI__
enum { kHasVnni = 1 };
#define dotQuads(sum, u, s) _mm512_dpbusd_epi32(sum, u, s)
#else
enum { kHasVnni = 0 };
#define dotQuads(sum, u, s)                                                    \
  addInts(sum, multiplyAddWords(multiplyAddBytes(u, s), splatWord(1)))
#endif

/// Products of signed weights and signed inputs: |x| * (w with x's sign).
#ifdef __AVX512F__
INLINE Ints withSignOf(Ints w, Ints x) {
  return _mm512_mask_sub_epi8(w, _mm512_movepi8_mask(x), splatInt(0), w);
}
#else
#define withSignOf(w, x) _mm256_sign_epi8(w, x)
#endif

INLINE void q8Kernel(int rows, int first, int vectors, const TileArguments *a,
                     int begin, int count, Floats (*sums)[kPanelVectors]) {
  const char *w = a->panel + begin / kGroup * (kScaleBytes + 1024);
  for (int g = begin / kGroup; g < (begin + count) / kGroup;
       ++g, w += kScaleBytes + 1024) {
    Ints products[kTileRows][kPanelVectors];
    UNROLL for (int r = 0; r < rows; ++r)
        UNROLL for (int v = 0; v < vectors; ++v) products[r][v] =
            splatInt(kHasVnni ? quantRow(a, r, g)->minus128 : 0);
    const char *quads = w + kScaleBytes + first * sizeof(Ints);
    UNROLL for (int q = 0; q < 8; ++q, quads += kPanel * 4)
        UNROLL for (int v = 0; v < vectors; ++v) {
      Ints weight = loadInts(quads + v * sizeof(Ints));
      UNROLL for (int r = 0; r < rows; ++r) {
        const QuantGroup *x = quantRow(a, r, g);
        Ints value = splatQuad(x->values + 4 * q);
        if (kHasVnni)
          products[r][v] = dotQuads(products[r][v], weight, value);
        else
          products[r][v] =
              dotQuads(products[r][v], splatQuad(x->magnitudes + 4 * q),
                       withSignOf(weight, value));
      }
    }
    addScaled(rows, first, vectors, a, g, w, products, sums);
  }
}

/// Without VNNI the products of a group are summed in 16 bits: eight times two
/// products of at most 15 * 127 are 30480.
INLINE void q4Kernel(int rows, int first, int vectors, const TileArguments *a,
                     int begin, int count, Floats (*sums)[kPanelVectors]) {
  const Ints nibble = splatByte(15);
  const char *w = a->panel + begin / kGroup * (kScaleBytes + 512);
  for (int g = begin / kGroup; g < (begin + count) / kGroup;
       ++g, w += kScaleBytes + 512) {
    Ints products[kTileRows][kPanelVectors];
    UNROLL for (int r = 0; r < rows; ++r)
        UNROLL for (int v = 0; v < vectors; ++v) products[r][v] =
            splatInt(kHasVnni ? quantRow(a, r, g)->minus8 : 0);
    const char *lines = w + kScaleBytes + first * sizeof(Ints);
    UNROLL for (int l = 0; l < 4; ++l, lines += kPanel * 4)
        UNROLL for (int v = 0; v < vectors; ++v) {
      Ints both = loadInts(lines + v * sizeof(Ints));
      Ints low = andInts(both, nibble);
      Ints high = andInts(shiftRightWords(both, 4), nibble);
      UNROLL for (int r = 0; r < rows; ++r) {
        const int8_t *x = quantRow(a, r, g)->values + 8 * l;
        Ints *sum = &products[r][v];
        if (kHasVnni) {
          *sum = dotQuads(*sum, low, splatQuad(x));
          *sum = dotQuads(*sum, high, splatQuad(x + 4));
        } else {
          *sum = addWords(*sum, multiplyAddBytes(low, splatQuad(x)));
          *sum = addWords(*sum, multiplyAddBytes(high, splatQuad(x + 4)));
        }
      }
    }
    if (!kHasVnni)
      UNROLL for (int r = 0; r < rows; ++r)
          UNROLL for (int v = 0; v < vectors; ++v) products[r][v] =
              addInts(multiplyAddWords(products[r][v], splatWord(1)),
                      splatInt(quantRow(a, r, g)->minus8));
    addScaled(rows, first, vectors, a, g, w, products, sums);
  }
}

#ifdef __AVX512F__ // else see kernels_expanded.c
DEFINE_TILE(tileQ8, q8Kernel)
DEFINE_TILE(tileQ4, q4Kernel)
#endif
DEFINE_STREAMS(streamQ8, q8Kernel, kGroup)
DEFINE_STREAMS(streamQ4, q4Kernel, 2 * kGroup)

/// Writes 32 integers, each within a byte's range, as bytes.
INLINE void storeBytes(const Ints *values, int8_t *bytes) {
#ifdef __AVX512F__
  for (int i = 0; i < 2; ++i)
    _mm_storeu_si128((__m128i *)(bytes + 16 * i),
                     _mm512_cvtsepi32_epi8(values[i]));
#else
  __m256i low = _mm256_packs_epi32(values[0], values[1]);
  __m256i high = _mm256_packs_epi32(values[2], values[3]);
  // Packing works in halves of a register: put the quads back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256i mixed = _mm256_packs_epi16(low, high);
  _mm256_storeu_si256((__m256i *)bytes,
                      _mm256_permutevar8x32_epi32(mixed, order));
#endif
}

static void quantiseGroup(const float *x, QuantGroup *group) {
  Floats values[kPanelVectors], largest = zeroFloats();
  UNROLL for (int v = 0; v < kPanelVectors; ++v) {
    values[v] = loadFloats(x + v * kLanes);
    Floats negated = subFloats(zeroFloats(), values[v]);
    largest = maxFloats(largest, maxFloats(values[v], negated));
  }
  float top = largestOf(largest);
  Floats inverse = splatFloat(top > 0 ? 127.0f / top : 0.0f);
  Ints rounded[kPanelVectors], total = splatInt(0);
  UNROLL for (int v = 0; v < kPanelVectors; ++v) {
    rounded[v] = intsFromFloats(mulFloats(values[v], inverse));
    total = addInts(total, rounded[v]);
  }
  storeBytes(rounded, group->values);
  __m256i bytes = _mm256_loadu_si256((const __m256i *)group->values);
  _mm256_storeu_si256((__m256i *)group->magnitudes, _mm256_abs_epi8(bytes));
  // Sums below 2^24: exact in f32.
  int32_t sum = (int32_t)sumOf(floatsFromInts(total));
  group->scale = top / 127.0f;
  group->minus8 = -8 * sum;
  group->minus128 = -128 * sum;
}

void prepareQuantised(const float *x, int K, char *row) {
  for (int g = 0; g < K / kGroup; ++g)
    quantiseGroup(x + g * kGroup, (QuantGroup *)row + g);
}
