//===- GGUFImport.cpp - a GGUF file ---------------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "GGUFTokenizer.h"
#include "Record.h"
#include "Support.h"

#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"

using namespace llvm;
using namespace rondo;

static Expected<GGUFFile> openFile(StringRef path) {
  Expected<std::unique_ptr<MemoryBuffer>> buffer = mapFile(path);
  if (!buffer)
    return buffer.takeError();
  if (isBundle((*buffer)->getBuffer()))
    return bundleError(path);
  if (!isGGUF((*buffer)->getBuffer()))
    return importError(quoted(path) + " is not a GGUF file; give one, or a "
                                      "folder with config.json and weights");
  return openGGUF(path, std::move(*buffer));
}

/// A file that is one of several parts has only some of the tensors.
static Error rejectParts(const GGUFFile &file) {
  const GGUFValue *parts = file.lookup("split.count");
  if (parts && parts->getAsInteger().value_or(2) > 1)
    return importError(quoted(file.archive->getPath()) + " is one of " +
                       parts->format() +
                       " parts; merge them with 'gguf-split --merge'");
  return Error::success();
}

static Expected<Companions> readCompanions(const GGUFFile &file,
                                           ImportLog &log) {
  StringRef path = file.archive->getPath();
  Companions companions;
  companions.name = json::fixUTF8(
      file.getText("general.name").value_or(sys::path::stem(path)));
  Expected<std::string> tokenizer = makeGGUFTokenizer(file, log);
  if (!tokenizer)
    return tokenizer.takeError();
  if (!tokenizer->empty())
    companions.tokenizer = TextSource{path.str(), std::move(*tokenizer)};
  std::string chatTemplate = getGGUFChatTemplate(file);
  if (!chatTemplate.empty())
    companions.chatTemplate = TextSource{path.str(), std::move(chatTemplate)};
  companions.stopTokens = getGGUFStopTokens(file);
  return companions;
}

Expected<std::string> rondo::readGGUFTokenizer(StringRef path) {
  Expected<GGUFFile> file = openFile(path);
  if (!file)
    return file.takeError();
  ImportLog log;
  return makeGGUFTokenizer(*file, log);
}

Expected<std::string> rondo::readGGUFChatTemplate(StringRef path) {
  Expected<GGUFFile> file = openFile(path);
  if (!file)
    return file.takeError();
  return getGGUFChatTemplate(*file);
}

Expected<Import> rondo::importGGUF(const ImportOptions &options,
                                   mlir::MLIRContext &context) {
  if (!options.adapter.empty())
    return importError("the adapter in " + quoted(options.adapter) +
                       " cannot be applied to a GGUF file; merge it into the "
                       "weights first");
  Expected<GGUFFile> file = openFile(options.path);
  if (!file)
    return file.takeError();
  if (Error error = rejectParts(*file))
    return std::move(error);

  ImportLog log;
  Expected<Companions> companions = readCompanions(*file, log);
  if (!companions)
    return companions.takeError();
  TensorTable tensors;
  tensors.add(*file->archive);
  Expected<Decoder> decoder = readGGUFDecoder(*file, tensors, log);
  if (!decoder)
    return decoder.takeError();
  ArchiveSet archives;
  if (Error error = archives.add(std::move(file->archive)))
    return std::move(error);
  return finishImport(std::move(*decoder), tensors, std::move(archives),
                      std::move(*companions), options, std::move(log), context);
}
