//===- ElementwiseOperations.cpp - the meaning of arith and math ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Operations.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

//===----------------------------------------------------------------------===//
// arith.constant
//===----------------------------------------------------------------------===//

LogicalResult rondo::interpreter::execute(arith::ConstantOp op, Frame &frame) {
  Attribute value = op.getValue();
  if (auto integer = dyn_cast<IntegerAttr>(value)) {
    frame.set(op.getResult(),
              Tensor::integer(integer.getValue().getSExtValue()));
    return success();
  }
  Tensor result;
  if (auto number = dyn_cast<FloatAttr>(value)) {
    result.values = {number.getValueAsDouble()};
  } else if (auto elements = dyn_cast<DenseFPElementsAttr>(value)) {
    llvm::append_range(result.shape, elements.getType().getShape());
    for (const llvm::APFloat &number : elements.getValues<llvm::APFloat>())
      result.values.push_back(number.convertToDouble());
  } else {
    return op.emitOpError("is interpreted with a number or a dense tensor of "
                          "floats only, got ")
           << op.getType() << "; give the value as an argument";
  }
  frame.set(op.getResult(), std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// Elementwise operations
//===----------------------------------------------------------------------===//

/// One element of the result from those of the operands.
using Function = double (*)(ArrayRef<double>);

static double getMaximum(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? NAN : std::max(a, b);
}

/// What an operation of `arith` computes; null for one that is not known.
static Function getArithFunction(Operation *op) {
  using Numbers = ArrayRef<double>;
  return TypeSwitch<Operation *, Function>(op)
      .Case<arith::AddFOp>(
          [](auto) { return [](Numbers x) { return x[0] + x[1]; }; })
      .Case<arith::SubFOp>(
          [](auto) { return [](Numbers x) { return x[0] - x[1]; }; })
      .Case<arith::MulFOp>(
          [](auto) { return [](Numbers x) { return x[0] * x[1]; }; })
      .Case<arith::DivFOp>(
          [](auto) { return [](Numbers x) { return x[0] / x[1]; }; })
      .Case<arith::NegFOp>([](auto) { return [](Numbers x) { return -x[0]; }; })
      .Case<arith::MaximumFOp>(
          [](auto) { return [](Numbers x) { return getMaximum(x[0], x[1]); }; })
      .Case<arith::MinimumFOp>([](auto) {
        return [](Numbers x) { return -getMaximum(-x[0], -x[1]); };
      })
      .Case<arith::MaxNumFOp>(
          [](auto) { return [](Numbers x) { return std::fmax(x[0], x[1]); }; })
      .Case<arith::MinNumFOp>(
          [](auto) { return [](Numbers x) { return std::fmin(x[0], x[1]); }; })
      .Default([](auto) { return nullptr; });
}

/// What an operation of `math` computes; null for one that is not known.
static Function getMathFunction(Operation *op) {
  using Numbers = ArrayRef<double>;
  return TypeSwitch<Operation *, Function>(op)
      .Case<math::AbsFOp>(
          [](auto) { return [](Numbers x) { return std::fabs(x[0]); }; })
      .Case<math::CosOp>(
          [](auto) { return [](Numbers x) { return std::cos(x[0]); }; })
      .Case<math::ErfOp>(
          [](auto) { return [](Numbers x) { return std::erf(x[0]); }; })
      .Case<math::ExpOp>(
          [](auto) { return [](Numbers x) { return std::exp(x[0]); }; })
      .Case<math::FmaOp>([](auto) {
        return [](Numbers x) { return std::fma(x[0], x[1], x[2]); };
      })
      .Case<math::LogOp>(
          [](auto) { return [](Numbers x) { return std::log(x[0]); }; })
      .Case<math::PowFOp>(
          [](auto) { return [](Numbers x) { return std::pow(x[0], x[1]); }; })
      .Case<math::RsqrtOp>(
          [](auto) { return [](Numbers x) { return 1 / std::sqrt(x[0]); }; })
      .Case<math::SinOp>(
          [](auto) { return [](Numbers x) { return std::sin(x[0]); }; })
      .Case<math::SqrtOp>(
          [](auto) { return [](Numbers x) { return std::sqrt(x[0]); }; })
      .Case<math::TanhOp>(
          [](auto) { return [](Numbers x) { return std::tanh(x[0]); }; })
      .Default([](auto) { return nullptr; });
}

LogicalResult rondo::interpreter::executeElementwise(Operation *op,
                                                     Frame &frame) {
  Function function = getArithFunction(op);
  if (!function)
    function = getMathFunction(op);
  if (!function)
    return op->emitOpError(
        "is not interpreted; use the 'rondo' dialect, 'arith.constant' and "
        "elementwise 'arith' and 'math'");
  if (!getElementTypeOrSelf(op->getResult(0)).isF32())
    return op->emitOpError("is interpreted on f32 only, got ")
           << op->getResult(0).getType() << "; use f32";
  SmallVector<Tensor> operands = frame.get(op->getOperands());
  Tensor result = operands.front();
  for (size_t i = 0; i < result.values.size(); ++i)
    result.values[i] = function(llvm::map_to_vector(
        operands, [&](const Tensor &operand) { return operand.values[i]; }));
  frame.set(op->getResult(0), std::move(result));
  return success();
}
