//===- RowBuilder.h - operations on rows ------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_ROWBUILDER_H
#define RONDO_LIB_IMPORT_ROWBUILDER_H

#include "DecoderWeights.h"

namespace rondo {

/// Emits operations on rows, so that the code of layers reads as the equations.
class RowBuilder {
public:
  RowBuilder(mlir::OpBuilder &builder, mlir::Location loc)
      : builder(builder), loc(loc) {}

  mlir::RankedTensorType getRows(int64_t width);

  /// The decoder's norm of rows, or of each of `heads`.
  mlir::Value norm(mlir::Value rows, const NormParams &norm,
                   const Decoder &decoder,
                   std::optional<int64_t> heads = std::nullopt);

  /// All of `matrices` on the same rows: one op if they are stored alike, since
  /// one arithmetic mode holds for all weights of an op, else one each.
  llvm::SmallVector<mlir::Value>
  linear(mlir::Value rows, llvm::ArrayRef<const LinearParams *> matrices);
  mlir::Value linear(mlir::Value rows, const LinearParams &matrix);

  mlir::Value rope(mlir::Value rows, int64_t heads, const Decoder &decoder);
  mlir::Value activate(mlir::Value rows, ActivationKind kind);
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value multiply(mlir::Value a, mlir::Value b);
  /// Rows times a vector of parameters.
  mlir::Value scale(mlir::Value rows, const Param &weight);
  /// A loop that carries `x`; `buildBody` makes what one iteration hands on
  /// from its number and the value carried so far.
  mlir::Value buildLoop(
      int64_t count, mlir::Value x,
      llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> buildBody);
  /// The same for several values.
  using Carried = llvm::SmallVector<mlir::Value, 3>;
  Carried
  buildLoop(int64_t count, const Carried &inits,
            llvm::function_ref<Carried(mlir::Value, Carried)> buildBody);
  /// The same numbers for each row of `like`.
  mlir::Value fill(llvm::ArrayRef<float> values, mlir::Value like);
  /// `column`: of forms of one number.
  void trace(llvm::StringRef name, mlir::Value rows, bool isSingle = false,
             TraceForm form = TraceForm::Rows, int64_t column = 0);

  mlir::FlatSymbolRefAttr getSymbol(llvm::StringRef name);

private:
  mlir::ValueRange createLinear(mlir::Value rows,
                                llvm::ArrayRef<const LinearParams *> matrices);
  mlir::Attribute getDelta(const DeltaParams &delta);

  mlir::OpBuilder &builder;
  mlir::Location loc;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ROWBUILDER_H
