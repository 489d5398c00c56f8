//===- StageEmitter.cpp - code of one stage -----------------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A stage with contractions, for each thread of the team:
//
//   few rows                                 many rows
//   every thread packs all rows              threads share the rows; barrier
//   into its own scratch
//   for each unit of this thread's share of the weights' bytes
//     for each block of kRowBlock rows
//       contract the block with the unit's panels
//       for each row of the block: epilogue
//
// A stage without contractions divides the rows among the threads.
//
//===----------------------------------------------------------------------===//
#include "BodyEmitter.h"

#include "rondo_rt/abi.h"

#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::cpu;

namespace {
class StageEmitter {
public:
  StageEmitter(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
               rt::StageOp stage)
      : code(code), facts(facts), values(values) {
    stage.walk([&](rt::LoadVectorOp load) {
      vectorsVary |=
          facts.lookup<rt::VectorOp>(load.getVector()).getDepths() > 1;
    });
    for (Operation &op : stage.getBody().front().without_terminator()) {
      if (auto tile = dyn_cast<rt::TileOp>(op))
        tiles.push_back(tile);
      else if (auto pack = dyn_cast<rt::PackOp>(op))
        packs.push_back(pack);
      else
        statistics.push_back(&op);
    }
  }

  void emit() {
    if (packs.empty())
      emitRows();
    else
      emitContractions();
  }

  /// Prefetches the start of what this thread will read of each matrix. With
  /// few rows a stage is short, and a stream from memory that starts behind the
  /// barrier starts too late.
  void emitPrefetch() {
    if (packs.empty())
      return;
    Value few = code.compare(arith::CmpIPredicate::sle, values.rows,
                             code.i64(rt::kFewRows));
    code.ifThen(few, [&] {
      for (rt::PackOp pack : packs)
        if (rt::ContractOp product = getContraction(pack))
          prefetchPanels(product, code.i64(0));
      forEachShare([&](rt::TileOp tile, Value first, Value end) {
        Value isRead = code.compare(arith::CmpIPredicate::slt, first, end);
        code.ifThen(isRead, [&] {
          for (ArrayRef<rt::ContractOp> group : groupByMatrix(tile))
            prefetchPanels(group.front(), first);
        });
      });
    });
  }

private:
  /// What the operations of a region see of row `number`.
  RowEnvironment enterRow(Value number) {
    RowEnvironment row;
    row.row = number;
    if (vectorsVary)
      row.side = emitSide(code, values, number);
    // Regions share constants with the statistics, and with each other.
    for (Operation *op : statistics)
      if (op->hasTrait<OpTrait::ConstantLike>())
        emitChunkOp(code, facts, values, row, op);
    return row;
  }

  /// Statistics of one row.
  void emitStatistics(RowEnvironment &row) {
    for (Operation *op : statistics)
      if (!op->hasTrait<OpTrait::ConstantLike>())
        emitChunkOp(code, facts, values, row, op);
  }

  //===--- Rows only ------------------------------------------------------===//

  void emitRows() {
    auto [first, end] = emitShare(code, values, values.rows);
    code.forEach(first, end, 1, [&](Value number) {
      RowEnvironment row = enterRow(number);
      emitStatistics(row);
      for (rt::TileOp tile : tiles)
        code.forEach(tile.getUnits(),
                     [&](Value unit) { emitTileBody(tile, row, unit); });
    });
  }

  void emitTileBody(rt::TileOp tile, RowEnvironment &row, Value unit) {
    Block &block = tile.getBody().front();
    row.values.map(block.getArgument(0), unit);
    emitChunkOps(code, facts, values, row, block);
  }

  //===--- Prologue -------------------------------------------------------===//

  static int64_t getRowBytes(rt::PackOp pack) {
    return rt::getRowBytes(pack.getFormat(), pack.getLayout().getLanes());
  }

  static rt::PackOp getPack(rt::ContractOp contract) {
    return contract.getRows().getDefiningOp<rt::PackOp>();
  }

