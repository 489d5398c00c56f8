//===- Describe.h - the manifest for people and programs --------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_DESCRIBE_H
#define RONDO_RUN_DESCRIBE_H

#include "Handles.h"

#include <cstddef>

namespace rondo_run {

/// Prints the manifest: a summary, or, if `json`, all of it.
void describe(const rondo_rt_model *model, bool json);

/// Number of tensors that the bundle has hashes of: all but the gaps.
size_t countTensors(const rondo_rt_model *model);

} // namespace rondo_run

#endif // RONDO_RUN_DESCRIBE_H
