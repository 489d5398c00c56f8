//===- Sampler.h - from logits to a token -----------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Greedy choice or a draw. A draw uses one random number that is a function of
// the seed, the request and the number of the token alone: no state, so the
// batch, the chunks and the order of requests make no difference.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_SAMPLER_H
#define RONDO_RT_SAMPLER_H

#include "Random.h"
#include "Status.h"

#include <vector>

namespace rondo_rt {

/// Checks the ranges of the options.
Error checkSampling(const rondo_rt_sampling &sampling);

/// Draws tokens; keeps its buffers from one draw to the next.
class Sampler {
public:
  /// The token drawn from `logits` [vocabulary] with `random` in [0, 1). A NaN
  /// among the logits is an error.
  Error sample(const float *logits, uint32_t vocabulary,
               const rondo_rt_sampling &sampling, double random,
               uint32_t &token);

private:
  void selectCandidates(const float *logits, uint32_t vocabulary,
                        const rondo_rt_sampling &sampling);

  std::vector<uint32_t>
      candidates_;              // best first if they were cut, else by index
  std::vector<double> weights_; // of the candidates, not normalised
};

} // namespace rondo_rt

#endif // RONDO_RT_SAMPLER_H
