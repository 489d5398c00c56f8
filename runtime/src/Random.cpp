//===- Random.cpp - numbers that look random ------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Random.h"

using namespace rondo_rt;

double rondo_rt::randomUnit(uint64_t seed, uint64_t upper, uint64_t lower) {
  uint32_t c0 = static_cast<uint32_t>(lower), c1 = lower >> 32;
  uint32_t c2 = static_cast<uint32_t>(upper), c3 = upper >> 32;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = seed >> 32;
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = 0xd2511f53ull * c0, p1 = 0xcd9e8d57ull * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  uint64_t bits = (static_cast<uint64_t>(c0) << 32 | c1) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}
