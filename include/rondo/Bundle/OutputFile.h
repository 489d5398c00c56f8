//===- OutputFile.h - a file that appears when it is complete ---*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Written under a temporary name in the same folder and renamed at the end. An
// error, an unfinished object and an interrupt (SIGINT, SIGTERM) remove it.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_OUTPUTFILE_H
#define RONDO_BUNDLE_OUTPUTFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rondo {

/// An error if no file can be written under `path`: a missing folder, a folder
/// or device of that name, no permission. Asked before long work.
llvm::Error checkWritable(llvm::StringRef path);

/// A file of a command line, and what it is to the user: "the input", "-o".
struct NamedFile {
  std::string role;
  std::string path;
};

/// Adds the file `path`, or all files of the folder `path` but those of kinds
/// that no import reads (.rondo, .mlir, .map): a model may be compiled into its
/// own folder, and again. Adds nothing for an empty path.
void addInputFiles(llvm::StringRef role, llvm::StringRef path,
                   std::vector<NamedFile> &files);

/// An error if writing one of `outputs` would destroy one of `inputs`, or
/// another of them: the same file (device and inode), whatever it is called.
/// `-`, standard input or output, is no file. Asked before anything is written.
llvm::Error checkOverwrites(llvm::ArrayRef<NamedFile> outputs,
                            llvm::ArrayRef<NamedFile> inputs);

/// One file being written.
class OutputFile {
public:
  /// Starts the file that will be called `path`.
  static llvm::Expected<OutputFile> create(llvm::StringRef path);
  OutputFile(OutputFile &&) = default;
  ~OutputFile();

  /// Moves on to byte `position`, not before the current one; what is skipped
  /// reads as zeros.
  void skipTo(uint64_t position);
  /// Appends bytes.
  llvm::Error write(llvm::ArrayRef<char> bytes);
  /// Bytes so far.
  uint64_t getPosition() const { return stream->tell(); }
  /// Writes `head` over the first bytes and gives the file its name.
  llvm::Error finish(llvm::StringRef head);

private:
  OutputFile(llvm::StringRef path, llvm::sys::fs::TempFile file);

  /// The stream's error, once, as a message.
  llvm::Error takeStreamError();

  std::string path;
  std::optional<llvm::sys::fs::TempFile> file;
  std::unique_ptr<llvm::raw_fd_ostream> stream;
};

/// Writes a whole file.
llvm::Error writeFile(llvm::StringRef path, llvm::StringRef text);

} // namespace rondo

#endif // RONDO_BUNDLE_OUTPUTFILE_H
