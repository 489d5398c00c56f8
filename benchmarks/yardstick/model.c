// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights are random but sane: uniform, scaled so that activations neither
// vanish nor grow. They are drawn in packed order, since their places do not
// matter here.

#include "model.h"

#include "../support/team.h"
#include "simd.h"

#include <math.h>

typedef struct {
  uint32_t state;
} Random;

static uint32_t nextBits(Random *random) {
  random->state = random->state * 1664525u + 1013904223u;
  return random->state >> 8;
}

/// Uniform in [-1, 1).
static float nextUniform(Random *random) {
  return (float)nextBits(random) * 0x1p-23f - 1.0f;
}

static uint16_t halfBits(float value) {
  return (uint16_t)_cvtss_sh(value, /*nearest=*/0);
}

static void fillScales(char *at, float scale) {
  for (int i = 0; i < kPanel; ++i) {
    uint16_t bits = halfBits(scale);
    memcpy(at + 2 * i, &bits, sizeof bits);
  }
}

static void fillGroups(Random *random, WeightType type, int K, float bound,
                       char *panel) {
  int bytes = type == kQ8 ? 1024 : 512;
  // A byte of q8_0 is uniform in [-127, 127], a nibble of q4_0 in [-8, 7].
  float scale = bound / (type == kQ8 ? 127.0f : 8.0f);
  for (int g = 0; g < K / kGroup; ++g, panel += kScaleBytes + bytes) {
    fillScales(panel, scale);
    for (int i = 0; i < bytes; ++i) {
      int byte = (int)(nextBits(random) % 255) - 127;
#ifdef __AVX512VNNI__
      byte += type == kQ8 ? 128 : 0;
#endif
      panel[kScaleBytes + i] =
          (char)(type == kQ8 ? byte : (int)nextBits(random));
    }
  }
}

/// Fills `count` panels with K inputs each; returns the end.
static char *fillPanels(Random *random, WeightType type, int count, int K,
                        char *at) {
  float bound = sqrtf(3.0f / (float)K);
  for (int panel = 0; panel < count; ++panel, at += panelBytes(type, K)) {
    if (type == kQ8 || type == kQ4)
      fillGroups(random, type, K, bound, at);
    for (int i = 0; type == kF32 && i < K * kPanel; ++i)
      ((float *)at)[i] = bound * nextUniform(random);
    for (int i = 0; type == kBf16 && i < K * kPanel; ++i)
      ((uint16_t *)at)[i] = bf16Bits(bound * nextUniform(random));
  }
  return at;
}

static LayerOffsets layerOffsets(WeightType type) {
  size_t hidden = panelBytes(type, kHidden);
  LayerOffsets offsets = {.qkv = 0};
  offsets.output = offsets.qkv + kQkv / kPanel * hidden;
  offsets.gateUp = offsets.output + kHidden / kPanel * hidden;
  offsets.down = offsets.gateUp + 2 * (kFeedForward / kPanel) * hidden;
  offsets.end =
      offsets.down + kHidden / kPanel * panelBytes(type, kFeedForward);
  return offsets;
}

static size_t headBytes(const Model *model) {
  return kVocabulary / kPanel * panelBytes(model->headType, kHidden);
}

static void fillWeights(Model *model, Random *random) {
  size_t all = model->layers * model->offsets.end;
  // One range, so that the head follows the last layer as a stream.
  model->weights = allocateHuge(all + headBytes(model));
  model->head = model->weights + all;
  char *at = model->weights;
  int hiddenPanels = (kQkv + kHidden + 2 * kFeedForward) / kPanel;
  for (int layer = 0; layer < model->layers; ++layer) {
    at = fillPanels(random, model->body, hiddenPanels, kHidden, at);
    at = fillPanels(random, model->body, kHidden / kPanel, kFeedForward, at);
  }
  fillPanels(random, model->headType, kVocabulary / kPanel, kHidden,
             model->head);
}

static void fillCache(Model *model, Random *random) {
  size_t count = (size_t)model->layers * model->visits * kKvHeads *
                 kMaxPositions * kHeadSize;
  model->keys = allocateHuge(count * sizeof(uint16_t));
  model->values = allocateHuge(count * sizeof(uint16_t));
  for (size_t i = 0; i < count; ++i) {
    model->keys[i] = bf16Bits(nextUniform(random));
    model->values[i] = bf16Bits(nextUniform(random));
  }
}

static void fillRope(Model *model) {
  enum { kHalf = kHeadSize / 2 };
  const double base = 100000.0; // SmolLM2's rope.freq_base
  model->rope = allocateHuge(kMaxPositions * kHeadSize * sizeof(float));
  for (int position = 0; position < kMaxPositions; ++position)
    for (int j = 0; j < kHalf; ++j) {
      double angle = position * pow(base, -(double)j / kHalf);
      model->rope[position * kHeadSize + j] = (float)cos(angle);
      model->rope[position * kHeadSize + kHalf + j] = (float)sin(angle);
    }
}

void createModel(Model *model) {
  Random random = {1};
  model->offsets = layerOffsets(model->body);
  fillWeights(model, &random);
  fillCache(model, &random);
  fillRope(model);
  model->norm = allocateHuge(kHidden * sizeof(float));
  for (int i = 0; i < kHidden; ++i)
    model->norm[i] = 1.0f + 0.1f * nextUniform(&random);
}

size_t weightBytesPerToken(const Model *model) {
  return (size_t)model->layers * model->visits * model->offsets.end +
         headBytes(model);
}

size_t kvBytesPerToken(const Model *model, int position) {
  size_t positions = (size_t)model->layers * model->visits * (position + 1);
  return positions * kKvHeads * kHeadSize * 2 * sizeof(uint16_t);
}
