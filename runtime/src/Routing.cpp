//===- Routing.cpp - which visits computed which positions ----------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Routing.h"

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

void Routing::note(const rondo_rt_row *rows, uint32_t count,
                   const char *arena) {
  if (empty())
    return;
  for (uint32_t i = 0; i < count; ++i) {
    const rondo_rt_row &row = rows[i];
    float record = 0;
    std::memcpy(&record, arena + stateOffset_ + i * rowBytes_, sizeof(record));
    float last = place_.visits - 1;
    auto depth = static_cast<int16_t>(std::fmax(-1, std::fmin(record, last)));
    depths_[row.sequence][row.position] = depth;
    lengths_[row.sequence] = row.position + 1;
    for (int32_t visit = 0; visit <= depth; ++visit)
      ++computedBy(row.sequence, visit);
  }
}

void Routing::truncate(uint32_t sequence, uint32_t length) {
  if (empty())
    return;
  for (uint32_t position = length; position < lengths_[sequence]; ++position)
    for (int32_t visit = 0; visit <= depths_[sequence][position]; ++visit)
      --computedBy(sequence, visit);
  lengths_[sequence] = length;
}
