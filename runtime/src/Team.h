//===- Team.h - the threads that run a step ---------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A persistent SPMD team: thread 0 is whoever calls run(), the others wait at
// the barrier in between. Invariant: every thread passes the same sequence of
// barriers, so an epoch counter on a cache line of each thread's own is enough.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_TEAM_H
#define RONDO_RT_TEAM_H

#include "Status.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <pthread.h>
#include <vector>

namespace rondo_rt {

class Team {
public:
  /// What each thread runs.
  using Job = void (*)(void *argument, uint32_t thread);

  /// Starts `threads` - 1 threads.
  static Error create(uint32_t threads, std::unique_ptr<Team> &team);
  /// Ends the threads.
  ~Team();
  Team(const Team &) = delete;

  /// Runs `job` on all threads and returns when all are done. Subnormal numbers
  /// are zero while it runs; the caller's settings come back afterwards.
  void run(Job job, void *argument);
  /// Waits for the whole team; called by `thread` from inside a job.
  void barrier(uint32_t thread) {
    if (size_ > 1)
      wait(thread);
  }
  uint32_t size() const { return size_; }

private:
  /// What a thread tells the others, and its own bookkeeping. Two cache lines,
  /// since processors fetch lines in pairs.
  struct alignas(128) Lane {
    std::atomic<uint32_t> epoch{0};
    std::atomic<uint32_t> sleepers{0};
    uint32_t passed = 0;      // own count of barriers
    uint32_t sleptInARow = 0; // barriers in a row that ended in a sleep
  };
  struct Start {
    Team *team;
    uint32_t thread;
  };

  explicit Team(uint32_t threads) : lanes_(threads), starts_(threads) {}
  static void *threadMain(void *start);
  void work(uint32_t thread);
  void wait(uint32_t thread);
  bool waitFor(Lane &other, uint32_t epoch, uint32_t pauses);
  void open(uint32_t size);

  std::vector<Lane> lanes_;
  std::vector<Start> starts_;
  std::vector<pthread_t> threads_;
  uint32_t size_ = 1;
  Job job_ = nullptr;
  void *argument_ = nullptr;
  // Threads wait here until it is known how many could be started.
  std::mutex gateMutex_;
  std::condition_variable gate_;
  bool opened_ = false;
};

} // namespace rondo_rt

#endif // RONDO_RT_TEAM_H
