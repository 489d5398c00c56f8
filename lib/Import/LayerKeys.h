//===- LayerKeys.h - where the tensors of a layer are -----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A stored layer has tensors that all its depths share, and may have tensors
// and low-rank deltas for each depth. Formats spell their keys differently.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_LAYERKEYS_H
#define RONDO_LIB_IMPORT_LAYERKEYS_H

#include "Sharing.h"

namespace rondo {

/// Spelled `<prefix><layer>.<name>`, where `name` is that of a tensor inside a
/// layer ("mlp.up_proj.weight").
class LayerKeys {
public:
  explicit LayerKeys(llvm::StringRef prefix) : prefix(prefix.str()) {}
  virtual ~LayerKeys();

  /// Depths of a layer; 1: its tensors do not vary.
  virtual int64_t getDepths(int64_t layer) const { return 1; }
  /// Whether the norms of a layer vary by depth.
  virtual bool hasOwnNorms(int64_t layer) const { return false; }
  /// Key of what all depths share.
  virtual std::string getShared(int64_t layer, llvm::StringRef name) const;
  /// Keys of equal copies of it.
  virtual llvm::SmallVector<std::string> getCopies(int64_t layer,
                                                   llvm::StringRef name) const {
    return {};
  }
  /// Whether copies that differ are tensors of their depths.
  virtual bool mayVary(int64_t layer, llvm::StringRef name) const {
    return false;
  }
  /// Key of the tensor of one depth.
  virtual std::string getAtDepth(int64_t layer, int64_t depth,
                                 llvm::StringRef name) const;
  /// What the delta of `linear` ("mlp.up_proj") of rank `rank` is multiplied
  /// by.
  virtual llvm::Expected<double> getScale(int64_t layer, int64_t depth,
                                          llvm::StringRef linear,
                                          int64_t rank) const;

protected:
  std::string makeKey(int64_t layer, llvm::StringRef name) const;

private:
  std::string prefix;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_LAYERKEYS_H
