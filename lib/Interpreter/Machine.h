//===- Machine.h - the state that operations read and change ----*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A Machine is what lives as long as a run: parameters, KV caches, the rows of
// the present step. A Frame is what lives as long as one execution of a
// function or block: its values and its execution point.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_INTERPRETER_MACHINE_H
#define RONDO_LIB_INTERPRETER_MACHINE_H

#include "Parameters.h"
#include "rondo/Interpreter/Interpreter.h"

#include <tuple>

namespace rondo::interpreter {

/// What an operation sees of a row beside its values.
struct Row {
  int64_t sequence;
  int64_t position;
  int64_t tokenType = 0;
  /// Where it stands in KV slots.
  int64_t place;
};

/// Rows of a step that a visit computes.
struct Selection {
  std::vector<Row> rows;
  /// Their numbers among all rows of the step, ascending.
  std::vector<int64_t> numbers;
};

/// What one row left in one KV slot.
struct CacheEntry {
  /// Both are `heads` vectors one after the other.
  std::vector<double> key, value;
  int64_t heads = 0;
};

/// By slot, sequence and place.
using KVCaches = std::map<std::tuple<int64_t, int64_t, int64_t>, CacheEntry>;

struct Machine {
  Machine(const ArchiveSet &archives, Precision precision)
      : params(archives), precision(precision) {}

  Parameters params;
  Precision precision;
  KVCaches caches;
  /// Rows that a visit computed so far, by `rondo.select_rows`, sequence and
  /// side index.
  std::map<std::tuple<mlir::Operation *, int64_t, int64_t>, int64_t> selected;
  /// Rows of the present step, or those that an operation computes.
  std::vector<Row> rows;
  /// Traced values of the present step in order of execution.
  std::vector<std::pair<TraceOp, Tensor>> traces;
};

class Frame {
public:
  Frame(Machine &machine, ExecutionPoint point)
      : machine(machine), point(point) {}

  /// The present value of `value`.
  const Tensor &get(mlir::Value value) const {
    return values.find(value)->second;
  }
  llvm::SmallVector<Tensor> get(mlir::ValueRange range) const {
    return llvm::map_to_vector(range, [&](mlir::Value v) { return get(v); });
  }
  /// Sets a value, rounded as the machine's precision says.
  void set(mlir::Value value, Tensor tensor);
  void set(mlir::ValueRange range, llvm::ArrayRef<Tensor> tensors) {
    for (auto [value, tensor] : llvm::zip_equal(range, tensors))
      set(value, tensor);
  }
  /// Says which rows of the step the present value of `value` is.
  void select(mlir::Value value, std::shared_ptr<const Selection> selection) {
    values.find(value)->second.selection = std::move(selection);
  }
  /// Zeros in the shape of `value`, for the rows of the present step.
  Tensor makeRows(mlir::Value value) const;
  /// The weights that `user` reads under the name `symbol`.
  mlir::FailureOr<const Weights *> resolve(mlir::Operation *user,
                                           mlir::FlatSymbolRefAttr symbol) {
    return machine.params.resolve(user, symbol, point);
  }

  Machine &machine;
  const ExecutionPoint point;

private:
  llvm::DenseMap<mlir::Value, Tensor> values;
};

} // namespace rondo::interpreter

#endif // RONDO_LIB_INTERPRETER_MACHINE_H
