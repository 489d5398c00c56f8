//===- TrainingFolder.h - folders of the MoR/RRT training code --*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `config.json` is that of a Llama with all unrolled layers; which of them
// share weights stands in train_config.yaml only, and how low-rank deltas are
// scaled in adapter_config.json. Every shared weight is stored once for each
// unrolled layer. Source: github.com/raymin0223/mixture_of_recursions.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_TRAININGFOLDER_H
#define RONDO_LIB_IMPORT_TRAININGFOLDER_H

#include "Adapter.h"
#include "Config.h"
#include "Decoder.h"

namespace rondo {

/// What stands beside the weights of a folder: a training configuration, an
/// adapter, or both.
class TrainingFolder {
public:
  /// Reads a folder; `adapter` is where another one is, empty: in the folder.
  static llvm::Expected<TrainingFolder> read(llvm::StringRef folder,
                                             llvm::StringRef adapter);

  bool isEmpty() const { return !training && !adapter; }
  /// Makes `decoder`, as config.json describes it, what it was trained as;
  /// `routing` is what the user asks of a router.
  void apply(ConfigReader &config, Decoder &decoder,
             std::optional<RoutingMode> routing) const;
  /// Opens the adapter's weights, if it has any of its own.
  llvm::Error openAdapter(TensorTable &tensors, ArchiveSet &archives) const;
  /// The name that a tensor would have in a plain Llama.
  static std::string rename(llvm::StringRef key);

private:
  llvm::Error check() const;
  bool isEnabled(llvm::StringRef section) const;
  bool sharesKV(ConfigReader &config, const Sharing &sharing) const;
  bool updatesKV() const;
  void applyRouter(ConfigReader &config, Decoder &decoder, Sharing sharing,
                   bool ownNorms, bool sharesKV,
                   std::optional<RoutingMode> mode) const;

  std::string folder;
  std::string trainingPath, adapterFolder;
  std::shared_ptr<llvm::json::Object> training;
  std::shared_ptr<AdapterConfig> adapter;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_TRAININGFOLDER_H
