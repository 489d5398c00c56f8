//===- Random.h - numbers that look random ----------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// No state: a number is a function of what it is for, so that neither the batch
// nor the order makes a difference.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_RANDOM_H
#define RONDO_RT_RANDOM_H

#include <cstdint>

namespace rondo_rt {

/// A number in [0, 1): Philox4x32-10 (Salmon et al., SC 2011) with the seed as
/// key and (upper, lower) as counter; the 53 upper bits of the first two words.
/// Draws of tokens count (request, index of the new token), rows of inputs
/// (position, column).
double randomUnit(uint64_t seed, uint64_t upper, uint64_t lower);

} // namespace rondo_rt

#endif // RONDO_RT_RANDOM_H
