//===- StatusTest.cpp - words of messages ---------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Status.h"

#include <doctest/doctest.h>

using namespace rondo_rt;

TEST_CASE("bytes are told in powers of 1000, never as 1000 of a unit") {
  CHECK(formatBytes(0) == "0 B");
  CHECK(formatBytes(999) == "999 B");
  CHECK(formatBytes(1000) == "1.0 kB");
  CHECK(formatBytes(999'949) == "999.9 kB");
  CHECK(formatBytes(999'950) == "1.0 MB");
  CHECK(formatBytes(1'500'000'000) == "1.5 GB");
  CHECK(formatBytes(UINT64_MAX) == "18446744.1 TB");
}
