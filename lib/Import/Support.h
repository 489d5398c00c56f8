//===- Support.h - errors and bounds for the importers ----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_SUPPORT_H
#define RONDO_LIB_IMPORT_SUPPORT_H

#include "llvm/ADT/StringRef.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/MemoryBuffer.h"
#include <memory>
#include <string>

namespace rondo {

/// An error with `message`, which names the file, what was found and a way out.
inline llvm::Error importError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

/// Product of non-negative numbers; false if it leaves 63 bits.
template <typename Range>
bool checkedProduct(const Range &factors, uint64_t &product) {
  product = 1;
  for (int64_t factor : factors)
    product = llvm::SaturatingMultiply<uint64_t>(product, factor);
  return product <= INT64_MAX;
}

/// `text` with quotes around it and whatever does not print escaped; long text
/// is cut.
std::string quoted(llvm::StringRef text);

/// Shortest text that reads back as the same number.
std::string formatNumber(double number);

/// "[2, 3]".
std::string formatShape(llvm::ArrayRef<int64_t> shape);

/// Maps a file (no copy, no terminator).
llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
mapFile(llvm::StringRef path);

/// Whether `content` is a compiled model.
bool isBundle(llvm::StringRef content);

/// The error of a file that is one, and cannot be imported.
llvm::Error bundleError(llvm::StringRef path);

/// Whether a file, and not a folder, is at `path`.
bool isFile(llvm::StringRef path);

/// `folder/name`.
std::string joinPath(llvm::StringRef folder, llvm::StringRef name);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_SUPPORT_H
