//===- Scheduler.h - requests into steps ------------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Each request has tokens that are known and a count of those computed; a step
// computes some of the difference of every request, so prompts of any length
// and decoding requests share steps. Rows go to decoding requests first: they
// are few, and somebody waits for them. Scheduler.cpp runs whole steps,
// DepthwiseScheduler.cpp rows at mixed depths.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_SCHEDULER_H
#define RONDO_RT_SCHEDULER_H

#include "FillPolicy.h"
#include "Sampler.h"
#include "Session.h"

#include <atomic>

namespace rondo_rt {

/// See rondo_rt_scheduler.
class Scheduler {
public:
  static Error create(Session &session,
                      const rondo_rt_scheduler_options &options,
                      std::unique_ptr<Scheduler> &scheduler);
  ~Scheduler();

  Error submit(const rondo_rt_request_options &options, uint32_t &number);
  Error step(uint32_t &unfinished);
  Error cancelRequest(uint32_t request);
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }

  /// New tokens of a request.
  const uint32_t *tokens(uint32_t request, uint32_t &count) const;
  /// Visits of the row that each of them was drawn from.
  const uint32_t *visits(uint32_t request, uint32_t &count) const;
  const rondo_rt_status *status(uint32_t request) const;
  const rondo_rt_timing &timing() const { return timing_; }

private:
  enum class State { Waiting, Active, Done };

  struct Request {
    std::vector<uint32_t> tokens;     // prompt, then new ones
    std::vector<uint32_t> tokenTypes; // of the prompt; empty: all 0
    std::vector<uint32_t> stopTokens;
    std::vector<uint32_t> visits; // of the row each new token was drawn from
    uint32_t promptLength = 0;
    uint32_t newTokens = 0; // most to generate
    uint32_t computed = 0;  // of `tokens`
    uint32_t entered = 0;   // of `tokens`, computed or in flight (depth-wise)
    uint32_t sequence = RONDO_RT_NONE;
    uint32_t flags = 0;
    rondo_rt_sampling sampling = {};
    State state = State::Waiting;
    Error status;
    uint32_t granted = 0; // rows in the step being built

    uint32_t pending() const { return tokens.size() - computed; }
    bool decoding() const { return computed >= promptLength; }
  };

  Scheduler(Session &session, const rondo_rt_scheduler_options &options);
  Error checkRequest(const rondo_rt_request_options &options) const;
  void admit();
  void grantRows();
  uint32_t grant(Request &request, uint32_t left);
  void buildRows();
  void appendRows(uint32_t number);
  Error checkCohort(const rondo_rt_request_options &options) const;
  Error checkRouted(const rondo_rt_request_options &options) const;
  Error checkTokenTypes(const rondo_rt_request_options &options) const;
  rondo_rt_row makeRow(const Request &request, uint32_t position) const;
  bool wantsLogits(const Request &request, uint32_t position) const;
  Error runStep();
  void observeStep();
  void sampleOutputs();
  void sampleNext(uint32_t number, const float *logits);
  void finish(Request &request, Error status);
  void recordTime(double seconds, bool hasPrompt);
  uint32_t countPromptRows() const;

  // In DepthwiseScheduler.cpp.
  Error stepDepthwise();
  uint32_t sharedPlaces() const;
  uint32_t countFlying() const;
  uint32_t countEntering(const Request &request, uint32_t left) const;
  Error enterRows();
  void enterRequest(uint32_t number, uint32_t left);
  void dropWaiting(uint32_t number);
  Error runVisit();
  Error leaveRows();

  Session &session_;
  rondo_rt_scheduler_options options_;
  std::vector<Request> requests_;
  std::vector<uint32_t> bySequence_; // active request of each sequence, or none
  uint32_t turn_ = 0; // sequence that is served first, when rows are scarce
  Sampler sampler_;
  std::vector<WaitingRow> waiting_; // entered and not yet read out
  std::vector<ClassLoad> loads_;    // [classes of visits]
  uint64_t arrivals_ = 0;
  bool stepHasPrompt_ = false;
  std::vector<rondo_rt_row> rows_;
  std::vector<uint32_t> rowRequests_;
  std::vector<uint32_t> outputRows_;
  rondo_rt_timing timing_ = {};
  std::atomic<bool> cancelled_{false};
};

} // namespace rondo_rt

/// The public handle is the scheduler itself.
struct rondo_rt_scheduler {
  std::unique_ptr<rondo_rt::Scheduler> scheduler;
};

#endif // RONDO_RT_SCHEDULER_H
