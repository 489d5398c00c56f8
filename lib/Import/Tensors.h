//===- Tensors.h - account of a checkpoint's tensors ------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A model that leaves a stored tensor unread is a model read wrongly. Families
// take tensors from this table; what is left at the end is an error.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_TENSORS_H
#define RONDO_LIB_IMPORT_TENSORS_H

#include "rondo/Import/Archive.h"

namespace rondo {

/// Tensors of archives that no parameter has taken yet. The first error is
/// kept until `finish`, so that a family's code reads as its list of tensors.
class TensorTable {
public:
  /// Indexes an archive's tensors, without the prefixes that training wrappers
  /// put in front of keys (`_orig_mod.`, `module.`).
  void add(const Archive &archive);

  /// Takes the tensor called `key` of this shape and a type that a parameter
  /// can have. Null after an error.
  const ArchiveTensor *take(llvm::StringRef key, llvm::ArrayRef<int64_t> shape);
  /// Takes a stored copy of `original` if there is one, comparing all bits.
  void takeCopy(llvm::StringRef key, llvm::StringRef original);
  /// Whether `key` is stored, taken or not.
  bool contains(llvm::StringRef key) const { return tensors.contains(key); }
  /// The stored tensor, taken or not, or null.
  const ArchiveTensor *lookup(llvm::StringRef key) const;
  /// Takes all tensors whose key ends so, unread.
  void ignoreSuffix(llvm::StringRef suffix);
  /// The first error, or one that names the tensors left over.
  llvm::Error finish();
  bool hasFailed() const { return static_cast<bool>(message); }

  size_t getTakenCount() const { return takenCount; }
  /// Weights and bytes of all tensors taken.
  uint64_t getTakenWeights() const { return takenWeights; }
  uint64_t getTakenBytes() const { return takenBytes; }

private:
  struct Entry {
    const ArchiveTensor *tensor;
    const Archive *archive;
    bool taken = false;
  };

  void index(const ArchiveTensor &tensor, const Archive &archive);
  Entry *find(llvm::StringRef key);
  void fail(const llvm::Twine &text);

  llvm::StringMap<Entry> tensors;
  /// Canonical keys in file order, for messages that do not depend on hashing.
  std::vector<std::string> order;
  std::optional<std::string> message;
  size_t takenCount = 0;
  uint64_t takenWeights = 0;
  uint64_t takenBytes = 0;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_TENSORS_H
