//===- HuggingFace.cpp - a Hugging Face model folder ----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "GGUFTokenizer.h"
#include "Json.h"
#include "Record.h"
#include "Support.h"
#include "TrainingFolder.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Path.h"

using namespace llvm;
using namespace rondo;

static constexpr StringLiteral kConfig = "config.json";
static constexpr StringLiteral kGenerationConfig = "generation_config.json";
static constexpr StringLiteral kTokenizer = "tokenizer.json";
static constexpr StringLiteral kTokenizerConfig = "tokenizer_config.json";
static constexpr StringLiteral kTemplate = "chat_template.jinja";

//===----------------------------------------------------------------------===//
// Texts
//===----------------------------------------------------------------------===//

static Expected<std::string> readText(StringRef path) {
  Expected<std::unique_ptr<MemoryBuffer>> buffer = mapFile(path);
  if (!buffer)
    return buffer.takeError();
  StringRef text = (*buffer)->getBuffer();
  size_t errorOffset = 0;
  if (!json::isUTF8(text, &errorOffset))
    return importError(quoted(path) + " is not UTF-8 at byte " +
                       Twine(errorOffset));
  return text.str();
}

/// The template of a tokenizer_config.json: a text, or the one called "default"
/// of a list of named texts.
static std::optional<std::string> getTemplate(const json::Object &config) {
  const json::Value *value = config.get("chat_template");
  if (!value)
    return std::nullopt;
  if (std::optional<StringRef> text = value->getAsString())
    return text->str();
  if (const json::Array *list = value->getAsArray())
    for (const json::Value &entry : *list)
      if (const json::Object *named = entry.getAsObject())
        if (named->getString("name") == StringRef("default"))
          if (std::optional<StringRef> text = named->getString("template"))
            return text->str();
  return std::nullopt;
}

Expected<std::string> rondo::readTokenizer(StringRef path) {
  if (path.ends_with(".json"))
    return readText(path);
  return readGGUFTokenizer(path);
}

Expected<std::string> rondo::readChatTemplate(StringRef path) {
  if (sys::path::filename(path) == kTokenizerConfig) {
    Expected<json::Object> config = readJsonFile(path);
    if (!config)
      return config.takeError();
    return getTemplate(*config).value_or("");
  }
  if (path.ends_with(".jinja"))
    return readText(path);
  return readGGUFChatTemplate(path);
}

