// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Many rows of q8_0 and q4_0 with AVX2. A panel is expanded once for a block
// of rows, so that the inner loop is two instructions for 32 products:
//
//   q8_0   [K/32] { f32 scale[32]; i16 q[8][2][32][2] }   vpmaddwd, vpaddd
//   q4_0   [K/32] { f32 scale[32]; u8 q[8][32][4] }     vpmaddubsw, vpaddw
//
// Integer sums are exact, so the results are those of the one-row kernels.

#include "kernels.h"
#include "tile.h"

#ifndef __AVX512F__

enum {
  kScales = kPanel * sizeof(float),
  kGroup8 = kScales + kGroup * kPanel * 2,
  kGroup4 = kScales + kGroup * kPanel
};

/// sums += float(products) * (weight scale * row scale), for one group.
INLINE void addScaled(int rows, int first, int vectors, const float *scales,
                      const float *rowScales,
                      Ints products[kTileRows][kPanelVectors],
                      Floats (*sums)[kPanelVectors]) {
  Floats scale[kPanelVectors];
  UNROLL for (int v = 0; v < vectors; ++v) scale[v] =
      loadFloats(scales + (first + v) * kLanes);
  UNROLL for (int r = 0; r < rows; ++r) {
    UNROLL for (int v = 0; v < vectors; ++v) {
      Floats both = mulFloats(scale[v], splatFloat(rowScales[r]));
      sums[r][v] = fmaFloats(floatsFromInts(products[r][v]), both, sums[r][v]);
    }
  }
}

INLINE void expanded8Kernel(int rows, int first, int vectors,
                            const TileArguments *a, int begin, int count,
                            Floats (*sums)[kPanelVectors]) {
  const char *w = a->panel + begin / kGroup * kGroup8;
  for (int g = begin / kGroup; g < (begin + count) / kGroup;
       ++g, w += kGroup8) {
    Ints products[kTileRows][kPanelVectors];
    float scales[kTileRows];
    UNROLL for (int r = 0; r < rows; ++r) {
      scales[r] = ((const WideGroup *)(a->x + r * a->xStride))[g].scale;
      UNROLL for (int v = 0; v < vectors; ++v) products[r][v] = splatInt(0);
    }
    const char *pairs = w + kScales + first * sizeof(Ints);
    _Pragma("clang loop unroll_count(4)") for (int p = 0; p < kGroup / 2;
                                               ++p, pairs += kPanel * 4) {
      Ints weights[kPanelVectors];
      UNROLL for (int v = 0; v < vectors; ++v) weights[v] =
          loadInts(pairs + v * sizeof(Ints));
      UNROLL for (int r = 0; r < rows; ++r) {
        const WideGroup *row = (const WideGroup *)(a->x + r * a->xStride) + g;
        Ints x = splatQuad(row->values + 2 * p);
        UNROLL for (int v = 0; v < vectors; ++v) {
          products[r][v] =
              addInts(products[r][v], multiplyAddWords(weights[v], x));
          KEEP(products[r][v]);
        }
      }
    }
    addScaled(rows, first, vectors, (const float *)w, scales, products, sums);
  }
}

/// See q4Kernel for why 16 bits are enough.
INLINE void expanded4Kernel(int rows, int first, int vectors,
                            const TileArguments *a, int begin, int count,
                            Floats (*sums)[kPanelVectors]) {
  const char *w = a->panel + begin / kGroup * kGroup4;
  for (int g = begin / kGroup; g < (begin + count) / kGroup;
       ++g, w += kGroup4) {
    Ints products[kTileRows][kPanelVectors];
    UNROLL for (int r = 0; r < rows; ++r)
        UNROLL for (int v = 0; v < vectors; ++v) products[r][v] = splatInt(0);
    const char *quads = w + kScales + first * sizeof(Ints);
    UNROLL for (int q = 0; q < kGroup / 4; ++q, quads += kPanel * 4) {
      Ints weights[kPanelVectors];
      UNROLL for (int v = 0; v < vectors; ++v) weights[v] =
          loadInts(quads + v * sizeof(Ints));
      UNROLL for (int r = 0; r < rows; ++r) {
        Ints x = splatQuad(quantRow(a, r, g)->values + 4 * q);
        UNROLL for (int v = 0; v < vectors; ++v) {
          products[r][v] =
              addWords(products[r][v], multiplyAddBytes(weights[v], x));
          KEEP(products[r][v]);
        }
      }
    }
    float scales[kTileRows];
    UNROLL for (int r = 0; r < rows; ++r) {
      const QuantGroup *row = quantRow(a, r, g);
      scales[r] = row->scale;
      UNROLL for (int v = 0; v < vectors; ++v) products[r][v] =
          addInts(multiplyAddWords(products[r][v], splatWord(1)),
                  splatInt(row->minus8));
    }
    addScaled(rows, first, vectors, (const float *)w, scales, products, sums);
  }
}

DEFINE_TILE(tileExpandedQ8, expanded8Kernel)
DEFINE_TILE(tileExpandedQ4, expanded4Kernel)

static void expandScales(const char *scales, char *expanded) {
  for (int i = 0; i < kPanel; i += kLanes)
    storeFloats((float *)expanded + i, floatsFromHalf(scales + i * 2));
}

/// A register of quads becomes one of (k, k + 2) and one of (k + 1, k + 3),
/// which takes three shifts; rows are brought into that order too.
void expandQ8(const char *panel, int K, char *expanded) {
  for (int g = 0; g < K / kGroup; ++g, expanded += kGroup8) {
    expandScales(panel, expanded);
    const char *quads = panel + kScaleBytes;
    char *pairs = expanded + kScales;
    for (int q = 0; q < kGroup / 4; ++q, pairs += 2 * kPanel * 4)
      for (size_t i = 0; i < kPanel * 4; i += sizeof(Ints)) {
        Ints bytes = loadInts(quads + q * kPanel * 4 + i);
        Ints even = _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
        storeInts(pairs + i, even);
        storeInts(pairs + kPanel * 4 + i, _mm256_srai_epi16(bytes, 8));
      }
    panel += kScaleBytes + 1024;
  }
}

void expandQ4(const char *panel, int K, char *expanded) {
  const Ints nibble = splatByte(15);
  for (int g = 0; g < K / kGroup; ++g, expanded += kGroup4) {
    expandScales(panel, expanded);
    const char *lines = panel + kScaleBytes;
    char *quads = expanded + kScales;
    for (int l = 0; l < 4; ++l, lines += kPanel * 4, quads += 2 * kPanel * 4)
      for (size_t i = 0; i < kPanel * 4; i += sizeof(Ints)) {
        Ints both = loadInts(lines + i);
        storeInts(quads + i, andInts(both, nibble));
        storeInts(quads + kPanel * 4 + i,
                  andInts(shiftRightWords(both, 4), nibble));
      }
    panel += kScaleBytes + 512;
  }
}

void prepareWide(const float *x, int K, char *row) {
  for (int g = 0; g < K / kGroup; ++g) {
    QuantGroup narrow;
    prepareQuantised(x + g * kGroup, kGroup, (char *)&narrow);
    WideGroup *wide = (WideGroup *)row + g;
    wide->scale = narrow.scale;
    for (int k = 0; k < kGroup; k += 4) {
      wide->values[k] = narrow.values[k];
      wide->values[k + 1] = narrow.values[k + 2];
      wide->values[k + 2] = narrow.values[k + 1];
      wide->values[k + 3] = narrow.values[k + 3];
    }
  }
}

#endif // __AVX512F__
