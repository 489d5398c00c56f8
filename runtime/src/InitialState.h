//===- InitialState.h - rows drawn from a seed ------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Rows of an input that nobody gives and that is not zero: each number is a
// function of seed, position and column alone. docs/Inputs.md says which.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_INITIALSTATE_H
#define RONDO_RT_INITIALSTATE_H

#include <cstdint>

namespace rondo_rt {

/// Inverse of the standard normal distribution function at `p` within three
/// deviations, to some 16 digits (Wichura, "Algorithm AS 241", Applied
/// Statistics 37, 1988, routine PPND16).
double inverseNormal(double p);

/// Writes `width` numbers of mean 0 and standard deviation `deviation`, cut off
/// at three deviations, for `position`.
void drawRow(uint64_t seed, uint32_t position, double deviation, uint32_t width,
             float *row);

} // namespace rondo_rt

#endif // RONDO_RT_INITIALSTATE_H
