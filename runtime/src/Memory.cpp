//===- Memory.cpp - mapped memory -----------------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Advice to the kernel (huge pages, reading ahead) may fail without harm: older
// kernels do not know it, and the memory is right without it.
//===----------------------------------------------------------------------===//
#include "Memory.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

// Linux 5.14; absent from older C libraries.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

using namespace rondo_rt;

Mapping::~Mapping() {
  if (base_)
    munmap(base_, mapped_);
}

Error Mapping::mapAligned(uint64_t bytes, int protection, const char *what) {
  // Room to move the start to a multiple of a huge page.
  mapped_ = roundUp(bytes ? bytes : 1, kPageBytes) + kHugePageBytes;
  base_ = mmap(nullptr, mapped_, protection,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base_ == MAP_FAILED) {
    base_ = nullptr;
    return makeError(RONDO_RT_STATUS_OUT_OF_MEMORY,
                     "cannot map %s for %s: %s; free some, or compile with "
                     "a smaller --context, --sequences or --rows",
                     formatBytes(bytes).c_str(), what, std::strerror(errno));
  }
  data_ = reinterpret_cast<char *>(
      roundUp(reinterpret_cast<uintptr_t>(base_), kHugePageBytes));
  size_ = bytes;
  return nullptr;
}

Error Mapping::allocate(uint64_t bytes, const char *what, Mapping &mapping) {
  Mapping fresh;
  if (Error error = fresh.mapAligned(bytes, PROT_READ | PROT_WRITE, what))
    return error;
  if (bytes >= kHugePageBytes)
    madvise(fresh.data_, bytes, MADV_HUGEPAGE);
  mapping = std::move(fresh);
  return nullptr;
}

Error Mapping::reserve(uint64_t bytes, const char *what, Mapping &mapping) {
  Mapping fresh;
  if (Error error = fresh.mapAligned(bytes, PROT_NONE, what))
    return error;
  if (bytes >= kHugePageBytes)
    madvise(fresh.data_, bytes, MADV_HUGEPAGE);
  mapping = std::move(fresh);
  return nullptr;
}

Error Mapping::mapFile(int file, uint64_t bytes, Mapping &mapping) {
  Mapping fresh;
  if (Error error = fresh.mapAligned(bytes, PROT_NONE, "the bundle"))
    return error;
  void *mapped =
      mmap(fresh.data_, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
  if (mapped == MAP_FAILED)
    return makeError(
        RONDO_RT_STATUS_IO,
        "cannot map the bundle: %s; copy it to a local file system",
        std::strerror(errno));
  madvise(fresh.data_, bytes, MADV_HUGEPAGE);
  mapping = std::move(fresh);
  return nullptr;
}

/// Reads exactly `bytes` of a file.
static bool readFully(int file, uint64_t offset, char *to, uint64_t bytes) {
  while (bytes) {
    ssize_t count = pread(file, to, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      return false;
    to += count;
    offset += count;
    bytes -= count;
  }
  return true;
}

Error Mapping::mapCode(int file, uint64_t offset, uint64_t bytes,
                       Mapping &mapping) {
  Mapping fresh;
  void *mapped = mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, file,
                      static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) {
    // A file system mounted noexec: a copy in anonymous memory may still run.
    mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
      return outOfMemory();
    fresh.base_ = mapped;
    fresh.mapped_ = bytes;
    if (!readFully(file, offset, static_cast<char *>(mapped), bytes))
      return makeError(RONDO_RT_STATUS_IO, "cannot read the code image: %s",
                       std::strerror(errno));
    if (mprotect(mapped, bytes, PROT_READ | PROT_EXEC))
      return makeError(
          RONDO_RT_STATUS_UNSUPPORTED,
          "the system forbids executable memory (%s); allow it for "
          "this process",
          std::strerror(errno));
  }
  fresh.base_ = mapped;
  fresh.mapped_ = bytes;
  fresh.data_ = static_cast<char *>(mapped);
  fresh.size_ = bytes;
  mapping = std::move(fresh);
  return nullptr;
}

Error Mapping::commit(uint64_t begin, uint64_t end) {
  if (begin >= end)
    return nullptr;
  char *start = data_ + begin;
  uint64_t bytes = end - begin;
  bool failed = mprotect(start, bytes, PROT_READ | PROT_WRITE) != 0;
  // EINVAL: a kernel older than the advice; the memory then comes on first
  // touch.
  if (!failed && madvise(start, bytes, MADV_POPULATE_WRITE))
    failed = errno != EINVAL;
  if (!failed)
    return nullptr;
  return makeError(RONDO_RT_STATUS_OUT_OF_MEMORY,
                   "cannot commit %s of memory: %s; use fewer or shorter "
                   "sequences",
                   formatBytes(bytes).c_str(), std::strerror(errno));
}

void Mapping::populate(uint64_t begin, uint64_t end) const {
  uint64_t start = begin / kPageBytes * kPageBytes;
  if (start < end)
    madvise(data_ + start, end - start, MADV_POPULATE_READ);
}
