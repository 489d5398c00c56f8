//===- EnumKeyword.h - enum attributes as bare keywords ---------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_ENUMKEYWORD_H
#define RONDO_DIALECT_RONDO_IR_ENUMKEYWORD_H

#include "mlir/IR/OpImplementation.h"

namespace rondo {

/// `custom<Keyword>` of assembly formats: an enum attribute as its keyword.
template <typename AttrT>
mlir::ParseResult parseKeyword(mlir::OpAsmParser &parser, AttrT &attr) {
  using Enum = decltype(attr.getValue());
  auto value = mlir::FieldParser<Enum, Enum>::parse(parser);
  if (failed(value))
    return mlir::failure();
  attr = AttrT::get(parser.getContext(), *value);
  return mlir::success();
}

template <typename AttrT>
void printKeyword(mlir::OpAsmPrinter &printer, mlir::Operation *, AttrT attr) {
  printer << stringifyEnum(attr.getValue());
}

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_IR_ENUMKEYWORD_H
