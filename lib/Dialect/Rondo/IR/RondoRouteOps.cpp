//===- RondoRouteOps.cpp - which rows a visit computes --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rules of routing. The labels in comments are those of RondoRouteOps.td.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace rondo;

/// Most columns of scores: those of one chunk at the execution level.
static constexpr int64_t kMaxChoices = 32;

static int64_t getWidth(TypedValue<RankedTensorType> rows) {
  return rows.getType().getDimSize(1);
}

/// Checks that `op` belongs to an execution, whose side index it reads.
static LogicalResult verifyInBlock(Operation *op) {
  Operation *parent = op->getParentOp();
  if (!isa<FunctionOpInterface, LoopOp>(parent))
    return success();
  return op->emitOpError("expected to stand inside a 'rondo.block', whose side "
                         "index is the visit");
}

static LogicalResult verifyRecord(Operation *op,
                                  TypedValue<RankedTensorType> record) {
  if (getWidth(record) == kRecordWidth)
    return success();
  return op->emitOpError("expected a record of ")
         << int64_t(kRecordWidth) << " columns, got " << getWidth(record);
}

//===----------------------------------------------------------------------===//
// RouteOp
//===----------------------------------------------------------------------===//

/// route_c4
static LogicalResult verifyNumbers(RouteOp op) {
  if (op.getCapacities().has_value() != (op.getRule() == RouteRule::TopK) ||
      op.getThreshold().has_value() != (op.getRule() == RouteRule::Threshold))
    return op.emitOpError("expected 'capacities' with 'top_k' alone and "
                          "'threshold' with 'threshold' alone");
  if (!op.getCapacities())
    return success();
  auto capacities = op.getCapacities()->getValues<double>();
  auto wrong =
      llvm::find_if(capacities, [](double c) { return !(c > 0 && c <= 1); });
  if (!capacities.empty() && wrong == capacities.end())
    return success();
  InFlightDiagnostic error = op.emitOpError(
      "expected a capacity for each visit, each above 0 and not above 1, got ");
  if (capacities.empty())
    return error << "none";
  return error << *wrong;
}

LogicalResult RouteOp::verify() {
  // route_c1
  if (failed(verifyInBlock(*this)))
    return failure();
  // route_c2
  if (failed(verifyRecord(*this, getRecord())))
    return failure();
  // route_c3
  bool isChoice = getRule() == RouteRule::Choice;
  int64_t width = getWidth(getScores());
  if (isChoice ? width > kMaxChoices : width != 1)
    return emitOpError("expected ")
           << (isChoice ? "at most 32 scores" : "one score")
           << " of each row, got " << width;
  if (failed(verifyNumbers(*this)))
    return failure();
  // route_c5
  if (!isChoice && (getBiases() || getFunction() == RouteFunction::Softmax))
    return emitOpError("expected 'biases' and 'softmax' with 'choice' alone");
  return success();
}

LogicalResult RouteOp::verifySymbolUses(SymbolTableCollection &symbols) {
  // route_c5
  if (!getBiasesAttr())
    return success();
  auto param = symbols.lookupNearestSymbolFrom<ParamOp>(*this, getBiasesAttr());
  if (!param || param.getTensorType().getShape() !=
                    ArrayRef<int64_t>{getWidth(getScores())})
    return emitOpError("expected biases ")
           << getBiasesAttr() << " to name a 'rondo.param' of "
           << getWidth(getScores()) << " values";
  return success();
}

//===----------------------------------------------------------------------===//
// SelectRowsOp, MergeRowsOp
//===----------------------------------------------------------------------===//

LogicalResult SelectRowsOp::verify() {
  // select_rows_c1
  if (failed(verifyInBlock(*this)))
    return failure();
  // select_rows_c2
  return verifyRecord(*this, getRecord());
}

LogicalResult MergeRowsOp::verify() {
  // merge_rows_c1
  if (isa<LoopOp>((*this)->getParentOp()))
    return emitOpError("expected to stand inside a 'rondo.block', or behind "
                       "all loops");
  // merge_rows_c2
  return verifyRecord(*this, getRecord());
}
