//===- Structure.cpp - the meaning of blocks, applies and loops -----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Operations.h"

#include "mlir/IR/AffineMap.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

void Frame::set(Value value, Tensor tensor) {
  if (machine.precision == Precision::F32 &&
      getElementTypeOrSelf(value.getType()).isF32())
    for (double &number : tensor.values)
      number = static_cast<float>(number);
  values[value] = std::move(tensor);
}

Tensor Frame::makeRows(Value value) const {
  SmallVector<int64_t> shape(
      cast<RankedTensorType>(value.getType()).getShape());
  shape.front() = static_cast<int64_t>(machine.rows.size());
  return Tensor::zeros(shape);
}

//===----------------------------------------------------------------------===//
// Blocks
//===----------------------------------------------------------------------===//

/// The table of operations.
static LogicalResult dispatch(Operation *op, Frame &frame) {
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case<LoopOp, ApplyOp, RowIdsOp, EmbedOp, LinearOp, ScaleOp, NormOp,
            ActivationOp, RopeOp, FillOp, ExitOp, RouteOp, SelectRowsOp,
            MergeRowsOp, AppendOp, AttendOp, TraceOp, arith::ConstantOp>(
          [&](auto known) { return execute(known, frame); })
      .Default(
          [&](Operation *other) { return executeElementwise(other, frame); });
}

/// The selected rows that `op` computes; null for all rows of the step.
static std::shared_ptr<const Selection> getSelection(Operation *op,
                                                     Frame &frame) {
  if (isa<MergeRowsOp, ApplyOp, LoopOp>(op))
    return nullptr; // takes both, or consists of other operations
  for (Value operand : op->getOperands())
    if (isRowsType(operand.getType()))
      if (auto selection = frame.get(operand).selection)
        return selection;
  return nullptr;
}

/// Executes `op` for the rows that its operands are, all of one selection.
static LogicalResult executeOperation(Operation *op, Frame &frame) {
  auto selection = getSelection(op, frame);
  if (!selection)
    return dispatch(op, frame);
  for (Value operand : op->getOperands())
    if (isRowsType(operand.getType()) &&
        frame.get(operand).selection != selection)
      return op->emitOpError("reads selected rows beside others; end them in "
                             "'rondo.merge_rows'");
  std::vector<Row> all = std::exchange(frame.machine.rows, selection->rows);
  LogicalResult result = dispatch(op, frame);
  frame.machine.rows = std::move(all);
  if (failed(result))
    return failure();
  for (Value value : op->getResults())
    frame.select(value, selection);
  return success();
}

FailureOr<SmallVector<Tensor>> rondo::interpreter::executeBlock(Block &block,
                                                                Frame &frame) {
  for (Operation &op : block.without_terminator())
    if (failed(executeOperation(&op, frame)))
      return failure();
  Operation *end = block.getTerminator();
  if (!isa<YieldOp, func::ReturnOp>(end)) {
    end->emitOpError("ends a block that is not interpreted; expected "
                     "'rondo.yield' or 'func.return'");
    return failure();
  }
  return frame.get(end->getOperands());
}

/// Carried values go through the region `count` times.
LogicalResult rondo::interpreter::execute(LoopOp op, Frame &frame) {
  SmallVector<Tensor> carried = frame.get(op.getInits());
  for (int64_t i = 0, count = op.getCount(); i < count; ++i) {
    frame.set(op.getInductionVar(), Tensor::integer(i));
    frame.set(op.getCarriedArgs(), carried);
    FailureOr<SmallVector<Tensor>> yielded =
        executeBlock(op.getBody().front(), frame);
    if (failed(yielded))
      return failure();
    carried = std::move(*yielded);
  }
  frame.set(op.getResults(), carried);
  return success();
}

/// Where the maps of an apply lead for the present induction values.
static FailureOr<ExecutionPoint> getPoint(ApplyOp op, Frame &frame) {
  SmallVector<int64_t> indices;
  for (Value index : op.getIndices())
    indices.push_back(static_cast<int64_t>(frame.get(index).values.front()));
  ExecutionPoint point;
  point.layer = op.getLayer().compose(indices).front();
  point.side = op.getSide().compose(indices).front();
  point.slot = op.getSlot().compose(indices).front();
  if (point.side < 0 || point.slot < 0) {
    op.emitOpError("expected a side index and a slot that are not negative, "
                   "got ")
        << point.side << " and " << point.slot
        << "; correct the maps of 'side' and 'slot'";
    return failure();
  }
  return point;
}

/// The block, in a frame of its own at the execution's point.
LogicalResult rondo::interpreter::execute(ApplyOp op, Frame &frame) {
  auto block =
      SymbolTable::lookupNearestSymbolFrom<BlockOp>(op, op.getBlockAttr());
  FailureOr<ExecutionPoint> point = getPoint(op, frame);
  if (failed(point))
    return failure();
  Frame inner(frame.machine, *point);
  inner.set(block.getBody().getArguments(), frame.get(op.getInputs()));
  FailureOr<SmallVector<Tensor>> yielded =
      executeBlock(block.getBody().front(), inner);
  if (failed(yielded))
    return failure();
  frame.set(op.getOutputs(), *yielded);
  return success();
}
