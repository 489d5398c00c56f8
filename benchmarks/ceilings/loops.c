// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// AVX-512 where the compiler targets it, else AVX2 with FMA.

#include "loops.h"

#include <immintrin.h>

#define UNROLL _Pragma("clang loop unroll(full)")
#define INLINE static inline __attribute__((always_inline))

#ifdef __AVX512F__
typedef __m512 Floats;
typedef __m512i Ints;
#define SET_FLOATS _mm512_set1_ps
#define SET_BYTES _mm512_set1_epi8
#define SET_WORDS _mm512_set1_epi16
#define FMA _mm512_fmadd_ps
#define OR _mm512_or_si512
#define LOAD _mm512_load_si512
const char kIsaName[] = "avx512";
#else
typedef __m256 Floats;
typedef __m256i Ints;
#define SET_FLOATS _mm256_set1_ps
#define SET_BYTES _mm256_set1_epi8
#define SET_WORDS _mm256_set1_epi16
#define FMA _mm256_fmadd_ps
#define OR _mm256_or_si256
#define LOAD(address) _mm256_load_si256((const __m256i *)(address))
const char kIsaName[] = "avx2";
#endif

enum { kLanes = sizeof(Floats) / sizeof(float), kChains = 12 };

/// Makes the compiler believe that the registers are used and changed.
#define KEEP(value) __asm__ volatile("" : "+v"(value))

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

typedef enum { kNone, kTemporal, kNonTemporal } Hint;

/// Reads `streams` equal parts of the range in alternation, a cache line of
/// each at a time, prefetching `distance` bytes ahead if there is a hint.
INLINE void readStreams(const char *begin, size_t bytes, int streams, Hint hint,
                        int distance) {
  enum { kLine = 64, kLines = 8, kVectors = kLine / sizeof(Ints) };
  Ints sums[8];
  UNROLL for (int i = 0; i < 8; ++i) sums[i] = SET_BYTES(0);
  size_t part = bytes / streams;
  int lines = kLines / streams;
  for (size_t at = 0; at < part; at += (size_t)lines * kLine) {
    UNROLL for (int i = 0; i < kLines; ++i) {
      const char *line = begin + i % streams * part + at + i / streams * kLine;
      if (hint == kTemporal)
        _mm_prefetch(line + distance, _MM_HINT_T0);
      if (hint == kNonTemporal)
        _mm_prefetch(line + distance, _MM_HINT_NTA);
      UNROLL for (int v = 0; v < kVectors; ++v) sums[i] =
          OR(sums[i], LOAD(line + v * sizeof(Ints)));
    }
  }
  UNROLL for (int i = 0; i < 8; ++i) KEEP(sums[i]);
}

static void readPlain(const char *begin, size_t bytes) {
  readStreams(begin, bytes, /*streams=*/1, kNone, 0);
}
static void readPrefetched(const char *begin, size_t bytes) {
  readStreams(begin, bytes, /*streams=*/1, kTemporal, /*distance=*/1024);
}
static void readNonTemporal(const char *begin, size_t bytes) {
  readStreams(begin, bytes, /*streams=*/1, kNonTemporal, /*distance=*/2048);
}
static void readTwo(const char *begin, size_t bytes) {
  readStreams(begin, bytes, /*streams=*/2, kNone, 0);
}
static void readFour(const char *begin, size_t bytes) {
  readStreams(begin, bytes, /*streams=*/4, kNone, 0);
}
static void readEight(const char *begin, size_t bytes) {
  readStreams(begin, bytes, /*streams=*/8, kNone, 0);
}

const ReadEntry kReadLoops[kReadLoopCount] = {
    {"plain", readPlain},
    {"prefetcht0 +1 KiB", readPrefetched},
    {"prefetchnta +2 KiB", readNonTemporal},
    {"2 streams", readTwo},
    {"4 streams", readFour},
    {"8 streams", readEight},
};

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

static void multiplyFloats(long repeats) {
  Floats sums[kChains];
  Floats factor = SET_FLOATS(1e-8f);
  KEEP(factor);
  UNROLL for (int i = 0; i < kChains; ++i) sums[i] = SET_FLOATS(0);
  for (long r = 0; r < repeats; ++r)
    UNROLL for (int i = 0; i < kChains; ++i) sums[i] =
        FMA(factor, factor, sums[i]);
  UNROLL for (int i = 0; i < kChains; ++i) KEEP(sums[i]);
}

