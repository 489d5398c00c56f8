//===- Storage.cpp - weights from one storage type to another -------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// All conversions go through f32, which holds every value of every type
// exactly. Built without contraction of products and sums (see CMakeLists.txt):
// ggml's reference rounds each operation on its own.
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Storage.h"

#include "Float16.h"

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/ErrorHandling.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace rondo;
using llvm::support::endian::read16le;
using llvm::support::endian::write16le;

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

StorageType rondo::getStorageType(mlir::Type type) {
  return llvm::TypeSwitch<mlir::Type, StorageType>(type)
      .Case<mlir::Float32Type>([](auto) { return StorageType::F32; })
      .Case<mlir::Float16Type>([](auto) { return StorageType::F16; })
      .Case<mlir::BFloat16Type>([](auto) { return StorageType::BF16; })
      .Case<Q8_0Type>([](auto) { return StorageType::Q8_0; })
      .Case<Q4_0Type>([](auto) { return StorageType::Q4_0; })
      .Case<Q4_1Type>([](auto) { return StorageType::Q4_1; })
      .Default([](auto) { return StorageType::Other; });
}

mlir::Type rondo::getElementType(mlir::MLIRContext *ctx, StorageType type) {
  switch (type) {
  case StorageType::F32:
    return mlir::Float32Type::get(ctx);
  case StorageType::F16:
    return mlir::Float16Type::get(ctx);
  case StorageType::BF16:
    return mlir::BFloat16Type::get(ctx);
  case StorageType::Q8_0:
    return Q8_0Type::get(ctx);
  case StorageType::Q4_0:
    return Q4_0Type::get(ctx);
  case StorageType::Q4_1:
    return Q4_1Type::get(ctx);
  case StorageType::Other:
    break;
  }
  llvm_unreachable("a type that no parameter can have");
}

bool rondo::isBlockType(StorageType type) {
  return type == StorageType::Q8_0 || type == StorageType::Q4_0 ||
         type == StorageType::Q4_1;
}

//===----------------------------------------------------------------------===//
// Blocks: f16 scale (Q4_1: and minimum), then codes. Four-bit codes: byte j
// holds weight j in its low and weight 16 + j in its high half.
//===----------------------------------------------------------------------===//

static void widenQ8_0(const char *block, float *values) {
  float scale = widenF16(read16le(block));
  for (int i = 0; i < kBlockSize; ++i)
    values[i] = static_cast<int8_t>(block[2 + i]) * scale;
}

static void widenQ4_0(const char *block, float *values) {
  float scale = widenF16(read16le(block));
  for (int i = 0; i < kBlockSize / 2; ++i) {
    int codes = static_cast<uint8_t>(block[2 + i]);
    values[i] = ((codes & 15) - 8) * scale;
    values[i + 16] = ((codes >> 4) - 8) * scale;
  }
}

static void widenQ4_1(const char *block, float *values) {
  float scale = widenF16(read16le(block));
  float minimum = widenF16(read16le(block + 2));
  for (int i = 0; i < kBlockSize / 2; ++i) {
    int codes = static_cast<uint8_t>(block[4 + i]);
    values[i] = (codes & 15) * scale + minimum;
    values[i + 16] = (codes >> 4) * scale + minimum;
  }
}

