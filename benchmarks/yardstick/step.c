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

void runHeadShare(const Model *model, State *state, int thread,
                  const char *row) {
  const TypeKernels *kernels = &kTypeKernels[model->headType];
  size_t bytes = panelBytes(model->headType, kHidden);
  int panels = kVocabulary / kPanel;
  int begin = shareBegin(panels, thread), end = shareBegin(panels, thread + 1);
  Candidate best = {-INFINITY, 0};
  for (int p = begin; p < end; ++p) {
    float *logits = state->logits + p * kPanel;
    kernels->tile(1, row, 0, model->head + p * bytes, kHidden, logits, 0);
    Floats top = loadFloats(logits);
    for (int i = kLanes; i < kPanel; i += kLanes)
      top = maxFloats(top, loadFloats(logits + i));
    float largest = largestOf(top);
    if (largest <= best.value)
      continue;
    best.value = largest;
    best.index = p * kPanel;
    while (state->logits[best.index] != largest)
      ++best.index;
  }
  state->candidates[thread] = best;
}

int largestLogit(const State *state) {
  const Candidate *best = &state->candidates[0];
  for (int thread = 1; thread < teamSize(); ++thread)
    if (state->candidates[thread].value > best->value)
      best = &state->candidates[thread];
  return best->index;
}
