//===- Program.cpp - parsing a module with its arguments' names -----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Interpreter/Interpreter.h"

#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/AsmParser/AsmParserState.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Parser/Parser.h"

using namespace mlir;
using namespace rondo;

void rondo::loadInterpreterDialects(MLIRContext &context) {
  context.loadDialect<RondoDialect, rt::RondoRTDialect, arith::ArithDialect,
                      cf::ControlFlowDialect, func::FuncDialect,
                      LLVM::LLVMDialect, math::MathDialect, scf::SCFDialect,
                      tensor::TensorDialect, vector::VectorDialect>();
}

/// The text of `range` without '%'.
static std::string getName(llvm::SMRange range) {
  if (!range.isValid())
    return "";
  StringRef text(range.Start.getPointer(),
                 range.End.getPointer() - range.Start.getPointer());
  text.consume_front("%");
  return text.str();
}

static std::vector<std::string> getArgumentNames(func::FuncOp function,
                                                 const AsmParserState &text) {
  std::vector<std::string> names;
  const auto *block = text.getBlockDef(&function.getBody().front());
  if (block)
    for (const AsmParserState::SMDefinition &argument : block->arguments)
      names.push_back(getName(argument.loc));
  return names;
}

FailureOr<Program> rondo::parseProgram(const llvm::SourceMgr &sources,
                                       MLIRContext &context) {
  Block block;
  AsmParserState text;
  if (failed(
          parseAsmSourceFile(sources, &block, ParserConfig(&context), &text)))
    return failure();
  auto start = FileLineColLoc::get(
      &context,
      sources.getMemoryBuffer(sources.getMainFileID())->getBufferIdentifier(),
      /*line=*/1, /*column=*/1);
  Program program;
  program.module =
      mlir::detail::constructContainerOpForParserIfNecessary<ModuleOp>(
          &block, &context, start);
  if (!program.module)
    return failure();
  for (auto function : program.module->getOps<func::FuncOp>())
    if (!function.isExternal())
      program.argumentNames[function.getName()] =
          getArgumentNames(function, text);
  return program;
}
