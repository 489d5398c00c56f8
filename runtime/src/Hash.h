//===- Hash.h - hashes of a bundle's parts ----------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// XXH3-128: finds damage, not malice. The text form has the high half first, as
// xxhsum and the xxhash packages print it.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_HASH_H
#define RONDO_RT_HASH_H

#include <cstdint>
#include <string>

namespace rondo_rt {

/// Hash of `bytes` bytes as 32 lower-case hexadecimal digits.
std::string hashBytes(const void *data, uint64_t bytes);

} // namespace rondo_rt

#endif // RONDO_RT_HASH_H
