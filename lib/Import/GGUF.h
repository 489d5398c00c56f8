//===- GGUF.h - reader of one GGUF file -------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_GGUF_H
#define RONDO_LIB_IMPORT_GGUF_H

#include "rondo/Import/Archive.h"

#include "llvm/ADT/MapVector.h"

namespace rondo {

/// Types of metadata values, with the format's numbers.
enum class GGUFType : uint32_t {
  UInt8 = 0,
  Int8 = 1,
  UInt16 = 2,
  Int16 = 3,
  UInt32 = 4,
  Int32 = 5,
  Float32 = 6,
  Bool = 7,
  String = 8,
  Array = 9,
  UInt64 = 10,
  Int64 = 11,
  Float64 = 12,
};

/// A metadata value; text and numbers stay in the mapped file.
struct GGUFValue {
  GGUFType type = GGUFType::UInt8;
  /// Of an array.
  GGUFType elementType = GGUFType::UInt8;
  /// Elements of an array.
  uint64_t count = 0;
  /// The number's bytes, the text, or the array's bytes if they are not texts.
  llvm::StringRef bytes;
  /// Elements of an array of texts.
  std::vector<llvm::StringRef> strings;

  std::optional<llvm::StringRef> getAsString() const;
  std::optional<bool> getAsBool() const;
  /// Any integer type that the number fits.
  std::optional<int64_t> getAsInteger() const;
  /// Any number type.
  std::optional<double> getAsNumber() const;
  /// Element `position` of an array of integers.
  std::optional<int64_t> getInteger(uint64_t position) const;
  bool isStringArray() const {
    return type == GGUFType::Array && elementType == GGUFType::String;
  }
  bool isIntegerArray() const;
  /// Number, quoted text or "array of N", for messages.
  std::string format() const;
};

/// An open GGUF file. The values point into the archive's mapping.
struct GGUFFile {
  std::unique_ptr<Archive> archive;
  llvm::MapVector<llvm::StringRef, GGUFValue> metadata;

  const GGUFValue *lookup(llvm::StringRef key) const {
    auto it = metadata.find(key);
    return it == metadata.end() ? nullptr : &it->second;
  }
  /// The value of `key` if it is a text.
  std::optional<llvm::StringRef> getText(llvm::StringRef key) const {
    const GGUFValue *value = lookup(key);
    return value ? value->getAsString() : std::nullopt;
  }
};

/// Whether a file begins as GGUF does.
bool isGGUF(llvm::StringRef file);

/// Reads the header of a mapped GGUF file (version 2 or 3, little-endian).
llvm::Expected<GGUFFile> openGGUF(llvm::StringRef path,
                                  std::unique_ptr<llvm::MemoryBuffer> buffer);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_GGUF_H
