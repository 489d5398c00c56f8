//===- Math.cpp - Elementary functions without libm -----------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiled code has no libm to call, and must give the same bits on every
// machine: polynomials with explicit fma, on numbers and vectors alike.
//
//===----------------------------------------------------------------------===//

#include "KernelBuilder.h"
#include "rondo/Target/CPU/Kernels.h"

using namespace mlir;

namespace rondo::cpu {

namespace {

/// A KernelBuilder with the element type of one function's operand.
struct MathBuilder : KernelBuilder {
  MathBuilder(OpBuilder &outer, Location loc, Type type)
      : KernelBuilder(loc, outer), floats(type), ints(getI32Type()) {
    if (auto vector = dyn_cast<VectorType>(type))
      ints = vector.clone(getI32Type());
  }

  Value number(double value) { return constant(floats, value); }
  Value addF(Value a, Value b) { return arith::AddFOp::create(*this, a, b); }
  Value subF(Value a, Value b) { return arith::SubFOp::create(*this, a, b); }
  Value divF(Value a, Value b) { return arith::DivFOp::create(*this, a, b); }
  Value negate(Value a) { return arith::NegFOp::create(*this, a); }

  /// a > b ? a : b, and its mirror: one vmaxps or vminps, and b if a or b is
  /// NaN, so a NaN in `b` survives.
  Value max(Value a, Value b) {
    return choose(arith::CmpFPredicate::OGT, a, b);
  }
  Value min(Value a, Value b) {
    return choose(arith::CmpFPredicate::OLT, a, b);
  }

  /// coefficients[0] + x * (coefficients[1] + ...), by Horner's rule.
  Value polynomial(Value x, ArrayRef<double> coefficients) {
    Value sum = number(coefficients.back());
    for (double c : llvm::reverse(coefficients.drop_back()))
      sum = fma(sum, x, number(c));
    return sum;
  }

  /// 2^n for integers n in -126..127.
  Value powerOfTwo(Value n) {
    return bitcast(floats, shl(add(n, constant(ints, 127)), 23));
  }

  Value exp(Value x);

  Type floats, ints;

private:
  Value choose(arith::CmpFPredicate predicate, Value a, Value b) {
    Value first = arith::CmpFOp::create(*this, predicate, a, b);
    return arith::SelectOp::create(*this, first, a, b);
  }
};

} // namespace

/// x = n ln 2 + r with |r| <= ln 2 / 2; e^x = 2^n (1 + r + r^2 P(r)). P is the
/// minimax polynomial of degree 4 (relative error of e^r: 3.1e-9). Adding
/// 1.5 * 2^23 rounds to an integer, which is then in the low bits. 2^n is
/// applied as two factors: n reaches 128 and -150.
Value MathBuilder::exp(Value x) {
  constexpr double kMagic = 12582912.0;
  constexpr int64_t kMagicBits = 0x4b400000;
  constexpr double kLn2High = 0x1.62e4p-1; // 16 bits: n * kLn2High is exact
  constexpr double kLn2Low = 1.4286068203094173e-06;
  constexpr double kP[] = {0.49999993412955457, 0.16666520108510796,
                           0.04166839405638923, 0.00836878036290659,
                           0.0013814476851411934};

  x = min(number(89.0), max(number(-104.0), x));
  Value shifted = fma(x, number(1.4426950408889634), number(kMagic));
  Value n = subF(shifted, number(kMagic));
  Value r = fma(n, number(-kLn2High), x);
  r = fma(n, number(-kLn2Low), r);
  Value tail = fma(polynomial(r, kP), mulF(r, r), r);
  Value mantissa = addF(tail, number(1.0));

  Value exponent = sub(bitcast(ints, shifted), constant(ints, kMagicBits));
  Value half = shrS(exponent, 1);
  Value scaled = mulF(mantissa, powerOfTwo(half));
  return mulF(scaled, powerOfTwo(sub(exponent, half)));
}

Value emitExp(OpBuilder &builder, Location loc, Value x) {
  return MathBuilder(builder, loc, x.getType()).exp(x);
}

/// tanh(x) = 1 - 2 / (e^2x + 1).
Value emitTanh(OpBuilder &builder, Location loc, Value x) {
  MathBuilder b(builder, loc, x.getType());
  Value power = b.exp(b.addF(x, x));
  Value quotient = b.divF(b.number(2.0), b.addF(power, b.number(1.0)));
  return b.subF(b.number(1.0), quotient);
}

/// Abramowitz and Stegun, 7.1.26 (absolute error 1.5e-7), made odd by the sign
/// bit of x.
Value emitErf(OpBuilder &builder, Location loc, Value x) {
  constexpr double kA[] = {0.254829592, -0.284496736, 1.421413741, -1.453152027,
                           1.061405429};
  MathBuilder b(builder, loc, x.getType());
  Value bits = b.bitcast(b.ints, x);
  Value sign = b.bitAnd(bits, b.constant(b.ints, int64_t(0x80000000)));
  Value magnitude = b.bitcast(b.floats, arith::XOrIOp::create(b, bits, sign));
  Value t = b.divF(b.number(1.0),
                   b.fma(magnitude, b.number(0.3275911), b.number(1.0)));
  Value power = b.exp(b.negate(b.mulF(magnitude, magnitude)));
  Value tail = b.mulF(b.mulF(t, b.polynomial(t, kA)), power);
  Value result = b.bitcast(b.ints, b.subF(b.number(1.0), tail));
  return b.bitcast(b.floats, arith::XOrIOp::create(b, result, sign));
}

static Value emitLogisticDenominator(MathBuilder &b, Value x) {
  return b.addF(b.exp(b.negate(x)), b.number(1.0));
}

Value emitSigmoid(OpBuilder &builder, Location loc, Value x) {
  MathBuilder b(builder, loc, x.getType());
  return b.divF(b.number(1.0), emitLogisticDenominator(b, x));
}

Value emitSilu(OpBuilder &builder, Location loc, Value x) {
  MathBuilder b(builder, loc, x.getType());
  return b.divF(x, emitLogisticDenominator(b, x));
}

} // namespace rondo::cpu