  /// Packs the rows for every pack and notes where they are.
  void emitPacks() {
    Value few = code.compare(arith::CmpIPredicate::sle, values.rows,
                             code.i64(rt::kFewRows));
    auto [shareFirst, shareEnd] = emitShare(code, values, values.rows);
    for (rt::PackOp pack : packs)
      packed[pack] = code.select(
          few,
          code.at(values.scratch, static_cast<int64_t>(*pack.getScratch())),
          code.at(values.arena, static_cast<int64_t>(*pack.getShared())));
    Value first = code.select(few, code.i64(0), shareFirst);
    Value end = code.select(few, values.rows, shareEnd);
    code.forEach(first, end, 1, [&](Value number) {
      RowEnvironment row = enterRow(number);
      emitStatistics(row);
      for (rt::PackOp pack : packs)
        if (!getContraction(pack))
          packRow(pack, row, getPackedRow(pack, number));
    });
    for (rt::PackOp pack : packs)
      if (rt::ContractOp product = getContraction(pack))
        packProducts(pack, product, first, end);
    Value many = code.compare(arith::CmpIPredicate::sgt, values.rows,
                              code.i64(rt::kFewRows));
    code.ifThen(many, [&] { emitBarrier(code, values); });
  }

  Value getPackedRow(rt::PackOp pack, Value number) {
    return code.at(packed.lookup(pack), code.mul(number, getRowBytes(pack)));
  }

  /// The product that `pack` packs, or null.
  static rt::ContractOp getContraction(rt::PackOp pack) {
    auto products = pack.getBody().getOps<rt::ContractOp>();
    return products.empty() ? nullptr : *products.begin();
  }

  /// Packs the products of rows [first, end) that are packed already, block by
  /// block.
  void packProducts(rt::PackOp pack, rt::ContractOp product, Value first,
                    Value end) {
    int64_t lanes = pack.getLayout().getLanes();
    Value outputs =
        code.at(values.scratch, static_cast<int64_t>(*pack.getOutputs()));
    code.forEach(first, end, rt::kRowBlock, [&](Value blockFirst) {
      Value count =
          code.min(code.sub(end, blockFirst), code.i64(rt::kRowBlock));
      code.forEach(lanes / rt::kLanes, [&](Value panel) {
        emitContraction(product, panel, blockFirst, count,
                        code.at(outputs, code.mul(panel, rt::kLanes * 4)),
                        lanes * 4);
      });
      code.forEach(code.i64(0), count, 1, [&](Value inBlock) {
        Value number = code.add(blockFirst, inBlock);
        RowEnvironment row = enterRow(number);
        Value own = code.at(outputs, code.mul(inBlock, lanes * 4));
        packRow(pack, row, getPackedRow(pack, number), [&](Value index) {
          row.contractions[product] =
              code.at(own, code.mul(index, rt::kLanes * 4));
        });
      });
    });
  }

  /// Packs one row; `enterChunk` is called with the number of each chunk.
  void packRow(
      rt::PackOp pack, RowEnvironment &row, Value target,
      function_ref<void(Value)> enterChunk = [](Value) {}) {
    rt::LayoutAttr layout = pack.getLayout();
    int64_t chunkBytes = rt::getRowBytes(pack.getFormat(), rt::kLanes);
    Block &block = pack.getBody().front();
    code.forEach(layout.getLanes() / rt::kLanes, [&](Value index) {
      row.values.map(block.getArgument(0), index);
      enterChunk(index);
      Value chunk = emitChunkOps(code, facts, values, row, block).front();
      if (layout.getLanes() != layout.getWidth())
        chunk = code.zeroFrom(chunk, code.mul(index, rt::kLanes),
                              layout.getWidth());
      storeChunk(pack.getFormat(), chunk,
                 code.at(target, code.mul(index, chunkBytes)));
    });
  }

  void storeChunk(rt::RowFormat format, Value chunk, Value target) {
    switch (format) {
    case rt::RowFormat::F32:
      return code.store(chunk, target);
    case rt::RowFormat::BF16AsF32:
      return code.store(emitRoundToBF16(code.b, code.loc, chunk), target);
    case rt::RowFormat::BF16Pair:
      return code.store(emitTruncateToBF16(code.b, code.loc, chunk), target);
    case rt::RowFormat::Int8Group:
      return emitQuantizeGroup(code.b, code.loc, chunk, target);
    }
  }

  //===--- Tiles ----------------------------------------------------------===//

  static SmallVector<rt::ContractOp> getContractions(rt::TileOp tile) {
    return llvm::to_vector(tile.getBody().getOps<rt::ContractOp>());
  }

  rt::PackedOp getPacked(rt::ContractOp contract) {
    return facts.lookup<rt::PackedOp>(contract.getWeights());
  }

  /// Weight bytes of one unit: what a share of the work is measured in.
  int64_t getCost(rt::TileOp tile) {
    int64_t bytes = 0;
    for (rt::ContractOp contract : getContractions(tile))
      bytes += getPacked(contract).getPanelBytes();
    return bytes;
  }

