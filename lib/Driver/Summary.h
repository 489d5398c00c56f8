//===- Summary.h - what a compilation made ----------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DRIVER_SUMMARY_H
#define RONDO_LIB_DRIVER_SUMMARY_H

#include "rondo/Bundle/Bundle.h"
#include "rondo/Bundle/Plan.h"

#include <string>

namespace rondo {

/// What the summary tells of.
struct SummaryInputs {
  mlir::ModuleOp module;
  const Plan &plan;
  const BundleSizes &sizes;
  llvm::StringRef path;
  double seconds;
};

/// Writes the summary of a compilation to standard error.
void writeSummary(const SummaryInputs &inputs);

/// "depth 2, 30 unique layers, 60 executed".
std::string describeLayers(int64_t depth, int64_t unique, int64_t executed);

/// A line on a terminal that says how far long work is; nothing in a pipe.
class ProgressBar {
public:
  explicit ProgressBar(llvm::StringRef title);

  /// Shows `done` of `all`, if a percent has passed since the last time.
  void show(uint64_t done, uint64_t all);
  /// Removes the line.
  void clear();

private:
  std::string title;
  bool terminal;
  int shown = -1; // percent
};

} // namespace rondo

#endif // RONDO_LIB_DRIVER_SUMMARY_H
