//===- Float16.h - 16-bit floats --------------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// IEEE binary16 and bfloat16 as bits, without instructions or library calls
// that depend on the machine. Narrowing rounds to nearest even and keeps
// denormals.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_BUNDLE_FLOAT16_H
#define RONDO_LIB_BUNDLE_FLOAT16_H

#include "llvm/ADT/bit.h"

#include <cstdint>

namespace rondo {

inline float widenF16(uint16_t half) {
  uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  uint32_t magnitude = static_cast<uint32_t>(half & 0x7fff) << 13;
  // The exponents of infinity and NaN.
  if (magnitude >= 0x0f800000)
    return llvm::bit_cast<float>(sign | 0x7f800000 | magnitude);
  // 2^112 moves the bias from 15 to 127, of denormals too.
  float value = llvm::bit_cast<float>(magnitude) * 0x1p112f;
  return llvm::bit_cast<float>(sign | llvm::bit_cast<uint32_t>(value));
}

inline uint16_t roundToF16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  uint32_t sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return sign | 0x7e00; // NaN
  if (magnitude >= 0x477ff000)
    return sign | 0x7c00; // 65520 is half way to 2^16
  if (magnitude < 0x38800000) {
    // Below 2^-14 a half counts units of 2^-24, as a float does next to 0.5:
    // the addition rounds.
    float sum = llvm::bit_cast<float>(magnitude) + 0.5f;
    return sign | (llvm::bit_cast<uint32_t>(sum) - 0x3f000000);
  }
  magnitude += 0xfff + (magnitude >> 13 & 1);
  return sign | (magnitude - 0x38000000) >> 13;
}

inline float widenBF16(uint16_t bits) {
  return llvm::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t roundToBF16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return bits >> 16 | 0x40; // a NaN stays one
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

} // namespace rondo

#endif // RONDO_LIB_BUNDLE_FLOAT16_H
