//===- Machine.h - what this computer offers --------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Instruction sets, cores and memory, with the limits that affinity and cgroups
// put on them. Read when a model is loaded or a session created, never on a
// step.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_MACHINE_H
#define RONDO_RT_MACHINE_H

#include <cstdint>
#include <string>

namespace rondo_rt {

/// RONDO_RT_CPU_* bits that processor and operating system support.
uint64_t machineFeatures();
/// Names of the bits of `features`, comma-separated; unknown bits as a number.
std::string featureNames(uint64_t features);
/// Logical CPUs this thread may run on, cut to the cgroup's quota; at least 1.
uint32_t allowedCpus();
/// Physical cores among them; at least 1.
uint32_t allowedCores();
/// Bytes of memory this process may use: the machine's, or its cgroup's limit.
uint64_t memoryLimit();
/// Bytes of the last-level cache, 0 if unknown.
uint64_t lastLevelCacheBytes();

} // namespace rondo_rt

#endif // RONDO_RT_MACHINE_H
