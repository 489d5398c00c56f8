//===- TestSupport.h - what the runtime's tests share -----------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Bundles as files in memory, owners of the C interface's objects, and the toy
// model computed in plain C++ as the reference for the hand-written image.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_TESTSUPPORT_H
#define RONDO_RT_TESTSUPPORT_H

#include "DemoBundle.h"
#include "rondo_rt/runtime.h"

#include <memory>
#include <string>
#include <vector>

namespace rondo_rt_test {

/// A file that exists in memory only.
class MemoryFile {
public:
  explicit MemoryFile(const std::string &bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile &) = delete;
  /// Overwrites one byte.
  void write(uint64_t offset, char byte);
  void resize(uint64_t bytes);
  /// A path that opens it.
  std::string path() const;

private:
  int file_;
};

template <auto Free> struct Deleter {
  template <typename T> void operator()(T *object) const { Free(object); }
};
using Model = std::unique_ptr<rondo_rt_model, Deleter<rondo_rt_model_free>>;
using Session =
    std::unique_ptr<rondo_rt_session, Deleter<rondo_rt_session_free>>;
using Scheduler =
    std::unique_ptr<rondo_rt_scheduler, Deleter<rondo_rt_scheduler_free>>;

/// A status's code and message, by value.
struct Result {
  rondo_rt_status_code code = RONDO_RT_STATUS_OK;
  std::string message;

  /// Takes over a status.
  Result(rondo_rt_status *status);
  bool ok() const { return code == RONDO_RT_STATUS_OK; }
  /// Whether it failed and the message has `text` in it.
  bool mentions(const std::string &text) const;
};

/// Loads a bundle given as bytes; the result says why there is no model.
Result load(const std::string &bytes, Model *model = nullptr,
            uint32_t flags = 0);
/// Loads a bundle that must be valid.
Model loadValid(const rondo_rt_demo::DemoOptions &options = {});
Session makeSession(const Model &model, uint32_t threads = 2,
                    uint64_t kvLimit = 0, uint32_t flags = 0);

/// A row of sequence `sequence` that sees everything before it.
rondo_rt_row makeRow(uint32_t sequence, uint32_t position, uint32_t token);

/// The toy model of abi_by_hand.c: state after each visit and logits of every
/// position of one sequence.
struct Reference {
  std::vector<std::vector<float>> logits; // [position][vocabulary]
  std::vector<std::vector<std::vector<float>>>
      state; // [visit][position][hidden]
};
Reference computeReference(const std::vector<uint32_t> &tokens);

/// The greedy continuation of the reference.
std::vector<uint32_t> referenceGreedy(std::vector<uint32_t> tokens,
                                      uint32_t count);

/// A prompt of `length` tokens; different seeds give different ones.
std::vector<uint32_t> makePrompt(uint32_t length, uint32_t seed);

} // namespace rondo_rt_test

#endif // RONDO_RT_TESTSUPPORT_H
