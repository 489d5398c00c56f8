//===- Probe.h - ceilings of this machine -----------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// What the team's threads could read or compute per second if they did nothing
// else: benchmarks report their share of it, measured in the same run.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_PROBE_H
#define RONDO_RT_PROBE_H

#include "Team.h"

namespace rondo_rt {

/// Bytes per second the team reads from a working set of `bytes`, best of
/// several passes. Each thread reads a part of its own.
Error measureRead(Team &team, uint64_t bytes, double &perSecond);

/// Operations per second of the team in registers; a multiply-add counts as
/// two.
Error measurePeak(Team &team, rondo_rt_probe probe, double &perSecond);

} // namespace rondo_rt

#endif // RONDO_RT_PROBE_H
