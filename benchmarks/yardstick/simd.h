// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The few vector operations the yardstick needs, once for AVX-512 and once for
// AVX2 with FMA, so that layouts, stages and most kernels are written once.

#ifndef RONDO_BENCHMARKS_YARDSTICK_SIMD_H
#define RONDO_BENCHMARKS_YARDSTICK_SIMD_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define UNROLL _Pragma("clang loop unroll(full)")
#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__
typedef __m512 Floats;
typedef __m512i Ints;
#define loadFloats(p) _mm512_loadu_ps(p)
#define storeFloats(p, v) _mm512_storeu_ps(p, v)
#define splatFloat(v) _mm512_set1_ps(v)
#define addFloats(a, b) _mm512_add_ps(a, b)
#define subFloats(a, b) _mm512_sub_ps(a, b)
#define mulFloats(a, b) _mm512_mul_ps(a, b)
#define divFloats(a, b) _mm512_div_ps(a, b)
#define maxFloats(a, b) _mm512_max_ps(a, b)
#define fmaFloats(a, b, c) _mm512_fmadd_ps(a, b, c)
#define nearestFloats(v) _mm512_roundscale_ps(v, 8)
#define floatsFromHalf(p)                                                      \
  _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p)))
#define floatsFromInts(v) _mm512_cvtepi32_ps(v)
#define intsFromFloats(v) _mm512_cvtps_epi32(v)
#define asFloats(v) _mm512_castsi512_ps(v)
#define asInts(v) _mm512_castps_si512(v)
#define loadInts(p) _mm512_load_si512(p)
#define storeInts(p, v) _mm512_storeu_si512(p, v)
#define splatInt(v) _mm512_set1_epi32(v)
#define splatByte(v) _mm512_set1_epi8(v)
#define splatWord(v) _mm512_set1_epi16(v)
#define addInts(a, b) _mm512_add_epi32(a, b)
#define addWords(a, b) _mm512_add_epi16(a, b)
#define andInts(a, b) _mm512_and_si512(a, b)
#define shiftLeftInts(v, n) _mm512_slli_epi32(v, n)
#define shiftRightInts(v, n) _mm512_srli_epi32(v, n)
#define shiftRightWords(v, n) _mm512_srli_epi16(v, n)
#define multiplyAddBytes(u, s) _mm512_maddubs_epi16(u, s)
#define multiplyAddWords(a, b) _mm512_madd_epi16(a, b)
#else
typedef __m256 Floats;
typedef __m256i Ints;
#define loadFloats(p) _mm256_loadu_ps(p)
#define storeFloats(p, v) _mm256_storeu_ps(p, v)
#define splatFloat(v) _mm256_set1_ps(v)
#define addFloats(a, b) _mm256_add_ps(a, b)
#define subFloats(a, b) _mm256_sub_ps(a, b)
#define mulFloats(a, b) _mm256_mul_ps(a, b)
#define divFloats(a, b) _mm256_div_ps(a, b)
#define maxFloats(a, b) _mm256_max_ps(a, b)
#define fmaFloats(a, b, c) _mm256_fmadd_ps(a, b, c)
#define nearestFloats(v) _mm256_round_ps(v, 8)
#define floatsFromHalf(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define floatsFromInts(v) _mm256_cvtepi32_ps(v)
#define intsFromFloats(v) _mm256_cvtps_epi32(v)
#define asFloats(v) _mm256_castsi256_ps(v)
#define asInts(v) _mm256_castps_si256(v)
#define loadInts(p) _mm256_load_si256((const __m256i *)(p))
#define storeInts(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define splatInt(v) _mm256_set1_epi32(v)
#define splatByte(v) _mm256_set1_epi8(v)
#define splatWord(v) _mm256_set1_epi16(v)
#define addInts(a, b) _mm256_add_epi32(a, b)
#define addWords(a, b) _mm256_add_epi16(a, b)
#define andInts(a, b) _mm256_and_si256(a, b)
#define shiftLeftInts(v, n) _mm256_slli_epi32(v, n)
#define shiftRightInts(v, n) _mm256_srli_epi32(v, n)
#define shiftRightWords(v, n) _mm256_srli_epi16(v, n)
#define multiplyAddBytes(u, s) _mm256_maddubs_epi16(u, s)
#define multiplyAddWords(a, b) _mm256_madd_epi16(a, b)
#endif

enum {
  kLanes = sizeof(Floats) / sizeof(float),
  kPanel = 32, // outputs that lie side by side in packed weights
  kPanelVectors = kPanel / kLanes
};

INLINE Floats zeroFloats(void) { return splatFloat(0.0f); }

INLINE float sumOf(Floats v) {
  float lanes[kLanes], sum = 0;
  storeFloats(lanes, v);
  for (int i = 0; i < kLanes; ++i)
    sum += lanes[i];
  return sum;
}

INLINE float largestOf(Floats v) {
  float lanes[kLanes];
  storeFloats(lanes, v);
  float largest = lanes[0];
  for (int i = 1; i < kLanes; ++i)
    largest = lanes[i] > largest ? lanes[i] : largest;
  return largest;
}

/// e^v for v <= 88, by the polynomial of the Cephes library (about 1 ulp).
INLINE Floats expFloats(Floats v) {
  v = maxFloats(v, splatFloat(-87.0f));
  Floats n = nearestFloats(mulFloats(v, splatFloat(1.44269504f)));
  Floats r = fmaFloats(n, splatFloat(-0.693359375f), v);
  r = fmaFloats(n, splatFloat(2.12194440e-4f), r);
  Floats p = splatFloat(1.9875691500e-4f);
  p = fmaFloats(p, r, splatFloat(1.3981999507e-3f));
  p = fmaFloats(p, r, splatFloat(8.3334519073e-3f));
  p = fmaFloats(p, r, splatFloat(4.1665795894e-2f));
  p = fmaFloats(p, r, splatFloat(1.6666665459e-1f));
  p = fmaFloats(p, r, splatFloat(5.0000001201e-1f));
  p = fmaFloats(p, mulFloats(r, r), addFloats(r, splatFloat(1.0f)));
  Ints exponent = addInts(intsFromFloats(n), splatInt(127));
  return mulFloats(p, asFloats(shiftLeftInts(exponent, 23)));
}

/// v / (1 + e^-v)
INLINE Floats siluFloats(Floats v) {
  Floats one = splatFloat(1.0f);
  return divFloats(v, addFloats(one, expFloats(subFloats(zeroFloats(), v))));
}

/// Rounds to bfloat16 (nearest even), kept in f32. Not for NaN.
INLINE Floats roundToBf16(Floats v) {
  Ints bits = asInts(v);
  Ints odd = andInts(shiftRightInts(bits, 16), splatInt(1));
  Ints rounded = addInts(addInts(bits, splatInt(0x7fff)), odd);
  return asFloats(andInts(rounded, splatInt((int)0xffff0000)));
}

INLINE uint16_t bf16Bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE float floatFromBf16(uint16_t bits) {
  uint32_t wide = (uint32_t)bits << 16;
  float value;
  memcpy(&value, &wide, sizeof value);
  return value;
}

#endif // RONDO_BENCHMARKS_YARDSTICK_SIMD_H