  /// Calls `body` with each tile and the units of it that are this thread's
  /// share of the stage's weight bytes.
  void forEachShare(function_ref<void(rt::TileOp, Value, Value)> body) {
    int64_t total = 0;
    for (rt::TileOp tile : tiles)
      total += tile.getUnits() * getCost(tile);
    auto [first, end] = emitShare(code, values, code.i64(total));
    int64_t before = 0; // bytes of the tiles before
    for (rt::TileOp tile : tiles) {
      body(tile, unitAt(tile, first, before), unitAt(tile, end, before));
      before += tile.getUnits() * getCost(tile);
    }
  }

  void emitContractions() {
    emitPacks();
    forEachShare([&](rt::TileOp tile, Value first, Value end) {
      emitUnits(tile, first, end);
    });
  }

  /// The unit of `tile` that starts at or after byte `place` of the stage.
  Value unitAt(rt::TileOp tile, Value place, int64_t before) {
    int64_t cost = getCost(tile);
    Value inside = code.max(code.sub(place, code.i64(before)), code.i64(0));
    return code.min(code.div(code.add(inside, cost - 1), cost),
                    code.i64(tile.getUnits()));
  }

  /// Units [first, end) of `tile`. One row takes several panels in turns where
  /// the machine reads faster so, and the rest like many rows.
  void emitUnits(rt::TileOp tile, Value first, Value end) {
    int64_t turns = getUnitsInTurn(tile);
    if (turns > 1) {
      Value one =
          code.compare(arith::CmpIPredicate::eq, values.rows, code.i64(1));
      Value count = code.sub(end, first);
      Value whole = code.mul(code.div(count, turns), turns);
      Value middle = code.select(one, code.add(first, whole), first);
      code.forEach(first, middle, turns,
                   [&](Value unit) { emitTurns(tile, unit, turns); });
      first = middle;
    }
    code.forEach(first, end, 1, [&](Value unit) { emitUnit(tile, unit); });
  }

  /// The contractions of `tile` by matrix; those of one matrix are the panels
  /// of a unit in their order.
  static SmallVector<SmallVector<rt::ContractOp>>
  groupByMatrix(rt::TileOp tile) {
    llvm::MapVector<Attribute, SmallVector<rt::ContractOp>> groups;
    for (rt::ContractOp op : getContractions(tile))
      groups[op.getWeightsAttr()].push_back(op);
    return llvm::map_to_vector(groups,
                               [](auto &group) { return group.second; });
  }

  /// Units whose panels one call of a one-row kernel takes in turns: as many as
  /// suit the matrix with the most bytes.
  int64_t getUnitsInTurn(rt::TileOp tile) {
    int64_t most = 0, units = 1;
    for (ArrayRef<rt::ContractOp> group : groupByMatrix(tile)) {
      rt::ContractOp op = group.front();
      int64_t unit = group.size(), bytes = unit * getPacked(op).getPanelBytes();
      int64_t panels =
          panelsInTurn(toKernelFormat(getPacked(op).getFormat()),
                       toKernelFormat(getPack(op).getFormat()), facts.features);
      if (bytes <= most)
        continue;
      most = bytes;
      units = panels % unit == 0 ? panels / unit : 1;
    }
    return units;
  }

  /// Units [unit, unit + count) of the only row.
  void emitTurns(rt::TileOp tile, Value unit, int64_t count) {
    constexpr int64_t kPanelBytes = rt::kLanes * 4;
    Value outputs =
        code.at(values.scratch, static_cast<int64_t>(*tile.getScratch()));
    auto groups = groupByMatrix(tile);
    SmallVector<Value> places; // outputs of each matrix
    int64_t offset = 0;
    for (ArrayRef<rt::ContractOp> group : groups) {
      int64_t panels = count * group.size();
      places.push_back(code.at(outputs, offset));
      emitContraction(group.front(), unit, /*firstRow=*/code.i64(0),
                      code.i64(1), places.back(), kPanelBytes, panels);
      offset += panels * kPanelBytes;
    }
    code.forEach(count, [&](Value inTurn) {
      RowEnvironment row = enterRow(code.i64(0));
      for (auto [group, place] : llvm::zip(groups, places)) {
        Value own =
            code.at(place, code.mul(inTurn, group.size() * kPanelBytes));
        for (auto [number, op] : llvm::enumerate(group))
          row.contractions[op] = code.at(own, number * kPanelBytes);
      }
      emitTileBody(tile, row, code.add(unit, inTurn));
    });
  }

