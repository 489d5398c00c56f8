//===- DecoderWeights.h - parameters of a decoder ---------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Takes a decoder's tensors and declares them. A stack has one type, so layers
// whose tensors are stored in other types than their neighbours' (GGUF mixes
// them) start a group of their own.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_DECODERWEIGHTS_H
#define RONDO_LIB_IMPORT_DECODERWEIGHTS_H

#include "Decoder.h"

namespace rondo {

/// The element type of parameters that are stored so.
mlir::Type getElementType(StorageType type, mlir::MLIRContext *context);

/// A parameter of the module.
struct Param {
  std::string symbol;
  StorageType type = StorageType::Other;
  /// [out, in], or [width].
  llvm::SmallVector<int64_t, 2> shape;
};

/// Declares a parameter of `shape`, `part` of each tensor of `stack` (null: all
/// of it): one entry for each of several layers, or the only one.
Param declareStack(mlir::OpBuilder &builder, mlir::Location loc,
                   const llvm::Twine &symbol,
                   llvm::ArrayRef<const ArchiveTensor *> stack,
                   llvm::ArrayRef<int64_t> shape, PartAttr part, bool isStack);

/// A low-rank delta of a matrix.
struct DeltaParams {
  Param a, b;
  double scale = 1;
};

/// A matrix with an optional bias and delta.
struct LinearParams {
  Param weight;
  std::optional<Param> bias;
  std::optional<DeltaParams> delta;
};

/// Weight and bias of a norm.
struct NormParams {
  Param weight;
  std::optional<Param> bias;
};

/// Parameters of consecutive layers, stacked.
struct LayerGroup {
  int64_t first = 0;
  int64_t count = 0;
  /// Distinguishes the groups' symbols: "" for a group of all layers.
  std::string suffix;
  NormParams attentionNorm, mlpNorm;
  std::optional<NormParams> attentionOutNorm, mlpOutNorm;
  LinearParams q, k, v, o, up, down;
  std::optional<LinearParams> gate;
  std::optional<NormParams> qNorm, kNorm;
  /// Multiplies what the layer leaves.
  std::optional<Param> encoding;
};

/// The matrices of routers, of all visits or one for each.
struct RouterParams {
  LinearParams first;
  std::optional<LinearParams> second; // behind a GELU
  std::optional<Param> biases;
};

/// All parameters of a decoder.
struct DecoderParams {
  Param embedding, head;
  NormParams finalNorm;
  std::optional<LinearParams> exitGate;
  std::optional<RouterParams> router;
  std::vector<LayerGroup> groups;
};

/// Takes the tensors and adds a `rondo.param` for each stack at `builder`.
DecoderParams declareParams(const Decoder &decoder, TensorTable &tensors,
                            mlir::OpBuilder &builder, mlir::Location loc);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_DECODERWEIGHTS_H
