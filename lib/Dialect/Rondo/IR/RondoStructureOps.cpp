//===- RondoStructureOps.cpp - parameters, blocks, loops ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Syntax and rules of the operations that give a model its shape. The labels in
// comments are those of RondoStructureOps.td.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/DepthMaps.h"
#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/IR/AffineMap.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// rondo.param
//===----------------------------------------------------------------------===//

RankedTensorType ParamOp::getTensorType() {
  return cast<RankedTensorType>(getType());
}

int64_t ParamOp::getLayerCount() { return getLayers().value_or(1); }

int64_t ParamOp::getDepthCount() { return getDepths().value_or(1); }

int64_t ParamOp::getEntry(int64_t layer, int64_t side) {
  return (getLayers() ? layer : 0) * getDepthCount() + (getDepths() ? side : 0);
}

ArrayRef<Attribute> ParamOp::getLayerKeys(int64_t layer) {
  return getKeys().getValue().slice(layer * getDepthCount(), getDepthCount());
}

Type ParamOp::getStoredType() {
  return getStorage().value_or(getTensorType().getElementType());
}

/// param_c7
static LogicalResult verifyPart(ParamOp op) {
  if (!op.getPart())
    return success();
  PartAttr part = *op.getPart();
  RankedTensorType type = op.getTensorType();
  bool isMatrix = type.getRank() == 2;
  if (isMatrix && part.getOf().size() != 2)
    return op.emitOpError("expected a part of a matrix, got one of rank ")
           << part.getOf().size();
  int64_t rows = isMatrix ? part.getOf()[0] : part.getElementCount();
  int64_t columns = isMatrix ? part.getOf()[1] : 1;
  int64_t width = isMatrix ? type.getShape()[1] : 1;
  int64_t last = part.getSourceRow(type.getShape()[0] - 1);
  if (last >= rows || part.getColumn() + width > columns)
    return op.emitOpError("expected a part inside of the tensor, got row ")
           << last << " and columns " << part.getColumn() << " to "
           << part.getColumn() + width << " of " << rows << " rows and "
           << columns << " columns";
  if (isBlockQuantized(type.getElementType()) &&
      (part.getColumn() % 32 || columns % 32))
    return op.emitOpError("expected columns of a block type to begin at a "
                          "multiple of 32, got ")
           << part.getColumn();
  return success();
}

LogicalResult ParamOp::verify() {
  RankedTensorType type = getTensorType();
  // param_c1
  if (!type.hasStaticShape() || type.getRank() < 1 || type.getRank() > 2)
    return emitOpError("expected a static shape of rank 1 or 2, got ") << type;
  if (type.getNumElements() == 0)
    return emitOpError("expected dimensions of at least 1, got ") << type;
  // param_c2
  std::pair<StringRef, Type> types[] = {{"element", type.getElementType()},
                                        {"stored", getStoredType()}};
  for (auto [role, elementType] : types)
    if (!isStorageType(elementType))
      return emitOpError("expected ")
             << role << " type f32, bf16, f16 or a block type, got "
             << elementType;
  // param_c4
  if (getLayers() && *getLayers() < 1)
    return emitOpError("expected at least 1 layer, got ") << *getLayers();
  if (getDepths() && int64_t(*getDepths()) < 1)
    return emitOpError("expected at least 1 depth, got ")
           << int64_t(*getDepths());
  // param_c3
  if (int64_t(getKeys().size()) != getEntryCount())
    return emitOpError("expected one key for each of ")
           << getEntryCount() << " entries, got " << getKeys().size();
  // param_c6
  auto isAbsent = llvm::IsaPred<UnitAttr>;
  if (!getDepths() && llvm::any_of(getKeys(), isAbsent))
    return emitOpError("expected a tensor for each entry of a parameter that "
                       "does not vary by depth");
  if (llvm::all_of(getKeys(), isAbsent))
    return emitOpError("expected a tensor for at least one entry");
  // param_c5
  if ((isBlockQuantized(type.getElementType()) ||
       isBlockQuantized(getStoredType())) &&
      type.getShape().back() % 32)
    return emitOpError("expected the last dimension of a block type to be a "
                       "multiple of 32, got ")
           << type.getShape().back();
  return verifyPart(*this);
}

