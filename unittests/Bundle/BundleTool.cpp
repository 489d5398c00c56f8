//===- BundleTool.cpp - pack weights, write bundles, emit code ------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The libraries behind a bundle one by one, for test/Bundle:
//
//   region MODULE    the weight region's bytes
//   bundle MODULE    a bundle with a code image of zeros behind its header
//   code LLVM-IR     a code image; with --run, also calls its first entry
//   object FILE      a code image from an ELF object
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Bundle.h"
#include "rondo/Bundle/OutputFile.h"
#include "rondo/Bundle/Weights.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"
#include "rondo/Import/Import.h"
#include "rondo/Target/CPU/Blob.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/raw_ostream.h"

#include <cstring>
#include <sys/mman.h>

using namespace rondo;
using llvm::Error;
using llvm::Expected;
namespace cl = llvm::cl;

static cl::opt<std::string> action(cl::Positional, cl::Required,
                                   cl::desc("region|bundle|code|object"));
static cl::opt<std::string> input(cl::Positional, cl::Required,
                                  cl::desc("FILE"));
static cl::opt<std::string> output("o", cl::Required);
static cl::list<std::string> archives("archive");
static cl::opt<unsigned> threads("pack-threads", cl::init(2));
static cl::opt<std::string> tokenizer("tokenizer");
static cl::opt<std::string> target("target", cl::init("cpu:x86-64-v3"));
static cl::opt<int> optimization("O", cl::init(3));
static cl::opt<std::string> saveTemps("save-temps");
static cl::opt<bool> run("run", cl::desc("call rondo_full on 64 floats"));
static cl::opt<bool> weightless("weightless");

static Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

/// Packs all weights of the module one after the other.
static Error writeRegion(mlir::ModuleOp module, const ArchiveSet &set) {
  mlir::FailureOr<std::vector<WeightTensor>> tensors = getWeightTensors(module);
  if (failed(tensors))
    return makeError("no weights");
  Expected<OutputFile> file = OutputFile::create(output);
  if (!file)
    return file.takeError();
  for (const WeightTensor &tensor : *tensors) {
    file->skipTo(tensor.offset);
    if (Error error =
            packTensor(tensor, set, threads, [&](llvm::ArrayRef<char> bytes) {
              return file->write(bytes);
            }))
      return error;
  }
  return file->finish("");
}

/// Writes a bundle around an image without code.
static Error writeBundleOf(mlir::ModuleOp module, const ArchiveSet &set) {
  std::vector<uint8_t> image(4096);
  rondo_rt_code_header header = {};
  header.magic = RONDO_RT_CODE_MAGIC;
  header.abi_version = RONDO_RT_ABI_VERSION;
  header.features = RONDO_RT_CPU_X86_64_V3;
  header.image_size = image.size();
  header.context_size = sizeof(rondo_rt_context);
  header.entry_count = RONDO_RT_ENTRY_COUNT;
  for (unsigned i = 0; i < RONDO_RT_ENTRY_COUNT; ++i)
    header.entries[i] = 64 * (i + 1);
  std::memcpy(image.data(), &header, sizeof(header));
  BundleParts parts;
  parts.code = image;
  parts.tokenizer = tokenizer;
  parts.threads = threads;
  if (!weightless)
    parts.archives = &set;
  Expected<BundleSizes> sizes = writeBundle(module, parts, output);
  return sizes ? Error::success() : sizes.takeError();
}

static Error processModule() {
  mlir::MLIRContext context;
  context.loadDialect<RondoDialect, rt::RondoRTDialect>();
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(input, &context);
  if (!module)
    return makeError("cannot parse the module");
  Expected<ArchiveSet> set =
      weightless ? ArchiveSet() : openArchives(*module, archives);
  if (!set)
    return set.takeError();
  return action == "region" ? writeRegion(*module, *set)
                            : writeBundleOf(*module, *set);
}

/// Calls the first entry of the image in anonymous memory and prints what it
/// made of 64 ascending floats.
static void runImage(const cpu::Blob &blob) {
  void *memory =
      mmap(nullptr, blob.image.size(), PROT_READ | PROT_WRITE | PROT_EXEC,
           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memcpy(memory, blob.image.data(), blob.image.size());
  alignas(64) float values[64];
  for (int i = 0; i < 64; ++i)
    values[i] = i;
  auto entry = reinterpret_cast<void (*)(void *, uint32_t)>(
      static_cast<char *>(memory) + blob.entries[0]);
  entry(values, 3);
  for (int i = 0; i < 8; ++i)
    llvm::outs() << values[i] << (i == 7 ? "\n" : " ");
}

static Error finishImage(const cpu::Blob &blob) {
  if (Error error = writeFile(
          output, llvm::toStringRef(llvm::ArrayRef<uint8_t>(blob.image))))
    return error;
  llvm::outs() << cpu::formatPerfMap(blob);
  if (run)
    runImage(blob);
  return Error::success();
}

static Error processCode() {
  llvm::LLVMContext context;
  llvm::SMDiagnostic diagnostic;
  std::unique_ptr<llvm::Module> module =
      llvm::parseIRFile(input, diagnostic, context);
  if (!module)
    return makeError(diagnostic.getMessage());
  Expected<cpu::Machine> machine = cpu::parseTarget(target);
  if (!machine)
    return machine.takeError();
  cpu::BlobOptions options;
  options.optimization = optimization;
  options.saveTemps = saveTemps;
  Expected<cpu::Blob> blob = cpu::emitBlob(*module, *machine, options);
  return blob ? finishImage(*blob) : blob.takeError();
}

static Error processObject() {
  auto buffer = llvm::MemoryBuffer::getFile(input);
  if (!buffer)
    return makeError(buffer.getError().message());
  Expected<cpu::Blob> blob =
      cpu::flattenObject(llvm::arrayRefFromStringRef((*buffer)->getBuffer()),
                         RONDO_RT_CPU_X86_64_V3);
  return blob ? finishImage(*blob) : blob.takeError();
}

static Error process() {
  if (action == "code")
    return processCode();
  return action == "object" ? processObject() : processModule();
}

int main(int argc, char **argv) {
  cl::ParseCommandLineOptions(argc, argv, "test of the bundle libraries\n");
  Error error = process();
  if (!error)
    return 0;
  llvm::errs() << "error: " << toString(std::move(error)) << '\n';
  return 1;
}
