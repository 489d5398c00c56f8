//===- Options.cpp - the command line of rondo-run ------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Options.h"
#include "Handles.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>

using namespace rondo_run;

/// The option that may be empty: no token ends a sequence.
static constexpr char kStop[] = "--stop";

//===----------------------------------------------------------------------===//
// Values with a form of their own
//===----------------------------------------------------------------------===//

/// A decimal number that fits 32 bits.
static bool parseNumber(const std::string &text, uint32_t &value) {
  if (text.empty() || text.size() > 10 ||
      text.find_first_not_of("0123456789") != std::string::npos)
    return false;
  uint64_t wide = std::stoull(text);
  value = static_cast<uint32_t>(wide);
  return wide < RONDO_RT_NONE;
}

static std::vector<std::string> split(const std::string &text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  for (size_t end; (end = text.find(separator, begin)) != std::string::npos;
       begin = end + 1)
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

std::vector<uint32_t> rondo_run::parseTokenList(const std::string &text,
                                                const char *option) {
  std::vector<uint32_t> tokens;
  for (const std::string &part : split(text, ',')) {
    uint32_t token = 0;
    if (!parseNumber(part, token))
      throw UsageFailure(std::string(option) + ": '" + part +
                         "' is not a token id; give ids such as 1,2,3");
    tokens.push_back(token);
  }
  return tokens;
}

BenchOptions rondo_run::parseBench(const std::string &text) {
  BenchOptions bench;
  for (const std::string &part : split(text, ',')) {
    size_t colon = part.find(':');
    std::string key = part.substr(0, colon);
    uint32_t value = 0;
    if (colon == std::string::npos ||
        !parseNumber(part.substr(colon + 1), value) ||
        (value == 0 && key != "at"))
      throw UsageFailure("--bench: '" + part +
                         "' is not NAME:NUMBER with a number above 0");
    if (key == "prefill")
      bench.prefill = value;
    else if (key == "decode")
      bench.decode = value;
    else if (key == "at")
      bench.at = value;
    else if (key == "batch")
      bench.batch = value;
    else if (key == "repeat")
      bench.repeat = value;
    else
      throw UsageFailure("--bench: unknown part '" + key +
                         "'; use prefill:P,decode:D,at:N,batch:B,repeat:K");
  }
  if (!bench.prefill && !bench.decode)
    throw UsageFailure("--bench: nothing to measure; give prefill:P, decode:D "
                       "or both");
  return bench;
}

//===----------------------------------------------------------------------===//
// The command line
//===----------------------------------------------------------------------===//

namespace {
/// Options whose text is parsed after CLI11 is done.
struct RawOptions {
  std::string tokens, stop, bench, batch = "all", output = "text";
};
} // namespace

/// CLI11's own checks of a sign write out the largest double in their message,
/// and it reads a negative number as a large unsigned one.
template <typename Number>
static CLI::Validator atLeast(Number least, const char *name) {
  CLI::Validator range =
      CLI::Range(least, std::numeric_limits<Number>::max(), name);
  return CLI::Validator(
      [range](std::string &text) {
        if (text.rfind('-', 0) == 0)
          return "Value " + text + " is negative";
        Number number = 0; // CLI11 takes the largest for what is larger
        const char *end = text.data() + text.size();
        if (std::from_chars(text.data(), end, number).ec ==
            std::errc::result_out_of_range)
          return "Value " + text + " is above the largest, " +
                 std::to_string(std::numeric_limits<Number>::max());
        return range(text);
      },
      name);
}

static void addInput(CLI::App &app, Options &options, RawOptions &raw) {
  CLI::Option *tokens = app.add_option("--tokens", raw.tokens,
                                       "token ids of one sequence: 1,2,3");
  CLI::Option *file =
      app.add_option("--tokens-file", options.input.tokensFile,
                     "JSON file: {\"sequences\": [[...], ...]}");
  CLI::Option *inputs =
      app.add_option("--inputs", options.input.inputsFile,
                     "safetensors file of tensors that the model takes "
                     "beside tokens");
  file->excludes(tokens);
  for (CLI::Option *option : {tokens, file, inputs})
    option->group("Input");
}

static void addGenerate(CLI::App &app, Options &options, RawOptions &raw) {
  GenerateOptions &generate = options.generate;
  CLI::Option *added[] = {
      app.add_option("--generate", generate.newTokens,
                     "new tokens for each sequence"),
      app.add_flag("--recompute", generate.recompute,
                   "every new token by a prefill of all before it"),
      app.add_option("--temperature", generate.temperature,
                     "0 (default) is greedy"),
      app.add_option("--top-k", generate.topK,
                     "draw from the K best (default 0: all)"),
      app.add_option("--top-p", generate.topP,
                     "draw from the best that reach this probability"),
      app.add_option("--seed", generate.seed,
                     "seed of the draws, of an initial state that is drawn, "
                     "and of a weightless bundle's weights (default 0)")
          ->check(atLeast<uint64_t>(0, "NONNEGATIVE")),
      app.add_option(kStop, raw.stop,
                     "token ids that end a sequence; default the checkpoint's, "
                     "--stop= for none")};
  for (CLI::Option *option : added)
    option->group("Generation");
}

static void addExecute(CLI::App &app, Options &options, RawOptions &raw) {
  ExecuteOptions &execute = options.execute;
  CLI::Option *added[] = {
      app.add_option("--chunk", execute.chunk,
                     "most prompt tokens of a sequence in one step")
          ->check(atLeast<uint32_t>(1, "POSITIVE")),
      app.add_option("--batch", raw.batch,
                     "one|all: sequences one by one, or all "
                     "in one batch (default)")
          ->check(CLI::IsMember({"one", "all"})),
      app.add_flag("--depthwise", execute.depthwise,
                   "rows at any depth of the loop share steps; the same "
                   "tokens and logits"),
      app.add_option("--threads", execute.threads,
                     "default: the physical cores that may be used")
          ->check(atLeast<uint32_t>(1, "POSITIVE")),
      app.add_flag("--oversubscribe", execute.oversubscribe,
                   "allow more threads than cores, for tests"),
      app.add_option("--device", execute.device, "cpu|cuda[:N]|emulated"),
      app.add_option("--depth", execute.depth,
                     "fixed number of visits, up to the compiled one")
          ->check(atLeast<uint32_t>(1, "POSITIVE")),
      app.add_option("--exit", execute.exitRule,
                     "NAME:VALUE, an exit rule and its threshold"),
      app.add_option("--after-exit", execute.afterExit,
                     "what an exited row leaves")
          ->check(
              CLI::IsMember({"ghost", "last-exited", "propagate", "absent"}))};
  for (CLI::Option *option : added)
    option->group("Execution");
}

static void addOutput(CLI::App &app, Options &options, RawOptions &raw) {
  CLI::Option *added[] = {
      app.add_option("--output", raw.output, "text|json, on standard output")
          ->check(CLI::IsMember({"text", "json"})),
      app.add_option(
          "--logits", options.output.logitsFile,
          "write the prompts' logits, or what else the model returns, to "
          "this safetensors file"),
      app.add_option("--trace", options.output.traceFile,
                     "write hidden states to this safetensors file; needs a "
                     "bundle made with --trace-points"),
      app.add_option(
          "--bench", raw.bench,
          "prefill:P,decode:D,at:N,batch:B[,repeat:K]: measure, print "
          "JSON; with --depthwise steps of one visit"),
      app.add_flag("--verify", options.verify,
                   "check the hash of every tensor, then exit"),
      app.add_flag("--describe{text}", options.describe,
                   "print the manifest for people, or --describe=json")
          ->check(CLI::IsMember({"text", "json"}))};
  for (CLI::Option *option : added)
    option->group("Output");
}

static std::string versionText() {
  std::ostringstream text;
  text << "rondo-run " << rondo_rt_version() << "\n"
       << "ABI " << RONDO_RT_ABI_VERSION << "\n"
       << "LLVM: none in this program; --describe names the one a bundle was "
          "made with\n"
       << "this machine:";
  uint64_t features = rondo_rt_machine_features();
  for (uint64_t bit = 1; rondo_rt_machine_feature_name(bit); bit <<= 1)
    if (features & bit)
      text << ' ' << rondo_rt_machine_feature_name(bit);
  text << (features ? "" : " none that Rondo knows");
  return text.str();
}

[[noreturn]] static void failEmpty(const std::string &name) {
  throw UsageFailure(name +
                     " has an empty value; give one or leave the option out");
}

/// The arguments from the last to the first, as CLI11 takes them. It would take
/// the next argument for the value of `--option=`.
static std::vector<std::string> readArguments(const CLI::App &app, int argc,
                                              char **argv) {
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) {
    std::string argument = argv[i];
    size_t equals = argument.find('=');
    std::string name = argument.substr(0, equals);
    if (equals == std::string::npos || equals + 1 < argument.size())
      arguments.push_back(argument);
    else if (name == kStop)
      arguments.insert(arguments.end(), {"", name});
    else if (app.get_option_no_throw(name))
      failEmpty(name);
    else
      arguments.push_back(argument); // unknown, and reported as such
  }
  return arguments;
}

