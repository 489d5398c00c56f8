// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A benchmark of wrong results is worth nothing: the kernels against plain
// arithmetic in double, and decode against prefill.

#include "../support/team.h"
#include "simd.h"
#include "step.h"

#include <math.h>
#include <stdio.h>

enum { kInputs = 4 * kGroup, kRowSpace = 1024 };

/// Weight of (input k, output) as packed in `panel`.
static double weightAt(WeightType type, const char *panel, int k, int output) {
  if (type == kF32)
    return ((const float *)panel)[k * kPanel + output];
  if (type == kBf16)
    return floatFromBf16(
        ((const uint16_t *)panel)[k / 2 * 2 * kPanel + output * 2 + k % 2]);
  int quad = k % kGroup / 4;
  const char *group = panel + (k / kGroup) * panelBytes(type, kGroup);
  float scale = _cvtsh_ss(((const uint16_t *)group)[output]);
  const uint8_t *bytes = (const uint8_t *)group + kScaleBytes;
  if (type == kQ8) {
    uint8_t byte = bytes[quad * 4 * kPanel + output * 4 + k % 4];
#ifdef __AVX512VNNI__
    return (double)scale * (byte - 128);
#else
    return (double)scale * (int8_t)byte;
#endif
  }
  uint8_t byte = bytes[quad / 2 * 4 * kPanel + output * 4 + k % 4];
  return (double)scale * ((quad % 2 ? byte >> 4 : byte & 15) - 8);
}

/// Input k of a row as its prepared form has it.
static double inputAt(WeightType type, const char *row, int k) {
#ifdef __AVX512BF16__
  if (type == kBf16)
    return floatFromBf16(((const uint16_t *)row)[k]);
#endif
  if (type == kF32 || type == kBf16)
    return ((const float *)row)[k];
  const QuantGroup *group = (const QuantGroup *)row + k / kGroup;
  return (double)group->scale * group->values[k % kGroup];
}

/// Error of one output relative to the sum of magnitudes.
static double outputError(WeightType type, const char *row, const char *panel,
                          int output, double got) {
  double sum = 0, magnitude = 1e-30;
  for (int k = 0; k < kInputs; ++k) {
    double product = inputAt(type, row, k) * weightAt(type, panel, k, output);
    sum += product;
    magnitude += fabs(product);
  }
  return fabs(got - sum) / magnitude;
}

typedef float PanelOutputs[kMaxStreams][kPanel];

/// One row times four panels; returns the largest error.
static double runStreams(WeightType type, const float *x, const char *weights,
                         PanelOutputs y) {
  const TypeKernels *kernels = &kTypeKernels[type];
  _Alignas(64) char row[kRowSpace];
  kernels->prepare(x, kInputs, row);
  const char *panels[kMaxStreams];
  float *outputs[kMaxStreams];
  for (int s = 0; s < kMaxStreams; ++s) {
    panels[s] = weights + s * panelBytes(type, kInputs);
    outputs[s] = y[s];
  }
  kernels->streams(kMaxStreams, row, panels, kInputs, outputs);
  double worst = 0;
  for (int i = 0; i < kMaxStreams * kPanel; ++i)
    worst = fmax(worst, outputError(type, row, panels[i / kPanel], i % kPanel,
                                    y[i / kPanel][i % kPanel]));
  return worst;
}

/// Tiles of 1..kTileRows rows times one panel; returns how many rows differ in
/// any bit from what the one-row kernel gave.
static int runTiles(WeightType type, float x[kTileRows][kInputs],
                    const char *panel, PanelOutputs *expected) {
  const TypeKernels *kernels = &kTypeKernels[type];
  _Alignas(64) static char rows[kTileRows][kRowSpace];
  _Alignas(64) static char expanded[1 << 14];
  float y[kTileRows][kPanel];
  for (int r = 0; r < kTileRows; ++r)
    kernels->prepareMany(x[r], kInputs, rows[r]);
  if (kernels->expand) {
    kernels->expand(panel, kInputs, expanded);
    panel = expanded;
  }
  int different = 0;
  for (int count = 1; count <= kernels->manyRows; ++count) {
    kernels->tileMany(count, rows[0], kRowSpace, panel, kInputs, y[0], kPanel);
    for (int r = 0; r < count; ++r)
      different += memcmp(y[r], expected[r][0], sizeof y[r]) != 0;
  }
  return different;
}

static int checkType(WeightType type, const char *weights) {
  float x[kTileRows][kInputs];
  static PanelOutputs y[kTileRows];
  double worst = 0;
  for (int r = 0; r < kTileRows; ++r) {
    for (int k = 0; k < kInputs; ++k)
      x[r][k] = sinf((float)(r * kInputs + k));
    worst = fmax(worst, runStreams(type, x[r], weights, y[r]));
  }
  int different = runTiles(type, x, weights, y);
  int failed = worst > 1e-6 || different;
  printf("%-5s kernels: largest error %.1e, %d rows of tiles differ: %s\n",
         kTypeKernels[type].name, worst, different, failed ? "FAILED" : "ok");
  return failed;
}

/// The last of many rows against the same token decoded on its own.
static int checkSteps(WeightType type, const Model *model) {
  enum { kRows = 301 };
  static float many[kVocabulary];
  State *state = createState();
  prefillStep(model, state, kRows);
  memcpy(many, state->logits, sizeof many);
  decodeStep(model, state, kRows - 1);
  double worst = 0, largest = 0;
  for (int i = 0; i < kVocabulary; ++i) {
    worst = fmax(worst, fabs(many[i] - state->logits[i]));
    largest = fmax(largest, fabs(many[i]));
  }
  // Attention sums in another order; a rounding of 8 bits may then differ.
  int failed = !(largest > 0 && worst / largest < 2e-2);
  printf("%-5s decode after prefill: logits differ by %.1e of %.1e: %s\n",
         kTypeKernels[type].name, worst, largest, failed ? "FAILED" : "ok");
  return failed;
}

int checkKernels(void) {
  int failures = 0;
  for (int type = 0; type < kTypeCount; ++type) {
    Model model = {.layers = 2, .visits = 1, .body = type, .headType = type};
    createModel(&model);
    failures += checkType(type, model.weights);
    failures += checkSteps(type, &model);
  }
  return failures;
}
