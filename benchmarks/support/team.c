// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Waiting costs tens of nanoseconds while everybody runs: each member counts
// its barriers in a word on a cache line of its own and reads the others'.
// A member that waits long gives up its core, since its partner may need it.
// Between jobs a member sleeps, or it would take time from the program that is
// measured in alternation with this one.

#define _GNU_SOURCE
#include "team.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  kSpins = 2000,      // in a barrier before the core is offered to others
  kIdleSpins = 20000, // between jobs before going to sleep
  kHugePage = 2 << 20
};

typedef struct {
  _Alignas(2 * kCacheLine) atomic_uint arrived;
} Epoch;

static Epoch epochs[kMaxThreads];
static int memberCount = 1;
static TeamJob currentJob;
static void *currentArgument;
static atomic_uint jobCount; // the futex that idle members sleep on
static atomic_int sleeperCount;

int teamSize(void) { return memberCount; }

static void waitFor(int member, unsigned epoch) {
  atomic_uint *word = &epochs[member].arrived;
  for (int spins = 0;; ++spins) {
    // The difference is taken modulo 2^32, so that the count may wrap.
    if ((int)(atomic_load_explicit(word, memory_order_acquire) - epoch) >= 0)
      return;
    if (spins < kSpins)
      __builtin_ia32_pause();
    else
      sched_yield();
  }
}

void teamBarrier(int thread) {
  atomic_uint *own = &epochs[thread].arrived;
  unsigned epoch = atomic_load_explicit(own, memory_order_relaxed) + 1;
  atomic_store_explicit(own, epoch, memory_order_release);
  for (int member = 0; member < memberCount; ++member)
    if (member != thread)
      waitFor(member, epoch);
}

static void runMember(int thread) {
  currentJob(thread, currentArgument);
  teamBarrier(thread);
}

/// Returns once more jobs than `seen` have been started.
static void awaitJob(unsigned seen) {
  for (int spins = 0; spins < kIdleSpins; ++spins) {
    if (atomic_load_explicit(&jobCount, memory_order_acquire) != seen)
      return;
    __builtin_ia32_pause();
  }
  atomic_fetch_add(&sleeperCount, 1);
  while (atomic_load(&jobCount) == seen)
    syscall(SYS_futex, &jobCount, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
  atomic_fetch_sub(&sleeperCount, 1);
}

static void *memberMain(void *argument) {
  for (unsigned seen = 0;; ++seen) {
    awaitJob(seen);
    runMember((int)(size_t)argument);
  }
  return NULL;
}

void teamRun(TeamJob job, void *argument) {
  currentJob = job;
  currentArgument = argument;
  atomic_fetch_add(&jobCount, 1);
  if (atomic_load(&sleeperCount) > 0)
    syscall(SYS_futex, &jobCount, FUTEX_WAKE_PRIVATE, kMaxThreads, NULL, NULL,
            0);
  runMember(/*thread=*/0);
}

static void pinToAllowedCore(pthread_t thread, const cpu_set_t *allowed,
                             int index) {
  int wanted = index % CPU_COUNT(allowed);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, allowed) || wanted-- != 0)
      continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    pthread_setaffinity_np(thread, sizeof one, &one);
    return;
  }
}

void teamStart(int count) {
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  memberCount = count < 1 ? 1 : count > kMaxThreads ? kMaxThreads : count;
  pinToAllowedCore(pthread_self(), &allowed, 0);
  for (int thread = 1; thread < memberCount; ++thread) {
    pthread_t handle;
    if (pthread_create(&handle, NULL, memberMain, (void *)(size_t)thread)) {
      fprintf(stderr, "cannot start thread %d of %d\n", thread, memberCount);
      exit(1);
    }
    pinToAllowedCore(handle, &allowed, thread);
  }
}

void *allocateHuge(size_t bytes) {
  size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void *memory = aligned_alloc(kHugePage, rounded);
  if (!memory) {
    fprintf(stderr, "cannot allocate %zu bytes\n", rounded);
    exit(1);
  }
  madvise(memory, rounded, MADV_HUGEPAGE);
  memset(memory, 0, rounded);
  return memory;
}

double secondsNow(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
