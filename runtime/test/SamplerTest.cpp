//===- SamplerTest.cpp - from logits to a token ---------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Sampler.h"

#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <set>

using namespace rondo_rt;

namespace {

uint32_t draw(const std::vector<float> &logits, rondo_rt_sampling sampling,
              double random) {
  Sampler sampler;
  uint32_t token = RONDO_RT_NONE;
  Error error =
      sampler.sample(logits.data(), logits.size(), sampling, random, token);
  REQUIRE(!error);
  return token;
}

/// Shares of the tokens over evenly spread random numbers.
std::vector<double> shares(const std::vector<float> &logits,
                           rondo_rt_sampling sampling) {
  constexpr int kDraws = 20000;
  std::vector<double> counts(logits.size());
  for (int i = 0; i < kDraws; ++i)
    counts[draw(logits, sampling, (i + 0.5) / kDraws)] += 1.0 / kDraws;
  return counts;
}

} // namespace

TEST_CASE("greedy takes the best, the lowest of equal ones") {
  rondo_rt_sampling greedy = {0, 1, 0, 0};
  CHECK(draw({1, 5, 2}, greedy, 0.9) == 1);
  CHECK(draw({1, 5, 5, 5}, greedy, 0.9) == 1);
  CHECK(draw({-INFINITY, -3, -INFINITY}, greedy, 0) == 1);
  CHECK(draw({7}, greedy, 0) == 0);
}

TEST_CASE("draws follow the softmax at the given temperature") {
  std::vector<float> logits = {0, std::log(2.0f), std::log(5.0f)};
  std::vector<double> even = shares(logits, {1, 1, 0, 0});
  CHECK(even[0] == doctest::Approx(1.0 / 8).epsilon(0.001));
  CHECK(even[1] == doctest::Approx(2.0 / 8).epsilon(0.001));
  CHECK(even[2] == doctest::Approx(5.0 / 8).epsilon(0.001));
  std::vector<double> cold = shares(logits, {0.5f, 1, 0, 0});
  CHECK(cold[0] == doctest::Approx(1.0 / 30).epsilon(0.005));
  CHECK(cold[2] == doctest::Approx(25.0 / 30).epsilon(0.005));
}

TEST_CASE("top-k leaves the best, ties to the lower index") {
  std::vector<double> kept = shares({3, 1, 3, 3, 0}, {1, 1, 2, 0});
  CHECK(kept == std::vector<double>{kept[0], 0, kept[2], 0, 0});
  CHECK(kept[0] == doctest::Approx(0.5));
  std::vector<double> one = shares({0, 2, 1}, {1, 1, 1, 0});
  CHECK(one[1] == doctest::Approx(1));
}

TEST_CASE("top-p leaves the fewest that reach the probability") {
  // Probabilities 0.5, 0.3, 0.2.
  std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  std::vector<double> one = shares(logits, {1, 0.49f, 0, 0});
  CHECK(one[1] == doctest::Approx(1));
  std::vector<double> two = shares(logits, {1, 0.6f, 0, 0});
  CHECK(two[0] == 0);
  CHECK(two[1] == doctest::Approx(0.5 / 0.8).epsilon(0.001));
  std::vector<double> three = shares(logits, {1, 0.9f, 0, 0});
  CHECK(three[0] == doctest::Approx(0.2).epsilon(0.001));
}

TEST_CASE("extreme draws stay inside of the candidates") {
  std::vector<float> logits = {-INFINITY, 1, -INFINITY};
  for (double random : {0.0, 0.5, 1 - 0x1p-53})
    CHECK(draw(logits, {1, 1, 0, 0}, random) == 1);
  CHECK(draw({0, 0, -200}, {1, 1, 0, 0}, 1 - 0x1p-53) == 1);
}

TEST_CASE("logits that are not numbers are an error") {
  Sampler sampler;
  uint32_t token = 0;
  for (size_t at : {0, 2}) {
    std::vector<float> logits = {1, 2, 3};
    logits[at] = std::numeric_limits<float>::quiet_NaN();
    for (float temperature : {0.0f, 1.0f}) {
      Error error =
          sampler.sample(logits.data(), 3, {temperature, 1, 0, 0}, 0, token);
      CHECK(rondo_rt_status_get_code(error.get()) == RONDO_RT_STATUS_NUMERIC);
    }
  }
}

TEST_CASE("ranges of the options") {
  CHECK(!checkSampling({0, 1, 0, 0}));
  CHECK(!checkSampling({2, 0.1f, 5, 0}));
  CHECK(checkSampling({-0.1f, 1, 0, 0}));
  CHECK(checkSampling({INFINITY, 1, 0, 0}));
  CHECK(checkSampling({NAN, 1, 0, 0}));
  CHECK(checkSampling({1, 0, 0, 0}));
  CHECK(checkSampling({1, 1.1f, 0, 0}));
  CHECK(checkSampling({1, NAN, 0, 0}));
}

TEST_CASE("random numbers are Philox4x32-10's") {
  // Known answer of the Random123 library: counter and key all zero give
  // 6627e8d5 e169c58d in the first two words.
  double expected = static_cast<double>(0x6627e8d5e169c58dull >> 11) * 0x1p-53;
  CHECK(randomUnit(0, 0, 0) == expected);
  // Counter and key all ones: 408f276d 41c83b0e.
  expected = static_cast<double>(0x408f276d41c83b0eull >> 11) * 0x1p-53;
  CHECK(randomUnit(~0ull, ~0ull, ~0ull) == expected);
  std::set<double> distinct;
  for (uint64_t request = 0; request < 30; ++request)
    for (uint64_t index = 0; index < 30; ++index)
      distinct.insert(randomUnit(7, request, index));
  CHECK(distinct.size() == 900);
  CHECK(*distinct.begin() >= 0);
  CHECK(*distinct.rbegin() < 1);
}
