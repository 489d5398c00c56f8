//===- Hash.h - hashes of a bundle's parts ----------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// XXH3-128 of bytes that arrive in pieces: weights are never in memory whole.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_HASH_H
#define RONDO_BUNDLE_HASH_H

#include "llvm/ADT/ArrayRef.h"

#include <memory>
#include <string>

namespace rondo {

/// Hashes one sequence of bytes.
class Hasher {
public:
  Hasher();
  ~Hasher();

  /// Appends bytes.
  void update(llvm::ArrayRef<char> bytes);
  /// Hash of all bytes so far, as 32 lower-case hexadecimal digits: what
  /// hashBytes() gives for them as a whole.
  std::string digest() const;

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace rondo

#endif // RONDO_BUNDLE_HASH_H
