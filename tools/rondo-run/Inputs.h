//===- Inputs.h - prompts from the command line or a file -------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_INPUTS_H
#define RONDO_RUN_INPUTS_H

#include "Options.h"

#include "rondo_rt/runtime.h"

namespace rondo_run {

/// Token ids of one sequence.
using Prompt = std::vector<uint32_t>;

/// What a run is given.
struct Prompts {
  std::vector<Prompt> sequences;
  /// One for each token; empty: the file has none.
  std::vector<Prompt> tokenTypes;
  /// Depths to run, ascending; empty: one run as the other options say.
  std::vector<uint32_t> depths;
};

/// The prompts that the options name, checked against the vocabulary. Throws
/// InputFailure that names file, sequence and position.
Prompts readPrompts(const InputOptions &options,
                    const rondo_rt_model_info &info);

/// The whole file as text; throws InputFailure.
std::string readFile(const std::string &path);

} // namespace rondo_run

#endif // RONDO_RUN_INPUTS_H
