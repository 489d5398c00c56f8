//===- ChunkEmitter.cpp - operations on one chunk of a row --------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "BodyEmitter.h"

#include "rondo_rt/abi.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::cpu;

namespace {
class ChunkEmitter {
public:
  ChunkEmitter(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
               RowEnvironment &row)
      : code(code), facts(facts), values(values), row(row) {}

  void emit(Operation *op) {
    TypeSwitch<Operation *>(op)
        .Case<rt::LoadOp, rt::StoreOp, rt::LoadVectorOp, rt::ContractOp,
              rt::RotateOp, rt::ActivateOp, rt::AppendOp, rt::TraceOp,
              rt::ReduceOp, rt::SumLanesOp, rt::IsSelectedOp,
              rt::LoadSelectedOp, arith::ConstantOp>(
            [&](auto typed) { emitOp(typed); })
        .Default([&](Operation *other) { code.b.clone(*other, row.values); });
  }

private:
  Value get(Value value) { return row.values.lookup(value); }
  void set(Value value, Value code) { row.values.map(value, code); }

  Value chunkNumber(Value index, int64_t panels, int64_t panel) {
    return code.add(code.mul(get(index), panels), panel);
  }

  //===--- Rows in buffers ------------------------------------------------===//

  /// The row of the buffer: in a coda, states have a row for each row of the
  /// step, everything else one for each output.
  Value rowIn(rt::BufferOp buffer) {
    auto body = buffer->getParentOfType<rt::BodyOp>();
    bool isState = values.outputRows && isStateBuffer(body, buffer);
    if (!isState)
      return row.row;
    return code.loadUnsigned(code.at(values.outputRows, code.mul(row.row, 4)),
                             0, 32);
  }

  /// Buffers of a body's arguments come first, in their order.
  static bool isStateBuffer(rt::BodyOp body, rt::BufferOp buffer) {
    auto buffers = body.getOps<rt::BufferOp>();
    auto number = std::distance(buffers.begin(), llvm::find(buffers, buffer));
    return number < static_cast<int64_t>(body.getInputs().size());
  }

  Value chunkAddress(Value memory, Value index, int64_t panels, int64_t panel) {
    auto buffer = memory.getDefiningOp<rt::BufferOp>();
    return chunkAddress(buffer, rowIn(buffer), index, panels, panel);
  }

  /// The same of row `number` of the buffer.
  Value chunkAddress(rt::BufferOp buffer, Value number, Value index,
                     int64_t panels, int64_t panel) {
    int64_t lanes = buffer.getLogits()
                        ? facts.logitsLanes
                        : cast<MemRefType>(buffer.getType()).getDimSize(1);
    Value area = buffer.getLogits()
                     ? code.loadPointer(values.context,
                                        offsetof(rondo_rt_context, logits))
                     : values.arena;
    Value base = code.at(area, static_cast<int64_t>(buffer.getOffset()));
    Value start = code.mul(number, lanes * 4);
    Value chunk = code.mul(chunkNumber(index, panels, panel), rt::kLanes * 4);
    return code.at(base, code.add(start, chunk));
  }

  void emitOp(rt::LoadOp op) {
    set(op, code.loadChunk(chunkAddress(op.getSource(), op.getIndex(),
                                        op.getPanels(), op.getPanel())));
  }

  /// The row's number among the selected ones, or RONDO_RT_NONE.
  Value loadSelected() {
    return code.loadUnsigned(
        SelectionCode(code, facts, values.arena).getPlace(row.row), 0, 32);
  }

  Value isSelected(Value number) {
    return code.compare(arith::CmpIPredicate::ne, number,
                        code.i64(RONDO_RT_NONE));
  }

  void emitOp(rt::IsSelectedOp op) { set(op, isSelected(loadSelected())); }

  void emitOp(rt::LoadSelectedOp op) {
    Value number = loadSelected();
    Value existing = code.select(isSelected(number), number, code.i64(0));
    set(op, code.loadChunk(chunkAddress(
                op.getSource().getDefiningOp<rt::BufferOp>(), existing,
                op.getIndex(), op.getPanels(), op.getPanel())));
  }

  void emitOp(rt::StoreOp op) {
    code.store(get(op.getValue()), chunkAddress(op.getTarget(), op.getIndex(),
                                                op.getPanels(), op.getPanel()));
  }

  void emitOp(rt::LoadVectorOp op) {
    auto vector = facts.lookup<rt::VectorOp>(op.getVector());
    Value base =
        emitWeightAddress(code, values, *vector.getOffset(), vector.getLayers(),
                          vector.getDepths(), *vector.getStride(), row.side);
    Value chunk = chunkNumber(op.getIndex(), op.getPanels(), op.getPanel());
    set(op, code.loadChunk(code.at(base, code.mul(chunk, rt::kLanes * 4))));
  }

