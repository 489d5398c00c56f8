//===- KernelReference.cpp - Scalar definition of the kernels -------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Written for clarity: every number is read from its place in the layout.
//
//===----------------------------------------------------------------------===//

#include "KernelReference.h"

#include <cmath>
#include <cstring>
#include <immintrin.h>

namespace rondo::cpu {

void flushDenormals() { _mm_setcsr(_mm_getcsr() | 0x8040); }

uint32_t Random::next() {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return static_cast<uint32_t>(state >> 33);
}

float Random::uniform() { return (next() & 0xffffff) / 8388608.0f - 1.0f; }

//===----------------------------------------------------------------------===//
// Bytes
//===----------------------------------------------------------------------===//

template <typename T> static T read(const uint8_t *bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

template <typename T> static void write(uint8_t *bytes, T value) {
  std::memcpy(bytes, &value, sizeof(T));
}

static float readHalf(const uint8_t *bytes) {
  return _cvtsh_ss(read<uint16_t>(bytes));
}

static float readBF16(const uint8_t *bytes) {
  uint32_t bits = static_cast<uint32_t>(read<uint16_t>(bytes)) << 16;
  return read<float>(reinterpret_cast<const uint8_t *>(&bits));
}

static bool isQuantised(PanelFormat format) {
  return lineElements(format) == kGroupSize;
}

//===----------------------------------------------------------------------===//
// Random data
//===----------------------------------------------------------------------===//

static float makeFloat(DataKind kind, Random &rng) {
  if (kind == DataKind::Normal)
    return rng.uniform();
  switch (rng.below(5)) {
  case 0:
    return 0.0f;
  case 1:
    return rng.uniform() * 1e-39f;
  case 2:
    return std::ldexp(rng.uniform(), -rng.below(70));
  case 3:
    return std::ldexp(rng.uniform(), rng.below(40));
  default:
    return rng.below(2) ? 1.0f : -1.0f;
  }
}

/// Finite bits of an f16 (including denormals) or of a bf16.
static uint16_t makeHalf(DataKind kind, Random &rng) {
  if (kind == DataKind::Extreme && rng.below(4) == 0)
    return static_cast<uint16_t>(rng.below(2) << 15 | rng.below(1024));
  return _cvtss_sh(rng.uniform() * 0.1f, 0);
}

static uint16_t makeBF16(DataKind kind, Random &rng) {
  float value = makeFloat(kind, rng);
  return read<uint32_t>(reinterpret_cast<uint8_t *>(&value)) >> 16;
}

static void fillQuants(uint8_t *begin, int64_t count, PanelFormat format,
                       DataKind kind, Random &rng) {
  for (int64_t i = 0; i < count; ++i) {
    int quant = rng.below(256);
    if (kind == DataKind::Extreme)
      quant = format == PanelFormat::Q8_0 ? (rng.below(3) ? 128 : 127)
                                          : (rng.below(3) ? 255 : 0);
    begin[i] = static_cast<uint8_t>(quant);
  }
}

Bytes makePanel(PanelFormat format, int64_t lines, DataKind kind, Random &rng) {
  int64_t size = lineBytes(format);
  Bytes panel(lines * size);
  for (uint8_t *line = panel.data(), *end = line + panel.size(); line != end;
       line += size) {
    if (isQuantised(format)) {
      int64_t halves = (format == PanelFormat::Q4_1 ? 2 : 1) * kPanelWidth;
      for (int64_t i = 0; i < halves; ++i)
        write(line + 2 * i, makeHalf(kind, rng));
      fillQuants(line + 2 * halves, size - 2 * halves, format, kind, rng);
    } else if (format == PanelFormat::F32) {
      for (int64_t i = 0; i < size; i += 4)
        write(line + i, makeFloat(kind, rng));
    } else {
      for (int64_t i = 0; i < size; i += 2)
        write(line + i, format == PanelFormat::F16 ? makeHalf(kind, rng)
                                                   : makeBF16(kind, rng));
    }
  }
  return panel;
}

static void makeInt8Group(uint8_t *group, DataKind kind, Random &rng) {
  int32_t sum = 0;
  for (int i = 0; i < kGroupSize; ++i) {
    int quant = rng.below(255) - 127;
    if (kind == DataKind::Extreme)
      quant = rng.below(3) ? 127 : -127;
    sum += quant;
    group[i] = static_cast<uint8_t>(quant);
  }
  float scale = std::fabs(makeFloat(kind, rng));
  write(group + Int8GroupLayout::kScale, scale);
  write(group + Int8GroupLayout::kSum, sum);
}

Bytes makeRow(RowFormat format, int64_t k, DataKind kind, Random &rng) {
  Bytes row(rowBytes(format, k));
  for (int64_t i = 0; i < k; ++i) {
    uint32_t high = static_cast<uint32_t>(makeBF16(kind, rng)) << 16;
    if (format == RowFormat::F32)
      write(row.data() + 4 * i, makeFloat(kind, rng));
    else if (format == RowFormat::BF16AsF32)
      write(row.data() + 4 * i, high);
    else if (format == RowFormat::BF16Pair)
      write(row.data() + 2 * i, static_cast<uint16_t>(high >> 16));
    else if (i % kGroupSize == 0)
      makeInt8Group(row.data() + i / kGroupSize * Int8GroupLayout::kBytes, kind,
                    rng);
  }
  return row;
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// The stored integer of a quantised weight: q, or the nibble n.
static int readQuant(PanelFormat format, const uint8_t *line, int index,
                     int lane) {
  const uint8_t *quants =
      line + (format == PanelFormat::Q4_1 ? 4 : 2) * kPanelWidth;
  int quad = index / 4, byte = 4 * lane + index % 4;
  if (format == PanelFormat::Q8_0)
    return static_cast<int8_t>(quants[quad * 4 * kPanelWidth + byte]);
  uint8_t packed = quants[quad / 2 * 4 * kPanelWidth + byte];
  return quad % 2 ? packed >> 4 : packed & 15;
}

float widenWeight(PanelFormat format, const uint8_t *line, int index,
                  int lane) {
  switch (format) {
  case PanelFormat::F32:
    return read<float>(line + 4 * lane);
  case PanelFormat::F16:
    return readHalf(line + 2 * lane);
  case PanelFormat::BF16:
    return readBF16(line + 2 * lane);
  case PanelFormat::BF16Pair:
    return readBF16(line + 4 * lane + 2 * index);
  case PanelFormat::Q8_0:
  case PanelFormat::Q4_0:
  case PanelFormat::Q4_1:
    break;
  }
  float scale = readHalf(line + 2 * lane);
  int quant = readQuant(format, line, index, lane);
  if (format == PanelFormat::Q4_1)
    return std::fmaf(static_cast<float>(quant), scale,
                     readHalf(line + 2 * kPanelWidth + 2 * lane));
  return static_cast<float>(format == PanelFormat::Q4_0 ? quant - 8 : quant) *
         scale;
}

//===----------------------------------------------------------------------===//
// Contractions
//===----------------------------------------------------------------------===//

/// Adds one group of an int8-dynamic contraction.
static float addGroup(PanelFormat format, const uint8_t *group,
                      const uint8_t *line, int lane, float acc) {
  int32_t sum = 0;
  for (int i = 0; i < kGroupSize; ++i) {
    int quant = readQuant(format, line, i, lane);
    if (format == PanelFormat::Q4_0)
      quant -= 8;
    sum += quant * static_cast<int8_t>(group[i]);
  }
  float xScale = read<float>(group + Int8GroupLayout::kScale);
  float scale = readHalf(line + 2 * lane) * xScale;
  acc = std::fmaf(static_cast<float>(sum), scale, acc);
  if (format != PanelFormat::Q4_1)
    return acc;
  float xSum =
      xScale * static_cast<float>(read<int32_t>(group + Int8GroupLayout::kSum));
  return std::fmaf(readHalf(line + 2 * kPanelWidth + 2 * lane), xSum, acc);
}

static float readRow(RowFormat format, const uint8_t *row, int64_t k) {
  return format == RowFormat::BF16Pair ? readBF16(row + 2 * k)
                                       : read<float>(row + 4 * k);
}

float contract(const KernelSpec &spec, const uint8_t *row, const uint8_t *panel,
               int64_t wStride, int64_t k, int lane) {
  int64_t elements = lineElements(spec.panel);
  bool isDot = spec.row != RowFormat::F32;
  float acc = 0.0f;
  for (int64_t l = 0; l < k / elements; ++l) {
    const uint8_t *line = panel + l * wStride;
    if (spec.row == RowFormat::Int8Group) {
      acc = addGroup(spec.panel, row + l * Int8GroupLayout::kBytes, line, lane,
                     acc);
      continue;
    }
    for (int64_t i = 0; i < elements; ++i) {
      int64_t index = isDot ? elements - 1 - i : i;
      acc = std::fmaf(widenWeight(spec.panel, line, index, lane),
                      readRow(spec.row, row, l * elements + index), acc);
    }
  }
  return acc;
}

} // namespace rondo::cpu