  void emitUnit(rt::TileOp tile, Value unit) {
    SmallVector<rt::ContractOp> contractions = getContractions(tile);
    int64_t outputBytes = contractions.size() * rt::kLanes * 4; // of one row
    Value outputs =
        code.at(values.scratch, static_cast<int64_t>(*tile.getScratch()));
    code.forEach(
        code.i64(0), values.rows, rt::kRowBlock, [&](Value blockFirst) {
          Value count = code.min(code.sub(values.rows, blockFirst),
                                 code.i64(rt::kRowBlock));
          for (auto [number, contraction] : llvm::enumerate(contractions))
            emitContraction(contraction, unit, blockFirst, count,
                            code.at(outputs, number * rt::kLanes * 4),
                            outputBytes);
          code.forEach(code.i64(0), count, 1, [&](Value inBlock) {
            RowEnvironment row = enterRow(code.add(blockFirst, inBlock));
            Value own = code.at(outputs, code.mul(inBlock, outputBytes));
            for (auto [number, op] : llvm::enumerate(contractions))
              row.contractions[op] = code.at(own, number * rt::kLanes * 4);
            emitTileBody(tile, row, unit);
          });
        });
  }

  /// Calls `body` with each run of neighbouring rows that execute one side
  /// index: its first row, its length, and the index.
  void forEachRun(Value firstRow, Value count,
                  function_ref<void(Value, Value, Value)> body) {
    Value end = code.add(firstRow, count);
    Value last = code.sub(end, code.i64(1));
    code.fold(firstRow, end, firstRow, [&](Value row, Value begin) {
      Value next = code.add(row, 1);
      Value side = emitSide(code, values, row);
      Value nextSide = emitSide(code, values, code.min(next, last));
      Value isEnd = arith::OrIOp::create(
          code.b, code.loc, code.compare(arith::CmpIPredicate::eq, next, end),
          code.compare(arith::CmpIPredicate::ne, nextSide, side));
      code.ifThen(isEnd, [&] { body(begin, code.sub(next, begin), side); });
      return code.select(isEnd, next, begin);
    });
  }

  /// The panel of `op` for `count` rows, or for one row `panels` panels from it
  /// on; `outputBytes` from one row or panel to the next in `y`.
  void emitContraction(rt::ContractOp op, Value unit, Value firstRow,
                       Value count, Value y, int64_t outputBytes,
                       int64_t panels = 1) {
    if (getPacked(op).getDepths() == 1)
      return emitPanel(op, /*side=*/nullptr, unit, firstRow, count, y,
                       outputBytes, panels);
    forEachRun(firstRow, count, [&](Value first, Value length, Value side) {
      Value before = code.sub(first, firstRow);
      emitPanel(op, side, unit, first, length,
                code.at(y, code.mul(before, outputBytes)), outputBytes, panels);
    });
  }

  /// Where the panel of `op` for `unit` is, for rows of one side index.
  Value getPanelAddress(rt::ContractOp op, Value side, Value unit) {
    rt::PackedOp matrix = getPacked(op);
    Value base =
        emitWeightAddress(code, values, *matrix.getOffset(), matrix.getLayers(),
                          matrix.getDepths(), *matrix.getStride(), side);
    Value panel =
        code.add(code.mul(unit, op.getStride()), op.getFirst() + op.getPanel());
    return code.at(base, code.mul(panel, matrix.getPanelBytes()));
  }

  /// Prefetches the start of the panels of `op` from `unit` on, for the side
  /// index of the first row.
  void prefetchPanels(rt::ContractOp op, Value unit) {
    constexpr int64_t kBytes = 4096, kLine = 64;
    Value side;
    if (getPacked(op).getDepths() > 1)
      side = emitSide(code, values, code.i64(0));
    Value start = getPanelAddress(op, side, unit);
    code.forEach(kBytes / kLine, [&](Value line) {
      code.prefetch(code.at(start, code.mul(line, kLine)));
    });
  }

