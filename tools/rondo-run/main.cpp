//===- main.cpp - rondo-run: executes a compiled model --------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Dispatches to what the command line asks for and turns failures into the exit
// status: 0 done, 1 input or model at fault, 2 wrong use of the command line,
// 128 and the number of the signal that ended a run early.
//===----------------------------------------------------------------------===//
#include "Bench.h"
#include "DepthBench.h"
#include "Describe.h"
#include "Generate.h"
#include "Overwrites.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>

using namespace rondo_run;

/// Options that no model this runtime executes can honour.
static void rejectUnsupported(const ExecuteOptions &options) {
  if (!options.device.empty() && options.device != "cpu")
    throw InputFailure("--device=" + options.device +
                       ": this bundle has code for 'cpu' only, as have all of "
                       "this version; leave the option out");
  if (!options.exitRule.empty())
    throw InputFailure(
        "--exit: a bundle has the exit rule that it was compiled with, or "
        "none; leave the option out");
  if (!options.afterExit.empty())
    throw InputFailure(
        "--after-exit: rows that exit run on in all bundles of this version; "
        "leave the option out");
}

static Model loadModel(const Options &options, uint32_t flags) {
  rondo_rt_model_options modelOptions = {};
  modelOptions.flags = flags;
  modelOptions.weightless_seed = options.generate.seed;
  rondo_rt_model *model = nullptr;
  check(rondo_rt_model_load(options.model.c_str(), &modelOptions, &model));
  return Model(model);
}

/// Loading has checked all tensors but the weights, and this checks those.
static void verify(const rondo_rt_model *model, const Options &options) {
  check(rondo_rt_model_verify(model), "'" + options.model + "': ");
  // Standard output stays JSON for programs.
  std::fprintf(options.describe == "json" ? stderr : stdout,
               "%zu tensors verified\n", countTensors(model));
}

/// Exit status of a program that a signal ended, as shells report it.
static constexpr int kSignalStatus = 128;

/// Returns the exit status.
static int run(const Options &options) {
  refuseOverwrites(options);
  bool inspect = options.verify || !options.describe.empty();
  Model model = loadModel(options, inspect ? RONDO_RT_MODEL_INSPECT : 0);
  rejectUnsupported(options.execute);
  if (options.verify)
    verify(model.get(), options);
  if (!options.describe.empty())
    describe(model.get(), options.describe == "json");
  if (inspect)
    return 0;
  if (!options.bench) {
    int signal = generate(model.get(), options);
    return signal ? kSignalStatus + signal : 0;
  }
  (options.execute.depthwise ? benchDepth : bench)(model.get(), options);
  return 0;
}

/// A full disk shows at any write or at the last one.
static int finishOutput(int status) {
  if (std::fflush(stdout) == 0 && !std::ferror(stdout))
    return status;
  std::fprintf(stderr,
               "rondo-run: error: cannot write standard output: %s; redirect "
               "it elsewhere\n",
               std::strerror(errno ? errno : EIO));
  return 1;
}

int main(int argc, char **argv) {
  try {
    std::optional<Options> options = parseCommandLine(argc, argv);
    return finishOutput(options ? run(*options) : 0);
  } catch (const UsageFailure &failure) {
    std::fprintf(stderr, "rondo-run: error: %s\n", failure.what());
    return 2;
  } catch (const std::exception &failure) {
    std::fprintf(stderr, "rondo-run: error: %s\n", failure.what());
    return 1;
  }
}
