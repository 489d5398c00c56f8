//===- ModelInputs.h - what a model takes beside tokens ---------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Rows of the manifest's inputs, given by the caller or made by their init; the
// row of a position is the same in every sequence.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_MODELINPUTS_H
#define RONDO_RT_MODELINPUTS_H

#include "Manifest.h"

namespace rondo_rt {

class ModelInputs {
public:
  void create(const Manifest &manifest);

  bool empty() const { return inputs_.empty(); }
  /// Copies `values` [positions][width].
  Error give(const char *name, const float *values, uint32_t positions,
             uint32_t width);
  void setSeed(uint64_t seed) { seed_ = seed; }
  /// An error if positions below `length` of `sequence` lack rows.
  Error check(uint32_t sequence, uint32_t length) const;
  /// Writes the states of rows `begin` to `end` of a step into the arena.
  void fill(const rondo_rt_row *rows, uint32_t begin, uint32_t end,
            char *arena) const;

private:
  struct Input {
    const InputPlace *place = nullptr;
    StatePlace state = {};
    bool given = false;
    uint32_t positions = 0;  // of `rows`
    std::vector<float> rows; // [positions][width]
  };

  void fillRow(const Input &input, uint32_t position, float *row) const;
  std::string listNames() const;

  std::vector<Input> inputs_;
  uint64_t seed_ = 0;
};

} // namespace rondo_rt

#endif // RONDO_RT_MODELINPUTS_H
