//===- Probe.cpp - ceilings of this machine -------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The loops use the widest registers the machine has; without AVX2 there is
// nothing to compare with, since no compiled code would run either.
//===----------------------------------------------------------------------===//
#include "Probe.h"
#include "Machine.h"
#include "Memory.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <immintrin.h>

using namespace rondo_rt;

namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Keeps a register's value unknown to the compiler, so that chains stay chains
/// and results count as used.
#define RONDO_RT_OPAQUE(value) __asm__ volatile("" : "+x"(value))
#define RONDO_RT_OPAQUE_512(value) __asm__ volatile("" : "+v"(value))

//===----------------------------------------------------------------------===//
// Bandwidth
//===----------------------------------------------------------------------===//

/// One part of the working set for each thread.
struct ReadJob {
  const char *data;
  uint64_t part; // bytes, a multiple of kReadUnit
  uint32_t passes;
};
constexpr uint64_t kReadUnit = 4096;

__attribute__((target("avx2"))) void readPart(void *argument, uint32_t thread) {
  auto *job = static_cast<const ReadJob *>(argument);
  const char *begin = job->data + job->part * thread;
  __m256i sums[4] = {};
  for (uint32_t pass = 0; pass < job->passes; ++pass)
    for (const char *p = begin; p < begin + job->part; p += 256)
      for (int i = 0; i < 8; ++i)
        sums[i % 4] = _mm256_xor_si256(
            sums[i % 4],
            _mm256_load_si256(reinterpret_cast<const __m256i *>(p + 32 * i)));
  for (__m256i &sum : sums)
    RONDO_RT_OPAQUE(sum);
}

//===----------------------------------------------------------------------===//
// Arithmetic. Twelve independent chains cover latency times throughput.
//===----------------------------------------------------------------------===//

constexpr int kChains = 12;
constexpr uint64_t kRounds = 200000;

/// One kind of instruction: the loop and the operations of one instruction.
struct PeakLoop {
  Team::Job job;
  double operations;
};

__attribute__((target("avx2,fma"))) void fmaAvx2(void *, uint32_t) {
  __m256 sums[kChains] = {}, factor = _mm256_set1_ps(0.5f);
  RONDO_RT_OPAQUE(factor);
  for (uint64_t round = 0; round < kRounds; ++round)
    for (__m256 &sum : sums)
      sum = _mm256_fmadd_ps(factor, factor, sum);
  for (__m256 &sum : sums)
    RONDO_RT_OPAQUE(sum);
}

__attribute__((target("avx512f"))) void fmaAvx512(void *, uint32_t) {
  __m512 sums[kChains] = {}, factor = _mm512_set1_ps(0.5f);
  RONDO_RT_OPAQUE_512(factor);
  for (uint64_t round = 0; round < kRounds; ++round)
    for (__m512 &sum : sums)
      sum = _mm512_fmadd_ps(factor, factor, sum);
  for (__m512 &sum : sums)
    RONDO_RT_OPAQUE_512(sum);
}

__attribute__((target("avx512f,avx512bf16"))) void dotBf16(void *, uint32_t) {
  __m512 sums[kChains] = {};
  __m512i bits = _mm512_set1_epi16(0x3f00); // 0.5 in bf16
  RONDO_RT_OPAQUE_512(bits);
  __m512bh factor;
  std::memcpy(&factor, &bits, sizeof(factor));
  for (uint64_t round = 0; round < kRounds; ++round)
    for (__m512 &sum : sums)
      sum = _mm512_dpbf16_ps(sum, factor, factor);
  for (__m512 &sum : sums)
    RONDO_RT_OPAQUE_512(sum);
}

__attribute__((target("avx512f,avx512vnni"))) void dotInt8(void *, uint32_t) {
  __m512i sums[kChains] = {}, factor = _mm512_set1_epi8(1);
  RONDO_RT_OPAQUE_512(factor);
  for (uint64_t round = 0; round < kRounds; ++round)
    for (__m512i &sum : sums)
      sum = _mm512_dpbusd_epi32(sum, factor, factor);
  for (__m512i &sum : sums)
    RONDO_RT_OPAQUE_512(sum);
}

/// AVX2 takes three instructions for what VNNI does in one.
__attribute__((target("avx2"))) void dotInt8Avx2(void *, uint32_t) {
  __m256i sums[kChains] = {}, factor = _mm256_set1_epi8(1);
  __m256i ones = _mm256_set1_epi16(1);
  for (uint64_t round = 0; round < kRounds; ++round) {
    RONDO_RT_OPAQUE(factor);
    for (__m256i &sum : sums) {
      __m256i pairs = _mm256_maddubs_epi16(factor, factor);
      RONDO_RT_OPAQUE(pairs);
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    }
  }
  for (__m256i &sum : sums)
    RONDO_RT_OPAQUE(sum);
}

/// The fastest loop for `probe` on a machine with these features.
PeakLoop choosePeakLoop(rondo_rt_probe probe, uint64_t features) {
  bool wide = features & RONDO_RT_CPU_AVX512;
  if (probe == RONDO_RT_PROBE_INT8_DOT)
    return features & RONDO_RT_CPU_AVX512_VNNI ? PeakLoop{dotInt8, 128}
                                               : PeakLoop{dotInt8Avx2, 64};
  if (probe == RONDO_RT_PROBE_BF16_DOT && features & RONDO_RT_CPU_AVX512_BF16)
    return {dotBf16, 64};
  return wide ? PeakLoop{fmaAvx512, 32} : PeakLoop{fmaAvx2, 16};
}

Error needsAvx2() {
  return makeError(
      RONDO_RT_STATUS_UNSUPPORTED,
      "this CPU lacks x86-64-v3, which the probes are written for");
}

} // namespace

Error rondo_rt::measureRead(Team &team, uint64_t bytes, double &perSecond) {
  if (!(machineFeatures() & RONDO_RT_CPU_X86_64_V3))
    return needsAvx2();
  constexpr uint64_t kBytesOfAPass = 64u << 20; // a few ms
  constexpr int kTries = 3;
  uint64_t part =
      std::max(kReadUnit, bytes / team.size() / kReadUnit * kReadUnit);
  Mapping memory;
  if (Error error =
          Mapping::allocate(part * team.size(), "the read probe", memory))
    return error;
  // Untouched memory would all be the one page of zeros.
  std::memset(memory.data(), 1, memory.size());
  uint64_t passes = std::max<uint64_t>(1, kBytesOfAPass / memory.size());
  ReadJob job = {memory.data(), part, static_cast<uint32_t>(passes)};
  team.run(readPart, &job); // brings it into the caches
  perSecond = 0;
  for (int i = 0; i < kTries; ++i) {
    Clock::time_point begin = Clock::now();
    team.run(readPart, &job);
    perSecond = std::max(perSecond, static_cast<double>(memory.size()) *
                                        static_cast<double>(passes) /
                                        secondsSince(begin));
  }
  return nullptr;
}

Error rondo_rt::measurePeak(Team &team, rondo_rt_probe probe,
                            double &perSecond) {
  uint64_t features = machineFeatures();
  if (!(features & RONDO_RT_CPU_X86_64_V3))
    return needsAvx2();
  PeakLoop loop = choosePeakLoop(probe, features);
  constexpr int kTries = 5;
  perSecond = 0;
  for (int i = 0; i < kTries; ++i) {
    Clock::time_point begin = Clock::now();
    team.run(loop.job, nullptr);
    double operations =
        loop.operations * kChains * static_cast<double>(kRounds) * team.size();
    perSecond = std::max(perSecond, operations / secondsSince(begin));
  }
  return nullptr;
}
