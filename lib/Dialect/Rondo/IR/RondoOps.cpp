//===- RondoOps.cpp - generated definitions and their directives ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The generated parsers and printers call the custom directives of the assembly
// formats, so both stand in one file.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/EnumKeyword.h"
#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"

using namespace mlir;
using namespace rondo;

/// The names of map dimensions in the text: d0, d1, ...
static SmallVector<std::string> getDimNames(size_t count) {
  SmallVector<std::string> names;
  for (size_t i = 0; i < count; ++i)
    names.push_back("d" + std::to_string(i));
  return names;
}

/// An affine expression over `d0`, `d1`, ..., one for each of `indices`.
static ParseResult
parseDepthMap(OpAsmParser &parser, AffineMapAttr &map,
              ArrayRef<OpAsmParser::UnresolvedOperand> indices) {
  SmallVector<std::string> names = getDimNames(indices.size());
  SmallVector<std::pair<StringRef, AffineExpr>> dims;
  for (auto [i, name] : llvm::enumerate(names))
    dims.emplace_back(name, getAffineDimExpr(i, parser.getContext()));
  AffineExpr expr;
  if (parser.parseAffineExpr(dims, expr))
    return failure();
  map = AffineMapAttr::get(
      AffineMap::get(indices.size(), /*symbolCount=*/0, expr));
  return success();
}

static void printDepthMap(OpAsmPrinter &printer, Operation *, AffineMapAttr map,
                          OperandRange) {
  map.getValue().getResult(0).print(printer.getStream());
}

/// The keyword of an arithmetic mode, without the space before it that an
/// attribute of an enum prints.
static ParseResult parseMode(OpAsmParser &parser, ArithmeticAttr &mode) {
  SMLoc loc = parser.getCurrentLocation();
  StringRef keyword;
  if (parser.parseKeyword(&keyword))
    return failure();
  std::optional<Arithmetic> value = symbolizeArithmetic(keyword);
  if (!value)
    return parser.emitError(loc, "expected an arithmetic mode, got '")
           << keyword << "'";
  mode = ArithmeticAttr::get(parser.getContext(), *value);
  return success();
}

static void printMode(OpAsmPrinter &printer, Operation *, ArithmeticAttr mode) {
  printer << stringifyArithmetic(mode.getValue());
}

/// A bracketed list of floats of `type`, all of whose bits are kept.
static ParseResult parseFloats(OpAsmParser &parser, FloatType type,
                               DenseElementsAttr &floats) {
  SmallVector<Attribute> values;
  auto parseValue = [&]() -> ParseResult {
    double value;
    if (parser.parseFloat(value))
      return failure();
    values.push_back(FloatAttr::get(type, value));
    return success();
  };
  if (parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, parseValue))
    return failure();
  floats = DenseElementsAttr::get(
      RankedTensorType::get({static_cast<int64_t>(values.size())}, type),
      values);
  return success();
}

static void printFloats(OpAsmPrinter &printer, DenseElementsAttr floats) {
  printer << '[';
  llvm::interleaveComma(
      floats.getValues<APFloat>(), printer,
      [&](const APFloat &value) { printer.printFloat(value); });
  printer << ']';
}

ParseResult rondo::parseFrequencies(OpAsmParser &parser,
                                    DenseElementsAttr &frequencies) {
  return parseFloats(parser, parser.getBuilder().getF32Type(), frequencies);
}

void rondo::printFrequencies(OpAsmPrinter &printer, Operation *,
                             DenseElementsAttr frequencies) {
  printFloats(printer, frequencies);
}

ParseResult rondo::parseCapacities(OpAsmParser &parser,
                                   DenseElementsAttr &capacities) {
  return parseFloats(parser, parser.getBuilder().getF64Type(), capacities);
}

void rondo::printCapacities(OpAsmPrinter &printer, Operation *,
                            DenseElementsAttr capacities) {
  printFloats(printer, capacities);
}

#define GET_OP_CLASSES
#include "rondo/Dialect/Rondo/IR/RondoOps.cpp.inc"
