//===- StepFunctions.cpp - functions that the runtime calls ------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "StepFunctions.h"

#include "rondo_rt/abi.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::cpu;

//===----------------------------------------------------------------------===//
// What every body needs
//===----------------------------------------------------------------------===//

void rondo::cpu::emitBarrier(CodeBuilder &code, const BodyValues &values) {
  Value barrier =
      code.loadPointer(values.context, offsetof(rondo_rt_context, barrier));
  Value thread = arith::TruncIOp::create(code.b, code.loc, code.b.getI32Type(),
                                         values.thread);
  auto type =
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(code.b.getContext()),
                                  {code.ptrType(), code.b.getI32Type()});
  LLVM::CallOp::create(code.b, code.loc, type,
                       ValueRange{barrier, values.context, thread});
}

std::pair<Value, Value> rondo::cpu::emitShare(CodeBuilder &code,
                                              const BodyValues &values,
                                              Value count) {
  auto bound = [&](Value thread) {
    return arith::DivUIOp::create(code.b, code.loc, code.mul(count, thread),
                                  values.threads);
  };
  return {bound(values.thread), bound(code.add(values.thread, 1))};
}

Value rondo::cpu::emitDescriptor(CodeBuilder &code, const BodyValues &values,
                                 Value row) {
  if (values.outputRows)
    row =
        code.loadUnsigned(code.at(values.outputRows, code.mul(row, 4)), 0, 32);
  return code.at(values.descriptors, code.mul(row, sizeof(rondo_rt_row)));
}

/// First execution of visit `visit` of the schedule, as a number.
static Value emitVisitBegin(CodeBuilder &code, Value context, Value visit) {
  Value table =
      code.loadPointer(context, offsetof(rondo_rt_context, visit_begin));
  return code.loadUnsigned(code.at(table, code.mul(visit, 4)), 0, 32);
}

/// Entry `number` of the schedule.
static Value emitScheduleEntry(CodeBuilder &code, Value context, Value number) {
  Value table =
      code.loadPointer(context, offsetof(rondo_rt_context, executions));
  return code.at(table, code.mul(number, sizeof(rondo_rt_execution)));
}

Value rondo::cpu::emitExecution(CodeBuilder &code, const BodyValues &values,
                                Value descriptor) {
  Value visit =
      code.loadUnsigned(descriptor, offsetof(rondo_rt_row, visit), 16);
  Value begin =
      emitVisitBegin(code, values.context, code.add(values.visit, visit));
  return emitScheduleEntry(code, values.context, code.add(begin, values.index));
}

Value rondo::cpu::emitPlace(CodeBuilder &code, const BodyValues &values,
                            Value descriptor) {
  int64_t offset = values.selected ? offsetof(rondo_rt_row, place)
                                   : offsetof(rondo_rt_row, position);
  return code.loadUnsigned(descriptor, offset, 32);
}

Value rondo::cpu::emitPageAddress(CodeBuilder &code, ModuleFacts &facts,
                                  const BodyValues &values, Value descriptor,
                                  Value page, int64_t cache, Value head) {
  const KVLayout &kv = facts.kv;
  Value sequence =
      code.loadUnsigned(descriptor, offsetof(rondo_rt_row, sequence), 32);
  Value stride = code.loadUnsigned(
      values.context, offsetof(rondo_rt_context, page_table_stride), 32);
  Value table =
      code.loadPointer(values.context, offsetof(rondo_rt_context, page_table));
  Value entry = code.add(code.mul(sequence, stride), page);
  Value number = code.loadUnsigned(code.at(table, code.mul(entry, 4)), 0, 32);
  Value slot =
      code.add(code.loadUnsigned(emitExecution(code, values, descriptor),
                                 offsetof(rondo_rt_execution, slot), 16),
               cache);
  Value base = code.loadPointer(values.context, offsetof(rondo_rt_context, kv));
  Value inPage =
      code.mul(code.add(code.mul(slot, kv.heads), head), kv.getHeadBytes());
  return code.at(base, code.add(code.mul(number, kv.getPageBytes()), inPage));
}

Value rondo::cpu::emitSide(CodeBuilder &code, const BodyValues &values,
                           Value row) {
  Value descriptor = emitDescriptor(code, values, row);
  return code.loadUnsigned(emitExecution(code, values, descriptor),
                           offsetof(rondo_rt_execution, side), 16);
}

Value rondo::cpu::emitWeightAddress(CodeBuilder &code, const BodyValues &values,
                                    int64_t offset, int64_t layers,
                                    int64_t depths, int64_t stride,
                                    Value side) {
  Value address = code.at(values.weights, offset);
  if (layers > 1)
    address = code.at(address, code.mul(values.layer, depths * stride));
  if (depths > 1)
    address = code.at(address, code.mul(side, stride));
  return address;
}

