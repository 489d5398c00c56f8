//===- Tensor.h - values of the interpreter, and their files ----*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Plain arrays of doubles, read from and written to safetensors files. Integers
// are doubles too: token ids and positions are far below 2^53.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_INTERPRETER_TENSOR_H
#define RONDO_INTERPRETER_TENSOR_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace rondo {

namespace interpreter {
struct Selection;
}

/// What a file's numbers mean.
enum class NumberKind { Float, Integer };

/// An array in row-major order; a rank of 0 is a scalar.
struct Tensor {
  NumberKind kind = NumberKind::Float;
  /// Outermost dimension first.
  llvm::SmallVector<int64_t, 2> shape;
  std::vector<double> values;
  /// Which rows of a step these are; null: all of them, or no rows.
  std::shared_ptr<const interpreter::Selection> selection;

  /// An array of zeros.
  static Tensor zeros(llvm::ArrayRef<int64_t> shape,
                      NumberKind kind = NumberKind::Float);
  /// An integer.
  static Tensor integer(int64_t value);

  /// First dimension. Not for scalars.
  int64_t getRows() const { return shape.front(); }
  /// Elements of a row: the product of the other dimensions. Not for scalars.
  int64_t getWidth() const;

  /// Element of a tensor of rank 2, or of a flattened one.
  double &at(int64_t row, int64_t column) {
    return values[row * getWidth() + column];
  }
  double at(int64_t row, int64_t column) const {
    return values[row * getWidth() + column];
  }
  /// All of one row.
  llvm::ArrayRef<double> getRow(int64_t row) const {
    return llvm::ArrayRef(values).slice(row * getWidth(), getWidth());
  }

  /// The rows with the numbers `rows`, in that order.
  Tensor takeRows(llvm::ArrayRef<int64_t> rows) const;
  /// Overwrites the rows with the numbers `rows` by those of `source`.
  void putRows(llvm::ArrayRef<int64_t> rows, const Tensor &source);
};

/// Tensors by name.
using TensorMap = std::map<std::string, Tensor>;

/// Reads a safetensors file of F64, F32, F16, BF16, I64 and I32 tensors.
llvm::Expected<TensorMap> readTensors(llvm::StringRef path);

/// The bytes of a safetensors file: integers as I64, numbers as F64, or as F32
/// if `single` says that they are rounded to it. Names are UTF-8.
std::string formatTensors(const TensorMap &tensors, bool single);

} // namespace rondo

#endif // RONDO_INTERPRETER_TENSOR_H