  /// Contractions of a block of rows are done before; see StageEmitter.
  void emitOp(rt::ContractOp op) {
    set(op, code.loadChunk(row.contractions.lookup(op)));
  }

  //===--- Arithmetic -----------------------------------------------------===//

  /// Numbers of chunks are i64 in code.
  void emitOp(arith::ConstantOp op) {
    if (!op.getType().isIndex()) {
      code.b.clone(*op, row.values);
      return;
    }
    set(op, code.i64(cast<IntegerAttr>(op.getValue()).getInt()));
  }

  void emitOp(rt::SumLanesOp op) {
    set(op, code.reduceLanes(get(op.getValue()), [&](Value x, Value y) {
      return code.fadd(x, y);
    }));
  }

  void emitOp(rt::ReduceOp op) {
    rt::LayoutAttr layout = op.getLayout();
    Block &block = op.getBody().front();
    Value sum =
        code.fold(code.i64(0), code.i64(layout.getLanes() / rt::kLanes),
                  code.splat(code.f32(0)), [&](Value index, Value sum) {
                    row.values.map(block.getArgument(0), index);
                    Value chunk =
                        emitChunkOps(code, facts, values, row, block).front();
                    if (layout.getLanes() != layout.getWidth())
                      chunk = code.zeroFrom(chunk, code.mul(index, rt::kLanes),
                                            layout.getWidth());
                    return code.fadd(sum, chunk);
                  });
    set(op, code.reduceLanes(
                sum, [&](Value x, Value y) { return code.fadd(x, y); }));
  }

  void emitOp(rt::ActivateOp op) {
    set(op, activate(op.getKind(), get(op.getValue())));
  }

  Value activate(ActivationKind kind, Value x) {
    switch (kind) {
    case ActivationKind::SiLU:
      return emitSilu(code.b, code.loc, x);
    case ActivationKind::Sigmoid:
      return emitSigmoid(code.b, code.loc, x);
    case ActivationKind::Tanh:
      return emitTanh(code.b, code.loc, x);
    case ActivationKind::ReLU:
      return code.fmax(x, code.splat(code.f32(0)));
    case ActivationKind::GeLU: { // x/2 (1 + erf(x / sqrt 2))
      Value scaled = code.fmul(x, code.splat(code.f32(0.70710678118654752)));
      return gate(x, emitErf(code.b, code.loc, scaled));
    }
    case ActivationKind::GeLUTanh: { // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715
                                     // x^3)))
      Value cube = code.fmul(code.fmul(x, x), x);
      Value sum = code.fadd(x, code.fmul(cube, code.splat(code.f32(0.044715))));
      Value scaled = code.fmul(sum, code.splat(code.f32(0.79788456080286536)));
      return gate(x, emitTanh(code.b, code.loc, scaled));
    }
    }
    llvm_unreachable("unknown activation");
  }

  /// x/2 (1 + t)
  Value gate(Value x, Value t) {
    Value half = code.fmul(x, code.splat(code.f32(0.5)));
    return code.fmul(half, code.fadd(t, code.splat(code.f32(1))));
  }

  /// Chunk of the head that chunk `number` of the row is.
  Value chunkOfHead(Value number, int64_t headLanes) {
    return code.rem(number, headLanes / rt::kLanes);
  }

  void emitOp(rt::RotateOp op) {
    auto table = facts.lookup<rt::RopeTableOp>(op.getTable());
    Value number = chunkNumber(op.getUnit(), op.getPanels(), op.getPanel());
    Value descriptor = emitDescriptor(code, values, row.row);
    Value position =
        code.loadUnsigned(descriptor, offsetof(rondo_rt_row, position), 32);
    int64_t chunks = table.getChunks();
    Value line = code.add(code.mul(position, chunks), code.rem(number, chunks));
    Value address = code.at(
        code.at(values.weights, static_cast<int64_t>(*table.getOffset())),
        code.mul(line, rt::kLanes * 4));
    VectorType half = VectorType::get({16}, code.b.getF32Type());
    Value cosine = code.load(half, address);
    Value sine = code.load(half, code.at(address, 64));
    Value x = get(op.getValue());
    auto slice = [&](int64_t first) {
      return vector::ExtractStridedSliceOp::create(code.b, code.loc, x, {first},
                                                   {16}, {1});
    };
    Value low = slice(0), high = slice(16);
    Value newLow = code.fsub(code.fmul(low, cosine), code.fmul(high, sine));
    Value newHigh = code.fadd(code.fmul(high, cosine), code.fmul(low, sine));
    set(op,
        vector::ShuffleOp::create(code.b, code.loc, newLow, newHigh,
                                  llvm::to_vector(llvm::seq<int64_t>(0, 32))));
  }

  //===--- State ----------------------------------------------------------===//

  /// `chunk` in the element type of the KV cache.
  Value toElement(Value chunk) {
    if (facts.kv.element.isF32())
      return chunk;
    if (facts.kv.element.isBF16())
      return emitTruncateToBF16(code.b, code.loc, chunk);
    return arith::TruncFOp::create(
        code.b, code.loc, VectorType::get({rt::kLanes}, facts.kv.element),
        chunk);
  }

