//===- Memory.h - mapped memory ---------------------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Owners of address space: anonymous memory, file mappings and executable
// images.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_MEMORY_H
#define RONDO_RT_MEMORY_H

#include "Status.h"

#include <utility>

namespace rondo_rt {

/// Size of a small page; bundles align code to it.
inline constexpr uint64_t kPageBytes = 4096;
/// Size of a huge page; bundles align the first weight to it.
inline constexpr uint64_t kHugePageBytes = 2u << 20;

/// `value` rounded up to a multiple of `unit`.
inline uint64_t roundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

/// A range of mapped memory; unmapped on destruction.
class Mapping {
public:
  Mapping() = default;
  Mapping(const Mapping &) = delete;
  Mapping(Mapping &&other) { swap(other); }
  Mapping &operator=(Mapping &&other) {
    swap(other);
    return *this;
  }
  ~Mapping();

  /// Zeroed memory that takes up room only where it is touched. Huge pages if
  /// the size allows. `what` names it in messages.
  static Error allocate(uint64_t bytes, const char *what, Mapping &mapping);
  /// Address space only; commit() makes parts of it usable.
  static Error reserve(uint64_t bytes, const char *what, Mapping &mapping);
  /// All `bytes` of a file, read-only, at an address that is a multiple of
  /// kHugePageBytes so that the kernel can use huge pages.
  static Error mapFile(int file, uint64_t bytes, Mapping &mapping);
  /// Bytes of a file as executable code, never writable at the same time.
  /// `offset` is a multiple of kPageBytes.
  static Error mapCode(int file, uint64_t offset, uint64_t bytes,
                       Mapping &mapping);

  /// Makes [begin, end) of a reserved range readable and writable and takes the
  /// memory for it now, so that exhaustion is a status and not a signal.
  Error commit(uint64_t begin, uint64_t end);
  /// Reads [begin, end) in, so that the first step does not wait for it.
  void populate(uint64_t begin, uint64_t end) const;

  char *data() const { return data_; }
  uint64_t size() const { return size_; }

private:
  void swap(Mapping &other) {
    std::swap(base_, other.base_);
    std::swap(mapped_, other.mapped_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  Error mapAligned(uint64_t bytes, int protection, const char *what);

  void *base_ = nullptr; // what munmap gets
  uint64_t mapped_ = 0;
  char *data_ = nullptr; // aligned start inside of it
  uint64_t size_ = 0;
};

} // namespace rondo_rt

#endif // RONDO_RT_MEMORY_H
