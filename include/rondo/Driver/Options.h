//===- Options.h - what a compilation is asked for --------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The command line of `rondoc` as data. It is read once, here; no library below
// reads a flag. An option that was not given is empty, so that a dump's own
// settings can be told from a user's wish.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DRIVER_OPTIONS_H
#define RONDO_DRIVER_OPTIONS_H

#include "rondo/Import/Import.h"
#include "rondo/Pipelines/Pipelines.h"
#include "rondo/Target/CPU/Machine.h"

#include <optional>
#include <string>
#include <vector>

namespace rondo {

/// Bounds of sizes; the runtime refuses bundles beyond them.
inline constexpr int64_t kMaxContext = 1 << 24;
inline constexpr int64_t kMaxSequences = 1 << 16;
inline constexpr int64_t kMaxRows = 1 << 20;

/// Highest level of `-O`.
inline constexpr int64_t kMaxOptimization = 3;

/// `--weights`: storage of matrices. An empty type keeps the checkpoint's.
struct WeightTypes {
  std::optional<StorageType> matrices;
  /// Set if the head, the embedding or low-rank deltas are named apart;
  /// StorageType::Other keeps the checkpoint's type.
  std::optional<StorageType> head, embed, lora;
  /// As it was written.
  std::string text;
};

/// Reads "keep", "q4_0,head=q8_0", ...; `int8` is q8_0 and `int4` is q4_0.
llvm::Expected<WeightTypes> parseWeightTypes(llvm::StringRef text);

/// Where the model comes from.
struct InputOptions {
  /// A model folder, a GGUF file, an MLIR file or `-`.
  std::string path;
  std::vector<std::string> archives;
  /// Folder of a PEFT adapter; empty: the one in the model folder, if any.
  std::string adapter;
  std::vector<LayerLoop> loops;
  std::string kvPolicy;
  std::optional<RoutingMode> routing;
  bool forceKVPolicy = false;
  /// Phase that a module is at; empty: what it says.
  std::optional<Phase> phase;
};

/// What the compiled model is like.
struct ModelOptions {
  std::optional<cpu::Machine> machine;
  std::optional<WeightTypes> weights;
  /// "f32", "bf16" or "f16".
  std::optional<std::string> kv;
  /// "auto", "merge" or "separate": what becomes of low-rank deltas.
  std::optional<std::string> lora;
  std::optional<int64_t> context, sequences, rows;
  /// The level of `-O`.
  std::optional<int64_t> optimization;
  bool exact = false;
  bool tracePoints = false;
  bool weightless = false;
};

/// What is written, and what is told on the way.
struct OutputOptions {
  /// A file, or `-` for text of a phase.
  std::string path;
  Phase phase = Phase::Artifact;
  std::string dumpFolder;
  std::string tempsFolder;
  /// A regular expression on texts and passes' names; empty: no remarks.
  std::optional<std::string> remarks;
  bool check = false;
  bool timing = false;
  bool perfMap = false;
};

struct CompileOptions {
  InputOptions input;
  ModelOptions model;
  OutputOptions output;
};

/// Reads a command line. Returns the exit status if the program has nothing
/// left to do: 0 after `--help` and `--version`, 2 after wrong use, which it
/// reports.
std::optional<int> parseCommandLine(int argc, char **argv,
                                    CompileOptions &options);

} // namespace rondo

#endif // RONDO_DRIVER_OPTIONS_H
