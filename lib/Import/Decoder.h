//===- Decoder.h - a decoder-only transformer, described --------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What the families of decoders have in common: a family reads a configuration
// into this description, `buildDecoder` makes the module. A layer has two
// branches,
//
//   attention(x)   o(attend(rope(q(a)), rope(k(a)), v(a)))   a = norm(x)
//   mlp(x)         down(act(gate(m)) * up(m))                m = norm(x)
//                  down(act(up(m)))                          without a gate
//
// and one of the orders of `LayerOrder`.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_DECODER_H
#define RONDO_LIB_IMPORT_DECODER_H

#include "Router.h"
#include "Tensors.h"

#include "rondo/Dialect/Rondo/IR/Rondo.h"

namespace rondo {

/// How a format spells the keys of a decoder's tensors. A tensor of layer l is
/// `<layerPrefix>l.<name>.weight` (or `.bias`).
struct DecoderKeys {
  llvm::StringLiteral embedding;
  llvm::StringLiteral finalNorm; // without ".weight"
  llvm::StringLiteral head;
  llvm::StringLiteral layerPrefix;
  llvm::StringLiteral attentionNorm;
  llvm::StringLiteral q, k, v, o;
  llvm::StringLiteral qNorm, kNorm;
  llvm::StringLiteral mlpNorm;
  llvm::StringLiteral gate, up, down;
  /// Norms behind the branches (`LayerOrder::Sandwich`).
  llvm::StringLiteral attentionOutNorm = "", mlpOutNorm = "";
};

/// What ends each visit of a looped segment: a linear with one output, and the
/// rule by which a row's visits end.
struct ExitGate {
  llvm::StringLiteral name;
  /// Of the rule `cumulative` of `rondo.exit`; none: the last visit is read
  /// out, and the gate is a trace point only.
  std::optional<float> threshold = std::nullopt;
};

/// How a layer adds its branches to the state.
enum class LayerOrder {
  Sequential, // x += attention(x); x += mlp(x)
  Parallel,   // x += attention(x) + mlp(x)
  Sandwich,   // x += norm(attention(x)); x += norm(mlp(x))
};

/// Keys of Llama's tensors as transformers writes them, and as GGUF does.
extern const DecoderKeys kHuggingFaceKeys;
extern const DecoderKeys kGGUFKeys;

/// A model; all numbers come from its configuration.
struct Decoder {
  std::string architecture;
  int64_t vocabulary = 0;
  int64_t hidden = 0;
  int64_t intermediate = 0;
  int64_t layers = 0; // stored
  int64_t heads = 0;
  int64_t kvHeads = 0;
  int64_t headDim = 0;
  int64_t context = 0;
  float eps = 0;
  LayerOrder order = LayerOrder::Sequential;
  /// Layer norms have a bias.
  NormKind normKind = NormKind::RMS;
  /// Whether the MLP multiplies by a gate.
  bool gated = true;
  /// q, k and v are one tensor, in which each head has its q, k and v; `keys`
  /// has its name three times.
  bool fusedByHead = false;
  /// The head's matrix is the embedding table.
  bool tied = false;
  bool attentionBias = false;
  bool outputBias = false;
  bool mlpBias = false;
  /// RMS norm of each head of q and k before rope.
  bool qkNorm = false;
  RopePairs ropePairs = RopePairs::Half;
  ActivationKind activation = ActivationKind::SiLU;
  /// What is added to the weights of norms; they are stored minus it.
  float normOffset = 0;
  /// Embeddings are multiplied by it; the head, which may share their table, is
  /// not.
  float embeddingScale = 1;
  /// One for each rotated pair of a head.
  llvm::SmallVector<float> frequencies;
  const DecoderKeys *keys = nullptr;
  /// Ends of the keys of tensors that are no weights.
  llvm::ArrayRef<llvm::StringLiteral> buffers;
  /// Where the tensors of layers are, if not by `keys` alone: layers that share
  /// weights, and what varies by depth.
  std::shared_ptr<const LayerKeys> layerKeys;
  Schedule schedule;
  std::optional<ExitGate> exit;
  /// Selects the rows that visits of the looped segment compute.
  std::optional<Router> router;
  /// KV policy that the weights are trained for.
  std::string trainedKV = "per-depth";
  /// Every execution of a layer is a trace point `layer`.
  bool traceLayers = true;
};

/// Makes the module of a decoder, taking its tensors. An error if a tensor is
/// missing, left over or of another shape.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
buildDecoder(const Decoder &decoder, TensorTable &tensors,
             mlir::MLIRContext &context);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_DECODER_H
