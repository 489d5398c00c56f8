//===- Bundle.h - writing MODEL.rondo ---------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The one file that a compilation ends in; docs/Bundle.md is its format. The
// same module, archives and code give the same bytes. The file appears under
// its name only when it is complete.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_BUNDLE_H
#define RONDO_BUNDLE_BUNDLE_H

#include "rondo/Import/Archive.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <functional>
#include <string>

namespace rondo {

/// What stands in a bundle beside what the module says.
struct BundleParts {
  /// The code image, rondo_rt_code_header first.
  llvm::ArrayRef<uint8_t> code;
  /// Text of tokenizer.json; empty: none.
  llvm::StringRef tokenizer;
  /// Text of the chat template; empty: none.
  llvm::StringRef chatTemplate;
  /// Where parameters are; null for a weightless bundle.
  const ArchiveSet *archives = nullptr;
  /// Threads that pack weights.
  unsigned threads = 2;
  /// Told after each piece of weights: bytes done and bytes in all.
  std::function<void(uint64_t, uint64_t)> progress;
};

/// Sizes of a written bundle, in bytes.
struct BundleSizes {
  uint64_t file = 0;
  uint64_t code = 0;
  uint64_t weights = 0;
};

/// Writes the bundle of `module`, which is at phase `buffers` or `target`: it
/// has the attributes of RondoModuleAttrs.h, a plan, a schedule and planned
/// weights. On an error nothing is left behind and a file that was there stays
/// as it was.
llvm::Expected<BundleSizes> writeBundle(mlir::ModuleOp module,
                                        const BundleParts &parts,
                                        llvm::StringRef path);

/// Name and version of this compiler, as manifests record it.
std::string getProducer();

} // namespace rondo

#endif // RONDO_BUNDLE_BUNDLE_H
