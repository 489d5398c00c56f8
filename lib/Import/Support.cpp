//===- Support.cpp - errors and bounds for the importers ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Support.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

/// Longest piece of a file's text in a message, bytes; paths fit.
static constexpr size_t kMaxQuoted = 300;

std::string rondo::quoted(StringRef text) {
  std::string result = "'";
  raw_string_ostream os(result);
  printEscapedString(text.take_front(kMaxQuoted), os);
  os << (text.size() > kMaxQuoted ? "...'" : "'");
  return result;
}

std::string rondo::formatNumber(double number) {
  // A number that came from f32 reads best as the shortest text of that f32.
  bool single = static_cast<double>(static_cast<float>(number)) == number;
  std::string text;
  for (int digits = 6; digits <= 17; ++digits) {
    text.clear();
    raw_string_ostream(text) << llvm::format("%.*g", digits, number);
    double back = 0;
    if (!to_float(text, back))
      break;
    if (back == number || (single && static_cast<float>(back) == number))
      break;
  }
  return text;
}

std::string rondo::formatShape(ArrayRef<int64_t> shape) {
  std::string result = "[";
  raw_string_ostream os(result);
  interleaveComma(shape, os);
  os << ']';
  return result;
}

Expected<std::unique_ptr<MemoryBuffer>> rondo::mapFile(StringRef path) {
  if (sys::fs::is_directory(path))
    return importError(quoted(path) + " is a folder, expected a file");
  auto buffer = MemoryBuffer::getFile(path, /*IsText=*/false,
                                      /*RequiresNullTerminator=*/false);
  if (!buffer)
    return importError("cannot read " + quoted(path) + ": " +
                       buffer.getError().message());
  return std::move(*buffer);
}

Error rondo::bundleError(StringRef path) {
  return importError(quoted(path) +
                     " is a compiled bundle; run it with rondo-run, or give "
                     "the checkpoint or module that it was made from");
}

bool rondo::isFile(StringRef path) { return sys::fs::is_regular_file(path); }

std::string rondo::joinPath(StringRef folder, StringRef name) {
  SmallString<256> path(folder);
  sys::path::append(path, name);
  return std::string(path);
}
