//===- ChunkEvaluator.h - rows as chunks of 32 lanes ------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Writes the computation of one chunk of a value: loads where the value comes
// from another stage, otherwise the operations of the stage on vectors of 32
// lanes. Statistics of whole-row norms are scalars computed before.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_CHUNKEVALUATOR_H
#define RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_CHUNKEVALUATOR_H

#include "Layouts.h"
#include "WeightSymbols.h"

namespace rondo::rt {

/// Scalars of a whole-row norm: its result is (x - mean) * scale * weight +
/// bias.
struct NormStatistics {
  mlir::Value mean; // null for RMS
  mlir::Value scale;
};
/// Scalars of an exit: whether the row takes the state, and its next record.
struct ExitScalars {
  mlir::Value takes; // i1
  llvm::SmallVector<mlir::Value, 3> record;
};
using ExitMap = llvm::DenseMap<mlir::Operation *, ExitScalars>;

using NormMap = llvm::DenseMap<mlir::Operation *, NormStatistics>;

/// What all evaluators of a stage share.
struct TilingContext {
  WeightSymbols &weights;
  const LayoutMap &layouts;
  StageOp stage;
  /// Physical stand-ins for values of earlier stages and body arguments.
  const mlir::IRMapping &physical;
  int64_t positions; // longest sequence
  NormMap norms;
  ExitMap exits;
  /// Packed rows that each linear of the stage reads.
  llvm::DenseMap<mlir::Operation *, mlir::Value> packedRows;
};

/// Evaluates values at one place: chunk `index * panels + panel`.
class ChunkEvaluator {
public:
  ChunkEvaluator(TilingContext &context, mlir::OpBuilder &builder,
                 mlir::Value index, int64_t panels)
      : context(context), builder(builder), index(index), panels(panels) {}

  /// Presets a value that is computed otherwise (a contraction's result).
  void set(mlir::Value value, int64_t panel, mlir::Value chunk) {
    known[{value, panel}] = chunk;
  }

  /// The chunk of `value`; null after an error was emitted.
  mlir::Value get(mlir::Value value, int64_t panel);

private:
  mlir::Value evaluate(mlir::Value value, int64_t panel);
  mlir::Value evaluateNorm(NormOp norm, int64_t panel);
  mlir::Value evaluateHeadNorm(NormOp norm, int64_t panel);
  mlir::Value evaluateRope(RopeOp rope, int64_t panel);
  mlir::Value evaluateScale(ScaleOp scale, int64_t panel);
  mlir::Value evaluateExit(mlir::OpResult result, int64_t panel);
  mlir::Value evaluateMerge(MergeRowsOp merge, int64_t panel);
  /// `scalars` in the first lanes of a chunk, zeros behind them.
  mlir::Value makeChunk(mlir::Location loc,
                        llvm::ArrayRef<mlir::Value> scalars);
  /// A linear of the prologue: its panels are chunks of its flat result.
  mlir::Value evaluateLinear(mlir::OpResult result);
  mlir::Value evaluateElementwise(mlir::Operation *op, int64_t panel);
  /// value * weight + bias, each if present; `repeat` as in rondo_rt.vector.
  mlir::Value applyAffine(NormOp norm, mlir::Value value, LayoutAttr layout,
                          int64_t repeat, int64_t panel);
  mlir::Value loadVector(mlir::FlatSymbolRefAttr param, LayoutAttr layout,
                         int64_t repeat, int64_t panel);
  mlir::Value splat(mlir::Value scalar);

  TilingContext &context;
  mlir::OpBuilder &builder;
  mlir::Value index;
  int64_t panels;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, mlir::Value> known;
};

/// Computes what the results of `exit` are made of, from chunks of its
/// operands; `gate` and `record` are their first chunks.
ExitScalars emitExit(mlir::OpBuilder &builder, ExitOp exit, mlir::Value gate,
                     mlir::Value record);

/// 1 / sqrt(sum / count + eps) of scalars.
mlir::Value emitInverseDeviation(mlir::OpBuilder &builder, mlir::Location loc,
                                 mlir::Value sum, int64_t count,
                                 llvm::APFloat eps);

} // namespace rondo::rt

#endif // RONDO_LIB_DIALECT_RONDORT_TRANSFORMS_CHUNKEVALUATOR_H
