//===- Adapter.h - what adapter_config.json says ----------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// PEFT's low-rank deltas: rank and scale of each matrix.
//
//   scale = alpha / rank, or alpha / sqrt(rank) with use_rslora
//
// `rank_pattern` and `alpha_pattern` give a matrix, or all whose name ends in a
// key, numbers of their own; a key is a regular expression, and the first that
// matches counts (PEFT 0.15, tuners/lora/{config,model,layer}.py).
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_ADAPTER_H
#define RONDO_LIB_IMPORT_ADAPTER_H

#include "llvm/Support/JSON.h"

namespace rondo {

class AdapterConfig {
public:
  /// Reads and checks a file; an error for other methods and options.
  static llvm::Expected<AdapterConfig> read(llvm::StringRef path);

  /// What the delta of a matrix, named from the model on, is multiplied by;
  /// `rank` is that of its tensors.
  llvm::Expected<double> getScale(llvm::StringRef linear, int64_t rank) const;

private:
  /// What a pattern says of a matrix, else `fallback`.
  llvm::Expected<double> find(llvm::StringRef pattern, llvm::StringRef linear,
                              double fallback) const;

  std::string path;
  llvm::json::Object values;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ADAPTER_H
