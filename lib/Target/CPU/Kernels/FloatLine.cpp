//===- FloatLine.cpp - Panel lines times f32 and bf16 rows ----------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Widens weights to f32 in registers and multiplies them into the sums with
// explicit fma, or with vdpbf16ps. Weights of one k stay in registers while
// the rows go past them; a row's value is broadcast from memory.
//
//===----------------------------------------------------------------------===//

#include "KernelTile.h"

using namespace mlir;

namespace rondo::cpu {

/// sums[row][part] += weight(part) * x[row][k] for all rows. The operand of
/// which the tile has fewer vectors stays in registers.
static void emitOuterProduct(KernelBuilder &b, Tile &tile, int64_t k,
                             function_ref<Value(int)> weight) {
  SmallVector<Value> xs, weights;
  auto multiply = [&](int row, int part, Value w, Value x) {
    tile.setSum(b, row, part, b.fma(w, x, tile.sum(b, row, part)));
  };
  auto broadcast = [&](int row) {
    return b.loadSplat(tile.floats(b), b.offset(tile.rows[row], 4 * k));
  };
  if (tile.spec.rows < tile.plan.parts) {
    for (int row = 0; row < tile.spec.rows; ++row)
      xs.push_back(broadcast(row));
    for (int part = 0; part < tile.plan.parts; ++part) {
      Value w = weight(part);
      for (int row = 0; row < tile.spec.rows; ++row)
        multiply(row, part, w, xs[row]);
    }
    return;
  }
  for (int part = 0; part < tile.plan.parts; ++part)
    weights.push_back(weight(part));
  for (int row = 0; row < tile.spec.rows; ++row) {
    Value x = broadcast(row);
    for (int part = 0; part < tile.plan.parts; ++part)
      multiply(row, part, weights[part], x);
  }
}

/// One part of an F32, F16 or BF16 line, widened.
static Value loadPlain(KernelBuilder &b, Tile &tile, int part) {
  int64_t lanes = tile.plan.lanes;
  switch (tile.spec.panel) {
  case PanelFormat::F32:
    return b.load(tile.floats(b), tile.field(b, 0, 4, part));
  case PanelFormat::F16:
    return b.extend(tile.floats(b), b.load(b.vec(lanes, b.getF16Type()),
                                           tile.field(b, 0, 2, part)));
  case PanelFormat::BF16: {
    Value bits =
        b.load(b.vec(lanes, b.getI16Type()), tile.field(b, 0, 2, part));
    Value wide = arith::ExtUIOp::create(b, tile.ints(b), bits);
    return b.bitcast(tile.floats(b), b.shl(wide, 16));
  }
  default:
    llvm_unreachable("not a plain panel");
  }
}

static void emitPlainLine(KernelBuilder &b, Tile &tile) {
  emitOuterProduct(b, tile, 0,
                   [&](int part) { return loadPlain(b, tile, part); });
}

/// A pair line as two f32 lines: `exact` takes the even k first, `bf16-dot`
/// the odd one, as vdpbf16ps does. With 16 registers each loads the pairs anew
/// (volatile, lest they be kept): loads from L1 are cheaper than spills.
static void emitPairLine(KernelBuilder &b, Tile &tile) {
  auto loadHalf = [&](int part, bool odd) {
    Value pair =
        LLVM::LoadOp::create(b, tile.ints(b), tile.field(b, 0, 4, part),
                             /*alignment=*/1,
                             /*isVolatile=*/tile.plan.lanes == 8);
    Value high = b.constant(tile.ints(b), static_cast<int64_t>(0xffff0000));
    return b.bitcast(tile.floats(b),
                     odd ? b.bitAnd(pair, high) : b.shl(pair, 16));
  };
  bool oddFirst = tile.spec.row == RowFormat::BF16AsF32;
  for (bool odd : {oddFirst, !oddFirst})
    emitOuterProduct(b, tile, odd ? 1 : 0,
                     [&](int part) { return loadHalf(part, odd); });
}

static void emitDotLine(KernelBuilder &b, Tile &tile) {
  VectorType pairs = b.vec(2 * tile.plan.lanes, b.getBF16Type());
  SmallVector<Value> weights;
  for (int part = 0; part < tile.plan.parts; ++part)
    weights.push_back(b.load(pairs, tile.field(b, 0, 4, part)));
  for (int row = 0; row < tile.spec.rows; ++row) {
    Value x = b.bitcast(pairs, b.loadSplat(tile.ints(b), tile.rows[row]));
    for (int part = 0; part < tile.plan.parts; ++part)
      tile.setSum(b, row, part,
                  b.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512",
                              tile.floats(b),
                              {tile.sum(b, row, part), weights[part], x}));
  }
}

