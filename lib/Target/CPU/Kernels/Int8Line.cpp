//===- Int8Line.cpp - Quantised groups times quantised rows ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One group of 32 k: exact integer sums first, then one f32 fma per output.
// A weight vector holds quads of k (4 bytes per output) and meets a broadcast
// quad of the row. Three ways to multiply bytes:
//
//   vpdpbusd                u8 x s8 -> s32; Q8_0 as q + 128, corrected by
//                           -128 * sum(x)
//   vpmaddubsw, vpmaddwd    Q8_0 as |q| x sign(x, q): 128 * 127 * 2 fits s16
//   vpmaddubsw, add s16     nibbles: 15 * 127 * 2 * 8 quads = 30480 fits s16,
//                           one vpmaddwd by 1 at the end of the group
//
//===----------------------------------------------------------------------===//

#include "KernelTile.h"

using namespace mlir;

namespace rondo::cpu {

namespace {

/// Emits one group for one tile.
class GroupEmitter {
public:
  GroupEmitter(KernelBuilder &b, Tile &tile)
      : b(b), tile(tile), parts(tile.plan.parts),
        bytes(b.vec(4 * tile.plan.lanes, b.getI8Type())),
        shorts(b.vec(2 * tile.plan.lanes, b.getI16Type())) {}

  void emit();

private:
  bool isQ8() const { return tile.spec.panel == PanelFormat::Q8_0; }
  bool hasMin() const { return tile.spec.panel == PanelFormat::Q4_1; }
  bool hasVnni() const { return tile.features.avx512vnni; }

  /// Byte where the quants of a line start: after the f16 vectors.
  int64_t quantsStart() const { return (hasMin() ? 4 : 2) * kPanelWidth; }

  Value lowNibbles(Value packed);
  Value highNibbles(Value packed);

  /// Multiplies one line of weights: a quad of k (bytes) or two (nibbles).
  void emitLine(Value index);

  /// Multiplies one quad, held as `weights[part]`, with x at byte `offset`.
  void emitQuad(ArrayRef<Value> weights, ArrayRef<Value> rows, int64_t offset);
  Value multiplyQuad(Value weight, Value magnitude, Value x, Value sum);

  Value startOfSums(int row);
  Value finishSum(int row, Value integer);
  Value loadHalves(int64_t base, int part);
  void emitScaling();

