//===- Rope.cpp - rotary frequencies --------------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A wrong last bit of a frequency turns into a visible angle after thousands of
// positions, so the order of operations and roundings is that of transformers
// (`modeling_rope_utils.py`) on f32 tensors: a scalar divided by a tensor is
// the tensor's reciprocal times the scalar.
//
//===----------------------------------------------------------------------===//
#include "Rope.h"

#include <cmath>

using namespace llvm;
using namespace rondo;

static float stretchLlama3(float frequency, const RopeScaling &scaling) {
  constexpr double kPi = 3.14159265358979323846;
  float context = static_cast<float>(scaling.originalContext);
  float factor = static_cast<float>(scaling.factor);
  float longest =
      static_cast<float>(scaling.originalContext / scaling.lowFrequencyFactor);
  float shortest =
      static_cast<float>(scaling.originalContext / scaling.highFrequencyFactor);
  float wavelength = (1.0f / frequency) * static_cast<float>(2 * kPi);
  if (wavelength > longest)
    return frequency / factor;
  if (wavelength < shortest)
    return frequency;
  float range = static_cast<float>(scaling.highFrequencyFactor -
                                   scaling.lowFrequencyFactor);
  float smooth = ((1.0f / wavelength) * context -
                  static_cast<float>(scaling.lowFrequencyFactor)) /
                 range;
  return (1.0f - smooth) * frequency / factor + smooth * frequency;
}

SmallVector<float> rondo::computeRopeFrequencies(double theta, int64_t headDim,
                                                 const RopeScaling &scaling) {
  using Kind = RopeScaling::Kind;
  SmallVector<float> frequencies;
  for (int64_t i = 0; i < headDim / 2; ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(headDim);
    float power = static_cast<float>(
        std::pow(static_cast<double>(static_cast<float>(theta)),
                 static_cast<double>(exponent)));
    float frequency = 1.0f / power;
    if (scaling.kind == Kind::Linear)
      frequency /= static_cast<float>(scaling.factor);
    else if (scaling.kind == Kind::Llama3)
      frequency = stretchLlama3(frequency, scaling);
    else if (scaling.kind == Kind::Divisors)
      frequency /= scaling.divisors[i];
    frequencies.push_back(frequency);
  }
  return frequencies;
}
