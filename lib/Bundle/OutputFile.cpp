//===- OutputFile.cpp - a file that appears when it is complete -----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/OutputFile.h"

#include "llvm/Support/Path.h"

using namespace rondo;
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
