// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What both benchmark programs need: a team of pinned threads that run one
// function together, a spinning barrier between them, memory on huge pages and
// a clock. The caller's thread is member 0 of the team.

#ifndef RONDO_BENCHMARKS_SUPPORT_TEAM_H
#define RONDO_BENCHMARKS_SUPPORT_TEAM_H

#include <stddef.h>

enum { kMaxThreads = 64, kCacheLine = 64 };

typedef void (*TeamJob)(int thread, void *argument);

/// Starts threads 1..count-1 and pins all of them, one to each allowed core.
/// Called once; the threads live until the process ends.
void teamStart(int count);

/// Runs `job` on every member and returns when all are done.
void teamRun(TeamJob job, void *argument);

/// Waits until every member has called it as often as this one.
void teamBarrier(int thread);

/// Members of the team.
int teamSize(void);

/// Zeroed memory, aligned to 2 MiB and on huge pages where the system has
/// them. Ends the process if there is none; never freed.
void *allocateHuge(size_t bytes);

/// Monotonic time in seconds.
double secondsNow(void);

/// First item of member `thread`'s contiguous share of `count` items.
static inline int shareBegin(int count, int thread) {
  return (int)((long)count * thread / teamSize());
}

#endif // RONDO_BENCHMARKS_SUPPORT_TEAM_H