void rondo::cpu::emitContract(CodeBuilder &code, ModuleFacts &facts,
                              PanelFormat panel, RowFormat row, ValueRange args,
                              Value rows) {
  int64_t most = maxRows(panel, row, facts.features);
  std::string name = kernelName({panel, row, 1});
  name = name.substr(0, name.rfind("_r")) + "_rows";
  auto function = facts.lookup<func::FuncOp>(name);
  if (!function) {
    Type ptr = code.ptrType(), i64 = code.i64Type();
    function = createFunction(
        facts.module, name, {ptr, i64, ptr, i64, i64, ptr, i64, i64},
        [&](CodeBuilder &in, ValueRange own) {
          // Nearly equal tiles: no tail of one row after full tiles.
          Value count = in.div(in.add(own[7], most - 1), most);
          Value tile = arith::DivUIOp::create(
              in.b, in.loc, in.add(own[7], in.sub(count, in.i64(1))),
              in.max(count, in.i64(1)));
          in.forEach(in.i64(0), count, 1, [&](Value number) {
            Value first = in.mul(number, tile);
            Value taken = in.min(in.sub(own[7], first), tile);
            Value xTile = in.at(own[0], in.mul(first, own[1]));
            Value yTile = in.at(own[5], in.mul(first, own[6]));
            in.switchOn(taken, llvm::to_vector(llvm::seq<int64_t>(1, most + 1)),
                        [&](int64_t n) {
                          func::FuncOp kernel = getOrCreateKernel(
                              facts.module, {panel, row, static_cast<int>(n)},
                              facts.features);
                          func::CallOp::create(in.b, in.loc, kernel,
                                               ValueRange{xTile, own[1], own[2],
                                                          own[3], own[4], yTile,
                                                          own[6]});
                        });
          });
        });
  }
  SmallVector<Value> operands(args);
  operands.push_back(rows);
  func::CallOp::create(code.b, code.loc, function, operands);
}

//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

/// Loads what the code of `body` uses everywhere.
static BodyValues loadBodyValues(CodeBuilder &code, rt::BodyOp body,
                                 ValueRange args) {
  BodyValues values;
  values.context = args[0];
  values.thread = args[1];
  values.layer = args[2];
  values.visit = args[3];
  values.index = args[4];
  values.selected = body.getSelected();
  auto count = [&](int64_t offset) {
    return code.loadUnsigned(args[0], offset, 32);
  };
  auto pointer = [&](int64_t offset) {
    return code.loadPointer(args[0], offset);
  };
  values.threads = count(offsetof(rondo_rt_context, thread_count));
  bool isCoda = body.getKind() == rt::BodyKind::Coda;
  values.rows = count(isCoda ? offsetof(rondo_rt_context, output_count)
                             : offsetof(rondo_rt_context, row_count));
  if (isCoda)
    values.outputRows = pointer(offsetof(rondo_rt_context, output_rows));
  values.descriptors = pointer(offsetof(rondo_rt_context, rows));
  values.arena = pointer(offsetof(rondo_rt_context, arena));
  values.weights = pointer(offsetof(rondo_rt_context, weights));
  Value stride = code.loadUnsigned(
      args[0], offsetof(rondo_rt_context, scratch_stride), 64);
  values.scratch = code.at(pointer(offsetof(rondo_rt_context, scratch)),
                           code.mul(stride, values.thread));
  return values;
}

/// What `values` are in the execution that follows, which reads other weights
/// with the same code, or is of another body. The last one is followed by
/// itself.
static BodyValues enterNext(CodeBuilder &code, BodyValues values) {
  Value visit = code.loadUnsigned(emitDescriptor(code, values, code.i64(0)),
                                  offsetof(rondo_rt_row, visit), 16);
  Value begin =
      emitVisitBegin(code, values.context, code.add(values.visit, visit));
  Value count = code.loadUnsigned(values.context,
                                  offsetof(rondo_rt_context, visit_count), 32);
  Value last =
      code.sub(emitVisitBegin(code, values.context, count), code.i64(1));
  Value next = code.min(code.add(code.add(begin, values.index), 1), last);
  values.index = code.sub(next, begin);
  values.layer =
      code.loadUnsigned(emitScheduleEntry(code, values.context, next),
                        offsetof(rondo_rt_execution, layer), 16);
  return values;
}

/// All stages, a barrier behind each. What follows is prefetched in front of
/// it.
static void emitStages(CodeBuilder &code, ModuleFacts &facts,
                       const BodyValues &values, rt::BodyOp body) {
  auto stages = llvm::to_vector(body.getOps<rt::StageOp>());
  for (auto [number, stage] : llvm::enumerate(stages)) {
    emitStage(code, facts, values, stage);
    if (number + 1 < stages.size())
      emitPrefetch(code, facts, values, stages[number + 1]);
    else if (body.getKind() == rt::BodyKind::Block)
      emitPrefetch(code, facts, enterNext(code, values), stages.front());
    emitBarrier(code, values);
  }
}

