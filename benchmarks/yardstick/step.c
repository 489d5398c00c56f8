// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The parts of a step that do not depend on the number of rows.

#include "step.h"

#include <math.h>

State *createState(void) {
  State *state = allocateHuge(sizeof *state);
  size_t rows = kMaxRows * sizeof(float);
  state->manyHidden = allocateHuge(rows * kHidden);
  state->manyQkv = allocateHuge(rows * kQkv);
  state->manyAttention = allocateHuge(rows * kHidden);
  state->manyAct = allocateHuge(rows * kFeedForward);
  state->prepared = allocateHuge(kMaxRows * rowBytes(kFeedForward));
  for (int thread = 0; thread < teamSize(); ++thread) {
    state->rows[thread] = allocateHuge(rowBytes(kFeedForward));
    state->expanded[thread] = allocateHuge(2 * expandedBytes(kFeedForward));
  }
  return state;
}

void setFloatMode(void) {
  enum { kFlushToZero = 1 << 15, kDenormalsAreZero = 1 << 6 };
  _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
}

void normRow(const Model *model, const float *x, float *out) {
  Floats squares = zeroFloats();
  for (int i = 0; i < kHidden; i += kLanes) {
    Floats v = loadFloats(x + i);
    squares = fmaFloats(v, v, squares);
  }
  float factor = 1.0f / sqrtf(sumOf(squares) / kHidden + 1e-5f);
  for (int i = 0; i < kHidden; i += kLanes) {
    Floats v = mulFloats(loadFloats(x + i), splatFloat(factor));
    storeFloats(out + i, mulFloats(v, loadFloats(model->norm + i)));
  }
}

/// Few panels split badly: a number of streams that leaves none alone.
static int streamsFor(int panels) {
  for (int streams = kMaxStreams; streams > 1; --streams)
    if (panels % streams == 0)
      return streams;
  return kMaxStreams;
}

void multiplyPanels(const TypeKernels *kernels, const char *row,
                    const char *weights, size_t panelBytes, int begin, int end,
                    int K, float *out) {
  int count = end - begin, streams = streamsFor(count);
  for (int round = 0; round * streams < count; ++round) {
    const char *panels[kMaxStreams];
    float *y[kMaxStreams];
    int active = 0;
    for (int s = 0; s < streams; ++s) {
      int panel = begin + count * s / streams + round;
      if (panel >= begin + count * (s + 1) / streams)
        continue;
      panels[active] = weights + panel * panelBytes;
      y[active++] = out + panel * kPanel;
    }
    kernels->streams(active, row, panels, K, y);
  }
}

void runHeadShare(const Model *model, State *state, int thread,
                  const char *row) {
  const TypeKernels *kernels = &kTypeKernels[model->headType];
  size_t bytes = panelBytes(model->headType, kHidden);
  int panels = kVocabulary / kPanel;
  int begin = shareBegin(panels, thread), end = shareBegin(panels, thread + 1);
  multiplyPanels(kernels, row, model->head, bytes, begin, end, kHidden,
                 state->logits);
  Floats top = splatFloat(-INFINITY);
  for (int i = begin * kPanel; i < end * kPanel; i += kLanes)
    top = maxFloats(top, loadFloats(state->logits + i));
  Candidate best = {largestOf(top), begin * kPanel};
  while (state->logits[best.index] != best.value)
    ++best.index;
  state->candidates[thread] = best;
}

int largestLogit(const State *state) {
  const Candidate *best = &state->candidates[0];
  for (int thread = 1; thread < teamSize(); ++thread)
    if (state->candidates[thread].value > best->value)
      best = &state->candidates[thread];
  return best->index;
}
