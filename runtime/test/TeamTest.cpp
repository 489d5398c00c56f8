//===- TeamTest.cpp - the threads that run a step -------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Plain memory is shared across barriers here, so that a thread sanitizer sees
// whether they order it.
//===----------------------------------------------------------------------===//
#include "Machine.h"
#include "Probe.h"

#include <chrono>
#include <doctest/doctest.h>
#include <thread>
#include <xmmintrin.h>

using namespace rondo_rt;

namespace {

constexpr uint32_t kRounds = 300;

/// Each thread adds up what all threads wrote in the round before.
struct Exchange {
  Team *team;
  std::vector<uint64_t> even, odd;
};

void exchange(void *argument, uint32_t thread) {
  auto *shared = static_cast<Exchange *>(argument);
  for (uint32_t round = 0; round < kRounds; ++round) {
    std::vector<uint64_t> &from = round % 2 ? shared->odd : shared->even;
    std::vector<uint64_t> &to = round % 2 ? shared->even : shared->odd;
    uint64_t sum = 1;
    for (uint64_t value : from)
      sum += value;
    to[thread] = sum % 1000003;
    shared->team->barrier(thread);
  }
}

/// The same on one thread.
uint64_t expectedExchange(uint32_t threads) {
  uint64_t value = 1;
  for (uint32_t round = 0; round < kRounds; ++round)
    value = (1 + threads * value) % 1000003;
  return value;
}

std::unique_ptr<Team> makeTeam(uint32_t threads) {
  std::unique_ptr<Team> team;
  Error error = Team::create(threads, team);
  REQUIRE(!error);
  REQUIRE(team->size() == threads);
  return team;
}

} // namespace

TEST_CASE("barriers order what threads write, for any team") {
  for (uint32_t threads : {1u, 2u, 3u, 5u}) {
    std::unique_ptr<Team> team = makeTeam(threads);
    for (int repeat = 0; repeat < 3; ++repeat) {
      std::vector<uint64_t> ones(threads, 1);
      Exchange shared = {team.get(), ones, ones};
      team->run(exchange, &shared);
      for (uint64_t value : shared.even) // kRounds is even
        CHECK(value == expectedExchange(threads));
    }
  }
}

TEST_CASE("a late thread is waited for") {
  std::unique_ptr<Team> team = makeTeam(2);
  struct Late {
    Team *team;
    int written = 0, read = 0;
  } late = {team.get()};
  // Long enough for the other thread to sleep, several times in a row.
  for (int i = 1; i <= 4; ++i) {
    team->run(
        [](void *argument, uint32_t thread) {
          auto *shared = static_cast<Late *>(argument);
          if (thread == 1) {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            ++shared->written;
          }
          shared->team->barrier(thread);
          if (thread == 0)
            shared->read = shared->written;
        },
        &late);
    CHECK(late.read == i);
  }
}

TEST_CASE("subnormal numbers are zero in every thread while a job runs") {
  std::unique_ptr<Team> team = makeTeam(3);
  unsigned before = _mm_getcsr();
  REQUIRE((before & 0x8040) == 0);
  std::vector<unsigned> controls(3);
  team->run(
      [](void *argument, uint32_t thread) {
        (*static_cast<std::vector<unsigned> *>(argument))[thread] =
            _mm_getcsr();
      },
      &controls);
  for (unsigned control : controls)
    CHECK((control & ~0x3fu) == 0x9fc0); // without the sticky status bits
  CHECK(_mm_getcsr() == before);
}

TEST_CASE("teams come and go") {
  for (int i = 0; i < 50; ++i)
    makeTeam(4);
}

TEST_CASE("what the machine says of itself is plausible") {
  CHECK(allowedCpus() >= 1);
  CHECK(allowedCores() >= 1);
  CHECK(allowedCores() <= allowedCpus());
  CHECK(memoryLimit() > (64u << 20));
  CHECK(featureNames(RONDO_RT_CPU_X86_64_V3 | RONDO_RT_CPU_AVX512_BF16) ==
        "x86-64-v3, avx512-bf16");
  CHECK(featureNames(0) == "none");
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi2");
  CHECK(((machineFeatures() & RONDO_RT_CPU_X86_64_V3) != 0) == avx2);
  bool avx512 = __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq");
  CHECK(((machineFeatures() & RONDO_RT_CPU_AVX512) != 0) == avx512);
}

TEST_CASE("probes measure something") {
  if (!(machineFeatures() & RONDO_RT_CPU_X86_64_V3)) {
    MESSAGE("skipped: this CPU lacks x86-64-v3");
    return;
  }
  std::unique_ptr<Team> team = makeTeam(2);
  double cached = 0, flops = 0;
  REQUIRE(!measureRead(*team, 1u << 20, cached));
  CHECK(cached > 1e8);
  CHECK(cached < 1e14);
  for (rondo_rt_probe probe : {RONDO_RT_PROBE_F32_FMA, RONDO_RT_PROBE_BF16_DOT,
                               RONDO_RT_PROBE_INT8_DOT}) {
    REQUIRE(!measurePeak(*team, probe, flops));
    CHECK(flops > 1e8);
    CHECK(flops < 1e15);
  }
}
