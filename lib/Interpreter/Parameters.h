//===- Parameters.h - the weights that an execution reads -------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_INTERPRETER_PARAMETERS_H
#define RONDO_LIB_INTERPRETER_PARAMETERS_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Import/Archive.h"

#include <map>
#include <vector>

namespace rondo::interpreter {

/// What a block is executed for; all zero outside of blocks.
struct ExecutionPoint {
  /// Entry of stacked parameters.
  int64_t layer = 0;
  /// Entry of parameters that vary by depth.
  int64_t side = 0;
  /// First KV slot.
  int64_t slot = 0;
};

/// One entry of a parameter, as the numbers that its storage type holds: f32
/// has room for all of them.
struct Weights {
  /// Elements of a row; for a vector, of all.
  int64_t width = 0;
  std::vector<float> values;

  int64_t getRows() const {
    return static_cast<int64_t>(values.size()) / width;
  }
  double at(int64_t row, int64_t column) const {
    return values[row * width + column];
  }
  double at(int64_t index) const { return values[index]; }
};

/// The parameters of a module. Entries are read when they are first used.
class Parameters {
public:
  explicit Parameters(const ArchiveSet &archives) : archives(archives) {}

  /// What `user`, executed at `point`, reads under the name `symbol`. Emits an
  /// error if the values have no form in the type they are stored as.
  mlir::FailureOr<const Weights *> resolve(mlir::Operation *user,
                                           mlir::FlatSymbolRefAttr symbol,
                                           ExecutionPoint point);

private:
  mlir::FailureOr<Weights> read(ParamOp param, int64_t entry);

  const ArchiveSet &archives;
  mlir::SymbolTableCollection symbols;
  /// By parameter and entry.
  std::map<std::pair<mlir::Operation *, int64_t>, Weights> loaded;
};

} // namespace rondo::interpreter

#endif // RONDO_LIB_INTERPRETER_PARAMETERS_H
