//===- Families.h - model families that can be imported ---------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_FAMILIES_H
#define RONDO_LIB_IMPORT_FAMILIES_H

#include "Config.h"
#include "Decoder.h"
#include "GGUF.h"
#include "Record.h"

#include <functional>

namespace rondo {

/// Builds the module of a model whose configuration was read, taking its
/// tensors.
using ModelBuilder = std::function<llvm::Expected<BuiltModel>(
    TensorTable &tensors, const ImportOptions &options, ImportLog &log,
    mlir::MLIRContext &context)>;

/// The class of Mixture-of-Recursions, whose routers stand in another file.
inline constexpr llvm::StringLiteral kRoutedClass = "MoRLlamaForCausalLM";

/// A family of Hugging Face checkpoints.
struct Family {
  /// `model_type` of config.json.
  llvm::StringLiteral modelType;
  /// The entry of `architectures` that has the weights of a language model.
  llvm::StringLiteral className;
  /// Reads a configuration; errors stay in the reader. Null for a family that
  /// is no `Decoder`.
  Decoder (*read)(ConfigReader &config);
  /// The same for a family with a builder of its own.
  ModelBuilder (*open)(ConfigReader &config) = nullptr;
  /// Another such entry; empty if there is none.
  llvm::StringLiteral otherClassName = "";
};

/// The family of a `model_type`, or null.
const Family *findFamily(llvm::StringRef modelType);
/// All `model_type`s, for messages.
std::string listFamilies();

Decoder readLlama(ConfigReader &config);
Decoder readNanbeige(ConfigReader &config);
Decoder readGemma(ConfigReader &config);
Decoder readGPTNeoX(ConfigReader &config);
Decoder readOuro(ConfigReader &config);
Decoder readRecursiveLlama(ConfigReader &config);
Decoder readRecursiveGemma(ConfigReader &config);
Decoder readRecursiveGPTNeoX(ConfigReader &config);
ModelBuilder openHuginn(ConfigReader &config);
ModelBuilder openAlbert(ConfigReader &config);

/// What `hidden_act` names, one of `known`; `advice` says what to add if it is
/// missing.
ActivationKind readHiddenAct(
    ConfigReader &config,
    llvm::ArrayRef<std::pair<llvm::StringLiteral, ActivationKind>> known,
    llvm::StringRef advice);

/// Keys of bookkeeping and training that every family has.
void ignoreInertKeys(ConfigReader &config);
/// What decoders of Llama's layer order share: sizes, eps, biases, rope.
/// `headDimRequired`: the family's head_dim is not hidden_size / heads.
Decoder readLayers(ConfigReader &config, bool headDimRequired);
/// The same with Llama's activation, and its flag of the tied head.
Decoder readLlamaLayers(ConfigReader &config, bool headDimRequired);

/// Reads the metadata of a GGUF file of architecture "llama" or "nanbeige", and
/// from the tensors what only they say.
llvm::Expected<Decoder> readGGUFDecoder(const GGUFFile &file,
                                        TensorTable &tensors, ImportLog &log);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_FAMILIES_H
