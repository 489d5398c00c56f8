//===- CommandLine.cpp - the options of rondoc ----------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The only file that sees CLI11, whose exceptions stay inside. Values that need
// a parser of their own are taken as text and read afterwards, so that all
// errors have one form.
//
//===----------------------------------------------------------------------===//
#include "rondo/Driver/Options.h"

#include "Diagnostics.h"
#include "rondo/Bundle/Bundle.h"
#include "rondo_rt/abi.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Regex.h"
#include "llvm/Support/raw_ostream.h"

#include <CLI/CLI.hpp>

using namespace rondo;

/// The help text names the values already.
template <typename Check> static Check quiet(Check check) {
  check.description("");
  return check;
}

/// Matches every remark.
static constexpr char kAnyRemark[] = ".*";

static llvm::Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

namespace {

/// Options as they are written.
struct Texts {
  std::string target = "cpu:native";
  std::string weights = "keep";
  std::string kv;
  std::string routing;
  std::string lora;
  std::string optimization;
  std::string from, to = "artifact";
  std::string remarks;
  int64_t context = 0, sequences = 0, rows = 0;
  std::vector<std::string> loops;
  bool emulation = false;
  bool version = false;
};

/// The parser with its options.
class CommandLine {
public:
  explicit CommandLine(CompileOptions &options) : options(options) {
    app.set_help_flag("-h,--help", "show this help");
    app.add_flag("--version", texts.version,
                 "show versions and this machine's instruction sets");
    app.get_formatter()->column_width(36);
    app.get_formatter()->label("OPTIONS", "options");
    app.get_formatter()->label("POSITIONALS", "Input");
    addInput();
    addModel();
    addTarget();
    addPhases();
    addReports();
  }

  std::optional<int> parse(int argc, char **argv);

private:
  void addInput();
  void addModel();
  void addTarget();
  void addPhases();
  void addReports();
  CLI::Option *add(const std::string &name, std::string &value,
                   const char *help, const char *group, const char *type);
  void addFlag(const std::string &name, bool &value, const char *help,
               const char *group);
  void addSize(const std::string &name, int64_t &value, int64_t limit,
               const char *help);
  bool given(const std::string &name) const { return app.count(name) > 0; }

  std::string findEmptyOption(int argc, char **argv) const;
  std::string findEmptyResult() const;
  llvm::Error finish();
  llvm::Error finishInput();
  llvm::Error finishModel();
  llvm::Error finishPhases();
  llvm::Error refuseMissing() const;

  CompileOptions &options;
  Texts texts;
  CLI::App app{"Compile a recursive transformer to one MODEL.rondo file.",
               "rondoc"};
};

} // namespace

//===----------------------------------------------------------------------===//
// Declarations
//===----------------------------------------------------------------------===//

CLI::Option *CommandLine::add(const std::string &name, std::string &value,
                              const char *help, const char *group,
                              const char *type) {
  return app.add_option(name, value, help)->group(group)->type_name(type);
}

void CommandLine::addFlag(const std::string &name, bool &value,
                          const char *help, const char *group) {
  app.add_flag(name, value, help)->group(group);
}

void CommandLine::addSize(const std::string &name, int64_t &value,
                          int64_t limit, const char *help) {
  app.add_option(name, value, help)
      ->group("Model")
      ->type_name("N")
      ->check(quiet(CLI::Range(int64_t(1), limit)));
}

void CommandLine::addInput() {
  const char *group = "Input and output";
  add("INPUT", options.input.path,
      "model folder, .gguf file, .mlir file or - for standard input", group,
      "PATH");
  add("-o,--output", options.output.path, "the file to write", group, "PATH");
  app.add_option("--archive", options.input.archives,
                 "file or folder with the parameters of an .mlir input")
      ->group(group)
      ->type_name("PATH")
      ->expected(1)
      ->take_all();
  add("--adapter", options.input.adapter, "PEFT adapter beside the model",
      group, "DIR");
}

