//===- TensorFile.cpp - writing a safetensors file ------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "TensorFile.h"
#include "Handles.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace rondo_run;

/// Readers like the data aligned; the header is padded with spaces to this.
static constexpr uint64_t kDataAlignment = 64;

[[noreturn]] static void fail(const std::string &path,
                              const std::string &reason) {
  throw InputFailure("cannot write '" + path + "': " + reason +
                     "; give another file");
}

[[noreturn]] static void fail(const std::string &path) {
  fail(path, std::strerror(errno));
}

/// Publishing would replace a device such as /dev/null by a file.
static void refuseSpecial(const std::string &path) {
  struct stat facts;
  if (stat(path.c_str(), &facts) == 0 && !S_ISREG(facts.st_mode))
    fail(path, S_ISDIR(facts.st_mode) ? "it is a folder"
                                      : "it is not a regular file");
}

TensorFile::~TensorFile() {
  if (file_ >= 0)
    close(file_);
  if (!temporary_.empty())
    unlink(temporary_.c_str());
}

size_t TensorFile::add(const std::string &name, uint64_t rows, uint64_t width,
                       rondo_rt_trace_form form) {
  tensors_.push_back({name, rows, width, dataBytes_, form, /*isVector=*/false});
  if (!tensors_.back().hasSomeRows())
    dataBytes_ += rows * tensors_.back().getRowBytes();
  return tensors_.size() - 1;
}

size_t TensorFile::addVector(const std::string &name, uint64_t width) {
  size_t number = add(name, 1, width);
  tensors_[number].isVector = true;
  return number;
}

std::string TensorFile::headerText() const {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  for (const Tensor &tensor : tensors_) {
    uint64_t end = tensor.offset + tensor.rows * tensor.getRowBytes();
    std::vector<uint64_t> shape;
    if (!tensor.isVector)
      shape.push_back(tensor.rows);
    if (tensor.form == RONDO_RT_TRACE_ROWS)
      shape.push_back(tensor.width);
    header[tensor.name] = {{"dtype", tensor.isInteger() ? "I64" : "F32"},
                           {"shape", shape},
                           {"data_offsets", {tensor.offset, end}}};
  }
  return header.dump();
}

/// Fills the room between the file's start and its data.
void TensorFile::writeHeader() {
  std::string text = headerText();
  uint64_t length = dataStart_ - sizeof(length);
  text.resize(length, ' ');
  writeAt(0, reinterpret_cast<const char *>(&length), sizeof(length));
  writeAt(sizeof(length), text.data(), length);
}

/// Writes the tensors that have some rows only behind all others.
void TensorFile::writeKept() {
  uint64_t end = dataBytes_;
  bool hasKept = false;
  for (Tensor &tensor : tensors_) {
    if (!tensor.hasSomeRows())
      continue;
    hasKept = true;
    tensor.offset = end;
    tensor.rows = tensor.kept.size();
    for (auto [row, value] : tensor.kept) {
      int64_t position = row;
      const void *data = &value;
      if (tensor.isInteger())
        data = &position;
      writeAt(dataStart_ + end, static_cast<const char *>(data),
              tensor.getRowBytes());
      end += tensor.getRowBytes();
    }
  }
  if (hasKept)
    writeHeader();
}

void TensorFile::open() {
  refuseSpecial(path_);
  std::string temporary = path_ + ".partial." + std::to_string(getpid());
  file_ =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file_ < 0)
    fail(path_);
  temporary_ = temporary;
  // Numbers of tensors with some rows get no longer than these.
  uint64_t most = dataBytes_;
  for (Tensor &tensor : tensors_)
    if (tensor.hasSomeRows()) {
      tensor.offset = most;
      most += tensor.rows * tensor.getRowBytes();
    }
  dataStart_ = sizeof(uint64_t) + headerText().size();
  dataStart_ += kDataAlignment - dataStart_ % kDataAlignment;
  writeHeader();
  if (ftruncate(file_, static_cast<off_t>(dataStart_ + dataBytes_)))
    fail(path_);
}

void TensorFile::writeAt(uint64_t offset, const char *data, uint64_t bytes) {
  while (bytes) {
    ssize_t count = pwrite(file_, data, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0)
      fail(path_);
    data += count;
    offset += count;
    bytes -= count;
  }
}

void TensorFile::writeRow(size_t tensor, uint64_t row, const float *values) {
  Tensor &to = tensors_[tensor];
  if (to.hasSomeRows()) {
    bool isKept = to.isInteger() ? values[0] != 0 : !std::isnan(values[0]);
    if (isKept)
      to.kept[row] = values[0];
    return;
  }
  int64_t integer = 0;
  const void *data = values;
  if (to.isInteger()) {
    integer = std::llround(values[0]);
    data = &integer;
  }
  writeAt(dataStart_ + to.offset + row * to.getRowBytes(),
          static_cast<const char *>(data), to.getRowBytes());
}

void TensorFile::publish() {
  writeKept();
  int closed = close(file_);
  file_ = -1;
  if (closed || std::rename(temporary_.c_str(), path_.c_str()))
    fail(path_);
  temporary_.clear();
}
