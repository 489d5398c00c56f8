//===- Blob.h - machine code as one flat image ------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// From an LLVM module to the code image of a bundle: a rondo_rt_code_header,
// then text, then read-only data, nothing to relocate and nothing to resolve.
// The runtime maps it read+execute as it is. Code that would need more than
// that (writable data, a GOT, an external symbol) is an error that names what
// asks for it.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_TARGET_CPU_BLOB_H
#define RONDO_TARGET_CPU_BLOB_H

#include "rondo/Target/CPU/Machine.h"
#include "rondo_rt/abi.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace llvm {
class Module;
} // namespace llvm

namespace rondo::cpu {

/// Symbols of the entry points in the module, in the order of rondo_rt_entry.
inline constexpr const char *kEntrySymbols[RONDO_RT_ENTRY_COUNT] = {
    "rondo_full", "rondo_prelude", "rondo_depth_step", "rondo_coda"};

/// A function of an image, for profilers.
struct BlobSymbol {
  std::string name;
  uint64_t offset; // bytes from the image's start
  uint64_t size;   // bytes
};

/// A code image and what is known of it.
struct Blob {
  /// The image, rondo_rt_code_header first.
  std::vector<uint8_t> image;
  /// The header's table: offset of each entry point, 0 where it is absent.
  uint64_t entries[RONDO_RT_ENTRY_COUNT] = {};
  /// Functions in ascending order of their offsets.
  std::vector<BlobSymbol> symbols;
};

/// How emitBlob() works.
struct BlobOptions {
  /// LLVM's optimization level, 0 to 3.
  int optimization = 3;
  /// Folder for `code.ll`, `code.opt.ll`, `code.s` and `code.o`; none if empty.
  /// It exists already.
  std::string saveTemps;
};

/// Optimizes `module`, whose triple and target attributes are overwritten, and
/// compiles it to an image for `machine`. All functions but the entry points
/// become internal. The same module gives the same bytes.
llvm::Expected<Blob> emitBlob(llvm::Module &module, const Machine &machine,
                              const BlobOptions &options = {});

/// Lays an ELF object for x86-64 out as an image: header, `.text*`, `.rodata*`,
/// with relative relocations applied.
llvm::Expected<Blob> flattenObject(llvm::ArrayRef<uint8_t> object,
                                   uint64_t features);

/// The symbol table in the format of a perf map relative to the image:
/// `OFFSET SIZE NAME`, the numbers in hexadecimal.
std::string formatPerfMap(const Blob &blob);

} // namespace rondo::cpu

#endif // RONDO_TARGET_CPU_BLOB_H
