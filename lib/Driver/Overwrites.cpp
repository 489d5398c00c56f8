//===- Overwrites.cpp - outputs that would destroy inputs -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An output replaces what has its name, and a checkpoint may be the only copy
// of its weights.
//
//===----------------------------------------------------------------------===//
#include "Overwrites.h"

#include "rondo/Bundle/OutputFile.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "llvm/Support/Path.h"

using namespace mlir;
using namespace rondo;

/// What `--save-temps` writes.
static constexpr StringLiteral kTemps[] = {"code.ll", "code.s", "code.o"};

static std::string joinPath(StringRef folder, StringRef name) {
  llvm::SmallString<128> path(folder);
  llvm::sys::path::append(path, name);
  return path.str().str();
}

std::string rondo::getDumpPath(StringRef folder, Phase dumped) {
  return joinPath(folder, "0" + std::to_string(static_cast<int>(dumped)) + "-" +
                              stringifyPhase(dumped).str() + ".mlir");
}

std::string rondo::getMapPath(StringRef output) {
  return output.str() + ".map";
}

static std::vector<NamedFile> listOutputs(const OutputOptions &output) {
  std::vector<NamedFile> files;
  if (output.check)
    return files;
  files.push_back({"-o", output.path});
  if (output.perfMap && output.phase == Phase::Artifact)
    files.push_back({"--perf-map", getMapPath(output.path)});
  if (!output.dumpFolder.empty())
    for (int i = 0; i < static_cast<int>(Phase::Artifact); ++i)
      files.push_back({"--dump-phases",
                       getDumpPath(output.dumpFolder, static_cast<Phase>(i))});
  if (!output.tempsFolder.empty())
    for (StringRef name : kTemps)
      files.push_back({"--save-temps", joinPath(output.tempsFolder, name)});
  return files;
}

llvm::Error rondo::refuseOverwrites(const CompileOptions &options) {
  const InputOptions &from = options.input;
  std::vector<NamedFile> inputs;
  addInputFiles("the input", from.path, inputs);
  for (const std::string &archive : from.archives)
    addInputFiles("--archive", archive, inputs);
  addInputFiles("--adapter", from.adapter, inputs);
  return checkOverwrites(listOutputs(options.output), inputs);
}

llvm::Error rondo::refuseOverwrites(const CompileOptions &options,
                                    ModuleOp module,
                                    const ArchiveSet &archives) {
  std::vector<NamedFile> inputs;
  for (const std::unique_ptr<Archive> &archive : archives.getArchives())
    inputs.push_back({"the module's archive", archive->getPath().str()});
  for (StringRef name : {kTokenizerAttr, kChatTemplateAttr})
    if (auto record = module->getAttrOfType<DictionaryAttr>(name))
      if (auto path = record.getAs<StringAttr>("path"))
        inputs.push_back(
            {"the module's '" + name.str() + "'", path.getValue().str()});
  return checkOverwrites(listOutputs(options.output), inputs);
}
