//===- Record.h - what a module says of its origin --------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_RECORD_H
#define RONDO_LIB_IMPORT_RECORD_H

#include "Config.h"
#include "Decoder.h"

namespace rondo {

/// A text that goes into the bundle, with the file it came from.
struct TextSource {
  std::string path;
  std::string text;
};

/// What an importer found beside the weights.
struct Companions {
  std::string name;
  std::vector<int64_t> stopTokens;
  std::optional<TextSource> tokenizer;
  std::optional<TextSource> chatTemplate;
};

/// Applies the options' loops and KV policy to a decoder.
llvm::Error applyOptions(Decoder &decoder, const ImportOptions &options,
                         std::string &kvPolicy, ImportLog &log);

/// A module that has its operations, and what its attributes say.
struct BuiltModel {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::string architecture;
  int64_t vocabulary = 0;
  int64_t context = 0;
  /// KV policies: in force, and that the weights are trained for.
  std::string kvPolicy, trainedKV;
};

/// Sets all attributes that RondoModuleAttrs.h gives to importers.
llvm::Expected<Import> finishImport(BuiltModel model,
                                    const TensorTable &tensors,
                                    ArchiveSet archives, Companions companions,
                                    const ImportOptions &options,
                                    ImportLog log);

/// Builds the decoder's module and finishes its import.
llvm::Expected<Import> finishImport(Decoder decoder, TensorTable &tensors,
                                    ArchiveSet archives, Companions companions,
                                    const ImportOptions &options, ImportLog log,
                                    mlir::MLIRContext &context);

/// Sets `rondo.archives`.
void recordArchives(mlir::ModuleOp module, const ArchiveSet &archives);

/// Drops stop tokens that are no token of the vocabulary, with a warning each.
void checkStopTokens(std::vector<int64_t> &tokens, int64_t vocabulary,
                     ImportLog &log);

/// Reads the tokenizer or the chat template again from a recorded path: a text
/// file, the `chat_template` of a tokenizer_config.json, or a GGUF file.
llvm::Expected<std::string> readTokenizer(llvm::StringRef path);
llvm::Expected<std::string> readChatTemplate(llvm::StringRef path);

/// Opens all safetensors files of a model folder: the only one, or the shards
/// that its index names.
llvm::Error openFolder(llvm::StringRef folder, ArchiveSet &archives);

llvm::Expected<Import> importHuggingFace(const ImportOptions &options,
                                         mlir::MLIRContext &context);
llvm::Expected<Import> importGGUF(const ImportOptions &options,
                                  mlir::MLIRContext &context);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_RECORD_H
