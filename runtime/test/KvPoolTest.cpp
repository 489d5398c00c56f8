//===- KvPoolTest.cpp - pages of K and V ----------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What compiled code would notice only now and then.
//===----------------------------------------------------------------------===//
#include "KvPool.h"

#include <algorithm>
#include <cstring>
#include <doctest/doctest.h>
#include <set>

using namespace rondo_rt;

namespace {

constexpr uint64_t kPage = 4160; // not a multiple of a machine page

KvPool makePool(uint64_t limit = ~0ull) {
  Manifest manifest;
  manifest.context = 1000;
  manifest.sequences = 3;
  manifest.kv.pageBytes = kPage;
  KvPool pool;
  REQUIRE(!pool.create(manifest, limit));
  return pool;
}

/// The used pages of a sequence's row of the table.
std::vector<uint32_t> pagesOf(const KvPool &pool, uint32_t sequence) {
  const uint32_t *row = pool.pageTable() + sequence * pool.pageTableStride();
  std::vector<uint32_t> pages(row, row + pool.pageTableStride());
  pages.erase(std::remove(pages.begin(), pages.end(), RONDO_RT_NONE),
              pages.end());
  return pages;
}

} // namespace

TEST_CASE("no page belongs to two sequences") {
  KvPool pool = makePool();
  CHECK(pool.pageTableStride() == 8);
  REQUIRE(!pool.reserve(0, 300));
  REQUIRE(!pool.reserve(2, 1000));
  pool.truncate(0, 129);
  REQUIRE(!pool.reserve(1, 500));
  std::set<uint32_t> distinct;
  size_t count = 0;
  for (uint32_t sequence = 0; sequence < 3; ++sequence)
    for (uint32_t page : pagesOf(pool, sequence)) {
      distinct.insert(page);
      ++count;
    }
  CHECK(pagesOf(pool, 0).size() == 2);
  CHECK(pagesOf(pool, 1).size() == 4);
  CHECK(pagesOf(pool, 2).size() == 8);
  CHECK(distinct.size() == count);
  CHECK(pool.committedBytes() == count * kPage);
}

TEST_CASE("every page can be written, and a reused one is clear") {
  KvPool pool = makePool();
  REQUIRE(!pool.reserve(1, 1000));
  for (uint32_t page : pagesOf(pool, 1))
    std::memset(pool.data() + page * kPage, 0xff, kPage);
  uint64_t committed = pool.committedBytes();
  pool.truncate(1, 0);
  CHECK(pagesOf(pool, 1).empty());
  REQUIRE(!pool.reserve(2, 1000));
  CHECK(pool.committedBytes() == committed);
  for (uint32_t page : pagesOf(pool, 2)) {
    const char *begin = pool.data() + page * kPage;
    CHECK(std::all_of(begin, begin + kPage, [](char c) { return c == 0; }));
  }
}

TEST_CASE("more pages than addresses is an error") {
  Manifest manifest;
  manifest.context = 1u << 24;
  manifest.sequences = 1u << 16;
  manifest.kv.pageBytes = 64;
  KvPool pool;
  Error error = pool.create(manifest, ~0ull);
  REQUIRE(error);
  CHECK(error->code == RONDO_RT_STATUS_OUT_OF_MEMORY);
  manifest.sequences = 1;
  manifest.kv.pageBytes = 1ull << 40;
  CHECK(pool.create(manifest, ~0ull));
}

TEST_CASE("a model without KV has pages of no bytes") {
  Manifest manifest;
  manifest.context = 1000;
  manifest.sequences = 2;
  KvPool pool;
  REQUIRE(!pool.create(manifest, 0));
  REQUIRE(!pool.reserve(1, 1000));
  CHECK(pool.committedBytes() == 0);
}
