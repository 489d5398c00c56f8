//===- Record.cpp - what a module says of its origin ----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Record.h"
#include "Support.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "mlir/IR/Verifier.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace rondo;

/// Dumps are compiled from other folders than they were made in.
static std::string getAbsolute(StringRef path) {
  SmallString<256> absolute(path);
  if (llvm::sys::fs::make_absolute(absolute))
    return path.str();
  return std::string(absolute);
}

/// {path = ..., hash = ...} and, for archives, the name.
static DictionaryAttr makeFileRecord(Builder &builder, StringRef path,
                                     StringRef hash,
                                     std::optional<StringRef> name = {}) {
  SmallVector<NamedAttribute> fields;
  if (name)
    fields.push_back(
        builder.getNamedAttr("name", builder.getStringAttr(*name)));
  fields.push_back(
      builder.getNamedAttr("path", builder.getStringAttr(getAbsolute(path))));
  fields.push_back(builder.getNamedAttr("hash", builder.getStringAttr(hash)));
  return builder.getDictionaryAttr(fields);
}

void rondo::recordArchives(ModuleOp module, const ArchiveSet &archives) {
  Builder builder(module.getContext());
  SmallVector<Attribute> records;
  for (const std::unique_ptr<Archive> &archive : archives.getArchives())
    records.push_back(makeFileRecord(builder, archive->getPath(),
                                     archive->getHash(), archive->getName()));
  module->setAttr(kArchivesAttr, builder.getArrayAttr(records));
}

static void recordText(ModuleOp module, StringRef attribute,
                       const std::optional<TextSource> &source) {
  if (!source)
    return;
  Builder builder(module.getContext());
  module->setAttr(attribute, makeFileRecord(builder, source->path,
                                            hashBytes(source->text)));
}

llvm::Error rondo::applyOptions(Decoder &decoder, const ImportOptions &options,
                                std::string &kvPolicy, ImportLog &log) {
  if (!options.loops.empty() && decoder.layerKeys)
    return importError("--loop cannot change the schedule of a checkpoint "
                       "whose layers share weights or vary by depth; leave it "
                       "out");
  if (!options.loops.empty()) {
    const std::vector<Segment> &own = decoder.schedule.segments;
    const LayerLoop &loop = options.loops.front();
    // Another number of visits of the loop that the model has anyway keeps the
    // norm that closes it; any other loop is of plain layers.
    bool sameLoop = options.loops.size() == 1 && own.size() == 1 &&
                    own.front().looped && loop.first == 0 &&
                    loop.last == decoder.layers - 1;
    llvm::Expected<Schedule> schedule =
        makeLoopedSchedule(decoder.layers, options.loops);
    if (!schedule)
      return schedule.takeError();
    if (decoder.exit && !sameLoop)
      return importError("each visit of all layers ends with this model's exit "
                         "gate, so that --loop can only change their number; "
                         "write --loop=0:" +
                         llvm::Twine(decoder.layers - 1) + ":VISITS");
    if (sameLoop) {
      schedule->segments.front().normAfterVisit = own.front().normAfterVisit;
      schedule->finalNorm = decoder.schedule.finalNorm;
    }
    decoder.schedule = std::move(*schedule);
    decoder.trainedKV = "per-depth";
    log.push_back("schedule overridden by --loop");
  }
  if (decoder.exit && decoder.exit->threshold &&
      options.kvPolicy == "last-exited")
    return importError("KV policy 'last-exited' is not supported with early "
                       "exits: rows that exit run on and fill their slots, as "
                       "they do in training; leave --kv-policy out");
  if (decoder.router && !options.kvPolicy.empty() &&
      options.kvPolicy != decoder.trainedKV)
    return importError("rows that a router selects keep the KV policy that "
                       "they are trained with, '" +
                       llvm::Twine(decoder.trainedKV) +
                       "'; leave --kv-policy out");
  llvm::Expected<std::string> policy =
      applyKVPolicy(decoder.schedule, decoder.trainedKV, options);
  if (!policy)
    return policy.takeError();
  kvPolicy = std::move(*policy);
  log.push_back("schedule: " + decoder.schedule.describe());
  log.push_back("KV policy: " + kvPolicy + " (trained: " + decoder.trainedKV +
                ")");
  return llvm::Error::success();
}

