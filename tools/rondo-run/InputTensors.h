//===- InputTensors.h - tensors that a model takes --------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_INPUTTENSORS_H
#define RONDO_RUN_INPUTTENSORS_H

#include "Handles.h"

namespace rondo_run {

/// Gives the session every tensor of a safetensors file of f32 tensors
/// [positions, width]. Throws InputFailure that names the file.
void giveInputs(rondo_rt_session *session, const std::string &path);

} // namespace rondo_run

#endif // RONDO_RUN_INPUTTENSORS_H