  KernelBuilder &b;
  Tile &tile;
  int parts;
  VectorType bytes, shorts;
  SmallVector<Value> integers; ///< [rows][parts] sums of the group
};

} // namespace

Value GroupEmitter::lowNibbles(Value packed) {
  return b.bitAnd(packed, b.constant(bytes, 15));
}

Value GroupEmitter::highNibbles(Value packed) {
  Value shifted = b.shrU(b.bitcast(shorts, packed), 4);
  return lowNibbles(b.bitcast(bytes, shifted));
}

Value GroupEmitter::multiplyQuad(Value weight, Value magnitude, Value x,
                                 Value sum) {
  if (hasVnni())
    return b.intrinsic("llvm.x86.avx512.vpdpbusd.512", tile.ints(b),
                       {sum, weight, x});
  if (!isQ8())
    return b.add(sum,
                 b.intrinsic("llvm.x86.avx2.pmadd.ub.sw", shorts, {weight, x}));
  Value sign = b.intrinsic("llvm.x86.avx2.psign.b", bytes, {x, weight});
  Value pairs =
      b.intrinsic("llvm.x86.avx2.pmadd.ub.sw", shorts, {magnitude, sign});
  return b.add(sum, b.intrinsic("llvm.x86.avx2.pmadd.wd", tile.ints(b),
                                {pairs, b.constant(shorts, 1)}));
}

void GroupEmitter::emitQuad(ArrayRef<Value> weights, ArrayRef<Value> rows,
                            int64_t offset) {
  SmallVector<Value> magnitudes(parts);
  if (isQ8() && !hasVnni())
    for (int part = 0; part < parts; ++part)
      magnitudes[part] =
          LLVM::AbsOp::create(b, bytes, weights[part], b.getBoolAttr(false));
  for (int row = 0; row < tile.spec.rows; ++row) {
    Value at = b.offset(rows[row], offset);
    Value x = b.bitcast(bytes, b.loadSplat(tile.ints(b), at));
    for (int part = 0; part < parts; ++part) {
      Value &sum = integers[row * parts + part];
      sum = multiplyQuad(weights[part], magnitudes[part], x, sum);
    }
  }
}

void GroupEmitter::emitLine(Value index) {
  SmallVector<Value> rows, quants, high;
  for (Value row : tile.rows)
    rows.push_back(b.offset(row, b.mul(index, b.i64(isQ8() ? 4 : 8))));
  Value bytesBefore = b.mul(index, b.i64(kColumnBytes));
  tile.prefetchColumn(b, b.add(bytesBefore, b.i64(quantsStart())));
  for (int part = 0; part < parts; ++part)
    quants.push_back(b.load(
        bytes, b.offset(tile.field(b, quantsStart(), 4, part), bytesBefore)));
  if (!isQ8()) {
    for (Value &packed : quants) {
      high.push_back(highNibbles(packed));
      packed = lowNibbles(packed);
    }
  } else if (hasVnni()) {
    for (Value &signedBytes : quants)
      signedBytes =
          arith::XOrIOp::create(b, signedBytes, b.constant(bytes, -128));
  }
  emitQuad(quants, rows, 0);
  if (!isQ8())
    emitQuad(high, rows, 4);
}

/// What the sums of a row start from: the correction for unsigned weights if
/// they are s32, else 0.
Value GroupEmitter::startOfSums(int row) {
  if (!hasVnni())
    return b.constant(isQ8() ? tile.ints(b) : shorts, 0);
  if (hasMin())
    return b.constant(tile.ints(b), 0);
  Value sum = b.loadSplat(tile.ints(b),
                          b.offset(tile.rows[row], Int8GroupLayout::kSum));
  return b.mul(sum, b.constant(tile.ints(b), isQ8() ? -128 : -8));
}

/// The exact sum of a group as s32.
Value GroupEmitter::finishSum(int row, Value integer) {
  if (hasVnni() || isQ8())
    return integer;
  Value sum = b.intrinsic("llvm.x86.avx2.pmadd.wd", tile.ints(b),
                          {integer, b.constant(shorts, 1)});
  if (hasMin())
    return sum;
  Value rowSum = b.loadSplat(tile.ints(b),
                             b.offset(tile.rows[row], Int8GroupLayout::kSum));
  return b.sub(sum, b.shl(rowSum, 3));
}

Value GroupEmitter::loadHalves(int64_t base, int part) {
  return b.extend(tile.floats(b), b.load(b.vec(tile.plan.lanes, b.getF16Type()),
                                         tile.field(b, base, 2, part)));
}

void GroupEmitter::emitScaling() {
  VectorType floats = tile.floats(b);
  SmallVector<Value> scales, mins;
  for (int part = 0; part < parts; ++part) {
    scales.push_back(loadHalves(0, part));
    if (hasMin())
      mins.push_back(loadHalves(2 * kPanelWidth, part));
  }
  for (int row = 0; row < tile.spec.rows; ++row) {
    Value xScale =
        b.loadSplat(floats, b.offset(tile.rows[row], Int8GroupLayout::kScale));
    Value xSum;
    if (hasMin()) {
      Value sum = b.loadSplat(tile.ints(b),
                              b.offset(tile.rows[row], Int8GroupLayout::kSum));
      xSum = b.mulF(xScale, b.toFloat(floats, sum));
    }
    for (int part = 0; part < parts; ++part) {
      Value integer = finishSum(row, integers[row * parts + part]);
      Value sum = b.fma(b.toFloat(floats, integer),
                        b.mulF(scales[part], xScale), tile.sum(b, row, part));
      if (hasMin())
        sum = b.fma(mins[part], xSum, sum);
      tile.setSum(b, row, part, sum);
    }
  }
}

void GroupEmitter::emit() {
  for (int row = 0; row < tile.spec.rows; ++row)
    integers.append(parts, startOfSums(row));
  int64_t lines = isQ8() ? 8 : 4;
  integers = b.loop(b.i64(0), b.i64(lines), 1, integers,
                    [&](Value index, ValueRange carried) {
                      integers = llvm::to_vector(carried);
                      emitLine(index);
                      return integers;
                    });
  emitScaling();
}

void emitInt8Line(KernelBuilder &b, Tile &tile) {
  GroupEmitter(b, tile).emit();
}

} // namespace rondo::cpu
