//===- Sampler.cpp - from logits to a token -------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Sums in double precision and in a fixed order.
//===----------------------------------------------------------------------===//
#include "Sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

using namespace rondo_rt;

Error rondo_rt::checkSampling(const rondo_rt_sampling &sampling) {
  if (!(sampling.temperature >= 0) || std::isinf(sampling.temperature))
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "temperature must be finite and not negative, got %g",
                     sampling.temperature);
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "top-p must be in (0, 1], got %g", sampling.top_p);
  return nullptr;
}

/// Index of the largest logit, the lowest of equal ones; false if there is a
/// NaN.
static bool findBest(const float *logits, uint32_t vocabulary, uint32_t &best) {
  best = 0;
  bool ordered = true;
  for (uint32_t i = 0; i < vocabulary; ++i) {
    ordered &= logits[i] == logits[i];
    if (logits[i] > logits[best])
      best = i;
  }
  return ordered;
}

void Sampler::selectCandidates(const float *logits, uint32_t vocabulary,
                               const rondo_rt_sampling &sampling) {
  candidates_.resize(vocabulary);
  std::iota(candidates_.begin(), candidates_.end(), 0u);
  auto better = [logits](uint32_t a, uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  bool cut = sampling.top_k && sampling.top_k < vocabulary;
  if (cut) {
    std::partial_sort(candidates_.begin(), candidates_.begin() + sampling.top_k,
                      candidates_.end(), better);
    candidates_.resize(sampling.top_k);
  } else if (sampling.top_p < 1) {
    std::sort(candidates_.begin(), candidates_.end(), better);
  }
}

Error Sampler::sample(const float *logits, uint32_t vocabulary,
                      const rondo_rt_sampling &sampling, double random,
                      uint32_t &token) {
  uint32_t best = 0;
  if (!findBest(logits, vocabulary, best))
    return makeError(
        RONDO_RT_STATUS_NUMERIC,
        "the model computed logits that are not numbers; check the "
        "weights with --verify");
  token = best;
  if (sampling.temperature == 0 || std::isinf(logits[best]))
    return nullptr;
  selectCandidates(logits, vocabulary, sampling);
  weights_.resize(candidates_.size());
  double total = 0;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    double distance = static_cast<double>(logits[candidates_[i]]) -
                      static_cast<double>(logits[best]);
    weights_[i] = std::exp(distance / sampling.temperature);
    total += weights_[i];
  }
  if (sampling.top_p < 1) {
    // The fewest whose share of the total reaches top-p; at least one.
    double goal = total * sampling.top_p, sum = 0;
    size_t count = 0;
    while (count < weights_.size() && sum < goal)
      sum += weights_[count++];
    weights_.resize(count);
    total = sum;
  }
  double left = random * total;
  for (size_t i = 0; i < weights_.size(); ++i) {
    left -= weights_[i];
    if (left < 0) {
      token = candidates_[i];
      return nullptr;
    }
  }
  // Rounding left nothing to choose from: the last one that can be chosen.
  for (size_t i = weights_.size(); i-- > 0;)
    if (weights_[i] > 0) {
      token = candidates_[i];
      return nullptr;
    }
  return nullptr;
}
