//===- Sharing.cpp - which weights an unrolled layer runs -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Sharing.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace rondo;

Expected<Sharing> Sharing::create(StringRef kind, int64_t unrolled,
                                  int64_t visits) {
  Sharing sharing;
  sharing.name = kind.str();
  bool hasEdges = kind.consume_front("middle_");
  if (kind != "cycle" && kind != "sequence")
    return importError("sharing " + quoted(sharing.name) +
                       " is not known; known: cycle, sequence, middle_cycle, "
                       "middle_sequence");
  sharing.isCycle = kind == "cycle";
  sharing.edges = hasEdges ? 1 : 0;
  sharing.visits = visits;
  int64_t shared = unrolled - 2 * sharing.edges;
  if (shared < 1 || shared % visits != 0)
    return importError("the " + Twine(shared) +
                       " layers that share weights (sharing " +
                       quoted(sharing.name) + ") are no multiple of " +
                       Twine(visits) + " visits; correct the number of layers");
  sharing.block = shared / visits;
  return sharing;
}

Sharing Sharing::createPlain(int64_t layers) {
  Sharing sharing;
  sharing.name = "none";
  sharing.block = layers;
  return sharing;
}

int64_t Sharing::getUnrolled(int64_t stored, int64_t depth) const {
  if (stored < edges)
    return stored;
  int64_t inBlock = stored - edges;
  if (inBlock >= block)
    return block * visits + stored - block;
  return edges + (isCycle ? depth * block + inBlock : inBlock * visits + depth);
}

Schedule Sharing::makeSchedule(KVPolicy kv) const {
  Schedule schedule;
  if (edges)
    schedule.segments.push_back({/*first=*/0, /*count=*/edges});
  if (edges)
    schedule.segments.back().trace = "prelude";
  Segment shared{edges, block, visits, /*looped=*/visits > 1};
  shared.layerMajor = !isCycle;
  if (shared.looped)
    shared.kv = kv;
  schedule.segments.push_back(shared);
  if (edges)
    schedule.segments.push_back({edges + block, /*count=*/edges});
  if (edges)
    schedule.segments.back().trace = "coda";
  return schedule;
}