void CommandLine::addModel() {
  const char *group = "Model";
  add("--weights", texts.weights,
      "keep, f32, bf16, f16, q8_0, q4_0, q4_1, int8, int4; head=TYPE, "
      "embed=TYPE and lora=TYPE apart (default keep)",
      group, "TYPES");
  add("--kv", texts.kv,
      "f32, bf16 or f16 (default f32 with --exact or f32 weights, else bf16)",
      group, "TYPE")
      ->check(quiet(CLI::IsMember({"f32", "bf16", "f16"})));
  addFlag("--exact", options.model.exact,
          "f32 activations and accumulation everywhere", group);
  addSize("--context", texts.context, kMaxContext,
          "longest sequence (default the checkpoint's, at most 4096)");
  addSize("--sequences", texts.sequences, kMaxSequences,
          "sequences at once (default 16)");
  addSize("--rows", texts.rows, kMaxRows, "most rows in a step (default 512)");
  app.add_option("--loop", texts.loops,
                 "visit layers FIRST..LAST TIMES times; repeatable")
      ->group(group)
      ->type_name("FIRST:LAST:TIMES")
      ->expected(1)
      ->take_all();
  add("--kv-policy", options.input.kvPolicy,
      "another KV policy than the checkpoint's: per-depth, last-exited, "
      "first-step, final-shared, modulo:S, first-then-shared:S",
      group, "NAME");
  addFlag("--force-kv-policy", options.input.forceKVPolicy,
          "accept a policy that the checkpoint is not trained for", group);
  add("--routing", texts.routing,
      "rows of a router of experts: released (as its authors' code) or causal",
      group, "MODE")
      ->check(quiet(CLI::IsMember({"released", "causal"})));
  add("--lora", texts.lora, "auto, merge or separate (default auto)", group,
      "MODE")
      ->check(quiet(CLI::IsMember({"auto", "merge", "separate"})));
  addFlag("--weightless", options.model.weightless, "keep shapes, drop weights",
          group);
  addFlag("--trace-points", options.model.tracePoints,
          "keep what rondo-run --trace writes", group);
}

void CommandLine::addTarget() {
  const char *group = "Target";
  add("--target", texts.target,
      "cpu, cpu:native, cpu:x86-64-v3, cpu:x86-64-v4 or cpu:CPU-NAME", group,
      "TARGET");
  addFlag("--emulation", texts.emulation, "nvptx: host code of the kernels too",
          group);
  add("-O", texts.optimization, "optimization level 0 to 3 (default 3)", group,
      "LEVEL")
      ->check(quiet(CLI::IsMember({"0", "1", "2", "3"})));
}

void CommandLine::addPhases() {
  const char *group = "Phases";
  std::vector<std::string> names;
  for (int i = 0; i <= static_cast<int>(Phase::Artifact); ++i)
    names.push_back(stringifyPhase(static_cast<Phase>(i)).str());
  add("--compile-from", texts.from, "phase that an .mlir input is at", group,
      "PHASE")
      ->check(quiet(CLI::IsMember(names)));
  add("--compile-to", texts.to,
      "stop there and write text: input, rondo, step, tiled, buffers, target "
      "(default artifact)",
      group, "PHASE")
      ->check(quiet(CLI::IsMember(names)));
  add("--dump-phases", options.output.dumpFolder,
      "write NN-PHASE.mlir for each phase", group, "DIR");
}

