//===- FillWeights.cpp - weights of a weightless bundle -------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Benchmarks need weights that cost as much time as real ones: finite and far
// from denormal under every storage type. Each 16-bit word gets a fixed
// exponent and random sign and mantissa; read as bf16, as the upper half of an
// f32, as f16 or as packed codes and scales it is an ordinary number.
//===----------------------------------------------------------------------===//
#include "Model.h"

#include <algorithm>
#include <cstring>

using namespace rondo_rt;

/// SplitMix64 of a counter (Steele et al., OOPSLA 2014).
static uint64_t mix(uint64_t counter) {
  uint64_t z = counter * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void rondo_rt::fillWeights(char *weights, uint64_t bytes,
                           const std::string &type, uint64_t seed) {
  // Upper byte without sign: 0.008 to 0.03 in bf16 and f32, 0.016 in f16, and
  // in between where codes and scales are mixed.
  uint64_t exponent = 0x2c;
  if (type == "f32" || type == "bf16")
    exponent = 0x3c;
  else if (type == "f16")
    exponent = 0x24;
  const uint64_t fixed = exponent * 0x0100010001000100ull;
  const uint64_t random = 0x80ff80ff80ff80ffull; // sign and lower byte
  for (uint64_t i = 0; i < bytes; i += sizeof(uint64_t)) {
    uint64_t word = (mix(seed + i + 1) & random) | fixed;
    std::memcpy(weights + i, &word, std::min(sizeof(word), bytes - i));
  }
}