/// Checks param_c8 for one factor of shape [`rows`, `columns`], 0: any.
static FailureOr<ParamOp> verifyFactor(ParamOp op, FlatSymbolRefAttr name,
                                       int64_t rows, int64_t columns,
                                       SymbolTableCollection &symbols) {
  auto factor = symbols.lookupNearestSymbolFrom<ParamOp>(op, name);
  if (!factor || factor == op)
    return op.emitOpError("expected a factor of 'plus' to be another "
                          "'rondo.param', got ")
           << name;
  ArrayRef<int64_t> shape = factor.getTensorType().getShape();
  if (shape.size() != 2 || (rows && shape[0] != rows) ||
      (columns && shape[1] != columns))
    return op.emitOpError("expected factors A [rank, in] and B [out, rank] of ")
           << op.getTensorType() << ", got " << factor.getTensorType();
  for (auto [count, own] :
       {std::pair(factor.getLayerCount(), op.getLayerCount()),
        std::pair(factor.getDepthCount(), op.getDepthCount())})
    if (count != 1 && count != own)
      return op.emitOpError("expected factor ")
             << name << " to have one entry, or one for each layer and depth";
  return factor;
}

LogicalResult ParamOp::verifySymbolUses(SymbolTableCollection &symbols) {
  if (!getPlus())
    return success();
  ArrayRef<int64_t> shape = getTensorType().getShape();
  if (shape.size() != 2)
    return emitOpError("expected 'plus' of a matrix, got ") << getTensorType();
  if (llvm::any_of(getKeys(), llvm::IsaPred<UnitAttr>))
    return emitOpError("expected a tensor for each entry of a parameter with "
                       "'plus'");
  FailureOr<ParamOp> a =
      verifyFactor(*this, getPlus()->getA(), /*rows=*/0, shape[1], symbols);
  if (failed(a))
    return failure();
  int64_t rank = a->getTensorType().getDimSize(0);
  return verifyFactor(*this, getPlus()->getB(), shape[0], rank, symbols);
}

ArrayRef<int64_t> ParamOp::getSourceShape() {
  return getPart() ? getPart()->getOf() : getTensorType().getShape();
}

//===----------------------------------------------------------------------===//
// rondo.block
//===----------------------------------------------------------------------===//

OperandRange BlockOp::getYieldedValues() {
  return getBody().front().getTerminator()->getOperands();
}

/// rondo.block @n(%x: T, ...) -> T2 caches(N) attributes {...} { ... }
ParseResult BlockOp::parse(OpAsmParser &parser, OperationState &state) {
  StringAttr name;
  SmallVector<OpAsmParser::Argument> arguments;
  SmallVector<Type> results;
  if (parser.parseSymbolName(name, SymbolTable::getSymbolAttrName(),
                             state.attributes) ||
      parser.parseArgumentList(arguments, OpAsmParser::Delimiter::Paren,
                               /*allowType=*/true) ||
      parser.parseOptionalArrowTypeList(results))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("caches"))) {
    int64_t caches;
    if (parser.parseLParen() || parser.parseInteger(caches) ||
        parser.parseRParen())
      return failure();
    state.addAttribute(getCachesAttrName(state.name),
                       parser.getBuilder().getI64IntegerAttr(caches));
  }
  SmallVector<Type> inputs;
  for (const OpAsmParser::Argument &argument : arguments)
    inputs.push_back(argument.type);
  state.addAttribute(
      getFunctionTypeAttrName(state.name),
      TypeAttr::get(parser.getBuilder().getFunctionType(inputs, results)));
  if (parser.parseOptionalAttrDictWithKeyword(state.attributes) ||
      parser.parseRegion(*state.addRegion(), arguments))
    return failure();
  ensureTerminator(*state.regions.front(), parser.getBuilder(), state.location);
  return success();
}

void BlockOp::print(OpAsmPrinter &printer) {
  printer << ' ';
  printer.printSymbolName(getSymName());
  printer << '(';
  llvm::interleaveComma(
      getBody().getArguments(), printer,
      [&](BlockArgument argument) { printer.printRegionArgument(argument); });
  printer << ')';
  printer.printOptionalArrowTypeList(getFunctionType().getResults());
  if (getCaches() != 0)
    printer << " caches(" << getCaches() << ')';
  printer.printOptionalAttrDictWithKeyword(
      (*this)->getAttrs(),
      {getSymNameAttrName(), getFunctionTypeAttrName(), getCachesAttrName()});
  printer << ' ';
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false,
                      /*printBlockTerminators=*/!getYieldedValues().empty());
}

LogicalResult BlockOp::verify() {
  // block_c3 (the use of a cache checks the upper bound)
  if (int64_t(getCaches()) < 0)
    return emitOpError("expected a number of caches that is not negative, got ")
           << int64_t(getCaches());
  return success();
}

