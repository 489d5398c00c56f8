//===- Bench.h - measured speed against the machine's ceilings --*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_BENCH_H
#define RONDO_RUN_BENCH_H

#include "Handles.h"
#include "Options.h"

namespace rondo_run {

/// Measures what `--bench` asks for and prints the JSON. Throws InputFailure.
void bench(rondo_rt_model *model, const Options &options);

} // namespace rondo_run

#endif // RONDO_RUN_BENCH_H
