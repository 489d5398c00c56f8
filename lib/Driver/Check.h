//===- Check.h - what an import says without compiling ----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DRIVER_CHECK_H
#define RONDO_LIB_DRIVER_CHECK_H

#include "rondo/Import/Import.h"

#include "llvm/Support/raw_ostream.h"

namespace rondo {

/// Writes the report of `--check`: import log, schedule, estimates of weights,
/// KV cache, arena and time. Fails if the schedule cannot be flattened.
mlir::LogicalResult writeCheck(const Import &import, llvm::raw_ostream &os);

/// `bytes` for people: "1.5 MB".
std::string formatBytes(uint64_t bytes);

} // namespace rondo

#endif // RONDO_LIB_DRIVER_CHECK_H
