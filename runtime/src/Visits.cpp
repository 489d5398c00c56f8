//===- Visits.cpp - the visits that a step runs ---------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Visits.h"

#include <algorithm>

using namespace rondo_rt;

Visits::Visits(const Model &model)
    : model_(model), depth_(model.manifest().depth) {
  take(Loop(), 0);
}

/// Copies the model's visits but for those of `loop` from its visit `kept` on.
void Visits::take(const Loop &loop, uint32_t kept) {
  const std::vector<uint32_t> &begin = model_.manifest().visitBegin;
  executions_.clear();
  begin_.assign(1, 0);
  classes_.clear();
  for (uint32_t visit = 0; visit < model_.visitCount(); ++visit) {
    if (visit >= loop.first + kept && visit < loop.first + loop.count)
      continue;
    executions_.insert(executions_.end(), model_.executions() + begin[visit],
                       model_.executions() + begin[visit + 1]);
    begin_.push_back(executions_.size());
    classes_.push_back(model_.visitClass(visit));
  }
}

/// Visits of one class follow each other; two loops, or layers that run all
/// their visits in turn, have several such classes.
Error Visits::findLoop(Loop &loop) const {
  uint32_t visits = model_.visitCount(), loops = 0,
           depth = model_.manifest().depth;
  std::vector<uint32_t> members(visits), first(visits), last(visits);
  for (uint32_t visit = 0; visit < visits; ++visit) {
    uint32_t number = model_.visitClass(visit);
    if (members[number]++ == 0)
      first[number] = visit;
    last[number] = visit;
  }
  bool isTogether = true;
  for (uint32_t number = 0; number < visits; ++number) {
    if (members[number] < 2)
      continue;
    ++loops;
    loop.first = first[number];
    loop.count = members[number];
    isTogether = last[number] - first[number] + 1 == members[number];
  }
  const char *reason = nullptr;
  if (depth <= 1)
    reason = "it visits every layer once";
  else if (loops > 1)
    reason = "it has several loops, or runs all visits of one layer before the "
             "next layer";
  else if (loops == 0 || !isTogether || depth < loop.count ||
           depth > loop.count + 1 || (depth > loop.count && loop.first == 0))
    reason = "its visits do not all execute the same code";
  if (reason)
    return makeError(RONDO_RT_STATUS_UNSUPPORTED,
                     "the depth of this model cannot be chosen: %s; leave the "
                     "depth out",
                     reason);
  // Where later visits read the keys and values of the first, that has a body
  // of its own.
  loop.before = depth - loop.count;
  return nullptr;
}

/// First trace point of the executions of a visit, or RONDO_RT_NONE.
uint32_t Visits::firstPoint(uint32_t visit) const {
  const std::vector<uint32_t> &begin = model_.manifest().visitBegin;
  uint32_t point = RONDO_RT_NONE;
  for (uint32_t i = begin[visit]; i < begin[visit + 1]; ++i)
    point = std::min(point, model_.executions()[i].trace);
  return point;
}

Error Visits::setDepth(uint32_t depth) {
  uint32_t most = model_.manifest().depth;
  Loop loop;
  if (depth != most)
    if (Error error = findLoop(loop))
      return error;
  if (depth == 0 || depth > most)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT,
                     "depth %u is not within 1 to %u, which the model is "
                     "compiled for; compile with --loop for more",
                     depth, most);
  uint32_t kept = depth == most ? 0 : depth - loop.before;
  take(loop, kept);
  depth_ = depth;
  skipped_ = {0, 0};
  if (depth == most)
    return nullptr;
  // Points of one visit after the other have consecutive numbers.
  uint32_t point = firstPoint(loop.first);
  if (point == RONDO_RT_NONE)
    return nullptr;
  uint32_t perVisit = firstPoint(loop.first + 1) - point;
  skipped_ = {point + kept * perVisit, point + loop.count * perVisit};
  return nullptr;
}