LogicalResult BlockOp::verifyRegions() {
  // block_c2
  FunctionType type = getFunctionType();
  for (Type rows :
       llvm::concat<const Type>(type.getInputs(), type.getResults()))
    if (!isRowsType(rows))
      return emitOpError("expected arguments and results of the type of rows, "
                         "got ")
             << rows;
  if (TypeRange(getBody().getArgumentTypes()) != TypeRange(type.getInputs()))
    return emitOpError("expected the region's arguments to have the types (")
           << type.getInputs() << "), got (" << getBody().getArgumentTypes()
           << ")";
  if (TypeRange(getYieldedValues()) != TypeRange(type.getResults()))
    return emitOpError("expected to yield values of the types (")
           << type.getResults() << "), got (" << getYieldedValues().getTypes()
           << ")";
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.apply
//===----------------------------------------------------------------------===//

/// Whether every division of `map` has a positive constant below it; others
/// have no value.
static bool dividesByPositives(AffineMap map) {
  bool divides = true;
  map.walkExprs([&](AffineExpr expr) {
    switch (expr.getKind()) {
    case AffineExprKind::FloorDiv:
    case AffineExprKind::CeilDiv:
    case AffineExprKind::Mod: {
      auto divisor =
          dyn_cast<AffineConstantExpr>(cast<AffineBinaryOpExpr>(expr).getRHS());
      divides &= divisor && divisor.getValue() > 0;
      break;
    }
    default:
      break;
    }
  });
  return divides;
}

LogicalResult ApplyOp::verify() {
  // apply_c3
  std::pair<StringRef, AffineMap> maps[] = {
      {"layer", getLayer()}, {"side", getSide()}, {"slot", getSlot()}};
  for (auto [name, map] : maps)
    if (map.getNumResults() != 1 || map.getNumSymbols() != 0 ||
        map.getNumDims() != getIndices().size())
      return emitOpError("expected '")
             << name << "' to map " << getIndices().size()
             << " indices to one value, got " << AffineMapAttr::get(map);
  // apply_c6
  for (auto [name, map] : maps)
    if (!dividesByPositives(map))
      return emitOpError("expected '")
             << name << "' to divide by positive numbers, got "
             << AffineMapAttr::get(map);
  // apply_c5
  if ((*this)->getParentOfType<BlockOp>())
    return emitOpError("expected to stand outside of 'rondo.block'");
  return success();
}

/// Checks apply_c4 for one map: the largest and smallest value of all
/// executions of `op` against what `getCount` says of the parameters that
/// `block` uses (nullopt: any value). An index that is not the induction value
/// of a loop leaves the rule to the flattening of the schedule.
static LogicalResult
verifyRange(ApplyOp op, BlockOp block, SymbolTableCollection &symbols,
            StringRef what, AffineMap map,
            llvm::function_ref<std::optional<int64_t>(ParamOp)> getCount) {
  std::optional<IndexRange> range = getRange(map, op.getIndices());
  if (!range)
    return success();
  if (range->min < 0)
    return op.emitOpError("expected ")
           << what << " that are not negative, got " << range->min;
  for (ParamOp param : getUsedParams(block, symbols)) {
    std::optional<int64_t> count = getCount(param);
    if (!count || range->max < *count)
      continue;
    InFlightDiagnostic diag = op.emitOpError("expected ")
                              << what << " below " << *count
                              << " of parameter '@" << param.getSymName()
                              << "', got " << range->max;
    diag.attachNote(param.getLoc()) << "parameter defined here";
    return diag;
  }
  return success();
}

LogicalResult ApplyOp::verifySymbolUses(SymbolTableCollection &symbols) {
  // apply_c1
  auto block = symbols.lookupNearestSymbolFrom<BlockOp>(*this, getBlockAttr());
  if (!block)
    return emitOpError("expected '")
           << getBlockAttr() << "' to name a 'rondo.block'";
  // apply_c2
  FunctionType type = block.getFunctionType();
  if (TypeRange(getInputs()) != TypeRange(type.getInputs()) ||
      getOutputs().getTypes() != TypeRange(type.getResults()))
    return emitOpError("expected the type of block '")
           << getBlockAttr() << "', " << type << ", got "
           << FunctionType::get(getContext(), getInputs().getTypes(),
                                getOutputs().getTypes());
  // apply_c4
  return failure(
      failed(verifyRange(*this, block, symbols, "layers", getLayer(),
                         [](ParamOp param) -> std::optional<int64_t> {
                           return param.getLayers();
                         })) ||
      failed(verifyRange(*this, block, symbols, "side indices", getSide(),
                         [](ParamOp param) -> std::optional<int64_t> {
                           return param.getDepths();
                         })));
}

//===----------------------------------------------------------------------===//
// rondo.loop
//===----------------------------------------------------------------------===//

BlockArgument LoopOp::getInductionVar() { return getBody().getArgument(0); }

MutableArrayRef<BlockArgument> LoopOp::getCarriedArgs() {
  return getBody().getArguments().drop_front();
}

OperandRange LoopOp::getYieldedValues() {
  return getBody().front().getTerminator()->getOperands();
}

void LoopOp::getAsmBlockArgumentNames(Region &region,
                                      OpAsmSetValueNameFn setName) {
  if (region.getNumArguments() != 0)
    setName(region.getArgument(0), "d");
}

/// rondo.loop %d to 3 carries(%h = %x, ...) : T, ... attributes {...} { ... }
ParseResult LoopOp::parse(OpAsmParser &parser, OperationState &state) {
  Builder &builder = parser.getBuilder();
  SmallVector<OpAsmParser::Argument> arguments(1);
  SmallVector<OpAsmParser::UnresolvedOperand> inits;
  SmallVector<Type> types;
  int64_t count;
  if (parser.parseArgument(arguments.front()) || parser.parseKeyword("to") ||
      parser.parseInteger(count))
    return failure();
  arguments.front().type = builder.getIndexType();
  state.addAttribute(getCountAttrName(state.name),
                     builder.getI64IntegerAttr(count));
  SMLoc typesLoc = parser.getCurrentLocation();
  if (succeeded(parser.parseOptionalKeyword("carries"))) {
    if (parser.parseAssignmentList(arguments, inits) || parser.parseColon())
      return failure();
    typesLoc = parser.getCurrentLocation();
    if (parser.parseTypeList(types))
      return failure();
  }
  if (types.size() != inits.size())
    return parser.emitError(typesLoc, "expected ")
           << inits.size() << " types of carried values, got " << types.size();
  for (auto [argument, type] : llvm::zip(llvm::drop_begin(arguments), types))
    argument.type = type;
  if (parser.resolveOperands(inits, types, typesLoc, state.operands) ||
      parser.parseOptionalAttrDictWithKeyword(state.attributes) ||
      parser.parseRegion(*state.addRegion(), arguments))
    return failure();
  state.addTypes(types);
  ensureTerminator(*state.regions.front(), builder, state.location);
  return success();
}

void LoopOp::print(OpAsmPrinter &printer) {
  printer << ' ' << getInductionVar() << " to " << getCount();
  if (!getInits().empty()) {
    printer << " carries(";
    llvm::interleaveComma(
        llvm::zip(getCarriedArgs(), getInits()), printer, [&](auto pair) {
          printer << std::get<0>(pair) << " = " << std::get<1>(pair);
        });
    printer << ") : " << getInits().getTypes();
  }
  printer.printOptionalAttrDictWithKeyword((*this)->getAttrs(),
                                           {getCountAttrName()});
  printer << ' ';
  printer.printRegion(getBody(), /*printEntryBlockArgs=*/false,
                      /*printBlockTerminators=*/!getInits().empty());
}

LogicalResult LoopOp::verify() {
  // loop_c3
  if (int64_t(getCount()) < 1)
    return emitOpError("expected a count of at least 1, got ")
           << int64_t(getCount());
  // loop_c2
  if (getBody().getNumArguments() == 0 ||
      !getInductionVar().getType().isIndex())
    return emitOpError("expected the region's first argument to be an 'index'");
  if (getInits().size() != getCarriedArgs().size())
    return emitOpError("expected ")
           << getCarriedArgs().size()
           << " carried values to match the region's arguments, got "
           << getInits().size();
  TypeRange argumentTypes = ValueRange(getCarriedArgs()).getTypes();
  if (TypeRange(getInits()) != argumentTypes)
    return emitOpError("expected carried values of the types (")
           << argumentTypes << "), got (" << getInits().getTypes() << ")";
  if (TypeRange(getInits()) != TypeRange(getResults()))
    return emitOpError("expected results of the types (")
           << getInits().getTypes() << "), got (" << getResults().getTypes()
           << ")";
  return success();
}

LogicalResult LoopOp::verifyRegions() {
  // loop_c2
  if (TypeRange(getYieldedValues()) != TypeRange(getInits()))
    return emitOpError("expected to yield values of the types (")
           << getInits().getTypes() << "), got ("
           << getYieldedValues().getTypes() << ")";
  return success();
}