/// 1 / scale; 0 where the quotient is no number to work with, which only
/// happens for scales that round to 0 in f16.
static float getInverse(float scale) {
  float inverse = scale == 0 ? 0 : 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

/// Writes a scale or minimum; fails if it is beyond f16.
static ConversionResult writeF16(float value, char *target) {
  uint16_t half = roundToF16(value);
  write16le(target, half);
  return (half & 0x7c00) == 0x7c00 ? ConversionResult::Overflow
                                   : ConversionResult::Done;
}

static ConversionResult narrowQ8_0(const float *values, char *block) {
  float largest = 0;
  for (int i = 0; i < kBlockSize; ++i)
    largest = std::max(largest, std::fabs(values[i]));
  float scale = largest / 127;
  float inverse = getInverse(scale);
  for (int i = 0; i < kBlockSize; ++i) // half away from zero
    block[2 + i] = static_cast<int8_t>(std::round(values[i] * inverse));
  return writeF16(scale, block);
}

/// A code of four bits: the fraction is cut off, 16 becomes 15.
static int getCode(float value) {
  return std::min(15, static_cast<int>(value));
}

static ConversionResult narrowQ4_0(const float *values, char *block) {
  float extreme =
      values[0]; // the first value of the largest magnitude, with its sign
  for (int i = 0; i < kBlockSize; ++i)
    if (std::fabs(values[i]) > std::fabs(extreme))
      extreme = values[i];
  float scale = extreme / -8;
  float inverse = getInverse(scale);
  for (int i = 0; i < kBlockSize / 2; ++i)
    block[2 + i] = getCode(values[i] * inverse + 8.5f) |
                   getCode(values[i + 16] * inverse + 8.5f) << 4;
  return writeF16(scale, block);
}

static ConversionResult narrowQ4_1(const float *values, char *block) {
  float smallest = *std::min_element(values, values + kBlockSize);
  float largest = *std::max_element(values, values + kBlockSize);
  float scale = (largest - smallest) / 15;
  float inverse = getInverse(scale);
  for (int i = 0; i < kBlockSize / 2; ++i)
    block[4 + i] = getCode((values[i] - smallest) * inverse + 0.5f) |
                   getCode((values[i + 16] - smallest) * inverse + 0.5f) << 4;
  ConversionResult result = writeF16(scale, block);
  ConversionResult minimum = writeF16(smallest, block + 2);
  return result == ConversionResult::Done ? minimum : result;
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

/// Calls `widen` for each block of a row.
static void widenBlocks(void (*widen)(const char *, float *),
                        const char *source, int64_t blockBytes, float *values,
                        int64_t count) {
  for (int64_t i = 0; i < count / kBlockSize; ++i)
    widen(source + i * blockBytes, values + i * kBlockSize);
}

void rondo::widenRow(StorageType from, const char *source, float *values,
                     int64_t count) {
  int64_t blockBytes = getByteSize(from, kBlockSize);
  switch (from) {
  case StorageType::F32:
    std::memcpy(values, source, count * sizeof(float));
    return;
  case StorageType::F16:
    for (int64_t i = 0; i < count; ++i)
      values[i] = widenF16(read16le(source + 2 * i));
    return;
  case StorageType::BF16:
    for (int64_t i = 0; i < count; ++i)
      values[i] = widenBF16(read16le(source + 2 * i));
    return;
  case StorageType::Q8_0:
    return widenBlocks(widenQ8_0, source, blockBytes, values, count);
  case StorageType::Q4_0:
    return widenBlocks(widenQ4_0, source, blockBytes, values, count);
  case StorageType::Q4_1:
    return widenBlocks(widenQ4_1, source, blockBytes, values, count);
  case StorageType::Other:
    break;
  }
  llvm_unreachable("a type that no parameter can have");
}

/// Rounds each value with `round`; a finite one must stay finite.
static ConversionResult narrowElements(uint16_t (*round)(float), uint16_t limit,
                                       const float *values, char *target,
                                       int64_t count) {
  bool overflow = false;
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits = round(values[i]);
    overflow |= (bits & limit) == limit && std::isfinite(values[i]);
    write16le(target + 2 * i, bits);
  }
  return overflow ? ConversionResult::Overflow : ConversionResult::Done;
}

static ConversionResult narrowBlocks(ConversionResult (*narrow)(const float *,
                                                                char *),
                                     const float *values, char *target,
                                     int64_t blockBytes, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i]))
      return ConversionResult::NotFinite;
  for (int64_t i = 0; i < count / kBlockSize; ++i) {
    ConversionResult result =
        narrow(values + i * kBlockSize, target + i * blockBytes);
    if (result != ConversionResult::Done)
      return result;
  }
  return ConversionResult::Done;
}

ConversionResult rondo::narrowRow(StorageType to, const float *values,
                                  char *target, int64_t count) {
  int64_t blockBytes = getByteSize(to, kBlockSize);
  switch (to) {
  case StorageType::F32:
    std::memcpy(target, values, count * sizeof(float));
    return ConversionResult::Done;
  case StorageType::F16:
    return narrowElements(roundToF16, 0x7c00, values, target, count);
  case StorageType::BF16:
    return narrowElements(roundToBF16, 0x7f80, values, target, count);
  case StorageType::Q8_0:
    return narrowBlocks(narrowQ8_0, values, target, blockBytes, count);
  case StorageType::Q4_0:
    return narrowBlocks(narrowQ4_0, values, target, blockBytes, count);
  case StorageType::Q4_1:
    return narrowBlocks(narrowQ4_1, values, target, blockBytes, count);
  case StorageType::Other:
    break;
  }
  llvm_unreachable("a type that no parameter can have");
}

ConversionResult rondo::convertRow(StorageType from, const char *source,
                                   StorageType to, char *target, float *values,
                                   int64_t count) {
  if (from == to) {
    std::memcpy(target, source, getByteSize(from, count));
    return ConversionResult::Done;
  }
  widenRow(from, source, values, count);
  return narrowRow(to, values, target, count);
}
