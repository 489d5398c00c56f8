//===- NoexecTest.cpp - bundles on file systems that forbid execution -----===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Mounts one in a child with name spaces of its own; where the system does not
// allow that, the case says that it was skipped.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

#include <algorithm>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace rondo_rt_test;
using namespace rondo_rt_demo;

namespace {

enum Outcome { kPassed = 0, kFailed = 1, kSkipped = 77 };

/// Gives this process mounts of its own, as root or in a user name space.
bool ownMounts() {
  uid_t user = getuid();
  if (unshare(CLONE_NEWNS)) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
      return false;
    // Without a map the user cannot create files.
    std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
  }
  // Or the mount would be seen outside.
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", "/tmp", "tmpfs", MS_NOEXEC, nullptr) == 0;
}

/// Whether the file is there but cannot be mapped executable.
bool forbidsExecution(const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return false;
  void *mapped =
      mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
  close(file);
  return mapped == MAP_FAILED;
}

/// Runs in the child: one step of a bundle on a noexec file system.
Outcome runOnNoexec(const std::string &bundle,
                    const std::vector<float> &expected) {
  if (!ownMounts())
    return kSkipped;
  const char *path = "/tmp/model.rondo";
  std::ofstream(path, std::ios::binary) << bundle;
  if (!forbidsExecution(path))
    return kSkipped;
  rondo_rt_model *model = nullptr;
  rondo_rt_session *session = nullptr;
  rondo_rt_session_options options = {1, 0, 0};
  rondo_rt_row row = makeRow(0, 0, 5);
  uint32_t sequence = 0, output = 0;
  if (rondo_rt_model_load(path, nullptr, &model) ||
      rondo_rt_session_create(model, &options, &session) ||
      rondo_rt_sequence_create(session, &sequence) ||
      rondo_rt_session_step(session, &row, 1, &output, 1))
    return kFailed;
  const float *logits = rondo_rt_session_logits(session);
  bool equal = std::equal(expected.begin(), expected.end(), logits);
  rondo_rt_session_free(session);
  rondo_rt_model_free(model);
  return equal ? kPassed : kFailed;
}

} // namespace

TEST_CASE("code runs from a file system mounted noexec") {
  std::string bundle = assemble(makeParts());
  std::vector<float> expected = computeReference({5}).logits[0];
  pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0)
    _exit(runOnNoexec(bundle, expected));
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kSkipped)
    MESSAGE("skipped: a noexec file system cannot be mounted here");
  else
    CHECK(WEXITSTATUS(status) == kPassed);
}