  void emitOp(rt::AppendOp op) {
    const KVLayout &kv = facts.kv;
    bool isKey = op.getSide() == rt::CacheSide::Key;
    int64_t lanes = isKey ? kv.keyLanes : kv.valueLanes;
    Value number = chunkNumber(op.getUnit(), op.getPanels(), op.getPanel());
    Value head = code.div(number, lanes / rt::kLanes);
    Value chunk = chunkOfHead(number, lanes);
    Value descriptor = emitDescriptor(code, values, row.row);
    Value place = emitPlace(code, values, descriptor);
    Value page = emitPageAddress(code, facts, values, descriptor,
                                 code.div(place, RONDO_RT_PAGE_POSITIONS),
                                 op.getCache(), head);
    Value inPage = code.rem(place, RONDO_RT_PAGE_POSITIONS);
    Value x = toElement(get(op.getValue()));
    int64_t bytes = kv.getElementBytes();
    if (!isKey) {
      Value offset =
          code.add(code.mul(inPage, lanes), code.mul(chunk, rt::kLanes));
      code.store(
          x, code.at(code.at(page, kv.getKeyBytes()), code.mul(offset, bytes)));
      return;
    }
    // Keys are panels of 32 positions: one lane of each of 32 lines.
    Value line = code.add(code.mul(code.div(inPage, rt::kLanes), lanes),
                          code.mul(chunk, rt::kLanes));
    Value first =
        code.add(code.mul(line, rt::kLanes), code.rem(inPage, rt::kLanes));
    Value address = code.at(page, code.mul(first, bytes));
    for (int64_t lane = 0; lane < rt::kLanes; ++lane)
      code.store(vector::ExtractOp::create(code.b, code.loc, x,
                                           ArrayRef<int64_t>{lane}),
                 code.at(address, lane * rt::kLanes * bytes));
  }

  void emitOp(rt::TraceOp op) {
    Value trace =
        code.loadPointer(values.context, offsetof(rondo_rt_context, trace));
    Value null = LLVM::ZeroOp::create(code.b, code.loc, code.ptrType());
    Value wanted = LLVM::ICmpOp::create(code.b, code.loc,
                                        LLVM::ICmpPredicate::ne, trace, null);
    code.ifThen(wanted, [&] { storeTrace(op, trace); });
  }

  void storeTrace(rt::TraceOp op, Value trace) {
    Value point = code.i64(op.getPoint());
    Value target = row.row;
    if (values.outputRows)
      target = code.loadUnsigned(
          code.at(values.outputRows, code.mul(row.row, 4)), 0, 32);
    if (!op.getFixed()) {
      Value execution =
          emitExecution(code, values, emitDescriptor(code, values, row.row));
      point = code.add(
          point, code.loadUnsigned(execution,
                                   offsetof(rondo_rt_execution, trace), 32));
    }
    Value stride = code.loadUnsigned(
        values.context, offsetof(rondo_rt_context, trace_stride), 64);
    Value start =
        code.add(code.mul(point, stride), code.mul(target, facts.traceWidth));
    Value first = code.mul(get(op.getIndex()), rt::kLanes);
    Value address = code.at(trace, code.mul(code.add(start, first), 4));
    Value x = get(op.getValue());
    // The last chunk may be cut: store lane by lane what is inside.
    Value left = code.sub(code.i64(op.getWidth()), first);
    code.ifElse(
        code.compare(arith::CmpIPredicate::sge, left, code.i64(rt::kLanes)),
        [&] { code.store(x, address); },
        [&] {
          for (int64_t lane = 0; lane < rt::kLanes; ++lane)
            code.ifThen(
                code.compare(arith::CmpIPredicate::sgt, left, code.i64(lane)),
                [&] {
                  code.store(vector::ExtractOp::create(code.b, code.loc, x,
                                                       ArrayRef<int64_t>{lane}),
                             code.at(address, lane * 4));
                });
        });
  }

  CodeBuilder &code;
  ModuleFacts &facts;
  const BodyValues &values;
  RowEnvironment &row;
};
} // namespace

void rondo::cpu::emitChunkOp(CodeBuilder &code, ModuleFacts &facts,
                             const BodyValues &values, RowEnvironment &row,
                             Operation *op) {
  ChunkEmitter(code, facts, values, row).emit(op);
}

SmallVector<Value> rondo::cpu::emitChunkOps(CodeBuilder &code,
                                            ModuleFacts &facts,
                                            const BodyValues &values,
                                            RowEnvironment &row, Block &block) {
  for (Operation &op : block.without_terminator())
    emitChunkOp(code, facts, values, row, &op);
  return llvm::map_to_vector(
      block.getTerminator()->getOperands(),
      [&](Value value) { return row.values.lookup(value); });
}
