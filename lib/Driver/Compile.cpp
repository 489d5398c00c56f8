//===- Compile.cpp - from a checkpoint to a bundle ------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The order of a compilation: input, settings, phases, code, bundle. Whatever
// can fail cheaply is asked first.
//
//===----------------------------------------------------------------------===//
#include "rondo/Driver/Compile.h"

#include "Check.h"
#include "Diagnostics.h"
#include "ModuleOptions.h"
#include "Overwrites.h"
#include "Summary.h"
#include "rondo/Bundle/Bundle.h"
#include "rondo/Bundle/OutputFile.h"
#include "rondo/Bundle/Plan.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"
#include "rondo/Import/ModuleText.h"
#include "rondo/Target/CPU/Blob.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/UB/IR/UBOps.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Support/Timing.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"

#include <chrono>

using namespace mlir;
using namespace rondo;
using llvm::Error;
using llvm::Expected;

/// Exit status of a command line that would destroy something.
static constexpr int kWrongUse = 2;

static Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

namespace {

/// One compilation.
class Compilation {
public:
  explicit Compilation(const CompileOptions &options)
      : options(options), printer(&context) {
    context.loadDialect<RondoDialect, rt::RondoRTDialect, arith::ArithDialect,
                        cf::ControlFlowDialect, func::FuncDialect,
                        LLVM::LLVMDialect, math::MathDialect,
                        memref::MemRefDialect, scf::SCFDialect, ub::UBDialect,
                        vector::VectorDialect>();
    context.printOpOnDiagnostic(false); // pages of IR for a sentence
    timing.setEnabled(options.output.timing);
    if (options.output.remarks)
      printRemarks(context, *options.output.remarks);
  }

  int run();

private:
  Error checkOutputs();
  Error makeFolders();
  Error readInput();
  Error readModule();
  Error applySettings();
  Error lower();
  Error lowerTo(Phase phase, TimingScope &scope);
  Error dump(Phase phase);
  Error writeText();
  Error writeArtifact();
  Expected<cpu::Blob> emitCode();

  /// Whether a bundle is the goal, not a report or the text of a phase.
  bool writesArtifact() const {
    return options.output.phase == Phase::Artifact && !options.output.check;
  }

  /// The error of a step that has printed its diagnostics, or has not.
  Error fail(const llvm::Twine &message) {
    return printer.hasErrors() ? Error(llvm::make_error<Reported>())
                               : makeError(message);
  }

  /// An error whose message is out already.
  struct Reported : llvm::ErrorInfo<Reported> {
    static char ID;
    void log(raw_ostream &) const override {}
    std::error_code convertToErrorCode() const override {
      return llvm::inconvertibleErrorCode();
    }
  };

  const CompileOptions &options;
  MLIRContext context;
  DiagnosticPrinter printer;
  DefaultTimingManager timing;
  Import input;
  Phase phase = Phase::Input;
  std::chrono::steady_clock::time_point begin =
      std::chrono::steady_clock::now();
};

} // namespace

char Compilation::Reported::ID = 0;

//===----------------------------------------------------------------------===//
// Input
//===----------------------------------------------------------------------===//

/// Asks for permissions before anything takes long.
Error Compilation::checkOutputs() {
  const OutputOptions &output = options.output;
  if (output.check || output.path == "-")
    return Error::success();
  if (Error error = checkWritable(output.path))
    return error;
  return writesArtifact() && output.perfMap
             ? checkWritable(getMapPath(output.path))
             : Error::success();
}

/// Not before the input is read: what is refused leaves no folder behind.
Error Compilation::makeFolders() {
  const OutputOptions &output = options.output;
  for (const std::string &folder : {output.dumpFolder, output.tempsFolder})
    if (!folder.empty())
      if (std::error_code code = llvm::sys::fs::create_directories(folder))
        return makeError("cannot make folder '" + folder +
                         "': " + code.message() + "; give another folder");
  return Error::success();
}

