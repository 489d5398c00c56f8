//===- Archive.h - opened weight files --------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A checkpoint's weights are never copied into the IR: a `rondo.param` names
// keys, and an ArchiveSet finds the mapped bytes of a key. Readers check every
// length and offset when a file is opened, so a tensor's bytes are always as
// many as its type and shape ask for.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_IMPORT_ARCHIVE_H
#define RONDO_IMPORT_ARCHIVE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"
#include <memory>
#include <string>
#include <vector>

namespace rondo {

/// How a tensor of a file is stored. The block types are those of GGUF.
enum class StorageType {
  F32,
  F16,
  BF16,
  Q8_0,
  Q4_0,
  Q4_1,
  /// A type that no parameter can have; `ArchiveTensor::typeName` says which.
  Other,
};

/// Name of a type as messages spell it ("F32", "Q4_1").
llvm::StringRef stringify(StorageType type);

/// Bytes that `count` weights of `type` take; `count` is a multiple of 32 for
/// block types. Not for `StorageType::Other`.
uint64_t getByteSize(StorageType type, uint64_t count);

/// One tensor of an open archive.
struct ArchiveTensor {
  std::string key;
  StorageType type = StorageType::Other;
  /// The file's own name of the type ("BF16", "Q6_K").
  std::string typeName;
  /// Outermost dimension first: a matrix is [out, in].
  llvm::SmallVector<int64_t, 2> shape;
  /// Into the mapped file; not aligned to the type's size.
  llvm::ArrayRef<char> bytes;
};

/// One mapped file with named tensors. Owns the mapping.
class Archive {
public:
  /// Takes tensors that point into `buffer`; their keys are unique.
  Archive(std::string path, std::unique_ptr<llvm::MemoryBuffer> buffer,
          std::vector<ArchiveTensor> tensors);

  /// Last component of the path; with the hash it identifies the archive.
  llvm::StringRef getName() const;
  /// As it was given to the reader.
  llvm::StringRef getPath() const { return path; }
  /// XXH3-128 of the file, 32 lower-case hexadecimal digits.
  llvm::StringRef getHash() const { return hash; }
  /// In the order of the file.
  llvm::ArrayRef<ArchiveTensor> getTensors() const { return tensors; }
  /// The tensor called `key`, or null.
  const ArchiveTensor *lookup(llvm::StringRef key) const;

private:
  std::string path;
  std::unique_ptr<llvm::MemoryBuffer> buffer;
  std::vector<ArchiveTensor> tensors;
  llvm::StringMap<size_t> index;
  std::string hash;
};

/// Several archives whose keys do not repeat. Tensors stay where they are when
/// the set is moved.
class ArchiveSet {
public:
  /// Adds an archive; an error if it repeats a key or a name.
  llvm::Error add(std::unique_ptr<Archive> archive);

  /// In the order in which they were added.
  llvm::ArrayRef<std::unique_ptr<Archive>> getArchives() const {
    return archives;
  }
  /// The archive called `name`, or null.
  const Archive *findArchive(llvm::StringRef name) const;
  /// The tensor called `key`, or null.
  const ArchiveTensor *lookup(llvm::StringRef key) const;

private:
  std::vector<std::unique_ptr<Archive>> archives;
};

/// Opens a safetensors or GGUF file, told apart by its first bytes.
llvm::Expected<std::unique_ptr<Archive>> openArchive(llvm::StringRef path);

/// XXH3-128 of `bytes`, 32 lower-case hexadecimal digits.
std::string hashBytes(llvm::StringRef bytes);

} // namespace rondo

#endif // RONDO_IMPORT_ARCHIVE_H
