//===- BodyEmitter.h - code of one body ---------------------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One function for each body, executed by every thread of the team:
//
//   rondo_body_<name>(context: ptr, thread: i64, layer: i64, visit: i64,
//                     index: i64)
//
// `visit` is added to the visit of a row's descriptor; `index` is the number of
// the execution in its visit: together they find the row's entry of the
// schedule, and with it the KV slot. So one function serves the uniform loop
// (`full`) and rows at mixed depths (`depth_step`).
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDORTTOCPU_BODYEMITTER_H
#define RONDO_LIB_CONVERSION_RONDORTTOCPU_BODYEMITTER_H

#include "CodeBuilder.h"
#include "ModuleFacts.h"

#include "mlir/IR/IRMapping.h"

namespace rondo::cpu {

/// Values that the code of a body uses everywhere.
struct BodyValues {
  mlir::Value context;
  mlir::Value thread, layer, visit, index; // i64
  mlir::Value threads;                     // i64, size of the team
  mlir::Value rows;                        // i64, rows to compute
  mlir::Value descriptors;                 // rondo_rt_row[]
  mlir::Value outputRows;              // coda: row of each output; else null
  mlir::Value arena, scratch, weights; // this thread's scratch
  bool selected = false;               // the rows are selected ones
};

/// The list that `rondo_rt.select_rows` leaves; see rt::SelectionLayout.
class SelectionCode {
public:
  SelectionCode(CodeBuilder &code, ModuleFacts &facts, mlir::Value arena);

  /// Address of the context of selected rows, and of the descriptor of one.
  mlir::Value getContext();
  mlir::Value getDescriptor(mlir::Value number);
  /// The number of a selected row among all rows of the step, its address.
  mlir::Value loadNumber(mlir::Value number);
  mlir::Value getNumber(mlir::Value number);
  /// Address of the number of a row of the step among the selected ones.
  mlir::Value getPlace(mlir::Value row);

private:
  CodeBuilder &code;
  rt::SelectionLayout layout;
  mlir::Value base;
};

/// Emits the function of `body`.
mlir::func::FuncOp emitBody(rt::BodyOp body, ModuleFacts &facts);

/// Emits the wait for the whole team.
void emitBarrier(CodeBuilder &code, const BodyValues &values);

/// First of this thread's share of `count` items, and the end of it.
std::pair<mlir::Value, mlir::Value>
emitShare(CodeBuilder &code, const BodyValues &values, mlir::Value count);

/// The descriptor of `row`, a row of the body's row space.
mlir::Value emitDescriptor(CodeBuilder &code, const BodyValues &values,
                           mlir::Value row);

/// The side index (i64) that `row`, a row of the body's row space, executes.
mlir::Value emitSide(CodeBuilder &code, const BodyValues &values,
                     mlir::Value row);

/// The entry of the schedule that the row of `descriptor` executes.
mlir::Value emitExecution(CodeBuilder &code, const BodyValues &values,
                          mlir::Value descriptor);

/// Address of one head of a cache in page `page` of the row's sequence.
mlir::Value emitPageAddress(CodeBuilder &code, ModuleFacts &facts,
                            const BodyValues &values, mlir::Value descriptor,
                            mlir::Value page, int64_t cache, mlir::Value head);

/// Emits a call that contracts any number of `rows`; `args` as for a kernel,
/// see getOrCreateKernel.
void emitContract(CodeBuilder &code, ModuleFacts &facts, PanelFormat panel,
                  RowFormat row, mlir::ValueRange args, mlir::Value rows);

/// Emits an attention stage.
void emitAttend(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
                rt::AttendOp attend);

/// Emits the stage of a router, and that of the rows it lets through.
void emitRoute(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
               rt::RouteOp route);
void emitSelectRows(CodeBuilder &code, ModuleFacts &facts,
                    const BodyValues &values, rt::SelectRowsOp select);

/// Where the row of `descriptor` stands in its KV slots (i64).
mlir::Value emitPlace(CodeBuilder &code, const BodyValues &values,
                      mlir::Value descriptor);

/// What the operations of a region are emitted against.
struct RowEnvironment {
  mlir::Value row;  // i64
  mlir::Value side; // its side index; null if nothing asks for it
  /// Where the outputs of this row's contractions are.
  llvm::DenseMap<mlir::Operation *, mlir::Value> contractions;
  mlir::IRMapping values; // of the row: statistics, indices
};

/// Emits the operations of `block`, all but its terminator, and returns what it
/// yields.
llvm::SmallVector<mlir::Value>
emitChunkOps(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
             RowEnvironment &row, mlir::Block &block);

/// Emits one operation of a stage or of a region inside it.
void emitChunkOp(CodeBuilder &code, ModuleFacts &facts,
                 const BodyValues &values, RowEnvironment &row,
                 mlir::Operation *op);

/// Address of the entry of weights that stand at `offset`, `stride` bytes from
/// one to the next, for the layer that is executed and for `side` (null where
/// they do not vary by depth).
mlir::Value emitWeightAddress(CodeBuilder &code, const BodyValues &values,
                              int64_t offset, int64_t layers, int64_t depths,
                              int64_t stride, mlir::Value side);

/// Emits prefetches of what this thread reads first in stage `next`, to be
/// executed before the barrier in front of it.
void emitPrefetch(CodeBuilder &code, ModuleFacts &facts,
                  const BodyValues &values, rt::StageOp next);

/// Emits the code of one stage.
void emitStage(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
               rt::StageOp stage);

} // namespace rondo::cpu

#endif // RONDO_LIB_CONVERSION_RONDORTTOCPU_BODYEMITTER_H