#ifdef __AVX512BF16__
#define BF16_FORM "vdpbf16ps"
enum { kBf16MultiplyAdds = kChains * kLanes * 2 };
static void multiplyBf16(long repeats) {
  Floats sums[kChains];
  Ints factor = SET_WORDS(1);
  KEEP(factor);
  UNROLL for (int i = 0; i < kChains; ++i) sums[i] = SET_FLOATS(0);
  for (long r = 0; r < repeats; ++r)
    UNROLL for (int i = 0; i < kChains; ++i) sums[i] =
        _mm512_dpbf16_ps(sums[i], (__m512bh)factor, (__m512bh)factor);
  UNROLL for (int i = 0; i < kChains; ++i) KEEP(sums[i]);
}
#else
// Without a bf16 dot product a weight becomes f32 first. Over many rows that
// is paid once, so what remains is the rate of f32.
#define BF16_FORM "widened to f32, FMA"
enum { kBf16MultiplyAdds = kChains * kLanes };
#define multiplyBf16 multiplyFloats
#endif

// The bytes that the integer loops multiply come from memory, as a kernel's do:
// the load is part of the multiplication's instruction.
typedef struct {
  _Alignas(64) char bytes[kChains][sizeof(Ints)];
} Operands;

/// Makes the compiler believe that the operands may have changed.
#define RELOAD(operands) __asm__ volatile("" : "+m"(operands))

#if defined(__AVX512VNNI__)
#define INT8_FORM "vpdpbusd"
#define DOT(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#elif defined(__AVXVNNI__) && !defined(__AVX512F__)
#define INT8_FORM "vpdpbusd"
#define DOT(sum, a, b) _mm256_dpbusd_avx_epi32(sum, a, b)
#elif defined(__AVX512F__)
#define INT8_FORM "vpmaddubsw, vpmaddwd, vpaddd"
#define MADD_BYTES _mm512_maddubs_epi16
#define MADD_WORDS(a) _mm512_madd_epi16(a, SET_WORDS(1))
#define ADD_INTS _mm512_add_epi32
#define ADD_WORDS _mm512_add_epi16
#else
#define INT8_FORM "vpmaddubsw, vpmaddwd, vpaddd"
#define MADD_BYTES _mm256_maddubs_epi16
#define MADD_WORDS(a) _mm256_madd_epi16(a, SET_WORDS(1))
#define ADD_INTS _mm256_add_epi32
#define ADD_WORDS _mm256_add_epi16
#endif
#ifndef DOT
#define DOT(sum, a, b) ADD_INTS(sum, MADD_WORDS(MADD_BYTES(a, b)))
#endif

static void multiplyBytes(long repeats) {
  Operands operands = {0};
  Ints sums[kChains];
  Ints factor = SET_BYTES(1);
  KEEP(factor);
  UNROLL for (int i = 0; i < kChains; ++i) sums[i] = SET_BYTES(0);
  for (long r = 0; r < repeats; ++r) {
    RELOAD(operands);
    UNROLL for (int i = 0; i < kChains; ++i) sums[i] =
        DOT(sums[i], factor, LOAD(operands.bytes[i]));
  }
  UNROLL for (int i = 0; i < kChains; ++i) KEEP(sums[i]);
}

#ifdef ADD_WORDS
// A product of a 4-bit and an 8-bit number leaves room in 16 bits for a group
// of 32, so that only one widening is needed for eight multiplications.
#define INT4_FORM "8 x (vpmaddubsw, vpaddw), vpmaddwd, vpaddd"
enum { kInt4Chains = 4, kInt4Steps = 8 };
static void multiplyNibbles(long repeats) {
  Operands operands = {0};
  Ints sums[kInt4Chains];
  Ints factor = SET_BYTES(1);
  KEEP(factor);
  UNROLL for (int i = 0; i < kInt4Chains; ++i) sums[i] = SET_BYTES(0);
  for (long r = 0; r < repeats; ++r) {
    Ints words[kInt4Chains];
    UNROLL for (int i = 0; i < kInt4Chains; ++i) words[i] = SET_BYTES(0);
    UNROLL for (int step = 0; step < kInt4Steps; ++step) {
      RELOAD(operands);
      UNROLL for (int i = 0; i < kInt4Chains; ++i) words[i] =
          ADD_WORDS(words[i], MADD_BYTES(factor, LOAD(operands.bytes[i])));
    }
    UNROLL for (int i = 0; i < kInt4Chains; ++i) sums[i] =
        ADD_INTS(sums[i], MADD_WORDS(words[i]));
  }
  UNROLL for (int i = 0; i < kInt4Chains; ++i) KEEP(sums[i]);
}
#else
#define INT4_FORM INT8_FORM
enum { kInt4Chains = kChains, kInt4Steps = 1 };
#define multiplyNibbles multiplyBytes
#endif

const ArithmeticEntry kArithmeticLoops[kArithmeticLoopCount] = {
    {"f32", "FMA", multiplyFloats, kChains * kLanes},
    {"bf16", BF16_FORM, multiplyBf16, kBf16MultiplyAdds},
    {"int8", INT8_FORM, multiplyBytes, kChains * kLanes * 4},
    {"int4", INT4_FORM, multiplyNibbles, kInt4Chains * kInt4Steps * kLanes * 4},
};
