//===- Sharing.h - which weights an unrolled layer runs ---------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The four ways in which the layers of a recursive decoder share weights (Bae
// et al., arXiv 2410.20672 and 2507.10524): for 9 layers and 3 visits
//
//   cycle            0 1 2 0 1 2 0 1 2
//   sequence         0 0 0 1 1 1 2 2 2
//   middle_*         the same between a first and a last layer of their own
//
// Stored layers are numbered in order: first layer, block, last layer. The
// depth of a layer outside of the block is 0.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_SHARING_H
#define RONDO_LIB_IMPORT_SHARING_H

#include "Schedule.h"

namespace rondo {

class Sharing {
public:
  /// From the name of a kind, the unrolled layers and the visits of the block;
  /// an error if these do not divide.
  static llvm::Expected<Sharing> create(llvm::StringRef kind, int64_t unrolled,
                                        int64_t visits);
  /// Every layer runs once.
  static Sharing createPlain(int64_t layers);

  llvm::StringRef getName() const { return name; }
  int64_t getVisits() const { return visits; }
  /// Layers with weights of their own.
  int64_t getStored() const { return block + 2 * edges; }
  /// Visits of a stored layer.
  int64_t getDepths(int64_t stored) const {
    return isEdge(stored) ? 1 : visits;
  }
  bool isEdge(int64_t stored) const {
    return stored < edges || stored >= edges + block;
  }
  /// The unrolled layer that runs a stored layer at a depth.
  int64_t getUnrolled(int64_t stored, int64_t depth) const;

  /// The schedule; `kv` is the policy of the shared layers.
  Schedule makeSchedule(KVPolicy kv) const;

private:
  std::string name;
  bool isCycle = true;
  int64_t edges = 0;  // layers of their own at each end
  int64_t block = 0;  // layers of the block
  int64_t visits = 1; // of the block
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_SHARING_H
