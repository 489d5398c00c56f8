//===- Hash.cpp - hashes of a bundle's parts ------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// LLVM's own XXH3 needs all bytes at once, hence xxhash's, included whole.
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "llvm/Support/FormatVariadic.h"

using namespace rondo;

struct Hasher::State {
  XXH3_state_t xxh3;
};

Hasher::Hasher() : state(std::make_unique<State>()) {
  XXH3_128bits_reset(&state->xxh3);
}

Hasher::~Hasher() = default;

void Hasher::update(llvm::ArrayRef<char> bytes) {
  XXH3_128bits_update(&state->xxh3, bytes.data(), bytes.size());
}

std::string Hasher::digest() const {
  XXH128_hash_t hash = XXH3_128bits_digest(&state->xxh3);
  return llvm::formatv("{0:x-16}{1:x-16}", hash.high64, hash.low64);
}
