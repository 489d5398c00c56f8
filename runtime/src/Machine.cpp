//===- Machine.cpp - what this computer offers ----------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Facts from cpuid, /sys and the cgroup files. Whatever cannot be read sets no
// limit.
//===----------------------------------------------------------------------===//
#include "Machine.h"
#include "rondo_rt/runtime.h"

#include <algorithm>
#include <cpuid.h>
#include <fstream>
#include <sched.h>
#include <set>
#include <sstream>
#include <unistd.h>

using namespace rondo_rt;

#ifndef __x86_64__
#error "the runtime executes x86-64 code only; build it for that target"
#endif

//===----------------------------------------------------------------------===//
// Instruction sets
//===----------------------------------------------------------------------===//

/// Registers that the operating system saves; XCR0, Intel SDM volume 1, 13.3.
static uint64_t savedState() {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

static bool hasAll(uint32_t value, uint32_t bits) {
  return (value & bits) == bits;
}

uint64_t rondo_rt::machineFeatures() {
  constexpr uint64_t kAvxState = 0x6;     // XMM, YMM
  constexpr uint64_t kAvx512State = 0xe6; // and opmask, ZMM
  uint32_t a, b, c, d, b7 = 0, c7 = 0, d7 = 0, a71 = 0, cx = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
    return 0;
  uint32_t ignored;
  __get_cpuid_count(7, 0, &ignored, &b7, &c7, &d7);
  __get_cpuid_count(7, 1, &a71, &ignored, &ignored, &ignored);
  __get_cpuid(0x80000001, &ignored, &ignored, &cx, &ignored);
  uint64_t state = savedState();
  uint64_t features = 0;
  if (!hasAll(state, kAvxState) ||
      !hasAll(c, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE | bit_POPCNT |
                     bit_SSE4_2) ||
      !hasAll(b7, bit_AVX2 | bit_BMI | bit_BMI2) || !(cx & bit_LZCNT))
    return 0;
  features |= RONDO_RT_CPU_X86_64_V3;
  if (!hasAll(state, kAvx512State) ||
      !hasAll(b7, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ |
                      bit_AVX512VL))
    return features;
  features |= RONDO_RT_CPU_AVX512;
  if (c7 & bit_AVX512VNNI)
    features |= RONDO_RT_CPU_AVX512_VNNI;
  if (a71 & bit_AVX512BF16)
    features |= RONDO_RT_CPU_AVX512_BF16;
  return features;
}

const char *rondo_rt_machine_feature_name(uint64_t bit) {
  if (bit & RONDO_RT_CPU_X86_64_V3)
    return "x86-64-v3";
  if (bit & RONDO_RT_CPU_AVX512)
    return "x86-64-v4";
  if (bit & RONDO_RT_CPU_AVX512_VNNI)
    return "avx512-vnni";
  if (bit & RONDO_RT_CPU_AVX512_BF16)
    return "avx512-bf16";
  return nullptr;
}

std::string rondo_rt::featureNames(uint64_t features) {
  std::string names;
  for (uint64_t rest = features; rest; rest &= rest - 1) {
    uint64_t bit = rest & -rest;
    const char *name = rondo_rt_machine_feature_name(bit);
    names += names.empty() ? "" : ", ";
    names +=
        name ? name : "unknown bit " + std::to_string(__builtin_ctzll(bit));
  }
  return names.empty() ? "none" : names;
}

//===----------------------------------------------------------------------===//
// Small files of the system
//===----------------------------------------------------------------------===//

/// The first line of a file, empty if it cannot be read.
static std::string readLine(const std::string &path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Calls `visit` with the folder of this process's cgroup (version 2) and each
/// folder above it, since a limit anywhere on the way holds.
template <typename Visit> static void forEachCgroup(Visit visit) {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.compare(0, 3, "0::"))
      continue;
    std::string path = line.substr(3);
    while (path.size() > 1) {
      visit("/sys/fs/cgroup" + path);
      path.resize(path.find_last_of('/'));
    }
  }
  visit("/sys/fs/cgroup");
}

/// CPUs that the cgroup's quota is worth, rounded down but at least 1; `none`
/// without a quota.
static uint32_t cpuQuota(uint32_t none) {
  double least = none;
  auto limit = [&](double quota, double period) {
    if (quota > 0 && period > 0)
      least = std::min(least, quota / period);
  };
  forEachCgroup([&](const std::string &folder) {
    std::istringstream line(readLine(folder + "/cpu.max")); // "max 100000"
    double quota = 0, period = 0;
    if (line >> quota >> period)
      limit(quota, period);
  });
  // Version 1 of cgroups.
  std::istringstream quota(readLine("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
  std::istringstream period(readLine("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  double quotaValue = 0, periodValue = 0;
  if (quota >> quotaValue && period >> periodValue)
    limit(quotaValue, periodValue);
  uint32_t whole = static_cast<uint32_t>(least);
  return std::max(1u, whole);
}

//===----------------------------------------------------------------------===//
// Cores and memory
//===----------------------------------------------------------------------===//

static cpu_set_t affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  return set;
}

uint32_t rondo_rt::allowedCpus() {
  cpu_set_t set = affinity();
  int count = CPU_COUNT(&set);
  if (count == 0) // more CPUs than the set can name
    count = std::max(1l, sysconf(_SC_NPROCESSORS_ONLN));
  return std::min<uint32_t>(count, cpuQuota(count));
}

uint32_t rondo_rt::allowedCores() {
  cpu_set_t set = affinity();
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set))
      continue;
    std::string topology =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string core = readLine(topology + "core_id");
    if (core.empty()) // unknown topology: each CPU counts as a core
      core = "cpu" + std::to_string(cpu);
    cores.insert(readLine(topology + "physical_package_id") + ":" + core);
  }
  uint32_t count = cores.size();
  return count ? std::min(count, allowedCpus()) : allowedCpus();
}

uint64_t rondo_rt::memoryLimit() {
  uint64_t limit = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
                   static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  auto consider = [&](const std::string &path) {
    std::istringstream line(readLine(path)); // a number, or "max"
    uint64_t bytes = 0;
    if (line >> bytes && bytes)
      limit = std::min(limit, bytes);
  };
  forEachCgroup(
      [&](const std::string &folder) { consider(folder + "/memory.max"); });
  consider("/sys/fs/cgroup/memory/memory.limit_in_bytes");
  return limit;
}

uint64_t rondo_rt::lastLevelCacheBytes() {
  uint64_t largest = 0;
  for (int index = 0; index < 8; ++index) {
    std::istringstream line(
        readLine("/sys/devices/system/cpu/cpu0/cache/index" +
                 std::to_string(index) + "/size"));
    uint64_t size = 0; // "32768K"
    char unit = 0;
    if (line >> size)
      line >> unit;
    size <<= unit == 'M' ? 20 : unit == 'K' ? 10 : 0;
    largest = std::max(largest, size);
  }
  return largest;
}

const char *rondo_rt_version(void) { return RONDO_VERSION; }
uint64_t rondo_rt_machine_features(void) { return machineFeatures(); }
uint64_t rondo_rt_machine_cache_bytes(void) { return lastLevelCacheBytes(); }
uint32_t rondo_rt_machine_cores(void) { return allowedCores(); }
