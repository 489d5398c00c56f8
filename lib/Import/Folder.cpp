//===- Folder.cpp - the weight files of a model folder --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Json.h"
#include "Record.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <set>

using namespace llvm;
using namespace rondo;

static constexpr StringLiteral kSingleFile = "model.safetensors";
static constexpr StringLiteral kIndexFile = "model.safetensors.index.json";

static Error addFile(StringRef path, ArchiveSet &archives) {
  Expected<std::unique_ptr<Archive>> archive = openArchive(path);
  if (!archive)
    return archive.takeError();
  return archives.add(std::move(*archive));
}

/// Opens the shards of an index; it and they must name the same tensors.
static Error openShards(StringRef folder, ArchiveSet &archives) {
  std::string path = joinPath(folder, kIndexFile);
  Expected<json::Object> index = readJsonFile(path);
  if (!index)
    return index.takeError();
  const json::Object *map = index->getObject("weight_map");
  if (!map)
    return importError(quoted(path) + " has no object 'weight_map'");
  // A std::set: shards open in the order of their names.
  std::set<std::string> files;
  for (const auto &[key, value] : *map) {
    std::optional<StringRef> file = value.getAsString();
    // A path could lead out of the folder.
    if (!file || file->empty() || sys::path::filename(*file) != *file ||
        file->starts_with("."))
      return importError(quoted(path) + " maps " + quoted(StringRef(key)) +
                         " to " + formatJson(value) +
                         ", expected the name of a file beside it");
    files.insert(file->str());
  }
  for (const std::string &file : files)
    if (Error error = addFile(joinPath(folder, file), archives))
      return error;

  size_t stored = 0;
  for (const std::unique_ptr<Archive> &shard : archives.getArchives())
    for (const ArchiveTensor &tensor : shard->getTensors()) {
      if (map->getString(tensor.key) != shard->getName())
        return importError("tensor " + quoted(tensor.key) + " is in " +
                           quoted(shard->getPath()) + ", but " + quoted(path) +
                           " does not say so");
      ++stored;
    }
  if (stored == map->size())
    return Error::success();
  for (const auto &[key, value] : *map)
    if (!archives.lookup(StringRef(key)))
      return importError("tensor " + quoted(StringRef(key)) + " is missing: " +
                         quoted(path) + " places it in " + formatJson(value));
  return Error::success();
}

/// Names of all `*.safetensors` files of a folder but those of adapters.
static std::vector<std::string> listSafetensors(StringRef folder) {
  std::vector<std::string> names;
  std::error_code status;
  for (sys::fs::directory_iterator it(folder, status), end;
       it != end && !status; it.increment(status)) {
    StringRef name = sys::path::filename(it->path());
    if (name.ends_with(".safetensors") && !name.starts_with("adapter_"))
      names.push_back(name.str());
  }
  llvm::sort(names);
  return names;
}

Error rondo::openFolder(StringRef folder, ArchiveSet &archives) {
  std::string single = joinPath(folder, kSingleFile);
  if (isFile(single))
    return addFile(single, archives);
  if (isFile(joinPath(folder, kIndexFile)))
    return openShards(folder, archives);
  std::vector<std::string> names = listSafetensors(folder);
  if (names.size() == 1)
    return addFile(joinPath(folder, names.front()), archives);
  if (names.empty())
    return importError("folder " + quoted(folder) +
                       " has no *.safetensors file; convert the weights to "
                       "safetensors");
  return importError("folder " + quoted(folder) + " has " +
                     Twine(names.size()) + " *.safetensors files but no " +
                     quoted(kIndexFile) + " that says which belong to it");
}
