//===- Handles.h - the runtime's C interface for this program ---*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Owners of the runtime's objects, and failures as exceptions: main() catches
// them, and whatever was half-written is removed on the way.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_HANDLES_H
#define RONDO_RUN_HANDLES_H

#include "rondo_rt/runtime.h"

#include <memory>
#include <stdexcept>
#include <string>

namespace rondo_run {

/// The input or the model is at fault: exit status 1.
struct InputFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Wrong use of the command line: exit status 2.
struct UsageFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws what a status says, after `context`; does nothing for success.
inline void check(rondo_rt_status *status, const std::string &context = "") {
  if (!status)
    return;
  std::string message = context + rondo_rt_status_message(status);
  rondo_rt_status_free(status);
  throw InputFailure(message);
}

/// Calls the `_free` function of an object.
template <auto Free> struct Deleter {
  template <typename T> void operator()(T *object) const { Free(object); }
};

using Model = std::unique_ptr<rondo_rt_model, Deleter<rondo_rt_model_free>>;
using Session =
    std::unique_ptr<rondo_rt_session, Deleter<rondo_rt_session_free>>;
using Scheduler =
    std::unique_ptr<rondo_rt_scheduler, Deleter<rondo_rt_scheduler_free>>;

} // namespace rondo_run

#endif // RONDO_RUN_HANDLES_H