Error Compilation::readModule() {
  const InputOptions &from = options.input;
  if (!from.loops.empty() || !from.kvPolicy.empty() || from.routing)
    return makeError("--loop, --kv-policy and --routing change the import of a "
                     "checkpoint; '" +
                     from.path + "' is a module that has its schedule");
  auto text = openModuleText(from.path);
  if (!text)
    return text.takeError();
  llvm::SourceMgr sources;
  sources.AddNewSourceBuffer(std::move(*text), llvm::SMLoc());
  auto module = parseSourceFile<ModuleOp>(sources, ParserConfig(&context));
  if (!module)
    return fail("cannot parse '" + from.path + "'");
  if (module->getBody()->empty())
    return makeError("'" + from.path +
                     "' holds no model; give a module that --compile-to wrote");
  FailureOr<Phase> said = settlePhase(*module, from.phase);
  if (failed(said))
    return fail("cannot tell the phase of '" + from.path + "'");
  phase = *said;
  if (failed(verifyPhase(*module, phase)))
    return fail("'" + from.path + "' is not what its phase says");
  if (phase <= Phase::Rondo && options.output.phase > Phase::Rondo &&
      !module->lookupSymbol("model"))
    return makeError("'" + from.path +
                     "' has no function '@model' from tokens to logits; "
                     "call the function that executes the blocks '@model'");
  // Only packing needs weights: a module without archives can be lowered.
  if (from.archives.empty() && !writesArtifact()) {
    input.module = std::move(module);
    return Error::success();
  }
  bool weightless = isWeightless(*module, options.model);
  Expected<Import> imported =
      importModule(std::move(module), from.archives, weightless);
  if (!imported)
    return imported.takeError();
  input = std::move(*imported);
  return refuseOverwrites(options, *input.module, input.archives);
}

Error Compilation::readInput() {
  const InputOptions &from = options.input;
  if (from.path != "-" && !llvm::sys::fs::exists(from.path))
    return makeError("there is no file or folder '" + from.path +
                     "'; give a model folder, a .gguf file or a module");
  if (from.path == "-" || !isCheckpointPath(from.path))
    return readModule();
  if (from.phase.value_or(Phase::Input) != Phase::Input)
    return makeError("--compile-from=" + stringifyPhase(*from.phase) +
                     " is for a module; '" + from.path + "' is a checkpoint");
  if (!from.archives.empty())
    return makeError("--archive is for a module; '" + from.path +
                     "' is a checkpoint, which has its parameters");
  ImportOptions how;
  how.path = from.path;
  how.loops = from.loops;
  how.adapter = from.adapter;
  how.kvPolicy = from.kvPolicy;
  how.forceKVPolicy = from.forceKVPolicy;
  how.routing = from.routing;
  Expected<Import> imported = importCheckpoint(how, context);
  if (!imported)
    return imported.takeError();
  input = std::move(*imported);
  return Error::success();
}

