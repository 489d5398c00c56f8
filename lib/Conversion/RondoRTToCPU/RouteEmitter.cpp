//===- RouteEmitter.cpp - which rows a visit computes ---------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Routing divides the rows among the threads. Where rows of a sequence are
// decided together, their gates are computed first; then, behind a barrier,
// each row counts the rows that go before it: no order of sorting, no sum.
//
// Selecting is done by one thread, since it only lists rows; all threads copy
// what the rows hold. Bodies of selected rows run with a context of their own,
// whose rows are the listed ones, so that nothing in them knows of routing but
// where a row stands in the KV slots.
//
//===----------------------------------------------------------------------===//
#include "BodyEmitter.h"

#include "rondo_rt/abi.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace rondo;
using namespace rondo::cpu;

static_assert(rt::SelectionLayout::kDescriptors == sizeof(rondo_rt_context) &&
                  sizeof(rondo_rt_row) == 32,
              "the list of selected rows has places for both");

namespace {
/// Rows in a buffer.
class Rows {
public:
  Rows(CodeBuilder &code, const BodyValues &values, Value memory)
      : code(code), values(values),
        buffer(memory.getDefiningOp<rt::BufferOp>()) {}

  int64_t getLanes() {
    return cast<MemRefType>(buffer.getType()).getDimSize(1);
  }
  Value at(Value row, int64_t lane = 0) {
    Value base =
        code.at(values.arena, static_cast<int64_t>(buffer.getOffset()));
    return code.at(code.at(base, code.mul(row, getLanes() * 4)), lane * 4);
  }
  Value load(Value row, int64_t lane) {
    return code.load(code.b.getF32Type(), at(row, lane));
  }

private:
  CodeBuilder &code;
  const BodyValues &values;
  rt::BufferOp buffer;
};

/// The lane `lane` of a chunk.
Value extract(CodeBuilder &code, Value chunk, int64_t lane) {
  return vector::ExtractOp::create(code.b, code.loc, chunk,
                                   ArrayRef<int64_t>{lane});
}

Value compareFloats(CodeBuilder &code, arith::CmpFPredicate predicate, Value x,
                    Value y) {
  return arith::CmpFOp::create(code.b, code.loc, predicate, x, y);
}

Value both(CodeBuilder &code, Value x, Value y) {
  return arith::AndIOp::create(code.b, code.loc, x, y);
}

Value either(CodeBuilder &code, Value x, Value y) {
  return arith::OrIOp::create(code.b, code.loc, x, y);
}

/// 1 for true.
Value toCount(CodeBuilder &code, Value condition) {
  return code.select(condition, code.i64(1), code.i64(0));
}

Value toFloat(CodeBuilder &code, Value integer) {
  return arith::SIToFPOp::create(code.b, code.loc, code.b.getF32Type(),
                                 integer);
}

void storeUnsigned32(CodeBuilder &code, Value value, Value address) {
  Value narrow =
      arith::TruncIOp::create(code.b, code.loc, code.b.getI32Type(), value);
  code.store(narrow, address);
}

//===----------------------------------------------------------------------===//
// Routing
//===----------------------------------------------------------------------===//

class RouteEmitter {
public:
  RouteEmitter(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
               rt::RouteOp op)
      : code(code), facts(facts), values(values), op(op),
        scores(code, values, op.getScores()),
        record(code, values, op.getRecord()),
        target(code, values, op.getTarget()) {}

  void emit() {
    auto [first, end] = emitShare(code, values, values.rows);
    switch (op.getRule()) {
    case RouteRule::TopK:
      code.forEach(first, end, 1, [&](Value row) { emitGate(row); });
      emitBarrier(code, values);
      code.forEach(first, end, 1, [&](Value row) { emitRanked(row); });
      return;
    case RouteRule::Threshold:
      code.forEach(first, end, 1, [&](Value row) { emitThreshold(row); });
      return;
    case RouteRule::Choice:
      code.forEach(first, end, 1, [&](Value row) { emitChoice(row); });
      return;
    }
  }

private:
  /// `alpha * function(score)` of all columns of a row.
  Value emitGates(Value row) {
    Value chunk = code.loadChunk(scores.at(row));
    Value alpha = code.splat(code.f32(op.getAlpha().convertToFloat()));
    switch (op.getFunction()) {
    case RouteFunction::Identity:
      break;
    case RouteFunction::Sigmoid:
      chunk = emitSigmoid(code.b, code.loc, chunk);
      break;
    case RouteFunction::Tanh:
      chunk = emitTanh(code.b, code.loc, chunk);
      break;
    case RouteFunction::Softmax:
      chunk = emitSoftmax(chunk);
      break;
    }
    return code.fmul(chunk, alpha);
  }

