//===- PackedStorage.h - sizes and types of packed weights ------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_BUNDLE_PACKEDSTORAGE_H
#define RONDO_LIB_BUNDLE_PACKEDSTORAGE_H

#include "rondo/Bundle/Storage.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

namespace rondo {

/// Storage type of the weights in panels of `format`.
StorageType getStorageType(rt::PanelFormat format);

/// Bytes of one entry (layer) of a vector.
int64_t getEntryBytes(rt::VectorOp op);

/// Bytes of a table of cosines and sines.
int64_t getTableBytes(rt::RopeTableOp op);

} // namespace rondo

#endif // RONDO_LIB_BUNDLE_PACKEDSTORAGE_H