Error Compilation::applySettings() {
  if (failed(applyModuleOptions(*input.module, phase, options.model)))
    return fail("settings do not fit the module");
  if (phase > options.output.phase)
    return makeError(
        "module is at phase '" + stringifyPhase(phase) +
        "', behind --compile-to=" + stringifyPhase(options.output.phase));
  if (options.output.check && phase > Phase::Rondo)
    return makeError("--check reads a model, '" + options.input.path +
                     "' is at phase '" + stringifyPhase(phase) + "'");
  for (const std::string &line : input.log)
    if (StringRef text = line; text.consume_front("warning: "))
      report("warning", text);
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Phases
//===----------------------------------------------------------------------===//

Error Compilation::dump(Phase dumped) {
  if (options.output.dumpFolder.empty())
    return Error::success();
  std::string text;
  llvm::raw_string_ostream os(text);
  input.module->print(os);
  os << '\n';
  return writeFile(getDumpPath(options.output.dumpFolder, dumped), text);
}

Error Compilation::lowerTo(Phase to, TimingScope &scope) {
  PassManager passes(&context, ModuleOp::getOperationName());
  TimingScope nested = scope.nest(stringifyPhase(to));
  passes.enableTiming(nested);
  PipelineOptions how;
  how.optimization = getOptimization(*input.module);
  buildPhasePipeline(passes, to, how);
  if (failed(passes.run(*input.module)))
    return fail("phase '" + stringifyPhase(to) + "' failed");
  phase = to;
  (*input.module)
      ->setAttr(kPhaseAttr, StringAttr::get(&context, stringifyPhase(to)));
  if (to != Phase::Buffers)
    return Error::success();
  FailureOr<Plan> plan = derivePlan(*input.module);
  if (failed(plan))
    return fail("no plan");
  setPlan(*input.module, *plan);
  return Error::success();
}

/// Runs the phases up to the wanted one.
Error Compilation::lower() {
  TimingScope scope = timing.getRootScope();
  if (Error error = dump(phase))
    return error;
  Phase last = std::min(options.output.phase, Phase::Target);
  while (phase < last) {
    Phase next = static_cast<Phase>(static_cast<int>(phase) + 1);
    if (Error error = lowerTo(next, scope))
      return error;
    if (Error error = dump(next))
      return error;
  }
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Outputs
//===----------------------------------------------------------------------===//

Error Compilation::writeText() {
  std::string text;
  llvm::raw_string_ostream os(text);
  input.module->print(os);
  os << '\n';
  if (options.output.path != "-")
    return writeFile(options.output.path, text);
  llvm::outs() << text;
  return Error::success();
}

Expected<cpu::Blob> Compilation::emitCode() {
  auto target = (*input.module)->getAttrOfType<DictionaryAttr>(kTargetAttr);
  Expected<cpu::Machine> machine = cpu::getMachine(target);
  if (!machine)
    return machine.takeError();
  llvm::LLVMContext llvmContext;
  std::unique_ptr<llvm::Module> code =
      translateToLLVMIR(*input.module, llvmContext);
  if (!code)
    return fail("module has no translation to LLVM IR");
  cpu::BlobOptions how;
  how.optimization = getOptimization(*input.module);
  how.saveTemps = options.output.tempsFolder;
  return cpu::emitBlob(*code, *machine, how);
}

Error Compilation::writeArtifact() {
  TimingScope scope = timing.getRootScope();
  TimingScope codeScope = scope.nest("code");
  Expected<cpu::Blob> blob = emitCode();
  codeScope.stop();
  if (!blob)
    return blob.takeError();

  TimingScope bundleScope = scope.nest("bundle");
  BundleParts parts;
  parts.code = blob->image;
  parts.tokenizer = input.tokenizer;
  parts.chatTemplate = input.chatTemplate;
  if (!isWeightless(*input.module, options.model))
    parts.archives = &input.archives;
  ProgressBar bar("packing weights");
  parts.progress = [&](uint64_t done, uint64_t all) { bar.show(done, all); };
  Expected<BundleSizes> sizes =
      writeBundle(*input.module, parts, options.output.path);
  bar.clear();
  if (!sizes)
    return printer.hasErrors() ? (consumeError(sizes.takeError()), fail(""))
                               : sizes.takeError();
  if (options.output.perfMap)
    if (Error error = writeFile(getMapPath(options.output.path),
                                cpu::formatPerfMap(*blob)))
      return error;
  FailureOr<Plan> plan = getPlan(*input.module);
  std::chrono::duration<double> taken =
      std::chrono::steady_clock::now() - begin;
  writeSummary(
      {*input.module, *plan, *sizes, options.output.path, taken.count()});
  return Error::success();
}

int Compilation::run() {
  if (Error error = refuseOverwrites(options)) {
    reportError(std::move(error));
    return kWrongUse;
  }
  auto steps = [&]() -> Error {
    if (Error error = checkOutputs())
      return error;
    if (Error error = readInput())
      return error;
    if (Error error = applySettings())
      return error;
    if (options.output.check)
      return failed(writeCheck(input, llvm::outs())) ? fail("check failed")
                                                     : Error::success();
    if (Error error = makeFolders())
      return error;
    if (Error error = lower())
      return error;
    return writesArtifact() ? writeArtifact() : writeText();
  };
  Error error = steps();
  if (!error)
    return 0;
  if (error.isA<Reported>())
    consumeError(std::move(error));
  else
    reportError(std::move(error));
  return 1;
}

int rondo::compile(const CompileOptions &options) {
  return Compilation(options).run();
}
