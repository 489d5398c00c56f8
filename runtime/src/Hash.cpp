//===- Hash.cpp - hashes of a bundle's parts ------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The only file that sees xxhash, which is included whole and not linked.
//===----------------------------------------------------------------------===//
#include "Hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdio>

std::string rondo_rt::hashBytes(const void *data, uint64_t bytes) {
  XXH128_hash_t hash = XXH3_128bits(data, bytes);
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}
