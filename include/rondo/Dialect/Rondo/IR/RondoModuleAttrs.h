//===- RondoModuleAttrs.h - what a module says of its compilation ---------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The discardable module attributes that travel with a model from the importer
// to the artifact, so that a dumped phase compiles to the same bytes:
//
//   rondo.phase          "input", "rondo", "step", "tiled", "buffers", "target"
//   rondo.architecture   "llama"
//   rondo.name           text for people
//   rondo.kv_policy      "per-depth": the policy in force
//   rondo.trained_kv     ["per-depth", ...]: what the checkpoint is trained for
//   rondo.force_kv_policy  unit: run a policy that is not one of those
//   rondo.stop_tokens    [2] (integers)
//   rondo.context_limit  2048 : i64, the longest sequence of the checkpoint
//   rondo.archives       [{name = "model.safetensors", path = "...",
//                          hash = "..."}]
//   rondo.tokenizer, rondo.chat_template   {path = "...", hash = "..."}
//   rondo.options        {context = 2048 : i64, sequences = 16 : i64,
//                         rows = 512 : i64, kv = f32, arithmetic = "exact" or
//                         "fast", weights = "keep", lora = "auto",
//                         optimization = 3 : i64, trace = false,
//                         weightless = false}
//   rondo.target         {kind = "cpu", cpu = "znver3",
//                         features = ["x86-64-v3"]}
//
// RondoAttributes.cpp checks the kind of each.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDOMODULEATTRS_H
#define RONDO_DIALECT_RONDO_IR_RONDOMODULEATTRS_H

#include "llvm/ADT/StringRef.h"

namespace rondo {
inline constexpr llvm::StringLiteral kPhaseAttr = "rondo.phase";
inline constexpr llvm::StringLiteral kArchitectureAttr = "rondo.architecture";
inline constexpr llvm::StringLiteral kNameAttr = "rondo.name";
inline constexpr llvm::StringLiteral kKVPolicyAttr = "rondo.kv_policy";
inline constexpr llvm::StringLiteral kTrainedKVAttr = "rondo.trained_kv";
inline constexpr llvm::StringLiteral kForceKVPolicyAttr =
    "rondo.force_kv_policy";
inline constexpr llvm::StringLiteral kStopTokensAttr = "rondo.stop_tokens";
inline constexpr llvm::StringLiteral kContextLimitAttr = "rondo.context_limit";
inline constexpr llvm::StringLiteral kArchivesAttr = "rondo.archives";
inline constexpr llvm::StringLiteral kTokenizerAttr = "rondo.tokenizer";
inline constexpr llvm::StringLiteral kChatTemplateAttr = "rondo.chat_template";
inline constexpr llvm::StringLiteral kOptionsAttr = "rondo.options";
inline constexpr llvm::StringLiteral kTargetAttr = "rondo.target";

/// `#rondo.input` of an argument of the model function.
inline constexpr llvm::StringLiteral kInputAttr = "rondo.input";
/// Of a result of the model's function: its `#rondo.output`.
inline constexpr llvm::StringLiteral kOutputAttr = "rondo.output";
/// Output of a model whose results have no names.
inline constexpr llvm::StringLiteral kLogitsOutput = "logits";
/// Set at phase `step`: [{name, width, first}], one for each result, and "row"
/// or "cohort", what must be computed together.
inline constexpr llvm::StringLiteral kOutputsAttr = "rondo_rt.outputs";
inline constexpr llvm::StringLiteral kScopeAttr = "rondo_rt.scope";
} // namespace rondo

#endif // RONDO_DIALECT_RONDO_IR_RONDOMODULEATTRS_H
