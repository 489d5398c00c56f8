//===- Schedule.h - in which order layers run -------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A schedule is a short list of segments, never of executions, so that nothing
// made from it grows with the number of visits.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_SCHEDULE_H
#define RONDO_LIB_IMPORT_SCHEDULE_H

#include "rondo/Dialect/Rondo/Analysis/KVPolicy.h"
#include "rondo/Import/Import.h"

namespace rondo {

/// Layers `first` .. `first + count - 1`, once or in a loop.
struct Segment {
  int64_t first = 0;
  int64_t count = 0;
  /// How often the layers are visited; a segment that is not looped has 1.
  int64_t visits = 1;
  /// The layers are the shared block of a loop, even one of a single visit.
  bool looped = false;
  /// What comes after it is traced under this name, not by layer, unless it is
  /// empty.
  llvm::StringLiteral trace = "";
  /// Each visit ends with the final norm.
  bool normAfterVisit = false;
  /// Each layer runs all its visits before the next one ("sequence").
  bool layerMajor = false;
  /// Which visits share keys and values.
  KVPolicy kv = KVPolicy::getPerDepth();

  int64_t getExecutions() const { return count * visits; }
  int64_t getSlots() const { return count * kv.getVersionCount(visits); }
};

/// What runs between the embedding and the head.
struct Schedule {
  std::vector<Segment> segments;
  /// The final norm follows the last segment.
  bool finalNorm = true;

  bool isLooped() const;
  /// Visits of the segment that is visited most.
  int64_t getVisits() const;
  /// For the log: "layers 0-3, layers 4-7 x 3 visits; 16 executions, 16 KV
  /// slots".
  std::string describe() const;
};

/// Every layer once, then the final norm.
Schedule makePlainSchedule(int64_t layers);

/// Layers in order, each range of `loops` repeated where it stands, then the
/// final norm. An error if a range is empty, outside the layers or overlaps
/// another.
llvm::Expected<Schedule> makeLoopedSchedule(int64_t layers,
                                            llvm::ArrayRef<LayerLoop> loops);

/// Decides the KV policy in force: the checkpoint's own `trained` one unless
/// the options ask for another, which then shapes the schedule.
llvm::Expected<std::string> applyKVPolicy(Schedule &schedule,
                                          llvm::StringRef trained,
                                          const ImportOptions &options);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_SCHEDULE_H
