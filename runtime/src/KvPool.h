//===- KvPool.h - pages of K and V ------------------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Address space for all sequences at full length is reserved once; memory is
// committed page by page as sequences grow and goes to a free list as they end.
// Invariant: the first `pages_[s]` entries of a sequence's row of the table are
// distinct committed pages, the others RONDO_RT_NONE.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_KVPOOL_H
#define RONDO_RT_KVPOOL_H

#include "Manifest.h"
#include "Memory.h"

namespace rondo_rt {

class KvPool {
public:
  /// Reserves the address space. At most `limit` bytes are ever committed.
  Error create(const Manifest &manifest, uint64_t limit);

  /// Gives a sequence the pages of positions [0, length), or, on failure, none.
  Error reserve(uint32_t sequence, uint32_t length);
  /// Takes away the pages that positions [0, length) do not need.
  void truncate(uint32_t sequence, uint32_t length);

  char *data() const { return memory_.data(); }
  const uint32_t *pageTable() const { return table_.data(); }
  uint32_t pageTableStride() const { return stride_; }
  uint64_t committedBytes() const { return freshPage_ * pageBytes_; }

private:
  Error takePage(uint32_t sequence, uint32_t &page);

  Mapping memory_;
  uint64_t pageBytes_ = 0;
  uint64_t limit_ = 0;          // bytes
  uint64_t freshPage_ = 0;      // pages from here on were never used
  uint32_t stride_ = 0;         // pages of a full sequence
  std::vector<uint32_t> table_; // [sequences][stride_]
  std::vector<uint32_t> pages_; // [sequences] pages in use
  std::vector<uint32_t> free_;  // used before, free now
};

} // namespace rondo_rt

#endif // RONDO_RT_KVPOOL_H