  /// Over the columns, which are summed in their order.
  Value emitSoftmax(Value chunk) {
    int64_t columns = op.getColumns();
    Value largest = extract(code, chunk, 0);
    for (int64_t i = 1; i < columns; ++i)
      largest = code.fmax(largest, extract(code, chunk, i));
    Value weights =
        emitExp(code.b, code.loc, code.fsub(chunk, code.splat(largest)));
    Value sum = extract(code, weights, 0);
    for (int64_t i = 1; i < columns; ++i)
      sum = code.fadd(sum, extract(code, weights, i));
    return code.fdiv(weights, code.splat(sum));
  }

  Value getNaN() { return code.f32(std::numeric_limits<float>::quiet_NaN()); }

  /// Whether the row went through the visit before `visit` (i64).
  Value emitIsCandidate(Value row, Value visit) {
    Value before = toFloat(code, code.sub(visit, code.i64(1)));
    return compareFloats(code, arith::CmpFPredicate::OEQ,
                         record.load(row, kRecordDepth), before);
  }

  Value sharedGate(Value row) {
    Value base = code.at(values.arena, static_cast<int64_t>(*op.getShared()));
    return code.at(base, code.mul(row, 4));
  }

  /// Notes the gate of a row, NaN if it is no candidate.
  void emitGate(Value row) {
    Value gate = extract(code, emitGates(row), 0);
    Value isCandidate = emitIsCandidate(row, emitSide(code, values, row));
    code.store(code.select(isCandidate, gate, getNaN()), sharedGate(row));
  }

  Value emitSequence(Value row) {
    return code.loadUnsigned(emitDescriptor(code, values, row),
                             offsetof(rondo_rt_row, sequence), 32);
  }

  /// Rows of the step that are of the sequence of `row` and, if there is a
  /// condition, fulfil it.
  Value countRows(Value row, llvm::function_ref<Value(Value)> condition = {}) {
    Value sequence = emitSequence(row);
    return code.fold(
        code.i64(0), values.rows, code.i64(0), [&](Value other, Value count) {
          Value counts = code.compare(arith::CmpIPredicate::eq,
                                      emitSequence(other), sequence);
          if (condition)
            counts = both(code, counts, condition(other));
          return code.add(count, toCount(code, counts));
        });
  }

  /// max(1, floor(capacity * rows)), in f64.
  Value emitCapacity(Value visit, Value rows) {
    Type f64 = code.b.getF64Type();
    auto constant = [&](double value) -> Value {
      return arith::ConstantOp::create(code.b, code.loc,
                                       code.b.getF64FloatAttr(value));
    };
    auto capacities = llvm::to_vector(op.getCapacities()->getValues<double>());
    Value capacity = constant(capacities.front());
    for (size_t i = 1; i < capacities.size(); ++i)
      capacity = code.select(
          code.compare(arith::CmpIPredicate::eq, visit, code.i64(i)),
          constant(capacities[i]), capacity);
    Value count = arith::SIToFPOp::create(code.b, code.loc, f64, rows);
    Value product = arith::MulFOp::create(code.b, code.loc, capacity, count);
    return code.max(
        arith::FPToSIOp::create(code.b, code.loc, code.i64Type(), product),
        code.i64(1));
  }

  void emitRanked(Value row) {
    using Predicate = arith::CmpFPredicate;
    auto load = [&](Value of) {
      return code.load(code.b.getF32Type(), sharedGate(of));
    };
    Value gate = load(row);
    Value isCandidate = compareFloats(code, Predicate::ORD, gate, gate);
    Value rank = countRows(row, [&](Value other) {
      Value own = load(other);
      Value isFirst = both(code, compareFloats(code, Predicate::OEQ, own, gate),
                           code.compare(arith::CmpIPredicate::slt, other, row));
      return either(code, compareFloats(code, Predicate::OGT, own, gate),
                    isFirst);
    });
    Value visit = emitSide(code, values, row);
    Value most = emitCapacity(visit, countRows(row));
    Value takes = both(code, isCandidate,
                       code.compare(arith::CmpIPredicate::slt, rank, most));
    storeRecord(row, visit, isCandidate, takes, gate);
  }

