//===- SelectStorage.h - storage types of matrices --------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DRIVER_SELECTSTORAGE_H
#define RONDO_DRIVER_SELECTSTORAGE_H

#include "rondo/Driver/Options.h"

namespace rondo {

/// Writes `stored as` on the parameters of rank 2 of a module at phase `input`,
/// as `types` says; norms and biases stay as they are:
///
///   rondo.param @q : tensor<64x64xbf16> from ["q"]
///   ==> rondo.param @q : tensor<64x64xbf16> stored as !rondo.q8_0 from ["q"]
///
/// A matrix that is both embedding and head follows whichever of `head=` and
/// `embed=` is given; if both are and differ, the embedding gets a parameter of
/// its own. An error if a matrix cannot have the type.
mlir::LogicalResult selectStorage(mlir::ModuleOp module,
                                  const WeightTypes &types);

/// The type that most weights of matrices are stored as.
StorageType getMainStorage(mlir::ModuleOp module);

} // namespace rondo

#endif // RONDO_DRIVER_SELECTSTORAGE_H
