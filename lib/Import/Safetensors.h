//===- Safetensors.h - reader of one safetensors file -----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_SAFETENSORS_H
#define RONDO_LIB_IMPORT_SAFETENSORS_H

#include "rondo/Import/Archive.h"

namespace rondo {

/// Reads the header of a mapped safetensors file: strict, so that every byte of
/// the file belongs to the header or to exactly one tensor.
llvm::Expected<std::unique_ptr<Archive>>
openSafetensors(llvm::StringRef path,
                std::unique_ptr<llvm::MemoryBuffer> buffer);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_SAFETENSORS_H
