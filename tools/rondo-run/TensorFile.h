//===- TensorFile.h - writing a safetensors file ----------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Most shapes are known before the first row is computed, so rows go straight
// to their place in the file. Tensors that hold only some of the rows are kept
// in memory; they end the file, whose header has room for the longest they can
// be. The file appears under its name only when complete: until publish() it
// has a temporary one in the same folder, removed on destruction.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_TENSORFILE_H
#define RONDO_RUN_TENSORFILE_H

#include "rondo_rt/runtime.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace rondo_run {

class TensorFile {
public:
  explicit TensorFile(std::string path) : path_(std::move(path)) {}
  TensorFile(const TensorFile &) = delete;
  ~TensorFile();

  /// Adds a tensor and returns its number: f32 [rows, width], or a number for
  /// each row, or for some of them. Before open().
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

    std::map<uint64_t, float> kept = {}; // by row, if it has some rows only

    bool isInteger() const {
      return form == RONDO_RT_TRACE_INTEGERS ||
             form == RONDO_RT_TRACE_POSITIONS;
    }
    bool hasSomeRows() const {
      return form == RONDO_RT_TRACE_PRESENT || form == RONDO_RT_TRACE_POSITIONS;
    }
    uint64_t getRowBytes() const {
      return isInteger() ? sizeof(int64_t) : width * sizeof(float);
    }
  };

  std::string headerText() const;
  void writeHeader();
  void writeKept();
  void writeAt(uint64_t offset, const char *data, uint64_t bytes);

  std::string path_;
  std::string temporary_; // empty: nothing to remove
  int file_ = -1;
  uint64_t dataStart_ = 0;
  uint64_t dataBytes_ = 0; // of tensors with all rows
  std::vector<Tensor> tensors_;
};

} // namespace rondo_run

#endif // RONDO_RUN_TENSORFILE_H
