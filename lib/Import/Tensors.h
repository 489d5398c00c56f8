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
  /// Gives a key the name under which it is taken.
  using Rename = llvm::function_ref<std::string(llvm::StringRef)>;
  static std::string keepName(llvm::StringRef key) { return key.str(); }

  /// Indexes an archive's tensors, without the prefixes that training wrappers
  /// put in front of keys (`_orig_mod.`, `module.`).
  void add(const Archive &archive, Rename rename = keepName);
  /// Indexes those of a second archive that are not there; the others must be
  /// equal. Returns how many it added.
  size_t addBeside(const Archive &archive, Rename rename);

  /// Takes the tensor called `key` of this shape and a type that a parameter
  /// can have. Null after an error.
  const ArchiveTensor *take(llvm::StringRef key, llvm::ArrayRef<int64_t> shape);
  /// Takes tensors of layers that share their code: all of this shape and of
  /// one type. Empty after an error.
  llvm::SmallVector<const ArchiveTensor *>
  takeStack(llvm::ArrayRef<std::string> keys, llvm::ArrayRef<int64_t> shape);
  /// Takes a stored copy of `original` if there is one, comparing all bits;
  /// `reason` says in the error why they should be equal and what to do.
  void takeCopy(llvm::StringRef key, llvm::StringRef original,
                llvm::StringRef reason);
  /// Whether both are stored and have the same bits.
  bool areCopies(llvm::StringRef key, llvm::StringRef other) const;
  /// Whether `key` is stored, taken or not.
  bool contains(llvm::StringRef key) const { return tensors.contains(key); }
  /// The stored tensor, taken or not, or null.
  const ArchiveTensor *lookup(llvm::StringRef key) const;
  /// Takes all tensors whose key ends so, unread.
  void ignoreSuffix(llvm::StringRef suffix);
  /// The first error, or one that names the tensors left over.
  llvm::Error finish();
  bool hasFailed() const { return static_cast<bool>(message); }
  /// Keeps an error, if it is the first.
  void fail(const llvm::Twine &text);

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

  static llvm::StringRef strip(llvm::StringRef key);
  /// False if there is one of that name.
  bool index(const ArchiveTensor &tensor, const Archive &archive,
             Rename rename);
  Entry *find(llvm::StringRef key);

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
