//===- RondoRTStageOps.cpp - stages and what is inside them ---------------*-
// C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Dialect/Rondo/IR/EnumKeyword.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/IR/OpImplementation.h"

using namespace mlir;
using namespace rondo::rt;

#define GET_OP_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOps.cpp.inc"

LogicalResult StageOp::verify() {
  auto yield = cast<YieldOp>(getBody().front().getTerminator());
  if (yield.getOperandTypes() != getResultTypes()) // stage_c2
    return emitOpError("expected ")
           << getNumResults() << " yielded values of the results' types, got "
           << yield.getNumOperands();
  return success();
}

LogicalResult TileOp::verify() {
  auto yield = cast<YieldOp>(getBody().front().getTerminator());
  int64_t expected = getNumResults() * getPanels();
  if (yield.getNumOperands() != expected) // tile_c2
    return emitOpError("expected ")
           << expected << " yielded vectors, got " << yield.getNumOperands();
  return success();
}

/// Checks that `symbol` names an operation of type `OpT`.
template <typename OpT>
static LogicalResult verifySymbol(Operation *op, SymbolTableCollection &tables,
                                  FlatSymbolRefAttr symbol) {
  if (tables.lookupNearestSymbolFrom<OpT>(op, symbol))
    return success();
  return op->emitOpError("expected '") << symbol.getValue() << "' to name a '"
                                       << OpT::getOperationName() << "'";
}

LogicalResult LoadVectorOp::verifySymbolUses(SymbolTableCollection &tables) {
  return verifySymbol<VectorOp>(*this, tables,
                                getVectorAttr()); // load_vector_c1
}

LogicalResult ContractOp::verifySymbolUses(SymbolTableCollection &tables) {
  return verifySymbol<PackedOp>(*this, tables, getWeightsAttr()); // contract_c1
}

LogicalResult RotateOp::verifySymbolUses(SymbolTableCollection &tables) {
  return verifySymbol<RopeTableOp>(*this, tables, getTableAttr()); // rotate_c1
}

LogicalResult RouteOp::verifySymbolUses(SymbolTableCollection &tables) {
  if (!getBiasesAttr())
    return success();
  return verifySymbol<VectorOp>(*this, tables, getBiasesAttr()); // route_c1
}

LogicalResult EmbedOp::verifySymbolUses(SymbolTableCollection &tables) {
  return verifySymbol<PackedOp>(*this, tables, getTableAttr()); // embed_c1
}
