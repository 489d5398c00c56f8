//===- KvPool.cpp - pages of K and V --------------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A page from the free list is cleared: attention multiplies masked positions
// by zero, and zero times another sequence's infinity would not be zero.
//===----------------------------------------------------------------------===//
#include "KvPool.h"

#include <cstring>

using namespace rondo_rt;

/// Pages that hold `length` positions.
static uint32_t pagesFor(uint32_t length) {
  return (length + RONDO_RT_PAGE_POSITIONS - 1) / RONDO_RT_PAGE_POSITIONS;
}

Error KvPool::create(const Manifest &manifest, uint64_t limit) {
  pageBytes_ = manifest.kv.pageBytes;
  limit_ = limit;
  stride_ = manifest.pagesPerSequence();
  uint64_t pages = static_cast<uint64_t>(manifest.sequences) * stride_;
  constexpr uint64_t kMostBytes = 1ull << 46; // half of the address space
  if (pages >= RONDO_RT_NONE || (pageBytes_ && pages > kMostBytes / pageBytes_))
    return makeError(
        RONDO_RT_STATUS_OUT_OF_MEMORY,
        "%llu KV pages of %s are more than the address space holds; "
        "compile with a smaller --context or --sequences",
        (unsigned long long)pages, formatBytes(pageBytes_).c_str());
  if (Error error =
          Mapping::reserve(pages * pageBytes_, "the KV cache", memory_))
    return error;
  table_.assign(pages, RONDO_RT_NONE);
  pages_.assign(manifest.sequences, 0);
  // So that giving pages back never has to allocate.
  free_.reserve(pages);
  return nullptr;
}

Error KvPool::takePage(uint32_t sequence, uint32_t &page) {
  if (!free_.empty()) {
    page = free_.back();
    free_.pop_back();
    std::memset(memory_.data() + page * pageBytes_, 0, pageBytes_);
    return nullptr;
  }
  uint64_t begin = freshPage_ * pageBytes_;
  uint64_t end = begin + pageBytes_;
  if (end > limit_)
    return makeError(
        RONDO_RT_STATUS_OUT_OF_MEMORY,
        "sequence %u needs another KV page of %s, but %s of %s are "
        "in use; run fewer or shorter sequences at once",
        sequence, formatBytes(pageBytes_).c_str(), formatBytes(begin).c_str(),
        formatBytes(limit_).c_str());
  if (Error error =
          memory_.commit(roundUp(begin, kPageBytes), roundUp(end, kPageBytes)))
    return makeError(error->code, "sequence %u: %s", sequence,
                     error->message.c_str());
  page = static_cast<uint32_t>(freshPage_++);
  return nullptr;
}

Error KvPool::reserve(uint32_t sequence, uint32_t length) {
  uint32_t *table = table_.data() + static_cast<uint64_t>(sequence) * stride_;
  uint32_t before = pages_[sequence];
  uint32_t needed = pagesFor(length);
  for (uint32_t index = before; index < needed; ++index) {
    if (Error error = takePage(sequence, table[index])) {
      truncate(sequence, before * RONDO_RT_PAGE_POSITIONS);
      return error;
    }
    pages_[sequence] = index + 1;
  }
  return nullptr;
}

void KvPool::truncate(uint32_t sequence, uint32_t length) {
  uint32_t *table = table_.data() + static_cast<uint64_t>(sequence) * stride_;
  for (uint32_t keep = pagesFor(length); pages_[sequence] > keep;) {
    uint32_t &page = table[--pages_[sequence]];
    free_.push_back(page);
    page = RONDO_RT_NONE;
  }
}
