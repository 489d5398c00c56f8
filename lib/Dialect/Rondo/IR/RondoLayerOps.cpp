//===- RondoLayerOps.cpp - linear, norm, rope, attention, KV state --------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Rules of the operations that compute rows. The labels in comments are those
// of RondoLayerOps.td.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/Rondo.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// Rules that several operations share
//===----------------------------------------------------------------------===//

/// The parameter `name`, or null with an error that gives its `role`.
static ParamOp lookupParam(Operation *op, StringRef role,
                           FlatSymbolRefAttr name,
                           SymbolTableCollection &symbols) {
  auto param = symbols.lookupNearestSymbolFrom<ParamOp>(op, name);
  if (!param)
    op->emitOpError("expected ")
        << role << " '" << name << "' to name a 'rondo.param'";
  return param;
}

/// Checks that the parameter `name` has the shape `shape`.
static LogicalResult verifyShape(Operation *op, StringRef role,
                                 FlatSymbolRefAttr name,
                                 ArrayRef<int64_t> shape,
                                 SymbolTableCollection &symbols) {
  ParamOp param = lookupParam(op, role, name, symbols);
  if (!param)
    return failure();
  if (param.getTensorType().getShape() == shape)
    return success();
  InFlightDiagnostic diag = op->emitOpError("expected ")
                            << role << " '" << name << "' of shape [" << shape
                            << "], got " << param.getType();
  diag.attachNote(param.getLoc()) << "parameter defined here";
  return diag;
}

/// Whether `op` belongs to an execution, which gives stacked parameters and
/// caches their meaning: inside a block, or in what a block has become at the
/// execution level.
static bool isExecuted(Operation *op) {
  if (op->getParentOfType<BlockOp>())
    return true;
  for (Operation *parent = op->getParentOp(); parent;
       parent = parent->getParentOp())
    if (parent->getName().getDialectNamespace() == "rondo_rt")
      return true;
  return false;
}

/// Checks that a parameter used where there is no layer is not stacked.
static LogicalResult verifyNotStacked(Operation *op, StringRef role,
                                      FlatSymbolRefAttr name,
                                      SymbolTableCollection &symbols) {
  ParamOp param = lookupParam(op, role, name, symbols);
  if (!param)
    return failure();
  if ((!param.getLayers() && !param.getDepths()) || isExecuted(op))
    return success();
  return op->emitOpError("expected ")
         << role << " '" << name
         << "' without layers and depths outside of a block, got "
         << param.getLayerCount() << " layers and " << param.getDepthCount()
         << " depths";
}

/// Checks that `op`, which names cache number `cache`, belongs to an execution
/// that owns it.
static LogicalResult verifyCache(Operation *op, int64_t cache) {
  if (!isExecuted(op))
    return op->emitOpError("expected to stand inside a 'rondo.block' or a "
                           "'rondo_rt.stage'");
  if (cache < 0)
    return op->emitOpError("expected a cache that is not negative, got ")
           << cache;
  auto block = op->getParentOfType<BlockOp>();
  if (block && cache >= int64_t(block.getCaches()))
    return op->emitOpError("expected a cache below the block's ")
           << block.getCaches() << ", got " << cache;
  return success();
}

/// Checks that the rows `type` divide into `heads` heads.
static LogicalResult verifyHeads(Operation *op, RankedTensorType type,
                                 int64_t heads) {
  if (heads >= 1 && type.getDimSize(1) % heads == 0)
    return success();
  return op->emitOpError("expected heads to divide the width ")
         << type.getDimSize(1) << ", got " << heads;
}

//===----------------------------------------------------------------------===//
// rondo.row_ids, rondo.embed
//===----------------------------------------------------------------------===//

LogicalResult RowIdsOp::verify() {
  // row_ids_c1
  if (getField() != RowField::Token)
    return success();
  return emitOpError("expected 'position' or 'token_type', got 'token': tokens "
                     "are the model's argument");
}

