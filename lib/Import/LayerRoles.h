//===- LayerRoles.h - what tensors the layers of a decoder have -*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_LAYERROLES_H
#define RONDO_LIB_IMPORT_LAYERROLES_H

#include "DecoderWeights.h"

#include <functional>

namespace rondo {

/// The rows of a stored tensor that belong to a role, as in `#rondo.part`.
struct RolePart {
  llvm::SmallVector<int64_t, 2> of;
  int64_t first, run, step;
  /// Of the roles that share the tensor, the one that takes it.
  bool isFirst;
};

/// A tensor that layers have, or a part of one.
struct Role {
  /// Of its parameter, after "layers.".
  std::string symbol;
  /// Of its keys, after the layer's number.
  std::string name;
  llvm::SmallVector<int64_t, 2> shape;
  /// Where in a group its parameter goes.
  std::function<Param &(LayerGroup &)> place;
  bool isNorm = false;
  std::optional<RolePart> part = std::nullopt;
};

/// A matrix of a layer, which may have a low-rank delta.
struct LinearRole {
  std::string symbol, name;
  int64_t out, in;
  std::function<LinearParams &(LayerGroup &)> place;
  /// Of the weight. The parts of a tensor stand one behind the other, and have
  /// one delta: A belongs to all of them, B is divided as the weight is.
  std::optional<RolePart> part = std::nullopt;
};

/// What layers of a decoder have.
struct LayerRoles {
  /// In the order of the parameters.
  std::vector<Role> tensors;
  std::vector<LinearRole> linears;
};

LayerRoles getRoles(const Decoder &decoder);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_LAYERROLES_H
