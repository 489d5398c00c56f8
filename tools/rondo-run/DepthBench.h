//===- DepthBench.h - speed of steps of one visit ---------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_DEPTHBENCH_H
#define RONDO_RUN_DEPTHBENCH_H

#include "Handles.h"
#include "Options.h"

namespace rondo_run {

/// Measures what `--bench` with `--depthwise` asks for and prints the JSON: a
/// `depth_step` whose rows are all at one visit, and one whose rows are spread
/// over all of them. Throws InputFailure.
void benchDepth(rondo_rt_model *model, const Options &options);

} // namespace rondo_run

#endif // RONDO_RUN_DEPTHBENCH_H
