//===- Import.h - checkpoints and modules to phase `input` ------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Everything that a compilation starts from: a Hugging Face folder, a GGUF file
// or a dumped module, turned into a module with the archives that its
// parameters name. No function here prints or aborts; errors are one line that
// names the file, the key, what was found and the way out.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_IMPORT_IMPORT_H
#define RONDO_IMPORT_IMPORT_H

#include "rondo/Import/Archive.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace rondo {

/// Visit layers `first` .. `last` (both included) `times` times.
struct LayerLoop {
  int64_t first = 0;
  int64_t last = 0;
  int64_t times = 1;
};

/// Reads "FIRST:LAST:TIMES".
llvm::Expected<LayerLoop> parseLayerLoop(llvm::StringRef text);

/// How a router of experts (Mixture-of-Recursions) selects rows.
enum class RoutingMode {
  /// As the authors' code: the largest scores of a call, so that the whole
  /// prompt decides, and a new token, alone in its call, runs all visits.
  Released,
  /// As training meant it: a row goes on if its score is not negative.
  Causal,
};

/// What a user decides about an import.
struct ImportOptions {
  /// A Hugging Face model folder or a GGUF file.
  std::string path;
  /// A PEFT adapter's folder; empty: the one in the model folder, if any.
  std::string adapter;
  /// Overrides the checkpoint's schedule unless empty.
  std::vector<LayerLoop> loops;
  /// Name of a KV policy; empty: the checkpoint's own.
  std::string kvPolicy;
  /// Accept a policy that the checkpoint was not trained for.
  bool forceKVPolicy = false;
  /// Empty: as released. For models with a router of experts.
  std::optional<RoutingMode> routing;
};

/// An imported model.
struct Import {
  /// At phase `input`, with the attributes of RondoModuleAttrs.h; verified.
  mlir::OwningOpRef<mlir::ModuleOp> module;
  /// Holds every key that a parameter of the module names.
  ArchiveSet archives;
  /// One line for each number that the import decided, and for each thing that
  /// it could not take ("warning: ...").
  std::vector<std::string> log;
  /// The text of tokenizer.json; empty: the checkpoint has none.
  std::string tokenizer;
  /// Jinja text; empty: the checkpoint has none.
  std::string chatTemplate;
};

/// Registers and loads the dialects that an imported module uses.
void loadImportDialects(mlir::MLIRContext &context);

/// Imports a checkpoint.
llvm::Expected<Import> importCheckpoint(const ImportOptions &options,
                                        mlir::MLIRContext &context);

/// Opens what a parsed module names: the archives at `archivePaths` (files, or
/// folders of safetensors files) by name, else where the module says; checks
/// their hashes, the keys, shapes and types of all parameters, and reads
/// tokenizer and template. A module that records no archives is given the
/// record of those opened. `weightless` opens no archives.
llvm::Expected<Import> importModule(mlir::OwningOpRef<mlir::ModuleOp> module,
                                    llvm::ArrayRef<std::string> archivePaths,
                                    bool weightless = false);

/// The archives part of `importModule`, on its own.
llvm::Expected<ArchiveSet>
openArchives(mlir::ModuleOp module, llvm::ArrayRef<std::string> archivePaths);

/// Whether `path` is a folder or a file of weights, so that `importCheckpoint`
/// and not the MLIR parser reads it.
bool isCheckpointPath(llvm::StringRef path);

} // namespace rondo

#endif // RONDO_IMPORT_IMPORT_H
