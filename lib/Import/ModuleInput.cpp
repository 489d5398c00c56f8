//===- ModuleInput.cpp - archives and texts of a parsed module ------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A dump names its archives by name and hash; a module typed by hand names keys
// only. Either way the weights must be the ones meant: same bytes as when the
// dump was made, same shapes and types as the parameters.
//
//===----------------------------------------------------------------------===//
#include "Record.h"
#include "Support.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace rondo;

namespace {
/// One {name, path, hash} of the module's attributes.
struct FileRecord {
  StringRef name;
  StringRef path;
  StringRef hash;
};
} // namespace

static StringRef getField(DictionaryAttr record, StringRef field) {
  auto text = record.getAs<StringAttr>(field);
  return text ? text.getValue() : StringRef();
}

static std::optional<FileRecord> readRecord(Attribute attribute) {
  auto record = dyn_cast_or_null<DictionaryAttr>(attribute);
  if (!record)
    return std::nullopt;
  return FileRecord{getField(record, "name"), getField(record, "path"),
                    getField(record, "hash")};
}

/// The files that `--archive` gives: folders stand for their safetensors files.
static llvm::Error openGiven(ArrayRef<std::string> paths, ArchiveSet &given) {
  for (const std::string &path : paths) {
    if (llvm::sys::fs::is_directory(path)) {
      if (llvm::Error error = openFolder(path, given))
        return error;
      continue;
    }
    llvm::Expected<std::unique_ptr<Archive>> archive = openArchive(path);
    if (!archive)
      return archive.takeError();
    if (llvm::Error error = given.add(std::move(*archive)))
      return error;
  }
  return llvm::Error::success();
}

static llvm::Error checkHash(const Archive &archive, const FileRecord &record) {
  if (record.hash.empty() || archive.getHash() == record.hash)
    return llvm::Error::success();
  return importError("archive " + quoted(archive.getPath()) + " has the hash " +
                     archive.getHash() + ", but the module was made from " +
                     quoted(record.name) + " with " + record.hash +
                     "; give the right file with --archive, or import again");
}

/// Opens recorded archives that were not given, and checks all hashes.
static llvm::Error openRecorded(ArrayAttr records, ArchiveSet &archives) {
  llvm::StringSet<> recorded;
  for (Attribute attribute : records) {
    std::optional<FileRecord> record = readRecord(attribute);
    if (!record || record->name.empty())
      return importError("entry of 'rondo.archives' without a name");
    recorded.insert(record->name);
    const Archive *archive = archives.findArchive(record->name);
    if (!archive) {
      llvm::Expected<std::unique_ptr<Archive>> opened =
          openArchive(record->path);
      if (!opened)
        return importError(
            "archive " + quoted(record->name) +
            " of the module: " + llvm::toString(opened.takeError()) +
            "; say where it is with --archive");
      archive = opened->get();
      if (llvm::Error error = archives.add(std::move(*opened)))
        return error;
    }
    if (llvm::Error error = checkHash(*archive, *record))
      return error;
  }
  for (const std::unique_ptr<Archive> &archive : archives.getArchives())
    if (!recorded.contains(archive->getName()))
      return importError("archive " + quoted(archive->getPath()) +
                         " is not one of the module's 'rondo.archives'");
  return llvm::Error::success();
}

static StorageType getStorageType(Type type) {
  return TypeSwitch<Type, StorageType>(type)
      .Case<Float32Type>([](Type) { return StorageType::F32; })
      .Case<Float16Type>([](Type) { return StorageType::F16; })
      .Case<BFloat16Type>([](Type) { return StorageType::BF16; })
      .Case<Q8_0Type>([](Type) { return StorageType::Q8_0; })
      .Case<Q4_0Type>([](Type) { return StorageType::Q4_0; })
      .Case<Q4_1Type>([](Type) { return StorageType::Q4_1; })
      .Default([](Type) { return StorageType::Other; });
}

/// The parameter's keys are stored, with its shape and type.
static llvm::Error checkParam(ParamOp param, const ArchiveSet &archives) {
  StorageType storage = getStorageType(param.getTensorType().getElementType());
  for (Attribute attribute : param.getKeys()) {
    auto text = dyn_cast<StringAttr>(attribute);
    if (!text)
      continue; // absent at this depth
    StringRef key = text.getValue();
    const ArchiveTensor *tensor = archives.lookup(key);
    std::string name =
        "parameter '" + param.getSymName().str() + "': tensor " + quoted(key);
    if (!tensor)
      return importError(name +
                         (archives.getArchives().empty()
                              ? " is needed, and no archive is given"
                              : " is in none of the archives") +
                         "; say where it is with --archive");
    ArrayRef<int64_t> shape = param.getSourceShape();
    if (ArrayRef<int64_t>(tensor->shape) != shape || tensor->type != storage)
      return importError(name + " is stored as " + tensor->typeName + " " +
                         formatShape(tensor->shape) + ", declared as " +
                         stringify(storage) + " " + formatShape(shape));
  }
  return llvm::Error::success();
}

llvm::Expected<ArchiveSet>
rondo::openArchives(ModuleOp module, ArrayRef<std::string> archivePaths) {
  ArchiveSet archives;
  if (llvm::Error error = openGiven(archivePaths, archives))
    return std::move(error);
  if (auto records = module->getAttrOfType<ArrayAttr>(kArchivesAttr))
    if (llvm::Error error = openRecorded(records, archives))
      return std::move(error);
  for (ParamOp param : module.getOps<ParamOp>())
    if (llvm::Error error = checkParam(param, archives))
      return std::move(error);
  return archives;
}

/// Reads a recorded text and checks its hash.
static llvm::Error readRecorded(ModuleOp module, StringRef attribute,
                                llvm::Expected<std::string> (*read)(StringRef),
                                std::string &text) {
  std::optional<FileRecord> record = readRecord(module->getAttr(attribute));
  if (!record)
    return llvm::Error::success();
  llvm::Expected<std::string> found = read(record->path);
  if (!found)
    return importError("'" + attribute +
                       "' of the module: " + llvm::toString(found.takeError()));
  if (!record->hash.empty() && hashBytes(*found) != record->hash)
    return importError("'" + attribute +
                       "' of the module: " + quoted(record->path) +
                       " has changed since the module was made; import again");
  text = std::move(*found);
  return llvm::Error::success();
}

llvm::Expected<Import> rondo::importModule(OwningOpRef<ModuleOp> module,
                                           ArrayRef<std::string> archivePaths,
                                           bool weightless) {
  Import result;
  if (!weightless) {
    llvm::Expected<ArchiveSet> archives = openArchives(*module, archivePaths);
    if (!archives)
      return archives.takeError();
    result.archives = std::move(*archives);
    if (!(*module)->hasAttr(kArchivesAttr))
      recordArchives(*module, result.archives);
  }
  if (llvm::Error error = readRecorded(*module, kTokenizerAttr, readTokenizer,
                                       result.tokenizer))
    return std::move(error);
  if (llvm::Error error = readRecorded(*module, kChatTemplateAttr,
                                       readChatTemplate, result.chatTemplate))
    return std::move(error);
  result.module = std::move(module);
  return result;
}