/// Reads a companion file if it is there.
static Error readCompanion(std::string path,
                           Expected<std::string> (*read)(StringRef),
                           std::optional<TextSource> &source, ImportLog &log,
                           StringRef what) {
  if (source || !isFile(path))
    return Error::success();
  Expected<std::string> text = read(path);
  if (!text)
    return text.takeError();
  if (text->empty())
    return Error::success();
  log.push_back(what.str() + ": " + sys::path::filename(path).str());
  source = TextSource{std::move(path), std::move(*text)};
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Stop tokens
//===----------------------------------------------------------------------===//

/// A token id or a list of them; an error for anything else.
static Error readIds(const json::Value &value, StringRef path,
                     std::vector<int64_t> &ids) {
  auto add = [&](const json::Value &entry) -> Error {
    std::optional<int64_t> id = entry.getAsInteger();
    if (!id)
      return importError(quoted(path) + ": key 'eos_token_id' has the value " +
                         formatJson(value) + ", expected token ids");
    if (!is_contained(ids, *id))
      ids.push_back(*id);
    return Error::success();
  };
  const json::Array *list = value.getAsArray();
  if (!list)
    return add(value);
  for (const json::Value &entry : *list)
    if (Error error = add(entry))
      return error;
  return Error::success();
}

/// The id of a text among the `added_tokens` of a tokenizer.json.
static std::optional<int64_t> findAddedToken(const json::Object &tokenizer,
                                             StringRef text) {
  const json::Array *added = tokenizer.getArray("added_tokens");
  if (!added)
    return std::nullopt;
  for (const json::Value &entry : *added)
    if (const json::Object *token = entry.getAsObject())
      if (token->getString("content") == text)
        return token->getInteger("id");
  return std::nullopt;
}

/// The id of tokenizer_config.json's `eos_token`, a text or an object with it.
static Error readNamedStop(StringRef folder,
                           const std::optional<TextSource> &tokenizer,
                           std::vector<int64_t> &ids) {
  std::string path = joinPath(folder, kTokenizerConfig);
  if (!tokenizer || !isFile(path))
    return Error::success();
  Expected<json::Object> config = readJsonFile(path);
  if (!config)
    return config.takeError();
  std::optional<StringRef> text = config->getString("eos_token");
  if (const json::Object *token = config->getObject("eos_token"))
    text = token->getString("content");
  if (!text)
    return Error::success();
  Expected<json::Object> object =
      parseJsonObject(tokenizer->text, tokenizer->path);
  if (!object)
    return object.takeError();
  if (std::optional<int64_t> id = findAddedToken(*object, *text))
    ids.push_back(*id);
  return Error::success();
}

/// The first of generation_config.json, config.json and the tokenizer's files
/// that names any.
static Error readStopTokens(StringRef folder, const json::Object &config,
                            const std::optional<TextSource> &tokenizer,
                            std::vector<int64_t> &ids) {
  std::string path = joinPath(folder, kGenerationConfig);
  if (isFile(path)) {
    Expected<json::Object> generation = readJsonFile(path);
    if (!generation)
      return generation.takeError();
    const json::Value *value = generation->get("eos_token_id");
    if (value && value->kind() != json::Value::Null)
      return readIds(*value, path, ids);
  }
  const json::Value *value = config.get("eos_token_id");
  if (value && value->kind() != json::Value::Null)
    return readIds(*value, joinPath(folder, kConfig), ids);
  return readNamedStop(folder, tokenizer, ids);
}

//===----------------------------------------------------------------------===//
// The folder
//===----------------------------------------------------------------------===//

/// Whether `architectures` of a configuration has a class.
static bool namesClass(const json::Object &config, StringRef className) {
  const json::Array *classes = config.getArray("architectures");
  return classes && !className.empty() &&
         any_of(*classes, [&](const json::Value &name) {
           return name.getAsString() == className;
         });
}

static Expected<const Family *> readFamily(const json::Object &config,
                                           StringRef path) {
  std::optional<StringRef> modelType = config.getString("model_type");
  if (!modelType)
    return importError(quoted(path) +
                       ": required key 'model_type' is missing; "
                       "known: " +
                       listFamilies());
  const Family *family = findFamily(*modelType);
  if (!family)
    return importError(quoted(path) + ": 'model_type' is " +
                       quoted(*modelType) + "; known: " + listFamilies());
  const json::Array *classes = config.getArray("architectures");
  if (classes && !classes->empty() && !namesClass(config, family->className) &&
      !namesClass(config, family->otherClassName))
    return importError(quoted(path) + ": 'architectures' is " +
                       formatJson(json::Array(*classes)) + ", expected " +
                       quoted(family->className) +
                       (family->otherClassName.empty()
                            ? ""
                            : " or " + quoted(family->otherClassName)));
  return family;
}

static Expected<Companions>
readCompanions(StringRef folder, const json::Object &config, ImportLog &log) {
  Companions companions;
  companions.name = sys::path::filename(folder.rtrim('/')).str();
  if (Error error = readCompanion(joinPath(folder, kTokenizer), readTokenizer,
                                  companions.tokenizer, log, "tokenizer"))
    return std::move(error);
  if (!companions.tokenizer)
    log.push_back("warning: no tokenizer.json, the model takes token ids only");
  for (StringRef file : {StringRef(kTemplate), StringRef(kTokenizerConfig)})
    if (Error error =
            readCompanion(joinPath(folder, file), readChatTemplate,
                          companions.chatTemplate, log, "chat template"))
      return std::move(error);
  if (Error error = readStopTokens(folder, config, companions.tokenizer,
                                   companions.stopTokens))
    return std::move(error);
  return companions;
}

Expected<Import> rondo::importHuggingFace(const ImportOptions &options,
                                          mlir::MLIRContext &context) {
  std::string path = joinPath(options.path, kConfig);
  Expected<json::Object> config = readJsonFile(path);
  if (!config)
    return config.takeError();
  Expected<const Family *> family = readFamily(*config, path);
  if (!family)
    return family.takeError();
  Expected<TrainingFolder> training =
      TrainingFolder::read(options.path, options.adapter);
  if (!training)
    return training.takeError();
  if (!training->isEmpty() && (*family)->modelType != "llama")
    return importError("training configurations and adapters are read for "
                       "'model_type' llama only, " +
                       quoted(path) + " has " + quoted((*family)->modelType) +
                       "; merge the adapter into the weights");

  ImportLog log;
  log.push_back("family: " + (*family)->modelType.str());
  ConfigReader reader(*config, kConfig.str(), log);
  ModelBuilder build;
  Decoder decoder;
  if ((*family)->open)
    build = (*family)->open(reader);
  else
    decoder = (*family)->read(reader);
  if (!training->isEmpty() && !reader.hasFailed())
    training->apply(reader, decoder, options.routing);
  if (Error error = reader.finish())
    return std::move(error);
  if (namesClass(*config, kRoutedClass) && !decoder.router)
    return importError(quoted(path) +
                       ": 'architectures' is of a model with a router, but no "
                       "train_config.yaml beside it enables 'mor', which says "
                       "how it routes; add that file");
  if (options.routing && !decoder.router)
    return importError("--routing is for models with a router, which " +
                       quoted(options.path) + " does not have; leave it out");
  Expected<Companions> companions = readCompanions(options.path, *config, log);
  if (!companions)
    return companions.takeError();

  ArchiveSet archives;
  if (Error error = openFolder(options.path, archives))
    return std::move(error);
  TensorTable tensors;
  for (const std::unique_ptr<Archive> &archive : archives.getArchives()) {
    if (training->isEmpty())
      tensors.add(*archive);
    else
      tensors.add(*archive, TrainingFolder::rename);
  }
  if (Error error = training->openAdapter(tensors, archives))
    return std::move(error);
  // The class that such folders come from does not tie, whatever they say.
  if (!training->isEmpty() && tensors.contains(decoder.keys->head))
    decoder.tied = false;
  tensors.ignoreSuffix("rotary_emb.inv_freq");
  for (StringRef suffix : decoder.buffers)
    tensors.ignoreSuffix(suffix);
  if (build) {
    Expected<BuiltModel> model = build(tensors, options, log, context);
    if (!model)
      return model.takeError();
    return finishImport(std::move(*model), tensors, std::move(archives),
                        std::move(*companions), options, std::move(log));
  }
  return finishImport(std::move(decoder), tensors, std::move(archives),
                      std::move(*companions), options, std::move(log), context);
}
