//===- RowsAndPanels.cpp - Making rows, reading single outputs ------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The producers of the row formats (rounding to bf16, quantising a group) and
// the one reader of panels that is no contraction: an embedding lookup.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "rondo/Target/CPU/Kernels.h"

using namespace mlir;

namespace rondo::cpu {

/// `like` (a number or a vector) with another element type.
static Type withElement(Type like, Type element) {
  if (auto vector = dyn_cast<VectorType>(like))
    return vector.clone(element);
  return element;
}

//===----------------------------------------------------------------------===//
// Rounding to bf16
//===----------------------------------------------------------------------===//

/// The bits of `x` with the bf16 result in the high half; the low half is
/// arbitrary. NaN becomes quiet, as a carry could turn it into infinity.
static Value roundHighHalf(KernelBuilder &b, Value x) {
  Type ints = withElement(x.getType(), b.getI32Type());
  Value bits = b.bitcast(ints, x);
  Value lowest = b.bitAnd(b.shrU(bits, 16), b.constant(ints, 1));
  Value rounded = b.add(bits, b.add(lowest, b.constant(ints, 0x7fff)));
  Value quiet = arith::OrIOp::create(b, bits, b.constant(ints, 0x400000));
  Value isNaN = arith::CmpFOp::create(b, arith::CmpFPredicate::UNO, x, x);
  return arith::SelectOp::create(b, isNaN, quiet, rounded);
}

Value emitRoundToBF16(OpBuilder &builder, Location loc, Value x) {
  KernelBuilder b(loc, builder);
  Value bits = roundHighHalf(b, x);
  Value high = b.constant(bits.getType(), int64_t(0xffff0000));
  return b.bitcast(x.getType(), b.bitAnd(bits, high));
}

Value emitTruncateToBF16(OpBuilder &builder, Location loc, Value x) {
  KernelBuilder b(loc, builder);
  Value high = b.shrU(roundHighHalf(b, x), 16);
  Type halves = withElement(x.getType(), b.getI16Type());
  return b.bitcast(withElement(x.getType(), b.getBF16Type()),
                   arith::TruncIOp::create(b, halves, high));
}

//===----------------------------------------------------------------------===//
// Quantising a row
//===----------------------------------------------------------------------===//

/// The largest magnitude in `x`: non-negative floats order as their bits.
static Value emitMaxMagnitude(KernelBuilder &b, Value x, VectorType ints) {
  Value magnitudes =
      b.bitAnd(b.bitcast(ints, x), b.constant(ints, int64_t(0x7fffffff)));
  Value largest =
      vector::ReductionOp::create(b, vector::CombiningKind::MAXSI, magnitudes);
  return b.bitcast(b.getF32Type(), largest);
}

/// rint(x * factor) for products within +-2^22: adding 1.5 * 2^23 leaves the
/// integer in the low bits, without a conversion that NaN would poison.
static Value emitRoundProduct(KernelBuilder &b, Value x, Value factor,
                              VectorType ints) {
  Value shifted = arith::AddFOp::create(b, b.mulF(x, factor),
                                        b.constant(x.getType(), 12582912.0));
  return b.sub(b.bitcast(ints, shifted), b.constant(ints, 0x4b400000));
}

void emitQuantizeGroup(OpBuilder &builder, Location loc, Value chunk,
                       Value dst) {
  KernelBuilder b(loc, builder);
  VectorType ints = b.vec(kGroupSize, b.getI32Type());
  Type f32 = b.getF32Type();
  Value amax = emitMaxMagnitude(b, chunk, ints);
  Value limit = b.constant(f32, 127.0);
  Value quotient = arith::DivFOp::create(b, limit, amax);
  Value isLarge = arith::CmpFOp::create(b, arith::CmpFPredicate::OGE, amax,
                                        b.constant(f32, 0x1p-120));
  Value factor =
      arith::SelectOp::create(b, isLarge, quotient, b.constant(f32, 0.0));
  Value quants =
      emitRoundProduct(b, chunk, b.splat(chunk.getType(), factor), ints);
  Value sum =
      vector::ReductionOp::create(b, vector::CombiningKind::ADD, quants);
  b.store(arith::TruncIOp::create(b, b.vec(kGroupSize, b.getI8Type()), quants),
          b.offset(dst, Int8GroupLayout::kQuants));
  b.store(arith::DivFOp::create(b, amax, limit),
          b.offset(dst, Int8GroupLayout::kScale));
  b.store(sum, b.offset(dst, Int8GroupLayout::kSum));
}

//===----------------------------------------------------------------------===//
// Reading one output of a panel
//===----------------------------------------------------------------------===//

namespace {

/// Emits the loop over the lines of a panel that reads one lane.
class LaneReader {
public:
  LaneReader(KernelBuilder &b, PanelFormat format, Value lane)
      : b(b), format(format), lane(lane) {}

