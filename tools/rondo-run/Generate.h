//===- Generate.h - prompts in, tokens, logits and traces out ---*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_GENERATE_H
#define RONDO_RUN_GENERATE_H

#include "Handles.h"
#include "Options.h"

namespace rondo_run {

/// Runs the prompts and writes what the options ask for. Returns the signal
/// that ended it early, when the tokens so far are printed and no file is
/// written; 0 if none did. Throws InputFailure.
int generate(rondo_rt_model *model, const Options &options);

/// Creates a session as the options say; tells on standard error if it has
/// fewer threads than asked for.
Session createSession(rondo_rt_model *model, const Options &options);

} // namespace rondo_run

#endif // RONDO_RUN_GENERATE_H