  void emitThreshold(Value row) {
    Value visit = emitSide(code, values, row);
    Value isCandidate = emitIsCandidate(row, visit);
    Value passes =
        compareFloats(code, arith::CmpFPredicate::OGE, scores.load(row, 0),
                      code.f32(op.getThreshold()->convertToFloat()));
    Value isFirst = code.compare(arith::CmpIPredicate::eq, visit, code.i64(0));
    storeRecord(row, visit, isCandidate,
                both(code, isCandidate, either(code, isFirst, passes)),
                extract(code, emitGates(row), 0));
  }

  void storeRecord(Value row, Value visit, Value isCandidate, Value takes,
                   Value gate) {
    Value weight = op.getAdditive() ? code.f32(1) : gate;
    Value score = code.select(isCandidate, scores.load(row, 0), getNaN());
    store(row,
          code.select(takes, toFloat(code, visit),
                      record.load(row, kRecordDepth)),
          code.select(takes, weight, record.load(row, kRecordWeight)), score,
          code.select(takes, code.f32(1), code.f32(0)));
  }

  void store(Value row, Value depth, Value weight, Value score, Value taken) {
    code.store(depth, target.at(row, kRecordDepth));
    code.store(weight, target.at(row, kRecordWeight));
    code.store(score, target.at(row, kRecordScore));
    code.store(taken, target.at(row, kRecordTaken));
  }

  /// The biases of all columns, or null.
  Value loadBiases(Value row) {
    if (!op.getBiasesAttr())
      return nullptr;
    auto vector = facts.lookup<rt::VectorOp>(op.getBiasesAttr().getValue());
    Value side = vector.getDepths() > 1 ? emitSide(code, values, row) : Value();
    return code.loadChunk(
        emitWeightAddress(code, values, *vector.getOffset(), vector.getLayers(),
                          vector.getDepths(), *vector.getStride(), side));
  }

  void emitChoice(Value row) {
    Value gates = emitGates(row);
    Value biases = loadBiases(row);
    Value sums = biases ? code.fadd(gates, biases) : gates;
    Value best = extract(code, sums, 0), depth = code.f32(0),
          weight = extract(code, gates, 0);
    for (int64_t i = 1; i < static_cast<int64_t>(op.getColumns()); ++i) {
      Value sum = extract(code, sums, i);
      Value isBetter =
          compareFloats(code, arith::CmpFPredicate::OGT, sum, best);
      best = code.select(isBetter, sum, best);
      depth = code.select(isBetter, code.f32(i), depth);
      weight = code.select(isBetter, extract(code, gates, i), weight);
    }
    if (op.getAdditive())
      weight = code.f32(1);
    store(row, depth, weight, scores.load(row, 0), code.f32(1));
  }

  CodeBuilder &code;
  ModuleFacts &facts;
  const BodyValues &values;
  rt::RouteOp op;
  Rows scores, record, target;
};

//===----------------------------------------------------------------------===//
// Selecting
//===----------------------------------------------------------------------===//

class SelectEmitter {
public:
  SelectEmitter(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
                rt::SelectRowsOp op)
      : code(code), values(values), op(op),
        selection(code, facts, values.arena),
        record(code, values, op.getRecord()),
        source(code, values, op.getSource()),
        target(code, values, op.getTarget()) {}

  void emit() {
    Value isFirst =
        code.compare(arith::CmpIPredicate::eq, values.thread, code.i64(0));
    code.ifThen(isFirst, [&] { emitList(); });
    emitBarrier(code, values);
    Value count = code.loadUnsigned(selection.getContext(),
                                    offsetof(rondo_rt_context, row_count), 32);
    auto [first, end] = emitShare(code, values, count);
    code.forEach(first, end, 1, [&](Value number) {
      Value from = source.at(selection.loadNumber(number));
      Value to = target.at(number);
      code.forEach(source.getLanes() / rt::kLanes, [&](Value chunk) {
        Value bytes = code.mul(chunk, rt::kLanes * 4);
        code.store(code.loadChunk(code.at(from, bytes)), code.at(to, bytes));
      });
    });
  }

private:
  void copyBytes(Value from, Value to, int64_t bytes) {
    code.forEach(bytes / 8, [&](Value word) {
      Value offset = code.mul(word, 8);
      code.store(code.load(code.i64Type(), code.at(from, offset)),
                 code.at(to, offset));
    });
  }