  /// As emitContraction, for rows of one side index.
  void emitPanel(rt::ContractOp op, Value side, Value unit, Value firstRow,
                 Value count, Value y, int64_t outputBytes, int64_t panels) {
    rt::PackedOp matrix = getPacked(op);
    rt::PackOp pack = getPack(op);
    PanelFormat format = toKernelFormat(matrix.getFormat());
    Value w = getPanelAddress(op, side, unit);
    Value x =
        code.at(packed.lookup(pack), code.mul(firstRow, getRowBytes(pack)));
    RowFormat rowFormat = toKernelFormat(pack.getFormat());
    SmallVector<Value> args{x,
                            code.i64(getRowBytes(pack)),
                            w,
                            code.i64(lineBytes(format)),
                            code.i64(matrix.getK()),
                            y,
                            code.i64(outputBytes)};
    if (panels == 1)
      return emitContract(code, facts, format, rowFormat, args, count);
    KernelSpec spec{format, rowFormat, /*rows=*/1, static_cast<int>(panels)};
    func::FuncOp kernel = getOrCreateKernel(facts.module, spec, facts.features);
    func::CallOp::create(code.b, code.loc, kernel, args);
  }

  CodeBuilder &code;
  ModuleFacts &facts;
  const BodyValues &values;
  bool vectorsVary = false; // by depth
  SmallVector<Operation *> statistics;
  SmallVector<rt::PackOp> packs;
  DenseMap<Operation *, Value> packed; // rows of each pack
  SmallVector<rt::TileOp> tiles;
};

/// Where a descriptor has the ids that an embedding looks up.
int64_t getFieldOffset(RowField field) {
  switch (field) {
  case RowField::Token:
    return offsetof(rondo_rt_row, token);
  case RowField::Position:
    return offsetof(rondo_rt_row, position);
  case RowField::TokenType:
    return offsetof(rondo_rt_row, token_type);
  }
  llvm_unreachable("unknown field");
}

/// Embedding: rows are divided among the threads.
void emitEmbed(CodeBuilder &code, ModuleFacts &facts, const BodyValues &values,
               rt::EmbedOp embed) {
  auto packed = facts.lookup<rt::PackedOp>(embed.getTable());
  auto buffer = embed.getTarget().getDefiningOp<rt::BufferOp>();
  int64_t lanes = cast<MemRefType>(buffer.getType()).getDimSize(1);
  auto [first, end] = emitShare(code, values, values.rows);
  code.forEach(first, end, 1, [&](Value row) {
    Value token = code.loadUnsigned(emitDescriptor(code, values, row),
                                    getFieldOffset(embed.getField()), 32);
    Value base =
        emitWeightAddress(code, values, *packed.getOffset(), packed.getLayers(),
                          /*depths=*/1, *packed.getStride(), /*side=*/nullptr);
    Value panel = code.at(
        base, code.mul(code.div(token, rt::kLanes), packed.getPanelBytes()));
    Value target =
        code.at(code.at(values.arena, static_cast<int64_t>(buffer.getOffset())),
                code.mul(row, lanes * 4));
    // What the table does not have of the last chunk is zero.
    if (lanes != static_cast<int64_t>(packed.getK()))
      code.store(code.splat(code.f32(0)),
                 code.at(target, (lanes - rt::kLanes) * 4));
    emitGatherLane(code.b, code.loc, toKernelFormat(packed.getFormat()), panel,
                   code.rem(token, rt::kLanes), code.i64(packed.getK()),
                   target);
    if (embed.getScale().isExactlyValue(1.0))
      return;
    Value scale = code.splat(code.f32(embed.getScale().convertToFloat()));
    code.forEach(lanes / rt::kLanes, [&](Value chunk) {
      Value address = code.at(target, code.mul(chunk, rt::kLanes * 4));
      code.store(code.fmul(code.loadChunk(address), scale), address);
    });
  });
}
} // namespace

void rondo::cpu::emitPrefetch(CodeBuilder &code, ModuleFacts &facts,
                              const BodyValues &values, rt::StageOp next) {
  StageEmitter(code, facts, values, next).emitPrefetch();
}

void rondo::cpu::emitStage(CodeBuilder &code, ModuleFacts &facts,
                           const BodyValues &values, rt::StageOp stage) {
  Operation &first = stage.getBody().front().front();
  if (auto attend = dyn_cast<rt::AttendOp>(first))
    emitAttend(code, facts, values, attend);
  else if (auto route = dyn_cast<rt::RouteOp>(first))
    emitRoute(code, facts, values, route);
  else if (auto select = dyn_cast<rt::SelectRowsOp>(first))
    emitSelectRows(code, facts, values, select);
  else if (isa<rt::EmbedOp>(first))
    for (auto embed : stage.getBody().getOps<rt::EmbedOp>())
      emitEmbed(code, facts, values, embed);
  else
    StageEmitter(code, facts, values, stage).emit();
}
