// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Packed weights and the kernels that multiply rows by them.
//
// A matrix is cut into panels of 32 outputs; a panel is one forward stream:
//
//   f32    [K][32]
//   bf16   [K/2][32][2]
//   q8_0   [K/32] { f16 scale[32]; i8 q[8][32][4] }      34 bytes a group
//   q4_0   [K/32] { f16 scale[32]; u8 q[4][32][4] }      18 bytes a group
//
// A q4_0 byte of line l holds in its low nibble the value of quad 2l and in
// its high nibble that of quad 2l + 1, each plus 8. With VNNI, which wants one
// side unsigned, q8_0 stores q + 128.

#ifndef RONDO_BENCHMARKS_YARDSTICK_PANELS_H
#define RONDO_BENCHMARKS_YARDSTICK_PANELS_H

#include <stddef.h>
#include <stdint.h>

typedef enum { kF32, kBf16, kQ8, kQ4, kTypeCount } WeightType;

enum {
  kGroup = 32,     // inputs that share a scale
  kTileRows = 6,   // most rows of one tile
  kMaxStreams = 4, // most panels that one row meets at once
  kScaleBytes = kGroup * 2
};

/// One group of a row that was quantised for an integer kernel.
typedef struct {
  _Alignas(32) int8_t values[kGroup];
  uint8_t magnitudes[kGroup]; // |values|
  float scale;
  int32_t minus8;   // -8 * sum(values): what q4_0's offset adds
  int32_t minus128; // -128 * sum(values): what q8_0's adds with VNNI
  char padding[20];
} QuantGroup;

/// The same group with 16-bit values.
typedef struct {
  _Alignas(32) int16_t values[kGroup];
  float scale;
  char padding[28];
} WideGroup;

/// Multiplies `rows` prepared rows by one panel: y[row * yStride + 0..31].
/// `xStride` is in bytes, `yStride` in floats. Rows are 1..kTileRows.
typedef void (*TileKernel)(int rows, const char *x, size_t xStride,
                           const char *panel, int K, float *y, size_t yStride);

/// Multiplies one prepared row by `count` panels, which are read in turns:
/// y[i][0..31] gets the outputs of panels[i].
typedef void (*StreamKernel)(int count, const char *x,
                             const char *const *panels, int K, float *const *y);

/// Brings a row into the form that the kernels of a type read.
typedef void (*PrepareRow)(const float *x, int K, char *row);

/// Brings a panel into the form that the kernel for many rows reads.
typedef void (*ExpandPanel)(const char *panel, int K, char *expanded);

typedef struct {
  const char *name;
  // One row: decode.
  PrepareRow prepare;
  StreamKernel streams;
  // Many rows: prefill. Without `expand` it reads panels as they are.
  PrepareRow prepareMany;
  ExpandPanel expand;
  TileKernel tileMany;
  int manyRows; // most rows of a tile that the registers hold
} TypeKernels;

/// "avx2" or "avx512", with the extensions that kernels use.
extern const char kIsaName[];

extern const TypeKernels kTypeKernels[kTypeCount];

/// bf16 weights times f32 rows, whatever the instruction set: attention.
void tileBf16Wide(int rows, const char *x, size_t xStride, const char *panel,
                  int K, float *y, size_t yStride);

/// Bytes of a panel with K inputs.
static inline size_t panelBytes(WeightType type, int K) {
  switch (type) {
  case kF32:
    return (size_t)K * 128;
  case kBf16:
    return (size_t)K * 64;
  case kQ8:
    return (size_t)K / kGroup * (kScaleBytes + 1024);
  default:
    return (size_t)K / kGroup * (kScaleBytes + 512);
  }
}

/// Bytes of an expanded panel; enough for every type.
static inline size_t expandedBytes(int K) {
  return (size_t)K / kGroup * (32 * sizeof(float) + 2048);
}

/// Bytes of a prepared row; enough for every type.
static inline size_t rowBytes(int K) {
  return (size_t)K / kGroup * sizeof(QuantGroup) > (size_t)K * sizeof(float)
             ? (size_t)K / kGroup * sizeof(QuantGroup)
             : (size_t)K * sizeof(float);
}

#endif // RONDO_BENCHMARKS_YARDSTICK_PANELS_H
