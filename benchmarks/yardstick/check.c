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

enum { kInputs = 2 * kGroup };

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

static int checkType(WeightType type, const char *panel) {
  const TypeKernels *kernels = &kTypeKernels[type];
  _Alignas(64) static char rows[kTileRows][4096];
  static float y[kTileRows][kPanel];
  for (int r = 0; r < kTileRows; ++r) {
    _Alignas(64) float x[kInputs];
    for (int k = 0; k < kInputs; ++k)
      x[k] = sinf((float)(r * kInputs + k));
    kernels->prepare(x, kInputs, rows[r]);
  }
  double worst = 0;
  int different = 0;
  for (int count = 1; count <= kTileRows; ++count) {
    static float before[kPanel];
    kernels->tile(count, rows[0], sizeof rows[0], panel, kInputs, y[0], kPanel);
    for (int i = 0; i < count * kPanel; ++i)
      worst = fmax(worst, outputError(type, rows[i / kPanel], panel, i % kPanel,
                                      y[i / kPanel][i % kPanel]));
    // The bits of a row must not depend on how many rows share the call.
    if (count > 1)
      different += memcmp(before, y[0], sizeof before) != 0;
    memcpy(before, y[0], sizeof before);
  }
  int failed = worst > 1e-5 || different;
  printf("%-5s kernels: largest error %.1e, rows %s: %s\n", kernels->name,
         worst, different ? "depend on their number" : "independent",
         failed ? "FAILED" : "ok");
  return failed;
}

int checkKernels(void) {
  int failures = 0;
  for (int type = 0; type < kTypeCount; ++type) {
    Model model = {.layers = 1, .visits = 1, .body = type, .headType = type};
    createModel(&model);
    failures += checkType(type, model.weights);
    State *state = createState();
    enum { kRows = 301 };
    prefillStep(&model, state, kRows);
    static float many[kVocabulary];
    memcpy(many, state->logits, sizeof many);
    decodeStep(&model, state, kRows - 1);
    double worst = 0, largest = 0;
    for (int i = 0; i < kVocabulary; ++i) {
      worst = fmax(worst, fabs(many[i] - state->logits[i]));
      largest = fmax(largest, fabs(many[i]));
    }
    // Attention sums in another order; a rounding of 8 bits may then differ.
    int failed = !(largest > 0 && worst / largest < 2e-2);
    printf("%-5s decode after prefill: logits differ by %.1e of %.1e: %s\n",
           kTypeKernels[type].name, worst, largest, failed ? "FAILED" : "ok");
    failures += failed;
  }
  return failures;
}
