//===- ModuleFacts.h - what emission needs to know of a module ---*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDORTTOCPU_MODULEFACTS_H
#define RONDO_LIB_CONVERSION_RONDORTTOCPU_MODULEFACTS_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"
#include "rondo/Target/CPU/Kernels.h"

#include "mlir/IR/SymbolTable.h"

namespace rondo::cpu {

/// Geometry of KV storage. A page holds RONDO_RT_PAGE_POSITIONS positions of
/// every slot: [slot][head]{ keys [positions / 32][keyLanes][32],
/// values [positions][valueLanes] }.
struct KVLayout {
  int64_t heads, headDim, keyLanes, valueLanes, slots;
  mlir::Type element; // f32, bf16 or f16

  int64_t getElementBytes() const {
    return element.getIntOrFloatBitWidth() / 8;
  }
  int64_t getKeyBytes() const;  // keys of one head in one page
  int64_t getHeadBytes() const; // keys and values of one head in one page
  int64_t getPageBytes() const { return slots * heads * getHeadBytes(); }
  /// The kernel format that reads keys and values.
  PanelFormat getFormat() const;
};

struct ModuleFacts {
  mlir::ModuleOp module;
  MachineFeatures features;
  KVLayout kv;
  int64_t context;       // longest sequence
  int64_t rows;          // most rows of a step
  int64_t selection = 0; // where selected rows are listed, in the arena
  bool isCohort;       // the rows of a sequence run together and see all of it
  int64_t traceWidth;  // floats of a row at a trace point
  int64_t logitsLanes; // floats from one row of the logits to the next

  /// Reads the attributes of `module`; emits an error if one is missing.
  static llvm::FailureOr<ModuleFacts> read(mlir::ModuleOp module);

  template <typename OpT> OpT lookup(llvm::StringRef name) const {
    mlir::ModuleOp op = module;
    return op.lookupSymbol<OpT>(name);
  }
};

PanelFormat toKernelFormat(rt::PanelFormat format);
RowFormat toKernelFormat(rt::RowFormat format);

} // namespace rondo::cpu

#endif // RONDO_LIB_CONVERSION_RONDORTTOCPU_MODULEFACTS_H
