//===- Options.h - the command line of rondo-run ----------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// One struct for each group of options, checked as far as that is possible
// without the bundle.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RUN_OPTIONS_H
#define RONDO_RUN_OPTIONS_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace rondo_run {

/// What goes into the model.
struct InputOptions {
  std::vector<uint32_t> tokens; // of the one sequence of --tokens
  std::string tokensFile;
  std::string inputsFile;
};

/// How new tokens come about.
struct GenerateOptions {
  uint32_t newTokens = 0;
  bool recompute = false;
  float temperature = 0;
  uint32_t topK = 0;
  float topP = 1;
  uint64_t seed = 0;
  std::optional<std::vector<uint32_t>> stopTokens; // unset: the checkpoint's
};

/// How it is executed.
struct ExecuteOptions {
  uint32_t chunk = 0; // 0: the compiled rows
  bool oneByOne = false;
  bool depthwise = false;
  uint32_t threads = 0;
  bool oversubscribe = false;
  std::string device;
  uint32_t depth = 0;
  std::string exitRule;
  std::string afterExit;
};

/// What comes out.
struct OutputOptions {
  bool json = false;
  std::string logitsFile;
  std::string traceFile;
};

/// `--bench`; unset parts are not measured.
struct BenchOptions {
  uint32_t prefill = 0;
  uint32_t decode = 0;
  std::optional<uint32_t> at;
  uint32_t batch = 1;
  uint32_t repeat = 5;
};

struct Options {
  std::string model;
  InputOptions input;
  GenerateOptions generate;
  ExecuteOptions execute;
  OutputOptions output;
  std::optional<BenchOptions> bench;
  bool verify = false;
  std::string describe; // "", "text" or "json"
};

/// Parses the command line. Returns no options if `--help` or `--version` was
/// answered. Throws UsageFailure.
std::optional<Options> parseCommandLine(int argc, char **argv);

/// Parses "1,2,3"; throws UsageFailure that names `option`.
std::vector<uint32_t> parseTokenList(const std::string &text,
                                     const char *option);

/// Parses the value of `--bench`; throws UsageFailure.
BenchOptions parseBench(const std::string &text);

} // namespace rondo_run

#endif // RONDO_RUN_OPTIONS_H