func::FuncOp rondo::cpu::emitBody(rt::BodyOp body, ModuleFacts &facts) {
  OpBuilder builder(body.getContext());
  Type ptr = LLVM::LLVMPointerType::get(body.getContext());
  Type i64 = builder.getI64Type();
  return createFunction(facts.module, ("rondo_body_" + body.getSymName()).str(),
                        {ptr, i64, i64, i64, i64},
                        [&](CodeBuilder &code, ValueRange args) {
                          BodyValues values = loadBodyValues(code, body, args);
                          emitStages(code, facts, values, body);
                        });
}

//===----------------------------------------------------------------------===//
// Entries
//===----------------------------------------------------------------------===//

namespace {
/// Emits the entries of the code image.
class EntryEmitter {
public:
  EntryEmitter(ModuleFacts &facts, const StepBodies &bodies)
      : facts(facts), bodies(bodies) {}

  void emit() {
    createEntry("rondo_full",
                [&](CodeBuilder &code, Value context, Value thread) {
                  call(code, bodies.prelude, context, thread);
                  Value visits = code.loadUnsigned(
                      context, offsetof(rondo_rt_context, visit_count), 32);
                  code.forEach(code.i64(0), visits, 1, [&](Value visit) {
                    emitVisit(code, context, thread, visit, visit);
                  });
                  call(code, bodies.coda, context, thread);
                });
    createEntry("rondo_prelude",
                [&](CodeBuilder &code, Value context, Value thread) {
                  call(code, bodies.prelude, context, thread);
                });
    createEntry("rondo_depth_step",
                [&](CodeBuilder &code, Value context, Value thread) {
                  Value visit = code.loadUnsigned(
                      context, offsetof(rondo_rt_context, visit_first), 32);
                  emitVisit(code, context, thread, visit, code.i64(0));
                });
    createEntry("rondo_coda",
                [&](CodeBuilder &code, Value context, Value thread) {
                  call(code, bodies.coda, context, thread);
                });
  }

private:
  /// Executes visit `visit`; rows add their own to `rowVisit`.
  void emitVisit(CodeBuilder &code, Value context, Value thread, Value visit,
                 Value rowVisit) {
    Value begin = emitVisitBegin(code, context, visit);
    Value end = emitVisitBegin(code, context, code.add(visit, 1));
    code.forEach(begin, end, 1, [&](Value number) {
      Value entry = emitScheduleEntry(code, context, number);
      Value body =
          code.loadUnsigned(entry, offsetof(rondo_rt_execution, body), 16);
      Value layer =
          code.loadUnsigned(entry, offsetof(rondo_rt_execution, layer), 16);
      Value index = code.sub(number, begin);
      auto numbers =
          llvm::to_vector(llvm::seq<int64_t>(0, bodies.blocks.size()));
      if (numbers.empty())
        return;
      code.switchOn(body, numbers, [&](int64_t which) {
        auto call = [&](Value own) {
          func::CallOp::create(code.b, code.loc, bodies.blocks[which],
                               ValueRange{own, thread, layer, rowVisit, index});
        };
        if (bodies.selected.contains(which))
          emitSelected(code, context, call);
        else
          call(context);
      });
    });
  }

  /// Runs `call` with the context of selected rows, if there are any.
  void emitSelected(CodeBuilder &code, Value context,
                    function_ref<void(Value)> call) {
    Value arena = code.loadPointer(context, offsetof(rondo_rt_context, arena));
    Value own = SelectionCode(code, facts, arena).getContext();
    Value count =
        code.loadUnsigned(own, offsetof(rondo_rt_context, row_count), 32);
    code.ifThen(code.compare(arith::CmpIPredicate::ne, count, code.i64(0)),
                [&] { call(own); });
  }

  void call(CodeBuilder &code, func::FuncOp body, Value context, Value thread) {
    Value zero = code.i64(0);
    func::CallOp::create(code.b, code.loc, body,
                         ValueRange{context, thread, zero, zero, zero});
  }

  void createEntry(StringRef name,
                   llvm::function_ref<void(CodeBuilder &, Value, Value)> body) {
    OpBuilder builder(facts.module.getContext());
    Type ptr = LLVM::LLVMPointerType::get(facts.module.getContext());
    func::FuncOp entry =
        createFunction(facts.module, name, {ptr, builder.getI32Type()},
                       [&](CodeBuilder &code, ValueRange args) {
                         Value thread = arith::ExtUIOp::create(
                             code.b, code.loc, code.i64Type(), args[1]);
                         body(code, args[0], thread);
                       });
    entry.setPublic();
  }

  ModuleFacts &facts;
  const StepBodies &bodies;
};
} // namespace

void rondo::cpu::emitEntries(ModuleFacts &facts, const StepBodies &bodies) {
  EntryEmitter(facts, bodies).emit();
}