  void emitLine(Value line, Value dst);

private:
  /// A number of `type` at byte `base` + lane * `stride` of the line.
  Value read(Type type, Value line, int32_t base, int64_t stride) {
    return b.load(type,
                  b.offset(b.offset(line, b.mul(lane, b.i64(stride))), base));
  }

  /// The bf16 at byte `base` of the line's field, widened.
  Value readBF16(Value line, int32_t base, int64_t stride) {
    Value bits = read(b.getI16Type(), line, base, stride);
    Value wide = arith::ExtUIOp::create(b, b.getI32Type(), bits);
    return b.bitcast(b.getF32Type(), b.shl(wide, 16));
  }

  Value readScale(Value line, int32_t base) {
    return b.extend(b.getF32Type(), read(b.getF16Type(), line, base, 2));
  }

  void emitGroup(Value line, Value dst);

  /// Writes 4 weights: integers (vector<4xi32>) times scale, plus min if any.
  void emitQuad(Value integers, Value scale, Value min, Value dst);

  KernelBuilder &b;
  PanelFormat format;
  Value lane;
};

} // namespace

void LaneReader::emitQuad(Value integers, Value scale, Value min, Value dst) {
  VectorType floats = b.vec(4, b.getF32Type());
  Value numbers = b.toFloat(floats, integers);
  Value factor = b.splat(floats, scale);
  Value weights = min ? b.fma(numbers, factor, b.splat(floats, min))
                      : b.mulF(numbers, factor);
  b.store(weights, dst);
}

void LaneReader::emitGroup(Value line, Value dst) {
  VectorType bytes = b.vec(4, b.getI8Type()), ints = b.vec(4, b.getI32Type());
  bool hasMin = format == PanelFormat::Q4_1;
  int32_t start = (hasMin ? 4 : 2) * kPanelWidth;
  Value scale = readScale(line, 0);
  Value min = hasMin ? readScale(line, 2 * kPanelWidth) : Value();
  int columns = format == PanelFormat::Q8_0 ? 8 : 4;
  for (int column = 0; column < columns; ++column) {
    Value quants = read(bytes, line, start + 4 * kPanelWidth * column, 4);
    if (format == PanelFormat::Q8_0) {
      emitQuad(arith::ExtSIOp::create(b, ints, quants), scale, min,
               b.offset(dst, 16 * column));
      continue;
    }
    Value wide = arith::ExtUIOp::create(b, ints, quants);
    Value nibbles[] = {b.bitAnd(wide, b.constant(ints, 15)), b.shrU(wide, 4)};
    for (int half = 0; half < 2; ++half) {
      Value integers = nibbles[half];
      if (!hasMin)
        integers = b.sub(integers, b.constant(ints, 8));
      emitQuad(integers, scale, min, b.offset(dst, 16 * (2 * column + half)));
    }
  }
}

void LaneReader::emitLine(Value line, Value dst) {
  switch (format) {
  case PanelFormat::F32:
    return b.store(read(b.getF32Type(), line, 0, 4), dst);
  case PanelFormat::F16:
    return b.store(readScale(line, 0), dst);
  case PanelFormat::BF16:
    return b.store(readBF16(line, 0, 2), dst);
  case PanelFormat::BF16Pair:
    b.store(readBF16(line, 0, 4), dst);
    return b.store(readBF16(line, 2, 4), b.offset(dst, 4));
  case PanelFormat::Q8_0:
  case PanelFormat::Q4_0:
  case PanelFormat::Q4_1:
    return emitGroup(line, dst);
  }
  llvm_unreachable("unknown panel format");
}

void emitGatherLane(OpBuilder &builder, Location loc, PanelFormat format,
                    Value panel, Value lane, Value k, Value dst) {
  KernelBuilder b(loc, builder);
  LaneReader reader(b, format, lane);
  int64_t elements = lineElements(format);
  Value lines = arith::DivUIOp::create(b, k, b.i64(elements));
  b.loop(b.i64(0), lines, 1, {}, [&](Value index, ValueRange) {
    reader.emitLine(b.offset(panel, b.mul(index, b.i64(lineBytes(format)))),
                    b.offset(dst, b.mul(index, b.i64(4 * elements))));
    return KernelBuilder::Carried();
  });
}

} // namespace rondo::cpu
