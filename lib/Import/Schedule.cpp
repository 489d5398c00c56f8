//===- Schedule.cpp - in which order layers run ---------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Schedule.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace rondo;

/// KV slots are 16-bit numbers in the schedule of a bundle.
static constexpr int64_t kMaxExecutions = 65535;

bool Schedule::isLooped() const {
  return any_of(segments, [](const Segment &s) { return s.looped; });
}

int64_t Schedule::getVisits() const {
  int64_t most = 1;
  for (const Segment &segment : segments)
    most = std::max(most, segment.visits);
  return most;
}

std::string Schedule::describe() const {
  std::string text;
  raw_string_ostream os(text);
  int64_t executions = 0, slots = 0;
  interleaveComma(segments, os, [&](const Segment &segment) {
    os << "layers " << segment.first << '-'
       << segment.first + segment.count - 1;
    if (segment.looped)
      os << " x " << segment.visits
         << (segment.layerMajor ? " visits each" : " visits");
    executions += segment.getExecutions();
    slots += segment.getSlots();
  });
  os << "; " << executions << " executions, " << slots << " KV slots";
  return text;
}

Schedule rondo::makePlainSchedule(int64_t layers) {
  Schedule schedule;
  schedule.segments.push_back({/*first=*/0, /*count=*/layers});
  return schedule;
}

static std::string describe(const LayerLoop &loop) {
  return "loop " + std::to_string(loop.first) + ":" +
         std::to_string(loop.last) + ":" + std::to_string(loop.times);
}

Expected<LayerLoop> rondo::parseLayerLoop(StringRef text) {
  SmallVector<StringRef, 3> parts;
  text.split(parts, ':');
  LayerLoop loop;
  if (parts.size() != 3 || !to_integer(parts[0], loop.first, 10) ||
      !to_integer(parts[1], loop.last, 10) ||
      !to_integer(parts[2], loop.times, 10))
    return importError("expected FIRST:LAST:TIMES for a loop, got " +
                       quoted(text));
  return loop;
}

Expected<Schedule> rondo::makeLoopedSchedule(int64_t layers,
                                             ArrayRef<LayerLoop> loops) {
  SmallVector<LayerLoop> ordered(loops);
  llvm::sort(ordered, [](const LayerLoop &a, const LayerLoop &b) {
    return a.first < b.first;
  });
  Schedule schedule;
  int64_t next = 0;
  auto addPlain = [&](int64_t end) {
    if (end > next)
      schedule.segments.push_back({next, end - next});
  };
  for (const LayerLoop &loop : ordered) {
    if (loop.first < 0 || loop.last < loop.first || loop.last >= layers)
      return importError(describe(loop) + " is not within layers 0 to " +
                         Twine(layers - 1));
    int64_t count = loop.last - loop.first + 1;
    if (loop.times < 1 || loop.times > kMaxExecutions / count)
      return importError(describe(loop) +
                         " must visit its layers at least once and run at " +
                         "most " + Twine(kMaxExecutions) + " layers");
    if (loop.first < next)
      return importError(describe(loop) + " overlaps another loop");
    addPlain(loop.first);
    schedule.segments.push_back(
        {loop.first, count, loop.times, /*looped=*/true});
    next = loop.last + 1;
  }
  addPlain(layers);
  return schedule;
}

Expected<std::string> rondo::applyKVPolicy(Schedule &schedule,
                                           StringRef trained,
                                           const ImportOptions &options) {
  StringRef name = options.kvPolicy;
  if (name.empty() || name == trained)
    return trained.str();
  Expected<KVPolicy> policy = KVPolicy::parse(name);
  if (!policy)
    return policy.takeError();
  // Where no row exits early, some names mean the same.
  if (!options.forceKVPolicy && *policy != cantFail(KVPolicy::parse(trained)))
    return importError("the checkpoint was trained for KV policy " +
                       quoted(trained) + ", not " + quoted(name) +
                       "; --force-kv-policy runs it all the same");
  for (Segment &segment : schedule.segments)
    if (segment.looped)
      segment.kv = *policy;
  return name.str();
}
