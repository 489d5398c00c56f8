//===- BenchSession.h - a model set up to be measured -----------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_BENCHSESSION_H
#define RONDO_RUN_BENCHSESSION_H

#include "Ceilings.h"
#include "Handles.h"
#include "Options.h"

#include <nlohmann/json.hpp>

#include <vector>

namespace rondo_run {

/// A session with the ceilings of its machine and the sequences of a batch.
class BenchSession {
public:
  BenchSession(rondo_rt_model *model, const Options &options);
  ~BenchSession();
  BenchSession(const BenchSession &) = delete;
  BenchSession &operator=(const BenchSession &) = delete;

  rondo_rt_session *get() const { return session_.get(); }
  const rondo_rt_model_info &info() const { return info_; }
  const nlohmann::json &manifest() const { return manifest_; }
  CeilingProbe &probe() { return probe_; }
  const CeilingProbe &probe() const { return probe_; }
  const std::vector<uint32_t> &sequences() const { return sequences_; }

  /// Throws InputFailure if sequences cannot be so long.
  void requirePositions(uint64_t length) const;
  /// Opens the batch; to be called once its size is checked.
  void openSequences(uint32_t count);
  /// A row to measure with. Tokens differ, so that no two sequences compute the
  /// same.
  rondo_rt_row makeRow(uint32_t sequence, uint32_t position) const;

private:
  const rondo_rt_model_info &info_;
  nlohmann::json manifest_;
  Session session_;
  CeilingProbe probe_;
  std::vector<uint32_t> sequences_;
};

} // namespace rondo_run

#endif // RONDO_RUN_BENCHSESSION_H
