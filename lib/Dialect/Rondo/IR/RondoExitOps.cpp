//===- RondoExitOps.cpp - where the visits of a row end -------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rules of early exits. The labels in comments are those of RondoExitOps.td.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/Rondo.h"

using namespace mlir;
using namespace rondo;

/// Most columns of `rondo.fill`: those of one chunk at the execution level.
static constexpr int64_t kMaxFill = 32;

static int64_t getWidth(TypedValue<RankedTensorType> rows) {
  return rows.getType().getDimSize(1);
}

LogicalResult FillOp::verify() {
  // fill_c1
  int64_t width = getWidth(getResult());
  if (getValues().getNumElements() != width)
    return emitOpError("expected one value for each of ")
           << width << " columns, got " << getValues().getNumElements();
  // fill_c2
  if (width > kMaxFill)
    return emitOpError("expected at most ")
           << kMaxFill << " columns, got " << width;
  return success();
}

LogicalResult ExitOp::verify() {
  // exit_c1
  if (getWidth(getGate()) != 1 || getWidth(getRecord()) != 3)
    return emitOpError("expected a gate of 1 column and a record of 3, got ")
           << getWidth(getGate()) << " and " << getWidth(getRecord());
  // exit_c2
  float threshold = getThreshold().convertToFloat();
  if (!(threshold > 0 && threshold < 1))
    return emitOpError("expected a threshold above 0 and below 1, got ")
           << getThresholdAttr();
  return success();
}