/// `--option ""` is no better than `--option=`.
static void checkNoneEmpty(const CLI::App &app) {
  for (const CLI::Option *option : app.get_options())
    for (const std::string &value : option->results())
      if (value.empty() && option->get_name() != kStop)
        failEmpty(option->get_name());
}

static bool isDevice(const std::string &text) {
  static const std::string kNumbered = "cuda:";
  uint32_t number = 0;
  return text == "cpu" || text == "cuda" || text == "emulated" ||
         (text.compare(0, kNumbered.size(), kNumbered) == 0 &&
          parseNumber(text.substr(kNumbered.size()), number));
}

static void finish(Options &options, const RawOptions &raw, bool stopGiven) {
  if (!raw.tokens.empty())
    options.input.tokens = parseTokenList(raw.tokens, "--tokens");
  if (stopGiven)
    options.generate.stopTokens = raw.stop.empty()
                                      ? std::vector<uint32_t>()
                                      : parseTokenList(raw.stop, kStop);
  if (!raw.bench.empty())
    options.bench = parseBench(raw.bench);
  options.execute.oneByOne = raw.batch == "one";
  options.output.json = raw.output == "json";
  const std::string &device = options.execute.device;
  if (!device.empty() && !isDevice(device))
    throw UsageFailure("--device: unknown device '" + device +
                       "'; use cpu, cuda, cuda:N or emulated");
  const GenerateOptions &generate = options.generate;
  if (!(generate.temperature >= 0) || std::isinf(generate.temperature))
    throw UsageFailure("--temperature: must be finite and not negative");
  if (!(generate.topP > 0 && generate.topP <= 1))
    throw UsageFailure("--top-p: must be above 0 and at most 1");
  if (options.execute.depthwise && !options.output.traceFile.empty())
    throw UsageFailure("--trace: rows of --depthwise run each visit in a step "
                       "of its own and leave no whole trace; give one of the "
                       "two");
  if (options.execute.depth && options.bench)
    throw UsageFailure("--bench: measures the compiled depth; leave --depth "
                       "out");
  if (options.execute.depthwise && options.bench &&
      (options.bench->prefill || !options.bench->decode))
    throw UsageFailure("--bench: with --depthwise it measures steps of one "
                       "visit; give decode:D, and at:N instead of prefill:P");
  bool works = options.bench || options.verify || !options.describe.empty();
  bool hasTokens =
      !options.input.tokens.empty() || !options.input.tokensFile.empty();
  if (options.bench && hasTokens)
    throw UsageFailure("--bench: makes tokens of its own; leave --tokens and "
                       "--tokens-file out");
  if (!works && !hasTokens)
    throw UsageFailure(
        "nothing to do; give --tokens or --tokens-file, --bench, "
        "--verify or --describe");
}

std::optional<Options> rondo_run::parseCommandLine(int argc, char **argv) {
  CLI::App app("Executes a compiled model. MODEL.rondo holds native code: run "
               "only bundles you trust.");
  app.name("rondo-run");
  Options options;
  RawOptions raw;
  app.add_option("model", options.model, "MODEL.rondo")->required();
  addInput(app, options, raw);
  addGenerate(app, options, raw);
  addExecute(app, options, raw);
  addOutput(app, options, raw);
  app.set_version_flag("--version", versionText);
  try {
    app.parse(readArguments(app, argc, argv));
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() != 0)
      throw UsageFailure(std::string(error.what()) +
                         " (--help lists the options)");
    app.exit(error); // prints help or version
    return std::nullopt;
  }
  checkNoneEmpty(app);
  finish(options, raw, app.count(kStop) > 0);
  return options;
}
