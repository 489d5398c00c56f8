//===- rondo-interp.cpp - the reference interpreter -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "CommandLine.h"

#include "rondo/Bundle/OutputFile.h"
#include "rondo/Import/Import.h"
#include "rondo/Import/ModuleText.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace rondo;

static int reportError(const llvm::Twine &message) {
  llvm::errs() << "rondo-interp: error: " << message << '\n';
  return 1;
}

static int reportError(llvm::Error error) {
  return reportError(llvm::toString(std::move(error)));
}

/// The files that the command line names, before anything is read.
static llvm::Error refuseOverwrites(const InterpCommand &command) {
  std::vector<NamedFile> inputs;
  addInputFiles("the module", command.module, inputs);
  addInputFiles("--inputs", command.inputs, inputs);
  for (const std::string &archive : command.archives)
    addInputFiles("--archive", archive, inputs);
  return checkOverwrites({{"--outputs", command.outputs}}, inputs);
}

/// The archives that a module names itself.
static llvm::Error refuseOverwrites(const InterpCommand &command,
                                    const ArchiveSet &archives) {
  std::vector<NamedFile> inputs;
  for (const std::unique_ptr<Archive> &archive : archives.getArchives())
    inputs.push_back({"the module's archive", archive->getPath().str()});
  return checkOverwrites({{"--outputs", command.outputs}}, inputs);
}

/// The text of the module at `path`, which no checkpoint is.
static llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
openText(const std::string &path) {
  auto makeError = [&](const llvm::Twine &message) {
    return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
  };
  if (path != "-" && !llvm::sys::fs::exists(path))
    return makeError("there is no file '" + path +
                     "'; give an .mlir file, or - for standard input");
  if (path != "-" && isCheckpointPath(path))
    return makeError("'" + path +
                     "' is a checkpoint; write its module with rondoc "
                     "--compile-to=input and give that");
  return openModuleText(path);
}

/// Inputs, run, outputs. What MLIR finds wrong is reported at its place in the
/// text; exit status 1.
static int run(const InterpCommand &command) {
  if (llvm::Error error = checkWritable(command.outputs))
    return reportError(std::move(error));
  llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>> text =
      openText(command.module);
  if (!text)
    return reportError(text.takeError());
  llvm::SourceMgr sources;
  sources.AddNewSourceBuffer(std::move(*text), llvm::SMLoc());
  MLIRContext context;
  loadInterpreterDialects(context);
  context.printOpOnDiagnostic(false); // the line of the text is shown
  SourceMgrDiagnosticHandler diagnostics(sources, &context);
  FailureOr<Program> program = parseProgram(sources, context);
  if (failed(program))
    return 1;
  llvm::Expected<ArchiveSet> archives =
      openArchives(*program->module, command.archives);
  if (!archives)
    return reportError(archives.takeError());
  if (llvm::Error error = refuseOverwrites(command, *archives))
    return reportError(std::move(error));
  llvm::Expected<TensorMap> inputs =
      command.inputs.empty() ? TensorMap() : readTensors(command.inputs);
  if (!inputs)
    return reportError(inputs.takeError());
  FailureOr<TensorMap> outputs =
      interpret(*program, *archives, *inputs, command.options);
  if (failed(outputs))
    return 1;
  bool single = command.options.precision == Precision::F32;
  if (llvm::Error error =
          writeFile(command.outputs, formatTensors(*outputs, single)))
    return reportError(std::move(error));
  return 0;
}

/// Unreported, a full disk behind standard output would be a fatal error of
/// LLVM at exit.
static int finishOutput(int status) {
  llvm::outs().flush();
  std::error_code code = llvm::outs().error();
  if (!code)
    return status;
  llvm::outs().clear_error();
  return reportError("cannot write standard output: " + code.message() +
                     "; redirect it elsewhere");
}

int main(int argc, char **argv) {
  InterpCommand command;
  if (std::optional<int> status = parseCommandLine(argc, argv, command))
    return finishOutput(*status);
  if (llvm::Error error = refuseOverwrites(command)) {
    reportError(std::move(error));
    return 2;
  }
  return run(command);
}