void rondo::checkStopTokens(std::vector<int64_t> &tokens, int64_t vocabulary,
                            ImportLog &log) {
  llvm::erase_if(tokens, [&](int64_t token) {
    bool outside = token < 0 || token >= vocabulary;
    if (outside)
      log.push_back("warning: stop token " + std::to_string(token) +
                    " is not in the vocabulary of " +
                    std::to_string(vocabulary) + " and is dropped");
    return outside;
  });
  std::string list;
  for (int64_t token : tokens)
    list += (list.empty() ? "" : ", ") + std::to_string(token);
  log.push_back("stop tokens: " + (list.empty() ? "none" : list));
}

llvm::Expected<Import>
rondo::finishImport(Decoder decoder, TensorTable &tensors, ArchiveSet archives,
                    Companions companions, const ImportOptions &options,
                    ImportLog log, MLIRContext &context) {
  BuiltModel model;
  if (llvm::Error error = applyOptions(decoder, options, model.kvPolicy, log))
    return std::move(error);
  llvm::Expected<OwningOpRef<ModuleOp>> module =
      buildDecoder(decoder, tensors, context);
  if (!module)
    return module.takeError();
  model.module = std::move(*module);
  model.architecture = decoder.architecture;
  model.vocabulary = decoder.vocabulary;
  model.context = decoder.context;
  model.trainedKV = decoder.trainedKV;
  return finishImport(std::move(model), tensors, std::move(archives),
                      std::move(companions), options, std::move(log));
}

llvm::Expected<Import>
rondo::finishImport(BuiltModel model, const TensorTable &tensors,
                    ArchiveSet archives, Companions companions,
                    const ImportOptions &options, ImportLog log) {
  log.push_back("weights: " + std::to_string(tensors.getTakenCount()) +
                " tensors, " + std::to_string(tensors.getTakenWeights()) +
                " parameters, " + std::to_string(tensors.getTakenBytes()) +
                " bytes");
  checkStopTokens(companions.stopTokens, model.vocabulary, log);

  ModuleOp op = model.module.get();
  Builder builder(op.getContext());
  op->setAttr(kPhaseAttr, builder.getStringAttr("input"));
  op->setAttr(kArchitectureAttr, builder.getStringAttr(model.architecture));
  op->setAttr(kNameAttr, builder.getStringAttr(companions.name));
  op->setAttr(kKVPolicyAttr, builder.getStringAttr(model.kvPolicy));
  op->setAttr(kTrainedKVAttr, builder.getStrArrayAttr({model.trainedKV}));
  if (options.forceKVPolicy && model.kvPolicy != model.trainedKV)
    op->setAttr(kForceKVPolicyAttr, builder.getUnitAttr());
  op->setAttr(kStopTokensAttr, builder.getI64ArrayAttr(companions.stopTokens));
  op->setAttr(kContextLimitAttr, builder.getI64IntegerAttr(model.context));
  recordArchives(op, archives);
  recordText(op, kTokenizerAttr, companions.tokenizer);
  recordText(op, kChatTemplateAttr, companions.chatTemplate);
  if (failed(verify(op)))
    return importError("the module imported from " + quoted(options.path) +
                       " is not valid");

  Import result;
  result.module = std::move(model.module);
  result.archives = std::move(archives);
  result.log = std::move(log);
  if (companions.tokenizer)
    result.tokenizer = std::move(companions.tokenizer->text);
  if (companions.chatTemplate)
    result.chatTemplate = std::move(companions.chatTemplate->text);
  return result;
}
