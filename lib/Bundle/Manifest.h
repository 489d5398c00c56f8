//===- Manifest.h - a bundle's description of itself ------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_BUNDLE_MANIFEST_H
#define RONDO_LIB_BUNDLE_MANIFEST_H

#include "rondo/Bundle/Plan.h"
#include "rondo/Bundle/Weights.h"
#include "rondo_rt/abi.h"

#include "mlir/IR/BuiltinOps.h"

#include <string>
#include <vector>

namespace rondo {

/// One tensor of the file; gaps are not listed.
struct FileTensor {
  std::string name;
  uint64_t offset = 0; // bytes from the start of the data section
  uint64_t bytes = 0;
  std::string hash;
};

/// The attribute of the module's dictionary `rondo.options`, or null.
mlir::Attribute getOption(mlir::ModuleOp module, llvm::StringRef key);

/// The module's schedule as the runtime reads it, rondo_rt_execution by
/// rondo_rt_execution; an error on the module if it has none.
mlir::FailureOr<std::vector<rondo_rt_execution>>
getExecutions(mlir::ModuleOp module);

/// What the manifest is made from.
struct ManifestInputs {
  mlir::ModuleOp module;
  const Plan &plan;
  const std::vector<WeightTensor> &weights;
  const rondo_rt_code_header &code;
  bool tokenizer;
  bool chatTemplate;
};

/// The manifest's text for the given tensors. Its length does not depend on the
/// hashes, as long as each has 32 digits.
std::string writeManifest(const ManifestInputs &inputs,
                          llvm::ArrayRef<FileTensor> tensors);

} // namespace rondo

#endif // RONDO_LIB_BUNDLE_MANIFEST_H
