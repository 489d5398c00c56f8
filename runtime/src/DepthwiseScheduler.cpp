//===- DepthwiseScheduler.cpp - requests into steps at mixed depths -------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One step: admit waiting requests, let rows enter, run one class of visits,
// and read out the rows that came to the end. Every request may always have one
// row in flight, so none waits for the rows of others; what else fits is shared
// in turn.
//===----------------------------------------------------------------------===//
#include "Scheduler.h"

#include <algorithm>
#include <chrono>

using namespace rondo_rt;

/// Seconds since `begin`.
static double secondsSince(std::chrono::steady_clock::time_point begin) {
  std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - begin;
  return elapsed.count();
}

Error Scheduler::stepDepthwise() {
  auto begin = std::chrono::steady_clock::now();
  if (Error error = enterRows())
    return error;
  if (waiting_.empty())
    return nullptr;
  if (Error error = runVisit())
    return error;
  if (Error error = leaveRows())
    return error;
  recordTime(secondsSince(begin), stepHasPrompt_);
  if (rows_.empty())
    return nullptr;
  observeStep();
  for (uint32_t number : rowRequests_)
    ++requests_[number].computed;
  sampleOutputs();
  return nullptr;
}

//===----------------------------------------------------------------------===//
// Entering
//===----------------------------------------------------------------------===//

/// Rows that a request may have in flight beyond its first, of all requests
/// together.
uint32_t Scheduler::sharedPlaces() const {
  return 2 * session_.model().manifest().rows;
}

/// Requests that have a row in flight.
uint32_t Scheduler::countFlying() const {
  return std::count_if(
      bySequence_.begin(), bySequence_.end(), [&](uint32_t number) {
        return number != RONDO_RT_NONE &&
               requests_[number].entered > requests_[number].computed;
      });
}

/// Rows that `request` may enter when `left` more fit this step.
uint32_t Scheduler::countEntering(const Request &request, uint32_t left) const {
  const Manifest &manifest = session_.model().manifest();
  uint32_t flying = request.entered - request.computed;
  uint32_t used = waiting_.size() - countFlying();
  uint32_t places = sharedPlaces() - used + (flying == 0);
  uint32_t most = std::min({options_.chunk, left, places});
  most = std::min<uint32_t>(most, request.tokens.size() - request.entered);
  return std::min(most, manifest.rows - std::min(flying, manifest.rows));
}

/// Lets rows of every request in while there is room, those that decode first.
Error Scheduler::enterRows() {
  rows_.clear();
  uint32_t most = session_.model().manifest().rows;
  uint32_t count = bySequence_.size();
  for (bool decoding : {true, false})
    for (uint32_t i = 0; i < count; ++i) {
      uint32_t number = bySequence_[(turn_ + i) % count];
      if (number != RONDO_RT_NONE && requests_[number].decoding() == decoding)
        enterRequest(number, most - rows_.size());
    }
  turn_ = (turn_ + 1) % count;
  if (rows_.empty())
    return nullptr;
  return session_.prelude(rows_.data(), rows_.size());
}

void Scheduler::enterRequest(uint32_t number, uint32_t left) {
  Request &request = requests_[number];
  uint32_t rows = countEntering(request, left);
  if (rows == 0)
    return;
  if (Error error = session_.reserve(request.sequence, request.entered + rows))
    return finish(request, std::move(error));
  // Nothing of the request is in flight before a new token, and nothing comes
  // after it until it is read out.
  bool isNew = request.entered == request.computed && request.pending() == 1;
  for (uint32_t i = 0; i < rows; ++i) {
    uint32_t position = request.entered++;
    waiting_.push_back({number, position, /*visit=*/0, isNew, arrivals_++});
    rows_.push_back(makeRow(request, position));
  }
}

/// Forgets the waiting rows of a request that ends.
void Scheduler::dropWaiting(uint32_t number) {
  auto gone = [&](const WaitingRow &row) { return row.request == number; };
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), gone),
                 waiting_.end());
}

//===----------------------------------------------------------------------===//
// Running and leaving
//===----------------------------------------------------------------------===//

/// Runs one visit of the rows that the policy chooses; they come first in
/// `waiting_`, and `rows_` holds them.
Error Scheduler::runVisit() {
  const Visits &visits = session_.visits();
  uint32_t most = session_.model().manifest().rows;
  std::fill(loads_.begin(), loads_.end(), ClassLoad());
  for (const WaitingRow &row : waiting_) {
    ClassLoad &load = loads_[visits.classOf(row.visit)];
    ++load.rows;
    load.deepest = std::max(load.deepest, row.visit);
  }
  uint32_t chosen = chooseClass(loads_, most);
  auto end = std::partition(waiting_.begin(), waiting_.end(),
                            [&](const WaitingRow &row) {
                              return visits.classOf(row.visit) == chosen;
                            });
  std::sort(waiting_.begin(), end, goesFirst);
  rows_.clear();
  stepHasPrompt_ = false;
  for (uint32_t i = 0; i < std::min(loads_[chosen].rows, most); ++i) {
    WaitingRow &row = waiting_[i];
    rows_.push_back(makeRow(requests_[row.request], row.position));
    rows_.back().visit = row.visit;
    stepHasPrompt_ |= row.position < requests_[row.request].promptLength;
  }
  if (Error error = session_.depthStep(rows_.data(), rows_.size()))
    return error;
  for (size_t i = 0; i < rows_.size(); ++i)
    waiting_[i].visit =
        session_.nextVisit(rows_[i].sequence, rows_[i].position);
  return nullptr;
}

/// Takes the rows that have run all visits through the coda; `rows_` holds
/// them.
Error Scheduler::leaveRows() {
  uint32_t visits = session_.visits().count();
  // All of them ran in this step, so that they fit one.
  std::sort(waiting_.begin(), waiting_.end(),
            [&](const WaitingRow &a, const WaitingRow &b) {
              return a.visit == visits && b.visit == visits
                  ? a.arrival<b.arrival : (a.visit == visits)>(b.visit ==
                                                               visits);
            });
  rows_.clear();
  rowRequests_.clear();
  outputRows_.clear();
  for (const WaitingRow &row : waiting_) {
    if (row.visit < visits)
      break;
    const Request &request = requests_[row.request];
    if (wantsLogits(request, row.position))
      outputRows_.push_back(rows_.size());
    rows_.push_back(makeRow(request, row.position));
    rows_.back().visit = visits;
    rowRequests_.push_back(row.request);
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + rows_.size());
  if (rows_.empty())
    return nullptr;
  return session_.coda(rows_.data(), rows_.size(), outputRows_.data(),
                       outputRows_.size());
}
