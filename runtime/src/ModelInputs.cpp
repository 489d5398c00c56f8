//===- ModelInputs.cpp - what a model takes beside tokens -----------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// States are written whole, the padding of their rows too: what stood there is
// of an earlier step.
//===----------------------------------------------------------------------===//
#include "ModelInputs.h"
#include "InitialState.h"

#include <algorithm>
#include <cstring>

using namespace rondo_rt;

void ModelInputs::create(const Manifest &manifest) {
  for (const InputPlace &place : manifest.inputs) {
    Input &input = inputs_.emplace_back();
    input.place = &place;
    input.state = manifest.states[place.state];
  }
}

std::string ModelInputs::listNames() const {
  std::string names;
  for (const Input &input : inputs_)
    names += (names.empty() ? "'" : ", '") + input.place->name + "'";
  return names.empty() ? "nothing" : names;
}

Error ModelInputs::give(const char *name, const float *values,
                        uint32_t positions, uint32_t width) {
  auto input =
      std::find_if(inputs_.begin(), inputs_.end(), [&](const Input &candidate) {
        return candidate.place->name == name;
      });
  if (input == inputs_.end())
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "model takes no input '%.80s', beside tokens it takes %s; "
                     "leave the others out",
                     name, listNames().c_str());
  if (width != input->place->width)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "input '%s' has rows of %u numbers, the model takes %u; "
                     "give rows that were made for this model",
                     name, width, input->place->width);
  input->rows.assign(values, values + static_cast<size_t>(positions) * width);
  input->positions = positions;
  input->given = true;
  return nullptr;
}

Error ModelInputs::check(uint32_t sequence, uint32_t length) const {
  for (const Input &input : inputs_) {
    const char *name = input.place->name.c_str();
    if (!input.given && input.place->init == InputInit::Given)
      return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                       "model needs the input '%s', of which nobody gives "
                       "rows; give a tensor of that name, a row of %u numbers "
                       "for each position",
                       name, input.place->width);
    if (input.given && length > input.positions)
      return makeError(RONDO_RT_STATUS_EXHAUSTED,
                       "sequence %u comes to position %u, input '%s' has rows "
                       "for %u positions; give more rows or run fewer tokens",
                       sequence, length - 1, name, input.positions);
  }
  return nullptr;
}

void ModelInputs::fillRow(const Input &input, uint32_t position,
                          float *row) const {
  uint32_t width = input.place->width;
  if (input.given)
    std::memcpy(row, input.rows.data() + static_cast<size_t>(position) * width,
                width * sizeof(float));
  else if (input.place->init == InputInit::Normal)
    drawRow(seed_, position, input.place->deviation, width, row);
  else
    std::memset(row, 0, width * sizeof(float));
}

void ModelInputs::fill(const rondo_rt_row *rows, uint32_t begin, uint32_t end,
                       char *arena) const {
  for (const Input &input : inputs_)
    for (uint32_t i = begin; i < end; ++i) {
      char *to = arena + input.state.offset + i * input.state.rowBytes;
      uint64_t bytes = input.place->width * sizeof(float);
      fillRow(input, rows[i].position, reinterpret_cast<float *>(to));
      std::memset(to + bytes, 0, input.state.rowBytes - bytes);
    }
}
