//===- RepeatedWindows.h - runs of like windows of operations ---*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The analysis behind rondo-reroll-layers. A *window* is a run of neighbouring
// operations of one block. Two neighbouring windows are alike if they hold the
// same operations, but for maps of `rondo.apply` that differ by constants, and
// every value that a window reads is its own, the same for both, or, in the
// second, a result of the first.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_TRANSFORMS_REPEATEDWINDOWS_H
#define RONDO_DIALECT_RONDO_TRANSFORMS_REPEATEDWINDOWS_H

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include <optional>

namespace rondo {

/// By how much the maps of an execution grow from one window to the next.
struct DepthStride {
  int64_t layer = 0;
  int64_t side = 0;
  int64_t slot = 0;

  bool operator==(const DepthStride &other) const {
    return layer == other.layer && side == other.side && slot == other.slot;
  }
};

/// A result of a window, by position: the same in every window of a run.
struct ResultRef {
  unsigned op;
  unsigned result;

  bool operator==(const ResultRef &other) const {
    return op == other.op && result == other.result;
  }
};

/// The step from one window to the next.
struct WindowStep {
  /// One for each `rondo.apply`, nested ones too, in program order.
  llvm::SmallVector<DepthStride> strides;
  /// One for each operand from outside of the window, in program order: the
  /// result of the window before that it reads; nullopt if all windows read the
  /// same value.
  llvm::SmallVector<std::optional<ResultRef>> flows;

  bool operator==(const WindowStep &other) const {
    return strides == other.strides && flows == other.flows;
  }
};

/// Neighbouring windows that repeat with one step.
struct WindowRun {
  /// The operations of all windows.
  llvm::SmallVector<mlir::Operation *> ops;
  /// How many windows.
  int64_t count = 0;
  WindowStep step;
  /// Of the first window, in the order of `step.flows`.
  llvm::SmallVector<mlir::OpOperand *> operands;
  /// Of the first window, in the order of `step.strides`.
  llvm::SmallVector<ApplyOp> applies;

  llvm::ArrayRef<mlir::Operation *> getWindow(int64_t number) const {
    size_t size = ops.size() / count;
    return llvm::ArrayRef(ops).slice(number * size, size);
  }
  /// Whether `op` is, or is nested in, an operation of the run.
  bool contains(mlir::Operation *op) const;
};

/// Which steps between windows count.
enum class WindowKind {
  /// Every execution visits the layer it visited in the window before.
  SameLayers,
  /// Layers may grow.
  AnyLayers
};

/// The run of windows of `kind` in `block` that covers most executions, and of
/// those the one of the shortest windows, and of those the first. Nullopt if no
/// window that holds an execution repeats.
std::optional<WindowRun> findBestRun(mlir::Block &block, WindowKind kind);

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_TRANSFORMS_REPEATEDWINDOWS_H
