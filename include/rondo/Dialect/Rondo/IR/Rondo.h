//===- Rondo.h - the rondo dialect ------------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Model level: what the importers make and what a researcher types. Reference:
// docs/Dialects; rationale beside it.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDO_H
#define RONDO_DIALECT_RONDO_IR_RONDO_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "rondo/Dialect/Rondo/IR/RondoOpsEnums.h.inc"

#include "rondo/Dialect/Rondo/IR/RondoOpsDialect.h.inc"

namespace rondo {

/// What `append` writes and `attend` reads: the KV caches of all sequences.
struct KVStateResource
    : public mlir::SideEffects::Resource::Base<KVStateResource> {
  llvm::StringRef getName() final { return "rondo.kv"; }
};

/// What `trace` writes.
struct TraceResource : public mlir::SideEffects::Resource::Base<TraceResource> {
  llvm::StringRef getName() final { return "rondo.trace"; }
};

/// Whether `type` is what operations carry: f32 [rows, width], rows dynamic.
bool isRowsType(mlir::Type type);

/// Columns of the record that `rondo.route` keeps of each row.
enum RecordColumn : int64_t {
  kRecordDepth = 0,  // last visit that computes the row
  kRecordWeight = 1, // of what that visit adds
  kRecordScore = 2,  // the router's output, NaN if the row was no candidate
  kRecordTaken = 3,  // whether the last rule took the row
  kRecordWidth = 4,
};

/// Whether a parameter may store its entries as `type`.
bool isStorageType(mlir::Type type);

/// Whether `type` stores weights in groups of 32 with scales (Q8_0, Q4_0,
/// Q4_1).
bool isBlockQuantized(mlir::Type type);

/// Bytes that `count` weights of storage type `type` take in a checkpoint;
/// `count` is a multiple of 32 for block types.
int64_t getStorageBytes(mlir::Type type, int64_t count);

/// Assembly of rotary frequencies, `[1.0, 0.5]`, exact to the bit.
mlir::ParseResult parseFrequencies(mlir::OpAsmParser &parser,
                                   mlir::DenseElementsAttr &frequencies);
void printFrequencies(mlir::OpAsmPrinter &printer, mlir::Operation *,
                      mlir::DenseElementsAttr frequencies);

/// `custom<Capacities>`: a bracketed list of f64, all of whose bits are kept.
mlir::ParseResult parseCapacities(mlir::OpAsmParser &parser,
                                  mlir::DenseElementsAttr &capacities);
void printCapacities(mlir::OpAsmPrinter &printer, mlir::Operation *,
                     mlir::DenseElementsAttr capacities);

} // namespace rondo

#define GET_TYPEDEF_CLASSES
#include "rondo/Dialect/Rondo/IR/RondoOpsTypes.h.inc"

#define GET_ATTRDEF_CLASSES
#include "rondo/Dialect/Rondo/IR/RondoOpsAttributes.h.inc"

#define GET_OP_CLASSES
#include "rondo/Dialect/Rondo/IR/RondoOps.h.inc"

#endif // RONDO_DIALECT_RONDO_IR_RONDO_H