LogicalResult EmbedOp::verifySymbolUses(SymbolTableCollection &symbols) {
  ParamOp table = lookupParam(*this, "table", getTableAttr(), symbols);
  if (!table)
    return failure();
  // embed_c1
  if (table.getTensorType().getRank() != 2 || table.getLayers() ||
      table.getDepths())
    return emitOpError("expected table '")
           << getTableAttr() << "' of rank 2 without layers, got "
           << table.getType() << " with " << table.getLayerCount() << " layers";
  // embed_c2
  int64_t width = getResult().getType().getDimSize(1);
  if (table.getTensorType().getDimSize(1) != width)
    return emitOpError("expected a result of the table's width ")
           << table.getTensorType().getDimSize(1) << ", got " << width;
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.linear
//===----------------------------------------------------------------------===//

bool LinearOp::feedsLinears() {
  return !(*this)->use_empty() &&
         llvm::all_of((*this)->getUsers(), llvm::IsaPred<LinearOp>);
}

LogicalResult LinearOp::verify() {
  // linear_c1
  if (getWeights().empty())
    return emitOpError("expected at least one weight");
  if (getWeights().size() != getOutputs().size())
    return emitOpError("expected one result for each of ")
           << getWeights().size() << " weights, got " << getOutputs().size();
  // linear_c6
  if (getLora() && getLora()->size() != getWeights().size())
    return emitOpError("expected one entry of 'lora' for each of ")
           << getWeights().size() << " weights, got " << getLora()->size();
  for (Attribute delta : getLora().value_or(ArrayAttr::get(getContext(), {})))
    if (!isa<LoRAAttr, UnitAttr>(delta))
      return emitOpError("expected entries of 'lora' to be '#rondo.lora' or "
                         "unit, got ")
             << delta;
  // linear_c3
  if (!getBiases())
    return success();
  if (getBiases()->size() != getWeights().size())
    return emitOpError("expected one bias for each of ")
           << getWeights().size() << " weights, got " << getBiases()->size();
  for (Attribute bias : getBiasesAttr())
    if (!isa<FlatSymbolRefAttr, UnitAttr>(bias))
      return emitOpError("expected a bias to be a parameter's name or unit, "
                         "got ")
             << bias;
  return success();
}

/// Checks linear_c4 for the parameter `name`.
static LogicalResult verifyArithmetic(LinearOp op, FlatSymbolRefAttr name,
                                      SymbolTableCollection &symbols) {
  if (!op.getArithmetic() || *op.getArithmetic() == Arithmetic::Exact)
    return success();
  Type storage = lookupParam(op, "weight", name, symbols).getStoredType();
  if (*op.getArithmetic() == Arithmetic::BF16Dot ? storage.isBF16()
                                                 : isBlockQuantized(storage))
    return success();
  return op.emitOpError("expected ")
         << (*op.getArithmetic() == Arithmetic::BF16Dot ? "bf16" : "block type")
         << " weights for arithmetic mode '"
         << stringifyArithmetic(*op.getArithmetic()) << "', got " << storage;
}

/// Checks linear_c5 and linear_c6: A and B of the delta of a matrix of shape
/// [out, in].
static LogicalResult verifyDelta(LinearOp op, LoRAAttr delta, int64_t out,
                                 int64_t in, SymbolTableCollection &symbols) {
  ParamOp a = lookupParam(op, "A", delta.getA(), symbols);
  if (!a)
    return failure();
  int64_t rank = a.getTensorType().getDimSize(0);
  return failure(
      failed(verifyShape(op, "A", delta.getA(), {rank, in}, symbols)) ||
      failed(verifyShape(op, "B", delta.getB(), {out, rank}, symbols)) ||
      failed(verifyNotStacked(op, "A", delta.getA(), symbols)) ||
      failed(verifyNotStacked(op, "B", delta.getB(), symbols)));
}

LogicalResult LinearOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t width = getInput().getType().getDimSize(1);
  for (auto [i, weight] :
       llvm::enumerate(getWeights().getAsRange<FlatSymbolRefAttr>())) {
    int64_t out =
        cast<RankedTensorType>(getOutputs()[i].getType()).getDimSize(1);
    // linear_c2, linear_c4, linear_c5
    if (failed(verifyShape(*this, "weight", weight, {out, width}, symbols)) ||
        failed(verifyArithmetic(*this, weight, symbols)) ||
        failed(verifyNotStacked(*this, "weight", weight, symbols)))
      return failure();
    // linear_c3, linear_c5
    auto bias = getBiases() ? dyn_cast<FlatSymbolRefAttr>((*getBiases())[i])
                            : FlatSymbolRefAttr();
    if (bias && (failed(verifyShape(*this, "bias", bias, {out}, symbols)) ||
                 failed(verifyNotStacked(*this, "bias", bias, symbols))))
      return failure();
    auto delta = getLora() ? dyn_cast<LoRAAttr>((*getLora())[i]) : LoRAAttr();
    if (delta && failed(verifyDelta(*this, delta, out, width, symbols)))
      return failure();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.scale
//===----------------------------------------------------------------------===//

LogicalResult ScaleOp::verify() {
  // scale_c1
  if (getWeightAttr() || getFactorAttr())
    return success();
  return emitOpError("expected a weight, a factor ('by') or both");
}

LogicalResult ScaleOp::verifySymbolUses(SymbolTableCollection &symbols) {
  // scale_c2, scale_c3
  int64_t width = getInput().getType().getDimSize(1);
  FlatSymbolRefAttr weight = getWeightAttr();
  return failure(
      weight &&
      (failed(verifyShape(*this, "weight", weight, {width}, symbols)) ||
       failed(verifyNotStacked(*this, "weight", weight, symbols))));
}

//===----------------------------------------------------------------------===//
// rondo.norm
//===----------------------------------------------------------------------===//

LogicalResult NormOp::verify() {
  // norm_c1
  if (getEps().isZero() || getEps().isNegative() || getEps().isNaN())
    return emitOpError("expected a positive eps, got ") << getEpsAttr();
  // norm_c3
  if (getHeads() &&
      failed(verifyHeads(*this, getInput().getType(), *getHeads())))
    return failure();
  // norm_c4
  if (getKind() == NormKind::RMS && getBias())
    return emitOpError("expected no bias of kind 'rms', got '")
           << getBiasAttr() << "'";
  if (getPlusAttr() && !getWeightAttr())
    return emitOpError("expected a weight to which 'plus' is added");
  return success();
}

LogicalResult NormOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t width = getInput().getType().getDimSize(1) / getHeads().value_or(1);
  std::pair<StringRef, FlatSymbolRefAttr> params[] = {
      {"weight", getWeightAttr()}, {"bias", getBiasAttr()}};
  for (auto [role, name] : params)
    // norm_c2, norm_c5
    if (name && (failed(verifyShape(*this, role, name, {width}, symbols)) ||
                 failed(verifyNotStacked(*this, role, name, symbols))))
      return failure();
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.rope
//===----------------------------------------------------------------------===//

LogicalResult RopeOp::verify() {
  // rope_c1
  if (failed(verifyHeads(*this, getInput().getType(), getHeads())))
    return failure();
  // rope_c2
  int64_t pairs = getFrequencies().size();
  int64_t most = getInput().getType().getDimSize(1) / getHeads() / 2;
  if (pairs < 1 || pairs > most)
    return emitOpError("expected 1 to ")
           << most << " frequencies, got " << pairs;
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.append, rondo.attend
//===----------------------------------------------------------------------===//

LogicalResult AppendOp::verify() {
  // append_c2
  if (failed(verifyHeads(*this, getKey().getType(), getHeads())))
    return failure();
  // append_c3, block_c3
  return verifyCache(*this, getCache());
}

LogicalResult AttendOp::verify() {
  // attend_c2
  if (failed(verifyHeads(*this, getQuery().getType(), getHeads())))
    return failure();
  // attend_c1
  if (int64_t(getKvHeads()) < 1 || getHeads() % getKvHeads() != 0)
    return emitOpError("expected kv_heads to divide ")
           << getHeads() << " heads, got " << int64_t(getKvHeads());
  // attend_c3
  if (getWindow() && int64_t(*getWindow()) < 1)
    return emitOpError("expected a window of at least 1, got ")
           << int64_t(*getWindow());
  // attend_c5
  if (getWindow() && getMask() == Mask::Full)
    return emitOpError("expected no window of mask 'full', got ")
           << int64_t(*getWindow());
  // attend_c4, block_c3
  return verifyCache(*this, getCache());
}

//===----------------------------------------------------------------------===//
// rondo.trace
//===----------------------------------------------------------------------===//

LogicalResult TraceOp::verify() {
  // trace_c1
  int64_t column = getColumn(), width = getValue().getType().getDimSize(1);
  bool isColumn = column >= 0 && column < std::min<int64_t>(width, 32);
  if (column == 0 || (isColumn && getForm() != TraceForm::Rows))
    return success();
  return emitOpError("expected a column below 32 of ")
         << width << ", and a form of one number, got column " << column
         << " and form " << stringifyTraceForm(getForm());
}

int64_t TraceOp::getWidth() {
  return getForm() == TraceForm::Rows ? getValue().getType().getDimSize(1) : 1;
}
