//===- RouteBuilder.h - routers around the visits of a loop -----*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   experts                              tokens
//   %record = fill                       %record = apply @choose(%x)
//   loop {                               loop {
//     %y, %record = apply @enter(%x)       %y = apply @enter(%h)
//     layers of %y                         layers of %y
//     %x = apply @leave(%y, %x)            %h = apply @leave(%y, %h)
//   }                                    }
//                                        %x = merge_rows %h into %x
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_ROUTEBUILDER_H
#define RONDO_LIB_IMPORT_ROUTEBUILDER_H

#include "RowBuilder.h"

namespace rondo {

/// Emits what a router does before and after the layers of a visit.
class RouteBuilder {
public:
  RouteBuilder(mlir::OpBuilder &builder, mlir::Location loc, RowBuilder &rows,
               const Decoder &decoder, const RouterParams &params)
      : builder(builder), loc(loc), rows(rows), decoder(decoder),
        router(*decoder.router), params(params) {}

  /// Declares the blocks.
  void buildBlocks();
  /// The records of rows before the first visit.
  mlir::Value begin(mlir::Value x);
  /// The rows that visit `first + visit` computes; updates `record`.
  mlir::Value enter(mlir::Value x, mlir::Value &record, mlir::Value visit,
                    int64_t first);
  /// All rows, after the layers have computed `y`.
  mlir::Value leave(mlir::Value y, mlir::Value x, mlir::Value record);
  /// All rows behind the last visit; `x` is what went into the first one.
  mlir::Value end(mlir::Value state, mlir::Value x, mlir::Value record);

private:
  mlir::RankedTensorType getRecords() { return rows.getRows(kRecordWidth); }
  /// A block whose body `build` makes from its arguments.
  void buildBlock(
      llvm::StringRef name, llvm::ArrayRef<mlir::Type> inputs,
      llvm::ArrayRef<mlir::Type> results,
      llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::ValueRange)>
          build);
  /// Applies a block, at the side index that `side` makes of `visit`.
  mlir::ValueRange apply(llvm::StringRef name, mlir::ValueRange inputs,
                         llvm::ArrayRef<mlir::Type> results, mlir::Value visit,
                         int64_t first);
  mlir::Value buildScores(mlir::Value x);
  mlir::Value route(mlir::Value scores, mlir::Value record);
  llvm::SmallVector<mlir::Value> buildChoose(mlir::ValueRange arguments);
  llvm::SmallVector<mlir::Value> buildEnter(mlir::ValueRange arguments);

  mlir::OpBuilder &builder;
  mlir::Location loc;
  RowBuilder &rows;
  const Decoder &decoder;
  const Router &router;
  const RouterParams &params;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_ROUTEBUILDER_H
