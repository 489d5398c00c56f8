//===- Team.cpp - the threads that run a step -----------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A step has some 150 barriers with 10 to 100 us between them. Spinning wins
// while every thread has a core; after two sleeps in a row somebody else is
// using a core, and spinning long would only take it from a thread of our own.
//===----------------------------------------------------------------------===//
#include "Team.h"

#include <csignal>
#include <cstring>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xmmintrin.h>

using namespace rondo_rt;

/// Pauses before a thread sleeps. Measured on two cores: 2000 costs nothing
/// against pure spinning when alone; 200 halves the time when cores are shared.
static constexpr uint32_t kLongSpin = 2000;
static constexpr uint32_t kShortSpin = 200;

/// MXCSR of a step: round to nearest, exceptions masked, flush to zero and
/// denormals are zero, so that results do not depend on the caller's settings.
static constexpr unsigned kStepControl = 0x9fc0;

static long futex(std::atomic<uint32_t> &word, int operation, uint32_t value) {
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
  return syscall(SYS_futex, reinterpret_cast<uint32_t *>(&word), operation,
                 value, nullptr, nullptr, 0);
}

Error Team::create(uint32_t threads, std::unique_ptr<Team> &team) {
  std::unique_ptr<Team> fresh(new Team(threads));
  // Signals are for the program's own threads.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  int failure = 0;
  for (uint32_t thread = 1; thread < threads && !failure; ++thread) {
    fresh->starts_[thread] = {fresh.get(), thread};
    pthread_t handle;
    failure =
        pthread_create(&handle, nullptr, threadMain, &fresh->starts_[thread]);
    if (!failure)
      fresh->threads_.push_back(handle);
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  fresh->open(fresh->threads_.size() + 1);
  if (failure)
    return makeError(RONDO_RT_STATUS_OUT_OF_MEMORY,
                     "cannot start %u threads: %s; use --threads=%u", threads,
                     std::strerror(failure), fresh->size_);
  team = std::move(fresh);
  return nullptr;
}

Team::~Team() {
  job_ = nullptr;
  barrier(0);
  for (pthread_t thread : threads_)
    pthread_join(thread, nullptr);
}

void Team::open(uint32_t size) {
  std::lock_guard<std::mutex> lock(gateMutex_);
  size_ = size;
  opened_ = true;
  gate_.notify_all();
}

void *Team::threadMain(void *start) {
  auto *own = static_cast<Start *>(start);
  {
    std::unique_lock<std::mutex> lock(own->team->gateMutex_);
    own->team->gate_.wait(lock, [&] { return own->team->opened_; });
  }
  _mm_setcsr(kStepControl);
  own->team->work(own->thread);
  return nullptr;
}

void Team::work(uint32_t thread) {
  for (;;) {
    barrier(thread);
    if (!job_)
      return;
    job_(argument_, thread);
    barrier(thread);
  }
}

void Team::run(Job job, void *argument) {
  unsigned control = _mm_getcsr();
  _mm_setcsr(kStepControl);
  job_ = job;
  argument_ = argument;
  barrier(0);
  job(argument, 0);
  barrier(0);
  _mm_setcsr(control);
}

void Team::wait(uint32_t thread) {
  Lane &own = lanes_[thread];
  uint32_t epoch = ++own.passed;
  // Sequentially consistent: the new epoch must be seen before we look for
  // sleepers, or one that goes to sleep in between is never woken.
  own.epoch.store(epoch);
  if (own.sleepers.load())
    futex(own.epoch, FUTEX_WAKE_PRIVATE, size_);
  uint32_t pauses = own.sleptInARow >= 2 ? kShortSpin : kLongSpin;
  bool slept = false;
  for (uint32_t other = 0; other < size_; ++other)
    if (other != thread)
      slept |= waitFor(lanes_[other], epoch, pauses);
  own.sleptInARow = slept ? own.sleptInARow + 1 : 0;
}

/// Returns whether it had to sleep.
bool Team::waitFor(Lane &other, uint32_t epoch, uint32_t pauses) {
  bool slept = false;
  uint32_t count = 0;
  for (;;) {
    uint32_t seen = other.epoch.load(std::memory_order_acquire);
    if (static_cast<int32_t>(seen - epoch) >= 0)
      return slept;
    if (++count <= pauses) {
      _mm_pause();
      continue;
    }
    other.sleepers.fetch_add(1);
    if (other.epoch.load() == seen)
      futex(other.epoch, FUTEX_WAIT_PRIVATE, seen);
    other.sleepers.fetch_sub(1);
    slept = true;
  }
}
