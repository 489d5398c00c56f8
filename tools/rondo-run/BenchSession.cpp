//===- BenchSession.cpp - a model set up to be measured -------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "BenchSession.h"
#include "Generate.h"

#include <string>

using namespace rondo_run;

BenchSession::BenchSession(rondo_rt_model *model, const Options &options)
    : info_(*rondo_rt_model_get_info(model)),
      manifest_(nlohmann::json::parse(rondo_rt_model_manifest(model))),
      session_(createSession(model, options)),
      probe_(session_.get(), manifest_["arithmetic"]) {}

BenchSession::~BenchSession() {
  for (uint32_t sequence : sequences_)
    rondo_rt_sequence_free(session_.get(), sequence);
}

void BenchSession::requirePositions(uint64_t length) const {
  if (length > info_.context)
    throw InputFailure(
        "--bench: needs " + std::to_string(length) +
        " positions, the bundle has " + std::to_string(info_.context) +
        "; measure fewer or compile with --context=" + std::to_string(length));
}

void BenchSession::openSequences(uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t sequence;
    check(rondo_rt_sequence_create(session_.get(), &sequence));
    sequences_.push_back(sequence);
  }
}

rondo_rt_row BenchSession::makeRow(uint32_t sequence, uint32_t position) const {
  rondo_rt_row row = {};
  row.token = (position * 7919u + sequence * 104729u) % info_.vocabulary;
  row.position = position;
  row.sequence = sequence;
  row.visible = position + 1;
  return row;
}
