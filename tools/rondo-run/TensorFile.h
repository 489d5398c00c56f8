//===- TensorFile.h - writing a safetensors file ----------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Shapes are known before the first row is computed, so rows go straight to
// their place in the file. The file appears under its name only when complete:
// until publish() it has a temporary one in the same folder, removed on
// destruction.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_TENSORFILE_H
#define RONDO_RUN_TENSORFILE_H

#include "rondo_rt/runtime.h"

#include <cstdint>
#include <string>
#include <vector>

namespace rondo_run {

class TensorFile {
public:
  explicit TensorFile(std::string path) : path_(std::move(path)) {}
  TensorFile(const TensorFile &) = delete;
  ~TensorFile();

  /// Adds a tensor and returns its number: f32 [rows, width], or a number for
  /// each row. Before open().
  size_t add(const std::string &name, uint64_t rows, uint64_t width,
             rondo_rt_trace_form form = RONDO_RT_TRACE_ROWS);
  /// Adds an f32 tensor [width], whose only row is row 0.
  size_t addVector(const std::string &name, uint64_t width);
  /// Writes the header under the temporary name.
  void open();
  /// Writes one row of a tensor, whose form converts it.
  void writeRow(size_t tensor, uint64_t row, const float *values);
  /// Gives the file its name.
  void publish();

private:
  struct Tensor {
    std::string name;
    uint64_t rows;
    uint64_t width;  // floats
    uint64_t offset; // bytes from the start of the data
    rondo_rt_trace_form form;
    bool isVector; // of rank 1

    uint64_t getRowBytes() const {
      return form == RONDO_RT_TRACE_INTEGERS ? sizeof(int64_t)
                                             : width * sizeof(float);
    }
  };

  std::string headerText() const;
  void writeAt(uint64_t offset, const char *data, uint64_t bytes);

  std::string path_;
  std::string temporary_; // empty: nothing to remove
  int file_ = -1;
  uint64_t dataStart_ = 0;
  uint64_t dataBytes_ = 0;
  std::vector<Tensor> tensors_;
};

} // namespace rondo_run

#endif // RONDO_RUN_TENSORFILE_H
