//===- Kernels.cpp - Plans and skeletons of contraction kernels -----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Chooses the register tile of a kernel and emits the loops around the line
// emitters:
//
//   y = 0; for block: for pass: load sums; for line: emit line; store sums
//
// or, where one tile covers the panel and fits the registers, just
//
//   sums = 0; for line: emit line; store sums
//
// or, for one row and several panels,
//
//   y = 0; for block: for panel: load sums; for line: emit line; store sums
//
//===----------------------------------------------------------------------===//

#include "rondo/Target/CPU/Kernels.h"
#include "KernelTile.h"

#include "llvm/ADT/Twine.h"

#include <algorithm>

using namespace mlir;

namespace rondo::cpu {

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

int64_t lineElements(PanelFormat format) {
  switch (format) {
  case PanelFormat::F32:
  case PanelFormat::F16:
  case PanelFormat::BF16:
    return 1;
  case PanelFormat::BF16Pair:
    return 2;
  case PanelFormat::Q8_0:
  case PanelFormat::Q4_0:
  case PanelFormat::Q4_1:
    return kGroupSize;
  }
  llvm_unreachable("unknown panel format");
}

int64_t lineBytes(PanelFormat format) {
  switch (format) {
  case PanelFormat::F32:
    return 4 * kPanelWidth;
  case PanelFormat::F16:
  case PanelFormat::BF16:
    return 2 * kPanelWidth;
  case PanelFormat::BF16Pair:
    return 4 * kPanelWidth;
  case PanelFormat::Q8_0:
    return (2 + kGroupSize) * kPanelWidth;
  case PanelFormat::Q4_0:
    return (2 + kGroupSize / 2) * kPanelWidth;
  case PanelFormat::Q4_1:
    return (4 + kGroupSize / 2) * kPanelWidth;
  }
  llvm_unreachable("unknown panel format");
}

int64_t panelBytes(PanelFormat format, int64_t k) {
  return k / lineElements(format) * lineBytes(format);
}

int64_t rowBytes(RowFormat format, int64_t k) {
  switch (format) {
  case RowFormat::F32:
  case RowFormat::BF16AsF32:
    return 4 * k;
  case RowFormat::BF16Pair:
    return 2 * k;
  case RowFormat::Int8Group:
    return k / kGroupSize * Int8GroupLayout::kBytes;
  }
  llvm_unreachable("unknown row format");
}

static StringRef panelName(PanelFormat format) {
  static constexpr StringRef kNames[] = {"f32",  "f16",  "bf16", "bf16pair",
                                         "q8_0", "q4_0", "q4_1"};
  return kNames[static_cast<int>(format)];
}

static StringRef rowName(RowFormat format) {
  static constexpr StringRef kNames[] = {"f32", "bf16asf32", "bf16pair",
                                         "int8"};
  return kNames[static_cast<int>(format)];
}

std::string kernelName(const KernelSpec &spec) {
  std::string name = ("rondo_kernel_" + panelName(spec.panel) + "_" +
                      rowName(spec.row) + "_r" + Twine(spec.rows))
                         .str();
  return spec.panels == 1 ? name : name + "p" + std::to_string(spec.panels);
}

//===----------------------------------------------------------------------===//
// Plans
//===----------------------------------------------------------------------===//

static bool isQuantised(PanelFormat format) {
  return lineElements(format) == kGroupSize;
}

static bool isSupported(PanelFormat panel, RowFormat row,
                        const MachineFeatures &features) {
  switch (row) {
  case RowFormat::F32:
    return true;
  case RowFormat::BF16AsF32:
    return panel == PanelFormat::BF16Pair;
  case RowFormat::BF16Pair:
    return panel == PanelFormat::BF16Pair && features.avx512bf16;
  case RowFormat::Int8Group:
    return isQuantised(panel);
  }
  llvm_unreachable("unknown row format");
}

/// Whether the kernel is written for 32 registers of 512 bits. Integer kernels
/// without VNNI keep to the 256-bit forms: vpsignb has no 512-bit form.
static bool usesWideVectors(RowFormat row, const MachineFeatures &features) {
  return row == RowFormat::Int8Group ? features.avx512vnni : features.avx512;
}

int maxRows(PanelFormat panel, RowFormat row, const MachineFeatures &features) {
  if (!isSupported(panel, row, features))
    return 0;
  if (usesWideVectors(row, features))
    return 8;
  return row == RowFormat::Int8Group ? 5 : 6;
}

int panelsInTurn(PanelFormat panel, RowFormat row,
                 const MachineFeatures &features) {
  // Plain bf16 panels are KV caches: short, and not one after the other.
  bool isWeight = panel != PanelFormat::BF16;
  return isWeight && !usesWideVectors(row, features) ? 4 : 1;
}

/// 32 registers: a tile of 8 rows by 2 vectors leaves 16 for weights; integer
/// tiles need two accumulators per sum and park the f32 ones from 7 rows on.
/// The hardware prefetcher does better alone (Zen 4).
static KernelPlan planWide(const KernelSpec &spec) {
  KernelPlan plan{/*lanes=*/16,           /*parts=*/2,
                  /*unroll=*/1,           /*blockLines=*/0,
                  /*sumsInMemory=*/false, /*prefetch=*/0};
  if (spec.row == RowFormat::Int8Group)
    plan.sumsInMemory = spec.rows > 6;
  else if (!isQuantised(spec.panel))
    plan.unroll = spec.rows == 8 ? 2 : 4; // row pointers need registers too
  return plan;
}

/// 16 registers: up to 3 rows by 4 vectors (2 if scales need registers too), or
/// 6 rows by 2 and a block of half an L1; integer tiles park their sums after
/// every group. Prefetching 1 to 1.5 KiB ahead fills the gaps that widening
/// leaves between loads (Zen 3: 0.7 to 0.85 of the read bandwidth becomes
/// 0.95); f32 weights leave none.
static KernelPlan planNarrow(const KernelSpec &spec) {
  KernelPlan plan{/*lanes=*/8,
                  /*parts=*/4,
                  /*unroll=*/1,
                  /*blockLines=*/0,
                  /*sumsInMemory=*/false,
                  /*prefetch=*/0};
  int64_t line = lineBytes(spec.panel);
  if (spec.panel != PanelFormat::F32)
    plan.prefetch =
        llvm::divideCeil(isQuantised(spec.panel) ? 1536 : 1024, line);
  if (spec.row == RowFormat::Int8Group) {
    plan.sumsInMemory = spec.rows > 1;
    if (spec.rows > 2) {
      plan.parts = 2;
      plan.blockLines = 1;
    }
    return plan;
  }
  if (!isQuantised(spec.panel))
    plan.unroll = 4;
  if (spec.rows > (isQuantised(spec.panel) ? 2 : 3)) {
    plan.parts = 2;
    // Pairs prefetch the next block, and L1 is to hold both. Plain panels are
    // short (KV caches) or f32, and have no registers left for it.
    bool isPair = spec.panel == PanelFormat::BF16Pair;
    plan.blockLines = (isPair ? 8192 : 16384) / line;
    plan.prefetch = isPair ? plan.blockLines : 0;
  }
  return plan;
}

/// Bytes of one panel before it is the next one's turn.
static constexpr int64_t kTurnBytes = 512;

static KernelPlan planFor(const KernelSpec &spec,
                          const MachineFeatures &features) {
  KernelPlan plan =
      usesWideVectors(spec.row, features) ? planWide(spec) : planNarrow(spec);
  if (spec.panels > 1) {
    // Several streams are enough for the hardware prefetcher.
    plan.blockLines = std::max<int64_t>(1, kTurnBytes / lineBytes(spec.panel));
    plan.prefetch = 0;
  }
  return plan;
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

Value Tile::field(KernelBuilder &b, int64_t base, int64_t bytesPerOutput,
                  int part) const {
  Value start = line;
  int64_t partBytes = plan.lanes * bytesPerOutput;
  if (pass)
    start = b.offset(start, b.mul(pass, b.i64(plan.parts * partBytes)));
  return b.offset(start, static_cast<int32_t>(base + part * partBytes));
}

Value Tile::sum(KernelBuilder &b, int row, int part) const {
  if (!plan.sumsInMemory)
    return sums[row * plan.parts + part];
  return b.load(floats(b), b.offset(outputs[row], 4 * plan.lanes * part));
}

void Tile::prefetchColumn(KernelBuilder &b, LLVM::GEPArg offset) const {
  if (!ahead)
    return;
  Value column = b.offset(ahead, offset);
  // Two passes share a column, a cache line for each.
  constexpr int64_t kHalf = kColumnBytes / 2;
  if (pass)
    return b.prefetch(b.offset(column, b.mul(pass, b.i64(kHalf))));
  b.prefetch(column);
  b.prefetch(b.offset(column, kHalf));
}

void Tile::setSum(KernelBuilder &b, int row, int part, Value value) {
  if (!plan.sumsInMemory)
    sums[row * plan.parts + part] = value;
  else
    b.store(value, b.offset(outputs[row], 4 * plan.lanes * part));
}

//===----------------------------------------------------------------------===//
// Skeleton
//===----------------------------------------------------------------------===//

namespace {

/// Emits the body of one kernel.
class Skeleton {
public:
  Skeleton(KernelBuilder &b, const KernelSpec &spec,
           const MachineFeatures &features, Block::BlockArgListType args)
      : b(b), x(args[0]), xStride(args[1]), w(args[2]), wStride(args[3]),
        k(args[4]), y(args[5]), yStride(args[6]) {
    tile.spec = spec;
    tile.features = features;
    tile.plan = planFor(spec, features);
  }

  void emit();

private:
  /// Adds lines [begin, end) to the tile, by unrolled iterations and a rest.
  void emitLines(Value begin, Value end);
  void emitLoop(Value begin, Value end, int64_t step);
  void emitBlocks(Value lines);
  void emitTurns(Value lines);

  /// Points the tile at line `index` of the panel and of the rows.
  void moveTo(Value index);

  /// Adds `count` lines from `index` on to the tile.
  void emitRun(Value index, int64_t count);

  /// Prefetches this pass's share of the line `plan.prefetch` lines after line
  /// `index`; of a group only the scales, its line emitter does the rest.
  void emitPrefetch(Value index);

  /// Calls `apply(row, part, pointer)` for all sums at their place in y.
  void forEachOutput(function_ref<void(int, int, Value)> apply);
  void zeroSums();
  void zeroOutputs();
  void loadSums();
  void storeSums();
  Value rowPointer(Value base, Value stride, int row) {
    return row == 0 ? base : b.offset(base, b.mul(stride, b.i64(row)));
  }

  KernelBuilder &b;
  Value x, xStride, w, wStride, k, y, yStride;
  Tile tile;
};

} // namespace

void Skeleton::forEachOutput(function_ref<void(int, int, Value)> apply) {
  const KernelPlan &plan = tile.plan;
  for (int row = 0; row < tile.spec.rows; ++row)
    for (int part = 0; part < plan.parts; ++part)
      apply(row, part, b.offset(tile.outputs[row], 4 * plan.lanes * part));
}

void Skeleton::zeroSums() {
  tile.sums.assign(tile.spec.rows * tile.plan.parts,
                   b.constant(tile.floats(b), 0.0));
}

void Skeleton::zeroOutputs() {
  Value zero = b.constant(b.vec(kPanelWidth, b.getF32Type()), 0.0);
  for (int row = 0; row < tile.spec.rows; ++row)
    b.store(zero, rowPointer(y, yStride, row));
}

void Skeleton::loadSums() {
  tile.sums.clear();
  if (!tile.plan.sumsInMemory)
    forEachOutput([&](int, int, Value pointer) {
      tile.sums.push_back(b.load(tile.floats(b), pointer));
    });
}

void Skeleton::storeSums() {
  if (!tile.plan.sumsInMemory)
    forEachOutput([&](int row, int part, Value pointer) {
      b.store(tile.sum(b, row, part), pointer);
    });
}

void Skeleton::moveTo(Value index) {
  int64_t step =
      rowBytes(tile.spec.row, lineElements(tile.spec.panel)); // bytes
  Value bytes = b.mul(index, b.i64(step));
  tile.line = b.offset(w, b.mul(index, wStride));
  tile.rows.clear();
  for (int row = 0; row < tile.spec.rows; ++row)
    tile.rows.push_back(b.offset(rowPointer(x, xStride, row), bytes));
}

void Skeleton::emitPrefetch(Value index) {
  Value ahead = b.add(index, b.i64(tile.plan.prefetch));
  tile.ahead = b.offset(w, b.mul(ahead, wStride));
  int64_t size = lineBytes(tile.spec.panel);
  if (size % kColumnBytes)
    b.prefetch(tile.ahead);
  else
    tile.prefetchColumn(b, 0);
}

void Skeleton::emitRun(Value index, int64_t count) {
  SmallVector<Value> indices = {index};
  for (int64_t i = 1; i < count; ++i)
    indices.push_back(b.add(index, b.i64(i)));
  // All prefetches first: between the lines they hinder LLVM's scheduler.
  if (tile.plan.prefetch)
    for (Value i : indices)
      emitPrefetch(i);
  for (Value i : indices) {
    moveTo(i);
    if (tile.spec.row == RowFormat::Int8Group)
      emitInt8Line(b, tile);
    else
      emitFloatLine(b, tile);
  }
}

void Skeleton::emitLoop(Value begin, Value end, int64_t step) {
  SmallVector<Value> init = tile.sums;
  tile.sums =
      b.loop(begin, end, step, init, [&](Value index, ValueRange carried) {
        tile.sums = llvm::to_vector(carried);
        emitRun(index, step);
        return tile.sums;
      });
}

void Skeleton::emitLines(Value begin, Value end) {
  int64_t unroll = tile.plan.unroll;
  if (unroll == 1)
    return emitLoop(begin, end, 1);
  Value rest = arith::RemUIOp::create(b, b.sub(end, begin), b.i64(unroll));
  Value middle = b.sub(end, rest);
  emitLoop(begin, middle, unroll);
  emitLoop(middle, end, 1);
}

void Skeleton::emitBlocks(Value lines) {
  const KernelPlan plan = tile.plan;
  zeroOutputs();
  b.loop(b.i64(0), lines, plan.blockLines, {}, [&](Value begin, ValueRange) {
    Value end = begin;
    if (plan.blockLines > 1)
      end = arith::MinSIOp::create(b, b.add(begin, b.i64(plan.blockLines)),
                                   lines);
    b.loop(b.i64(0), b.i64(plan.passes()), 1, {}, [&](Value pass, ValueRange) {
      tile.pass = pass;
      tile.outputs.clear();
      Value start = b.mul(pass, b.i64(4 * plan.lanes * plan.parts));
      for (int row = 0; row < tile.spec.rows; ++row)
        tile.outputs.push_back(b.offset(rowPointer(y, yStride, row), start));
      loadSums();
      if (plan.blockLines > 1)
        emitLines(begin, end);
      else
        emitRun(begin, 1);
      storeSums();
      return KernelBuilder::Carried();
    });
    return KernelBuilder::Carried();
  });
}

/// One row and several panels: a block of each in turn, sums rest in y.
void Skeleton::emitTurns(Value lines) {
  const Value first = w;
  Value panelStride = b.mul(lines, wStride);
  auto outputOf = [&](Value panel) {
    return b.offset(y, b.mul(panel, yStride));
  };
  Value zero = b.constant(b.vec(kPanelWidth, b.getF32Type()), 0.0);
  for (int panel = 0; panel < tile.spec.panels; ++panel)
    b.store(zero, outputOf(b.i64(panel)));
  b.loop(b.i64(0), lines, tile.plan.blockLines, {},
         [&](Value begin, ValueRange) {
           Value end = arith::MinSIOp::create(
               b, b.add(begin, b.i64(tile.plan.blockLines)), lines);
           b.loop(b.i64(0), b.i64(tile.spec.panels), 1, {},
                  [&](Value panel, ValueRange) {
                    w = b.offset(first, b.mul(panel, panelStride));
                    tile.outputs = {outputOf(panel)};
                    loadSums();
                    emitLines(begin, end);
                    storeSums();
                    return KernelBuilder::Carried();
                  });
           return KernelBuilder::Carried();
         });
}

void Skeleton::emit() {
  Value lines =
      arith::DivUIOp::create(b, k, b.i64(lineElements(tile.spec.panel)));
  if (tile.spec.panels > 1)
    return emitTurns(lines);
  if (tile.plan.blockLines > 0)
    return emitBlocks(lines);
  for (int row = 0; row < tile.spec.rows; ++row)
    tile.outputs.push_back(rowPointer(y, yStride, row));
  if (tile.plan.sumsInMemory)
    zeroOutputs();
  else
    zeroSums();
  emitLines(b.i64(0), lines);
  storeSums();
}

func::FuncOp getOrCreateKernel(ModuleOp module, const KernelSpec &spec,
                               const MachineFeatures &features) {
  assert(
      spec.rows >= 1 && spec.rows <= maxRows(spec.panel, spec.row, features) &&
      (spec.panels == 1 || spec.rows == 1) && "no such kernel on this machine");
  std::string name = kernelName(spec);
  if (auto existing = module.lookupSymbol<func::FuncOp>(name))
    return existing;

  MLIRContext *ctx = module.getContext();
  ctx->loadDialect<arith::ArithDialect, LLVM::LLVMDialect, scf::SCFDialect,
                   vector::VectorDialect>();
  KernelBuilder b(UnknownLoc::get(ctx), ctx);
  b.setInsertionPointToEnd(module.getBody());
  Type ptr = b.ptrType(), i64 = b.getI64Type();
  auto kernel = func::FuncOp::create(
      b, name, b.getFunctionType({ptr, i64, ptr, i64, i64, ptr, i64}, {}));
  kernel.setPrivate();
  kernel->setAttr("llvm.linkage",
                  LLVM::LinkageAttr::get(ctx, LLVM::Linkage::Internal));
  kernel->setAttr("passthrough", b.getArrayAttr(b.getStringAttr("noinline")));
  Block *entry = kernel.addEntryBlock();
  kernel.setArgAttr(5, LLVM::LLVMDialect::getNoAliasAttrName(),
                    b.getUnitAttr());
  b.setInsertionPointToStart(entry);
  Skeleton(b, spec, features, entry->getArguments()).emit();
  func::ReturnOp::create(b);
  return kernel;
}

} // namespace rondo::cpu
