//===- ImportTool.cpp - import a model and print what came of it ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The importers without the rest of the driver, for test/Import. A checkpoint
// is imported; a .mlir file is parsed and its archives are opened.
//
//===----------------------------------------------------------------------===//
#include "rondo/Import/Import.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

static cl::opt<std::string> input(cl::Positional, cl::Required,
                                  cl::desc("<folder, .gguf or .mlir>"));
static cl::list<std::string> loops("loop", cl::desc("FIRST:LAST:TIMES"));
static cl::list<std::string> archives("archive", cl::desc("where weights are"));
static cl::opt<std::string> adapter("adapter");
static cl::opt<std::string> policy("kv-policy");
static cl::opt<bool> force("force-kv-policy");
static cl::opt<bool> weightless("weightless");
enum class Output { Module, Log, Tokenizer, Template, Archives };
static cl::opt<Output> output(
    "print", cl::init(Output::Module),
    cl::values(clEnumValN(Output::Module, "module", "the module"),
               clEnumValN(Output::Log, "log", "the import log"),
               clEnumValN(Output::Tokenizer, "tokenizer", "tokenizer.json"),
               clEnumValN(Output::Template, "template", "the chat template"),
               clEnumValN(Output::Archives, "archives", "keys and types")));

static Expected<rondo::Import> runImport(mlir::MLIRContext &context) {
  if (!rondo::isCheckpointPath(input)) {
    rondo::loadImportDialects(context);
    auto module = mlir::parseSourceFile<mlir::ModuleOp>(input, &context);
    if (!module)
      return createStringError("cannot parse the module");
    return rondo::importModule(std::move(module), archives, weightless);
  }
  rondo::ImportOptions options;
  options.path = input;
  options.adapter = adapter;
  options.kvPolicy = policy;
  options.forceKVPolicy = force;
  for (const std::string &text : loops) {
    Expected<rondo::LayerLoop> loop = rondo::parseLayerLoop(text);
    if (!loop)
      return loop.takeError();
    options.loops.push_back(*loop);
  }
  return rondo::importCheckpoint(options, context);
}

static void printArchives(const rondo::ArchiveSet &set) {
  for (const auto &archive : set.getArchives()) {
    outs() << archive->getName() << ' ' << archive->getHash() << '\n';
    for (const rondo::ArchiveTensor &tensor : archive->getTensors()) {
      outs() << "  " << tensor.key << ' ' << tensor.typeName;
      for (int64_t size : tensor.shape)
        outs() << ' ' << size;
      outs() << ", " << tensor.bytes.size() << " bytes\n";
    }
  }
}

int main(int argc, char **argv) {
  cl::ParseCommandLineOptions(argc, argv, "import a model and print it\n");
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  Expected<rondo::Import> import = runImport(context);
  if (!import) {
    errs() << "error: " << toString(import.takeError()) << '\n';
    return 1;
  }
  switch (output) {
  case Output::Module:
    import->module->print(outs());
    break;
  case Output::Log:
    for (const std::string &line : import->log)
      outs() << line << '\n';
    break;
  case Output::Tokenizer:
    outs() << import->tokenizer;
    break;
  case Output::Template:
    outs() << import->chatTemplate;
    break;
  case Output::Archives:
    printArchives(import->archives);
    break;
  }
  return 0;
}
