//===- InitialState.cpp - rows drawn from a seed --------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Sums and products in double precision in the order written here; products are
// not fused with sums, so that other programs can compute the same bits.
//===----------------------------------------------------------------------===//
#include "InitialState.h"
#include "Random.h"

#include <cmath>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

using namespace rondo_rt;

/// Distribution function of the standard normal at -3 and 3.
static constexpr double kLowest = 0x1.61de1f985b5d7p-10;
static constexpr double kHighest = 0x1.ff4f10f033d25p-1;

/// A polynomial by Horner's rule, highest power first.
template <int N> static double evaluate(const double (&c)[N], double x) {
  double value = c[0];
  for (int i = 1; i < N; ++i) {
    double product = value * x;
    value = product + c[i];
  }
  return value;
}

// Coefficients of AS 241: numerator and denominator of the middle of the
// distribution, and of what lies farther than 0.425 from it.
static constexpr double kMiddleUp[] = {
    2.50908092873012267270e+3, 3.34305755835881281050e+4,
    6.72657709270087008530e+4, 4.59219539315498714570e+4,
    1.37316937655094611250e+4, 1.97159095030655144270e+3,
    1.33141667891784377450e+2, 3.38713287279636660800e+0};
static constexpr double kMiddleDown[] = {
    5.22649527885285456100e+3, 2.87290857357219426740e+4,
    3.93078958000927106100e+4, 2.12137943015865958670e+4,
    5.39419602142475110770e+3, 6.87187007492057908300e+2,
    4.23133307016009112520e+1, 1.0};
static constexpr double kTailUp[] = {
    7.74545014278341407640e-4, 2.27238449892691845833e-2,
    2.41780725177450611770e-1, 1.27045825245236838258e+0,
    3.64784832476320460504e+0, 5.76949722146069140550e+0,
    4.63033784615654529590e+0, 1.42343711074968357734e+0};
static constexpr double kTailDown[] = {
    1.05075007164441684324e-9, 5.47593808499534494600e-4,
    1.51986665636164571966e-2, 1.48103976427480074590e-1,
    6.89767334985100004550e-1, 1.67638483018380384940e+0,
    2.05319162663775882187e+0, 1.0};
double rondo_rt::inverseNormal(double p) {
  double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    double square = q * q;
    double r = 0.180625 - square;
    return evaluate(kMiddleUp, r) * q / evaluate(kMiddleDown, r);
  }
  double r = std::sqrt(-std::log(q <= 0 ? p : 1.0 - p));
  double x = evaluate(kTailUp, r - 1.6) / evaluate(kTailDown, r - 1.6);
  return q < 0 ? -x : x;
}

void rondo_rt::drawRow(uint64_t seed, uint32_t position, double deviation,
                       uint32_t width, float *row) {
  for (uint32_t column = 0; column < width; ++column) {
    double spread = randomUnit(seed, position, column) * (kHighest - kLowest);
    row[column] =
        static_cast<float>(deviation * inverseNormal(kLowest + spread));
  }
}
