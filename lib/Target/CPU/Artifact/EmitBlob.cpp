//===- EmitBlob.cpp - an LLVM module to a code image ----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// LLVM's pipeline in this process: attributes, optimizer, code generator,
// flattener. The optimizer is told that there is no C library, since an image
// has nothing to call: it must not turn loops into memcpy.
//
//===----------------------------------------------------------------------===//
#include "rondo/Target/CPU/Blob.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace rondo;
using namespace rondo::cpu;

using llvm::Error;
using llvm::Expected;

static Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

static bool isEntry(const llvm::Function &function) {
  return llvm::is_contained(kEntrySymbols, function.getName());
}

/// Makes every definition local to the image and fit for `machine`. Local means
/// direct calls and no GOT; no unwinding means no tables for it.
static void prepareModule(llvm::Module &module, const Machine &machine,
                          const llvm::TargetMachine &target) {
  module.setTargetTriple(target.getTargetTriple());
  module.setDataLayout(target.createDataLayout());
  for (llvm::GlobalVariable &global : module.globals()) {
    if (!global.isDeclaration() && !global.hasLocalLinkage())
      global.setLinkage(llvm::GlobalValue::InternalLinkage);
    global.setDSOLocal(true);
  }
  for (llvm::Function &function : module) {
    function.setDSOLocal(true);
    if (function.isDeclaration())
      continue;
    if (isEntry(function))
      function.setVisibility(llvm::GlobalValue::HiddenVisibility);
    else if (!function.hasLocalLinkage())
      function.setLinkage(llvm::GlobalValue::InternalLinkage);
    setTargetAttributes(function, machine);
    function.addFnAttr("no-builtins");
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.setUWTableKind(llvm::UWTableKind::None);
  }
}

static llvm::OptimizationLevel getLevel(int optimization) {
  switch (optimization) {
  case 0:
    return llvm::OptimizationLevel::O0;
  case 1:
    return llvm::OptimizationLevel::O1;
  case 2:
    return llvm::OptimizationLevel::O2;
  default:
    return llvm::OptimizationLevel::O3;
  }
}

/// LLVM's middle end with its own choice of passes.
static void optimize(llvm::Module &module, llvm::TargetMachine &target,
                     int optimization) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager callGraph;
  llvm::ModuleAnalysisManager modules;
  llvm::TargetLibraryInfoImpl library(target.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  llvm::PassBuilder builder(&target);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(callGraph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, callGraph, modules);
  llvm::OptimizationLevel level = getLevel(optimization);
  llvm::ModulePassManager passes =
      optimization == 0 ? builder.buildO0DefaultPipeline(level)
                        : builder.buildPerModuleDefaultPipeline(level);
  passes.run(module, modules);
}

/// Runs the code generator; consumes the module's form, so it works on whatever
/// the caller no longer needs.
static Error generate(llvm::Module &module, llvm::TargetMachine &target,
                      llvm::CodeGenFileType type,
                      llvm::SmallVectorImpl<char> &out) {
  llvm::raw_svector_ostream os(out);
  llvm::legacy::PassManager passes;
  if (target.addPassesToEmitFile(passes, os, nullptr, type))
    return makeError("LLVM cannot emit code of this kind");
  passes.run(module);
  return Error::success();
}

/// Writes one file of `--save-temps`.
static Error saveTemp(const BlobOptions &options, llvm::StringRef name,
                      llvm::function_ref<void(llvm::raw_ostream &)> write) {
  if (options.saveTemps.empty())
    return Error::success();
  llvm::SmallString<128> path(options.saveTemps);
  llvm::sys::path::append(path, name);
  std::error_code code;
  llvm::raw_fd_ostream os(path, code, llvm::sys::fs::OF_None);
  if (!code) {
    write(os);
    os.close();
    code = os.error();
    os.clear_error();
  }
  return code
             ? makeError("cannot write '" + path.str() + "': " + code.message())
             : Error::success();
}

Expected<Blob> rondo::cpu::emitBlob(llvm::Module &module,
                                    const Machine &machine,
                                    const BlobOptions &options) {
  auto target = createTargetMachine(machine, options.optimization);
  if (!target)
    return target.takeError();
  prepareModule(module, machine, **target);
  if (Error error = saveTemp(options, "code.ll",
                             [&](auto &os) { module.print(os, nullptr); }))
    return std::move(error);
  std::string broken;
  llvm::raw_string_ostream brokenStream(broken);
  if (llvm::verifyModule(module, &brokenStream))
    return makeError("LLVM refuses the generated IR: " + broken);

  optimize(module, **target, options.optimization);
  if (Error error = saveTemp(options, "code.opt.ll",
                             [&](auto &os) { module.print(os, nullptr); }))
    return std::move(error);

  llvm::SmallVector<char, 0> object;
  if (!options.saveTemps.empty()) {
    std::unique_ptr<llvm::Module> copy = llvm::CloneModule(module);
    llvm::SmallVector<char, 0> listing;
    if (Error error = generate(*copy, **target,
                               llvm::CodeGenFileType::AssemblyFile, listing))
      return std::move(error);
    if (Error error = saveTemp(options, "code.s", [&](auto &os) {
          os.write(listing.data(), listing.size());
        }))
      return std::move(error);
  }
  if (Error error =
          generate(module, **target, llvm::CodeGenFileType::ObjectFile, object))
    return std::move(error);
  if (Error error = saveTemp(options, "code.o", [&](auto &os) {
        os.write(object.data(), object.size());
      }))
    return std::move(error);
  return flattenObject(
      llvm::ArrayRef(reinterpret_cast<const uint8_t *>(object.data()),
                     object.size()),
      machine.features);
}