void CommandLine::addReports() {
  const char *group = "Reports";
  add("--remarks", texts.remarks,
      "tell what passes did and declined, if it matches", group, "REGEX");
  addFlag("--check", options.output.check,
          "import only: log, schedule, estimates", group);
  addFlag("--timing", options.output.timing, "time of each phase and pass",
          group);
  add("--save-temps", options.output.tempsFolder,
      "write LLVM IR, assembly and object there", group, "DIR");
  addFlag("--perf-map", options.output.perfMap,
          "write symbols of the code to OUTPUT.map", group);
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

static void printVersion() {
  llvm::outs() << "rondoc: " << getProducer() << ", ABI "
               << RONDO_RT_ABI_VERSION << '\n';
  llvm::Expected<cpu::Machine> machine = cpu::getNativeMachine();
  if (!machine) {
    llvm::outs() << "this machine: " << toString(machine.takeError()) << '\n';
    return;
  }
  llvm::outs() << "this machine: " << machine->cpu << " ("
               << llvm::join(cpu::getFeatureNames(machine->features), ", ")
               << ")\n";
}

/// What does not exist in this version is refused, never ignored.
llvm::Error CommandLine::refuseMissing() const {
  if (texts.emulation)
    return makeError("--emulation needs an nvptx target, which is not in this "
                     "version");
  return llvm::Error::success();
}

llvm::Error CommandLine::finishInput() {
  for (const std::string &text : texts.loops) {
    llvm::Expected<LayerLoop> loop = parseLayerLoop(text);
    if (!loop)
      return loop.takeError();
    options.input.loops.push_back(*loop);
  }
  if (options.input.forceKVPolicy && options.input.kvPolicy.empty())
    return makeError("--force-kv-policy needs --kv-policy=NAME");
  if (!texts.routing.empty())
    options.input.routing =
        texts.routing == "causal" ? RoutingMode::Causal : RoutingMode::Released;
  if (options.input.path.empty())
    return makeError("no input; give a model folder, a .gguf or a .mlir file");
  return llvm::Error::success();
}

llvm::Error CommandLine::finishModel() {
  ModelOptions &model = options.model;
  llvm::Expected<cpu::Machine> machine = cpu::parseTarget(texts.target);
  if (!machine)
    return machine.takeError();
  if (given("--target"))
    model.machine = *machine;
  llvm::Expected<WeightTypes> weights = parseWeightTypes(texts.weights);
  if (!weights)
    return weights.takeError();
  if (given("--weights"))
    model.weights = std::move(*weights);
  if (given("--kv"))
    model.kv = texts.kv;
  if (!texts.lora.empty())
    model.lora = texts.lora;
  if (given("--context"))
    model.context = texts.context;
  if (given("--sequences"))
    model.sequences = texts.sequences;
  if (given("--rows"))
    model.rows = texts.rows;
  if (given("-O"))
    model.optimization = texts.optimization[0] - '0';
  return llvm::Error::success();
}

llvm::Error CommandLine::finishPhases() {
  OutputOptions &output = options.output;
  if (given("--compile-from"))
    options.input.phase = symbolizePhase(texts.from);
  if (options.input.phase == Phase::Artifact)
    return makeError("--compile-from=artifact: a bundle is compiled already");
  output.phase = *symbolizePhase(texts.to);
  if (given("--remarks")) {
    std::string reason;
    if (!llvm::Regex(texts.remarks).isValid(reason))
      return makeError("wrong regular expression in --remarks: " + reason);
    output.remarks = texts.remarks;
  }
  if (output.check)
    return llvm::Error::success();
  if (output.path.empty())
    return makeError("no output; name a file with -o");
  if (output.phase != Phase::Artifact)
    return llvm::Error::success();
  if (output.path == "-")
    return makeError("a bundle cannot be written to standard output; name a "
                     "file with -o");
  return llvm::Error::success();
}

llvm::Error CommandLine::finish() {
  if (llvm::Error error = refuseMissing())
    return error;
  if (llvm::Error error = finishInput())
    return error;
  if (llvm::Error error = finishModel())
    return error;
  return finishPhases();
}

/// The first option that is written `--option=`: CLI11 would take the next
/// argument for its value. Empty if there is none.
std::string CommandLine::findEmptyOption(int argc, char **argv) const {
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument = argv[i];
    std::string name = argument.str().substr(0, argument.size() - 1);
    if (argument.ends_with("=") && app.get_option_no_throw(name))
      return name;
  }
  return "";
}

/// The first option that was given as `--option ""`; empty if there is none.
std::string CommandLine::findEmptyResult() const {
  for (const CLI::Option *option : app.get_options())
    if (llvm::is_contained(option->results(), ""))
      return option->get_name();
  return "";
}

/// Reports wrong use.
static int reportUsage(const llvm::Twine &message) {
  report("error", message.str());
  llvm::errs() << "rondoc --help lists the options\n";
  return 2;
}

static int reportEmpty(llvm::StringRef name) {
  return reportUsage(name +
                     " has an empty value; give one or leave the option out");
}

std::optional<int> CommandLine::parse(int argc, char **argv) {
  if (std::string name = findEmptyOption(argc, argv); !name.empty())
    return reportEmpty(name);
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) // CLI11 takes them from the end
    arguments.push_back(llvm::StringRef(argv[i]) == "--remarks"
                            ? std::string("--remarks=") + kAnyRemark
                            : argv[i]);
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp &) {
    llvm::outs() << app.help();
    return 0;
  } catch (const CLI::ParseError &error) {
    return reportUsage(error.what());
  }
  if (std::string name = findEmptyResult(); !name.empty())
    return reportEmpty(name);
  if (texts.version) {
    printVersion();
    return 0;
  }
  if (llvm::Error error = finish())
    return reportUsage(toString(std::move(error)));
  return std::nullopt;
}

std::optional<int> rondo::parseCommandLine(int argc, char **argv,
                                           CompileOptions &options) {
  return CommandLine(options).parse(argc, argv);
}
