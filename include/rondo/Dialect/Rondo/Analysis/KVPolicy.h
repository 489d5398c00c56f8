//===- KVPolicy.h - which visits share keys and values ----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A layer that is visited R times may keep fewer than R *versions* of the keys
// and values of a token. A policy says which version visit d writes and reads;
// every version has a KV slot. Before its attention each visit appends, so rows
// of one step always see each other's keys and values of their own depth:
//
//   per-depth             version d; chunk-invariant
//   last-exited           version d while no row exits; chunk-invariant
//   first-step            version 0, appended by visit 0 alone; chunk-invariant
//   modulo:S              version d mod S, overwritten
//   final-shared          version 0, overwritten: modulo:1
//   first-then-shared:S   version min(d, S - 1), the last one overwritten
//   none                  version 0, which lives as long as an execution and
//   may
//                         share its slot with every other: for whole sequences
//                         that see both ways
//
//   hybrid                a slot for each visit; the first visit appends to all
//                         of a layer's, later ones replace their own rows'
//                         there: rows that a router leaves out show what the
//                         first visit left
//
// *Chunk-invariant*: a prompt in one step gives what any split of it gives. An
// overwriting policy is not: rows of earlier steps show the version of their
// last visit, rows of the same step that of the current one.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_ANALYSIS_KVPOLICY_H
#define RONDO_DIALECT_RONDO_ANALYSIS_KVPOLICY_H

#include "mlir/IR/AffineExpr.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace rondo {

/// Consecutive visits of a loop that find their version by one expression.
struct VisitRange {
  int64_t first = 0;
  int64_t count = 0;
  /// Version of the range's visit d0.
  mlir::AffineExpr version;
  /// Whether they append it, or read what an earlier visit appended.
  bool appends = true;
  /// Whether they append the versions of all later visits, too.
  bool appendsAhead = false;
};

/// A KV policy of a schedule of fixed depth.
class KVPolicy {
public:
  /// Reads a name such as "per-depth" or "modulo:2". The error names those that
  /// are known.
  static llvm::Expected<KVPolicy> parse(llvm::StringRef name);

  bool isChunkInvariant() const;
  /// The version that visit `visit` of a layer appends and reads.
  int64_t getVersion(int64_t visit) const;
  /// Whether visit `visit` appends its version.
  bool appends(int64_t visit) const;
  /// Versions that `visits` visits keep.
  int64_t getVersionCount(int64_t visits) const;
  /// The visits of a loop, in as many ranges as loops are needed.
  llvm::SmallVector<VisitRange> getRanges(int64_t visits,
                                          mlir::MLIRContext *context) const;

  /// Whether both are the same function of a schedule of fixed depth.
  bool operator==(const KVPolicy &other) const {
    return kind == other.kind && versions == other.versions;
  }
  bool operator!=(const KVPolicy &other) const { return !(*this == other); }

  static KVPolicy getPerDepth() { return {Kind::PerDepth, 0}; }
  static KVPolicy getFirstStep() { return {Kind::FirstStep, 1}; }
  static KVPolicy getHybrid() { return {Kind::Hybrid, 0}; }
  static KVPolicy getNone() { return {Kind::None, 1}; }

private:
  enum class Kind {
    PerDepth,
    FirstStep,
    Modulo,
    FirstThenShared,
    Hybrid,
    None
  };

  KVPolicy(Kind kind, int64_t versions) : kind(kind), versions(versions) {}

  Kind kind;
  int64_t versions; // 0: as many as visits
};

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_ANALYSIS_KVPOLICY_H
