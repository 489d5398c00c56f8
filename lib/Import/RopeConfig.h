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

/// Under which names a family's configuration has the numbers of its rope,
/// beside those in `rope_parameters`. The first one is for messages.
struct RopeNames {
  llvm::SmallVector<llvm::StringLiteral, 2> theta = {"rope_theta"};
  /// Which part of each head is turned; empty: whole heads.
  llvm::SmallVector<llvm::StringLiteral, 2> fraction = {};
};

/// Frequencies of the turned pairs of a head; errors stay in the reader.
llvm::SmallVector<float> readRope(ConfigReader &config, int64_t headDim,
                                  const RopeNames &names = {});

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ROPECONFIG_H
