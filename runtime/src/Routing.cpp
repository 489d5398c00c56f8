//===- Routing.cpp - which visits computed which positions ----------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Routing.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace rondo_rt;

void Routing::create(const Manifest &manifest) {
  if (manifest.routing.empty())
    return;
  place_ = manifest.routing.front();
  stateOffset_ = manifest.states[place_.state].offset;
  rowBytes_ = manifest.states[place_.state].rowBytes;
  stride_ = manifest.visitBegin.size() - 1;
  computed_.assign(manifest.sequences * stride_, 0);
  depths_.assign(manifest.sequences,
                 std::vector<int16_t>(manifest.context, -1));
  lengths_.assign(manifest.sequences, 0);
}

int16_t Routing::loadDepth(uint32_t index, const char *arena) const {
  float depth = 0;
  std::memcpy(&depth, arena + stateOffset_ + index * rowBytes_, sizeof(depth));
  float last = place_.visits - 1;
  return static_cast<int16_t>(std::fmax(-1, std::fmin(depth, last)));
}

void Routing::note(const rondo_rt_row *rows, uint32_t count,
                   const char *arena) {
  if (empty())
    return;
  enter(rows, count);
  for (uint32_t i = 0; i < count; ++i) {
    int16_t depth = loadDepth(i, arena);
    depths_[rows[i].sequence][rows[i].position] = depth;
    for (int32_t visit = 0; visit <= depth; ++visit)
      ++computedBy(rows[i].sequence, visit);
  }
}

void Routing::enter(const rondo_rt_row *rows, uint32_t count) {
  if (empty())
    return;
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t &length = lengths_[rows[i].sequence];
    length = std::max(length, rows[i].position + 1);
    depths_[rows[i].sequence][rows[i].position] = -1;
  }
}

bool Routing::noteVisit(const rondo_rt_row &row, uint32_t index,
                        const char *arena) {
  if (!isRouted(row.visit))
    return true;
  int32_t visit = row.visit - place_.firstVisit;
  if (loadDepth(index, arena) < visit)
    return false;
  depths_[row.sequence][row.position] = static_cast<int16_t>(visit);
  ++computedBy(row.sequence, visit);
  return true;
}

void Routing::truncate(uint32_t sequence, uint32_t length) {
  if (empty())
    return;
  for (uint32_t position = length; position < lengths_[sequence]; ++position)
    for (int32_t visit = 0; visit <= depths_[sequence][position]; ++visit)
      --computedBy(sequence, visit);
  lengths_[sequence] = length;
}
