//===- Overwrites.cpp - outputs that would destroy inputs -----------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Overwrites.h"
#include "Handles.h"

#include <sys/stat.h>

using namespace rondo_run;

namespace {

/// A file of the command line, and what it is to the user.
struct NamedFile {
  std::string role;
  std::string path;
};

/// Which file a name leads to, through whatever links.
struct Identity {
  explicit Identity(const std::string &path) {
    struct stat facts;
    exists = stat(path.c_str(), &facts) == 0;
    device = exists ? facts.st_dev : 0;
    inode = exists ? facts.st_ino : 0;
  }
  bool operator==(const Identity &other) const {
    return exists && other.exists && device == other.device &&
           inode == other.inode;
  }

  bool exists;
  dev_t device;
  ino_t inode;
};

std::string folderOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

/// Files that are not there yet are one if they would appear in one folder
/// under one name.
bool isSameFile(const std::string &first, const std::string &second) {
  Identity one(first), other(second);
  if (one.exists || other.exists)
    return one == other;
  return first.substr(first.rfind('/') + 1) ==
             second.substr(second.rfind('/') + 1) &&
         Identity(folderOf(first)) == Identity(folderOf(second));
}

} // namespace

void rondo_run::refuseOverwrites(const Options &options) {
  std::vector<NamedFile> taken = {{"the model", options.model},
                                  {"--tokens-file", options.input.tokensFile},
                                  {"--inputs", options.input.inputsFile}};
  const NamedFile outputs[] = {{"--logits", options.output.logitsFile},
                               {"--trace", options.output.traceFile}};
  for (const NamedFile &output : outputs) {
    if (output.path.empty())
      continue;
    for (const NamedFile &file : taken)
      if (!file.path.empty() && isSameFile(output.path, file.path))
        throw UsageFailure(output.role + ": '" + output.path +
                           "' would overwrite " + file.role + " '" + file.path +
                           "'; give another file");
    taken.push_back(output);
  }
}
