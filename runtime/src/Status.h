//===- Status.h - failures inside the runtime -------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The runtime's own functions return Error, which is null on success:
//   if (Error error = check()) return error;
// The public functions hand the same object out as rondo_rt_status.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_STATUS_H
#define RONDO_RT_STATUS_H

#include "rondo_rt/runtime.h"

#include <memory>
#include <string>

/// A failure as callers of the public interface see it.
struct rondo_rt_status {
  rondo_rt_status_code code;
  std::string message;
};

namespace rondo_rt {

/// Releases a status through the public function, which knows the static one.
struct StatusDeleter {
  void operator()(rondo_rt_status *status) const {
    rondo_rt_status_free(status);
  }
};

/// Null on success; tests true on failure.
using Error = std::unique_ptr<rondo_rt_status, StatusDeleter>;

/// A failure with a message in printf style.
[[gnu::format(printf, 2, 3)]] Error makeError(rondo_rt_status_code code,
                                              const char *format, ...);

/// The failure to allocate; never allocates itself.
Error outOfMemory();

/// `bytes` for people, in powers of 1000: "1.5 GB".
std::string formatBytes(uint64_t bytes);

} // namespace rondo_rt

#endif // RONDO_RT_STATUS_H
