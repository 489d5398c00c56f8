//===- Session.h - memory and threads of a running model --------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Owns everything compiled code touches. All of it is allocated at creation,
// except KV pages, which are committed between steps; the step itself allocates
// nothing.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_SESSION_H
#define RONDO_RT_SESSION_H

#include "KvPool.h"
#include "Model.h"
#include "ModelInputs.h"
#include "Routing.h"
#include "RowsInFlight.h"
#include "Team.h"
#include "Visits.h"

namespace rondo_rt {

/// Whether states come into the arena before a step at mixed depths, and leave
/// it afterwards.
struct DepthEnds {
  bool gather;
  bool scatter;
};

/// See rondo_rt_session.
class Session {
public:
  static Error create(const Model &model,
                      const rondo_rt_session_options &options,
                      std::unique_ptr<Session> &session);

  Error step(const rondo_rt_row *rows, uint32_t rowCount,
             const uint32_t *outputRows, uint32_t outputCount);

  /// Steps of rows at mixed depths; see runtime.h.
  Error prelude(const rondo_rt_row *rows, uint32_t rowCount);
  Error depthStep(const rondo_rt_row *rows, uint32_t rowCount);
  Error coda(const rondo_rt_row *rows, uint32_t rowCount,
             const uint32_t *outputRows, uint32_t outputCount);
  uint32_t rowsInFlight() const { return flight_.size(); }
  /// An error if the model's rows cannot be at different depths.
  Error checkMixedDepths() const;
  /// The visit that a row in flight comes to next, or RONDO_RT_NONE.
  uint32_t nextVisit(uint32_t sequence, uint32_t position);

  /// Rows of an input, and the seed of those that are drawn; see runtime.h.
  Error setInput(const char *name, const float *values, uint32_t positions,
                 uint32_t width);
  Error setSeed(uint64_t seed);
  /// Visits of the loop over depth in the steps to come.
  Error setDepth(uint32_t depth);
  const Visits &visits() const { return visits_; }

  Error createSequence(uint32_t &sequence);
  void freeSequence(uint32_t sequence);
  Error reserve(uint32_t sequence, uint32_t length);
  Error truncate(uint32_t sequence, uint32_t length);
  uint32_t length(uint32_t sequence) const;

  const Model &model() const { return model_; }
  Team &team() { return *team_; }
  const Team &team() const { return *team_; }
  const KvPool &kv() const { return kv_; }
  /// How many visits computed a position.
  uint32_t visitsOf(uint32_t sequence, uint32_t position) const {
    return routing_.empty() ? visits_.depth()
                            : routing_.depth(sequence, position) + 1;
  }
  const float *logits() const {
    return reinterpret_cast<const float *>(logits_.data());
  }
  /// Null if the session does not trace or has no such point or row.
  const float *trace(uint32_t point, uint32_t row) const;

private:
  /// A sequence that is open and how far it was computed.
  struct Sequence {
    bool open = false;
    uint32_t length = 0;
  };

  explicit Session(const Model &model) : model_(model), visits_(model) {}
  Error allocate(const rondo_rt_session_options &options, uint32_t threads);
  Error checkMemory(uint32_t threads, uint64_t &kvLimit) const;
  void fillContext();
  void fillVisits();
  Error checkOpen(uint32_t sequence) const;
  /// An error that says what cannot change, if a sequence is open.
  Error checkNoneOpen(const char *what) const;
  Error checkRow(const rondo_rt_row &row, const rondo_rt_row *previous,
                 uint32_t index) const;
  Error checkIds(const rondo_rt_row &row, uint32_t index) const;
  Error checkVisible(const rondo_rt_row &row, uint32_t end,
                     uint32_t index) const;
  Error checkRowCount(uint32_t rowCount) const;
  Error checkOutputs(const uint32_t *outputRows, uint32_t outputCount,
                     uint32_t rowCount) const;
  Error checkStep(const rondo_rt_row *rows, uint32_t rowCount,
                  const uint32_t *outputRows, uint32_t outputCount) const;

  // Rows at mixed depths, in SessionDepth.cpp.
  Error checkDepthCall(const rondo_rt_row *rows, uint32_t rowCount) const;
  Error checkEntering(const rondo_rt_row *rows, uint32_t rowCount);
  Error callRows(const rondo_rt_row *rows, uint32_t rowCount);
  Error checkVisits(const rondo_rt_row *rows, uint32_t rowCount);
  Error checkLeaving(const rondo_rt_row *rows, uint32_t rowCount,
                     const uint32_t *outputRows, uint32_t outputCount) const;
  void uncallRows(const rondo_rt_row *rows, uint32_t rowCount);
  void sortRows(const rondo_rt_row *rows, uint32_t rowCount);
  void placeRows(const rondo_rt_row *rows, bool keepVisits);
  void runDepth(rondo_rt_entry which, DepthEnds ends);
  void leaveLoop(RowInFlight &row);

  const Model &model_;
  std::unique_ptr<Team> team_;
  KvPool kv_;
  Mapping arena_;
  Mapping scratch_;
  Mapping logits_;
  Mapping trace_;
  ModelInputs inputs_;
  Routing routing_;
  Visits visits_;
  std::vector<Sequence> sequences_;
  RowsInFlight flight_;
  // Of the rows of a step at mixed depths, in the order in which they run:
  std::vector<uint32_t> order_;           // numbers among the caller's rows
  std::vector<rondo_rt_row> descriptors_; // what the code sees of them
  std::vector<RowInFlight *> moving_;     // themselves
  std::vector<uint32_t> tracedAt_;        // [rows] row of the code, by caller's
  rondo_rt_context context_ = {};
  rondo_rt_entry_fn full_ = nullptr;
};

/// Fills this thread's share of the states that are inputs, and waits for the
/// others. Called by all threads of a team before the prelude.
void fillInputs(const ModelInputs &inputs, const rondo_rt_context &context,
                Team &team, uint32_t thread);

} // namespace rondo_rt

/// The public handle is the session itself.
struct rondo_rt_session {
  std::unique_ptr<rondo_rt::Session> session;
};

#endif // RONDO_RT_SESSION_H