  void emitList() {
    Value context = selection.getContext();
    copyBytes(values.context, context, sizeof(rondo_rt_context));
    code.store(selection.getDescriptor(code.i64(0)),
               code.at(context, offsetof(rondo_rt_context, rows)));
    Value count = code.fold(
        code.i64(0), values.rows, code.i64(0), [&](Value row, Value number) {
          Value visit = toFloat(code, emitSide(code, values, row));
          Value takes = compareFloats(code, arith::CmpFPredicate::OGE,
                                      record.load(row, kRecordDepth), visit);
          code.ifThen(takes, [&] { emitSelected(row, number); });
          storeUnsigned32(code,
                          code.select(takes, number, code.i64(RONDO_RT_NONE)),
                          selection.getPlace(row));
          return code.add(number, toCount(code, takes));
        });
    storeUnsigned32(code, count,
                    code.at(context, offsetof(rondo_rt_context, row_count)));
  }

  void emitSelected(Value row, Value number) {
    Value from = emitDescriptor(code, values, row);
    Value to = selection.getDescriptor(number);
    copyBytes(from, to, sizeof(rondo_rt_row));
    storeUnsigned32(code, row, selection.getNumber(number));
    Value place;
    if (op.getPlaces() == Places::Kept) {
      place = code.loadUnsigned(from, offsetof(rondo_rt_row, position), 32);
    } else {
      place = emitDensePlace(from, number);
      storeUnsigned32(code, code.add(place, 1),
                      code.at(to, offsetof(rondo_rt_row, visible)));
    }
    storeUnsigned32(code, place, code.at(to, offsetof(rondo_rt_row, place)));
  }

  /// Behind the selected row before it, if that is of the same sequence and
  /// visit; else behind what earlier steps computed there.
  Value emitDensePlace(Value descriptor, Value number) {
    Value before = selection.getDescriptor(
        code.max(code.sub(number, code.i64(1)), code.i64(0)));
    auto get = [&](Value of, int64_t offset, unsigned bits) {
      return code.loadUnsigned(of, offset, bits);
    };
    Value sequence = get(descriptor, offsetof(rondo_rt_row, sequence), 32);
    Value visit = get(descriptor, offsetof(rondo_rt_row, visit), 16);
    auto equals = [&](Value x, Value y) {
      return code.compare(arith::CmpIPredicate::eq, x, y);
    };
    Value follows = both(
        code, code.compare(arith::CmpIPredicate::sgt, number, code.i64(0)),
        both(
            code,
            equals(get(before, offsetof(rondo_rt_row, sequence), 32), sequence),
            equals(get(before, offsetof(rondo_rt_row, visit), 16), visit)));
    Value table =
        code.loadPointer(values.context, offsetof(rondo_rt_context, computed));
    Value stride =
        get(values.context, offsetof(rondo_rt_context, computed_stride), 64);
    Value entry =
        code.add(code.mul(sequence, stride), code.add(values.visit, visit));
    Value behind = code.loadUnsigned(code.at(table, code.mul(entry, 4)), 0, 32);
    Value next = code.add(get(before, offsetof(rondo_rt_row, place), 32), 1);
    return code.select(follows, next, behind);
  }

  CodeBuilder &code;
  const BodyValues &values;
  rt::SelectRowsOp op;
  SelectionCode selection;
  Rows record, source, target;
};
} // namespace

//===----------------------------------------------------------------------===//
// The list of selected rows
//===----------------------------------------------------------------------===//

SelectionCode::SelectionCode(CodeBuilder &code, ModuleFacts &facts, Value arena)
    : code(code), layout(facts.rows), base(code.at(arena, facts.selection)) {}

Value SelectionCode::getContext() {
  return code.at(base, rt::SelectionLayout::kContext);
}

Value SelectionCode::getDescriptor(Value number) {
  return code.at(code.at(base, rt::SelectionLayout::kDescriptors),
                 code.mul(number, sizeof(rondo_rt_row)));
}

Value SelectionCode::getNumber(Value number) {
  return code.at(code.at(base, layout.getNumbers()), code.mul(number, 4));
}

Value SelectionCode::loadNumber(Value number) {
  return code.loadUnsigned(getNumber(number), 0, 32);
}

Value SelectionCode::getPlace(Value row) {
  return code.at(code.at(base, layout.getPlaces()), code.mul(row, 4));
}

void rondo::cpu::emitRoute(CodeBuilder &code, ModuleFacts &facts,
                           const BodyValues &values, rt::RouteOp route) {
  RouteEmitter(code, facts, values, route).emit();
}

void rondo::cpu::emitSelectRows(CodeBuilder &code, ModuleFacts &facts,
                                const BodyValues &values,
                                rt::SelectRowsOp select) {
  SelectEmitter(code, facts, values, select).emit();
}