//===----------------------------------------------------------------------===//
// Quantised weights, f32 rows
//===----------------------------------------------------------------------===//

namespace {

/// The scale (and minimum) vectors of one part of a group, widened.
struct GroupScales {
  Value scale, min;
};

} // namespace

static GroupScales loadScales(KernelBuilder &b, Tile &tile, int part) {
  VectorType halves = b.vec(tile.plan.lanes, b.getF16Type());
  auto widen = [&](int64_t base) {
    return b.extend(tile.floats(b),
                    b.load(halves, tile.field(b, base, 2, part)));
  };
  bool hasMin = tile.spec.panel == PanelFormat::Q4_1;
  return {widen(0), hasMin ? widen(2 * kPanelWidth) : Value()};
}

/// Element `index` (0..7) of the little-endian fields in 32-bit `word`s:
/// signed bytes 0..3 (Q8_0) or nibbles, low halves of the bytes first (Q4).
static Value extractInteger(KernelBuilder &b, PanelFormat format, Value word,
                            int index) {
  if (format == PanelFormat::Q8_0)
    return b.shrS(index == 3 ? word : b.shl(word, 24 - 8 * index), 24);
  int bit = 8 * (index % 4) + 4 * (index / 4);
  Value nibble = bit == 28 ? b.shrU(word, bit)
                           : b.bitAnd(bit == 0 ? word : b.shrU(word, bit),
                                      b.constant(word.getType(), 15));
  if (format == PanelFormat::Q4_1)
    return nibble;
  return b.sub(nibble, b.constant(word.getType(), 8));
}

/// One word column of a group: 4 (Q8_0) or 8 (Q4) consecutive k.
static void emitWord(KernelBuilder &b, Tile &tile, Value column,
                     ArrayRef<GroupScales> scales) {
  PanelFormat format = tile.spec.panel;
  int64_t elements = format == PanelFormat::Q8_0 ? 4 : 8;
  int64_t start = (format == PanelFormat::Q4_1 ? 4 : 2) * kPanelWidth;
  Value columnBytes = b.mul(column, b.i64(kColumnBytes));
  tile.prefetchColumn(b, b.add(columnBytes, b.i64(start)));
  Value rowBytes = b.mul(column, b.i64(4 * elements));
  SmallVector<Value> words, rows = tile.rows;
  for (int part = 0; part < tile.plan.parts; ++part)
    words.push_back(b.load(
        tile.ints(b), b.offset(tile.field(b, start, 4, part), columnBytes)));
  for (Value &row : tile.rows)
    row = b.offset(row, rowBytes);
  for (int64_t i = 0; i < elements; ++i)
    emitOuterProduct(b, tile, i, [&](int part) {
      Value number =
          b.toFloat(tile.floats(b), extractInteger(b, format, words[part], i));
      const GroupScales &s = scales[part];
      return s.min ? b.fma(number, s.scale, s.min) : b.mulF(number, s.scale);
    });
  tile.rows = rows;
}

static void emitGroupLine(KernelBuilder &b, Tile &tile) {
  SmallVector<GroupScales> scales;
  for (int part = 0; part < tile.plan.parts; ++part)
    scales.push_back(loadScales(b, tile, part));
  int64_t columns = tile.spec.panel == PanelFormat::Q8_0 ? 8 : 4;
  SmallVector<Value> init = tile.sums;
  tile.sums = b.loop(b.i64(0), b.i64(columns), 1, init,
                     [&](Value column, ValueRange carried) {
                       tile.sums = llvm::to_vector(carried);
                       emitWord(b, tile, column, scales);
                       return tile.sums;
                     });
}

void emitFloatLine(KernelBuilder &b, Tile &tile) {
  if (lineElements(tile.spec.panel) == 1)
    return emitPlainLine(b, tile);
  if (tile.spec.panel != PanelFormat::BF16Pair)
    return emitGroupLine(b, tile);
  if (tile.spec.row == RowFormat::BF16Pair)
    return emitDotLine(b, tile);
  emitPairLine(b, tile);
}

} // namespace rondo::cpu
