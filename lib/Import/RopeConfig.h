//===- RopeConfig.h - rotary frequencies of a config.json -------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_ROPECONFIG_H
#define RONDO_LIB_IMPORT_ROPECONFIG_H

#include "Config.h"

namespace rondo {

/// Frequencies of the pairs of a head; errors stay in the reader.
llvm::SmallVector<float> readRope(ConfigReader &config, int64_t headDim);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ROPECONFIG_H
