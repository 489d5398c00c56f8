//===- OutputFile.cpp - a file that appears when it is complete -----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/OutputFile.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Path.h"

using namespace rondo;
using llvm::ArrayRef;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;
namespace fs = llvm::sys::fs;

static Error makeError(StringRef path, const llvm::Twine &reason) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(),
                                 "cannot write '" + path + "': " + reason);
}

Error rondo::checkWritable(StringRef path) {
  fs::file_status status;
  std::error_code code = fs::status(path, status);
  // A rename would replace a device such as /dev/null by a file.
  if (!code && status.type() != fs::file_type::regular_file)
    return makeError(path, status.type() == fs::file_type::directory_file
                               ? "it is a folder; give a file name"
                               : "it is not a regular file");
  StringRef folder = llvm::sys::path::parent_path(path);
  if (folder.empty())
    folder = ".";
  if (!fs::is_directory(folder))
    return makeError(path, "there is no folder '" + folder + "'");
  if (fs::access(folder, fs::AccessMode::Write))
    return makeError(path, "no permission to write in '" + folder + "'");
  return Error::success();
}

/// What the compiler and its users write beside a checkpoint.
static constexpr llvm::StringLiteral kWrittenKinds[] = {".rondo", ".mlir",
                                                        ".map"};

void rondo::addInputFiles(StringRef role, StringRef path,
                          std::vector<NamedFile> &files) {
  if (!fs::is_directory(path)) {
    if (!path.empty())
      files.push_back({role.str(), path.str()});
    return;
  }
  std::error_code code; // what cannot be listed is reported when it is read
  fs::recursive_directory_iterator it(path, code, /*follow_symlinks=*/false);
  for (; it != fs::recursive_directory_iterator() && !code; it.increment(code))
    if (!llvm::is_contained(kWrittenKinds,
                            llvm::sys::path::extension(it->path())))
      files.push_back({role.str(), it->path()});
}

/// Whether both names lead to one file, through whatever links. Files that are
/// not there yet are one if they would appear in one folder under one name.
static bool isSameFile(StringRef first, StringRef second) {
  if (first == "-" || second == "-")
    return false;
  fs::UniqueID one, other;
  bool hasOne = !fs::getUniqueID(first, one);
  bool hasOther = !fs::getUniqueID(second, other);
  if (hasOne || hasOther)
    return hasOne && hasOther && one == other;
  auto getFolder = [](StringRef path, fs::UniqueID &folder) {
    StringRef parent = llvm::sys::path::parent_path(path);
    return !fs::getUniqueID(parent.empty() ? "." : parent, folder);
  };
  return llvm::sys::path::filename(first) ==
             llvm::sys::path::filename(second) &&
         getFolder(first, one) && getFolder(second, other) && one == other;
}

Error rondo::checkOverwrites(ArrayRef<NamedFile> outputs,
                             ArrayRef<NamedFile> inputs) {
  for (auto [number, output] : llvm::enumerate(outputs)) {
    auto clashes = [&](const NamedFile &file) {
      return isSameFile(output.path, file.path);
    };
    ArrayRef<NamedFile> others = outputs.take_front(number);
    const NamedFile *clash = llvm::find_if(inputs, clashes);
    if (clash == inputs.end()) {
      clash = llvm::find_if(others, clashes);
      if (clash == others.end())
        continue;
    }
    return llvm::createStringError(
        llvm::inconvertibleErrorCode(),
        output.role + " '" + output.path + "' would overwrite " + clash->role +
            " '" + clash->path + "'; give another file");
  }
  return Error::success();
}

OutputFile::OutputFile(StringRef path, fs::TempFile temporary)
    : path(path), file(std::move(temporary)),
      stream(std::make_unique<llvm::raw_fd_ostream>(file->FD,
                                                    /*shouldClose=*/false)) {}

Expected<OutputFile> OutputFile::create(StringRef path) {
  if (Error error = checkWritable(path))
    return std::move(error);
  Expected<fs::TempFile> temporary =
      fs::TempFile::create(path + ".%%%%%%.tmp", fs::all_read | fs::all_write);
  if (!temporary)
    return makeError(path, toString(temporary.takeError()));
  return OutputFile(path, std::move(*temporary));
}

OutputFile::~OutputFile() {
  if (!stream) // finished, or moved from
    return;
  stream->flush();
  stream->clear_error(); // whoever saw it has reported it
  stream.reset();
  consumeError(file->discard());
}

Error OutputFile::takeStreamError() {
  std::error_code code = stream->error();
  stream->clear_error();
  return code ? makeError(path, code.message()) : Error::success();
}

void OutputFile::skipTo(uint64_t position) {
  stream->write_zeros(position - stream->tell());
}

Error OutputFile::write(llvm::ArrayRef<char> bytes) {
  stream->write(bytes.data(), bytes.size());
  return takeStreamError();
}

Error OutputFile::finish(StringRef head) {
  stream->flush();
  stream->pwrite(head.data(), head.size(), 0);
  stream->flush();
  if (Error error = takeStreamError())
    return error;
  stream.reset();
  Error error = file->keep(path);
  file.reset();
  return error ? makeError(path, toString(std::move(error))) : Error::success();
}

Error rondo::writeFile(StringRef path, StringRef text) {
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file)
    return file.takeError();
  if (Error error = file->write(llvm::ArrayRef(text.data(), text.size())))
    return error;
  return file->finish("");
}
