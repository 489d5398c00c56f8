//===- LayerOperations.cpp - the meaning of the layers' operations --------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Operations.h"

#include "rondo/Bundle/Storage.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

//===----------------------------------------------------------------------===//
// rondo.row_ids, rondo.embed
//===----------------------------------------------------------------------===//

LogicalResult rondo::interpreter::execute(RowIdsOp op, Frame &frame) {
  ArrayRef<Row> rows = frame.machine.rows;
  Tensor result =
      Tensor::zeros({static_cast<int64_t>(rows.size())}, NumberKind::Integer);
  bool isPosition = op.getField() == RowField::Position;
  for (auto [value, row] : llvm::zip(result.values, rows))
    value = static_cast<double>(isPosition ? row.position : row.tokenType);
  frame.set(op.getResult(), std::move(result));
  return success();
}

/// result[i, :] = scale * table[tokens[i], :]
LogicalResult rondo::interpreter::execute(EmbedOp op, Frame &frame) {
  const Tensor &tokens = frame.get(op.getTokens());
  FailureOr<const Weights *> table = frame.resolve(op, op.getTableAttr());
  if (failed(table))
    return failure();
  int64_t entries = (*table)->getRows();
  double scale = op.getScale().convertToFloat();
  Tensor result = frame.makeRows(op.getResult());
  for (int64_t row = 0; row < result.getRows(); ++row) {
    int64_t token = static_cast<int64_t>(tokens.values[row]);
    if (token < 0 || token >= entries)
      return op.emitOpError("token ")
             << token << " of row " << row << " is not one of the " << entries
             << " entries of '" << op.getTable()
             << "'; give ids of the model's vocabulary";
    for (int64_t i = 0; i < result.getWidth(); ++i)
      result.at(row, i) = scale * (*table)->at(token, i);
  }
  frame.set(op.getResult(), std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.linear
//===----------------------------------------------------------------------===//

/// To the nearest bf16, ties to even.
static double roundToBF16(double value) {
  float number = static_cast<float>(value);
  char bits[2];
  narrowRow(StorageType::BF16, &number, bits, 1);
  widenRow(StorageType::BF16, bits, &number, 1);
  return number;
}

/// Smallest magnitude of a group that is not quantized to zeros.
static constexpr float kLeastMagnitude = 0x1p-120f;

/// Replaces 32 numbers by codes of -127 .. 127 times their common scale. The
/// codes are those that compiled code finds, which works in f32.
static void quantizeGroup(MutableArrayRef<double> group) {
  float largest = 0;
  for (double value : group)
    largest = std::max(largest, std::fabs(static_cast<float>(value)));
  float factor = largest >= kLeastMagnitude ? 127.0f / largest : 0.0f;
  float scale = largest / 127.0f;
  for (double &value : group)
    value = static_cast<double>(
                std::nearbyint(static_cast<float>(value) * factor)) *
            scale;
}

/// The activations as an arithmetic mode sees them. What it does beyond that,
/// accumulating in f32, is rounding that this interpreter does not do.
static Tensor roundActivations(Tensor x, std::optional<Arithmetic> mode) {
  switch (mode.value_or(Arithmetic::Exact)) {
  case Arithmetic::Exact:
    return x;
  case Arithmetic::BF16Dot:
    llvm::transform(x.values, x.values.begin(), roundToBF16);
    return x;
  case Arithmetic::Int8Dynamic: // the width is a multiple of 32: param_c5
    for (size_t i = 0; i < x.values.size(); i += kBlockSize)
      quantizeGroup(MutableArrayRef(x.values).slice(i, kBlockSize));
    return x;
  }
  llvm_unreachable("unknown arithmetic mode");
}

/// x * weight^T
static Tensor multiply(const Tensor &x, const Weights &weight) {
  Tensor result = Tensor::zeros({x.getRows(), weight.getRows()});
  for (int64_t row = 0; row < result.getRows(); ++row)
    for (int64_t out = 0; out < result.getWidth(); ++out) {
      double sum = 0;
      for (int64_t k = 0; k < weight.width; ++k)
        sum += x.at(row, k) * weight.at(out, k);
      result.at(row, out) = sum;
    }
  return result;
}

/// Adds the bias of matrix `i`, if it has one.
static LogicalResult addBias(LinearOp op, size_t i, Tensor &result,
                             Frame &frame) {
  auto name = op.getBiases() ? dyn_cast<FlatSymbolRefAttr>((*op.getBiases())[i])
                             : FlatSymbolRefAttr();
  if (!name)
    return success();
  FailureOr<const Weights *> bias = frame.resolve(op, name);
  if (failed(bias))
    return failure();
  for (int64_t row = 0; row < result.getRows(); ++row)
    for (int64_t out = 0; out < result.getWidth(); ++out)
      result.at(row, out) += (*bias)->at(out);
  return success();
}

/// Adds scale * (x * A^T) * B^T of matrix `i`, if it has such a delta. An
/// arithmetic mode is that of the matrix; the delta's activations are exact.
static LogicalResult addDelta(LinearOp op, size_t i, const Tensor &x,
                              Tensor &result, Frame &frame) {
  auto delta =
      op.getLora() ? dyn_cast<LoRAAttr>((*op.getLora())[i]) : LoRAAttr();
  if (!delta)
    return success();
  FailureOr<const Weights *> a = frame.resolve(op, delta.getA());
  FailureOr<const Weights *> b = frame.resolve(op, delta.getB());
  if (failed(a) || failed(b))
    return failure();
  double scale = delta.getScale().getValueAsDouble();
  Tensor added = multiply(multiply(x, **a), **b);
  for (auto [sum, value] : llvm::zip_equal(result.values, added.values))
    sum += scale * value;
  return success();
}

/// result_i = round(x) * weight_i^T + bias_i + scale_i * (x * A_i^T) * B_i^T
LogicalResult rondo::interpreter::execute(LinearOp op, Frame &frame) {
  const Tensor x = frame.get(op.getInput());
  const Tensor rounded = roundActivations(x, op.getArithmetic());
  for (auto [i, output] : llvm::enumerate(op.getOutputs())) {
    FailureOr<const Weights *> weight =
        frame.resolve(op, cast<FlatSymbolRefAttr>(op.getWeights()[i]));
    if (failed(weight))
      return failure();
    Tensor result = multiply(rounded, **weight);
    if (failed(addBias(op, i, result, frame)) ||
        failed(addDelta(op, i, x, result, frame)))
      return failure();
    frame.set(output, std::move(result));
  }
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.scale
//===----------------------------------------------------------------------===//

/// result[i, j] = factor * input[i, j] * weight[j]; each factor is 1 if absent.
LogicalResult rondo::interpreter::execute(ScaleOp op, Frame &frame) {
  FailureOr<const Weights *> weight = nullptr;
  if (op.getWeightAttr())
    if (failed(weight = frame.resolve(op, op.getWeightAttr())))
      return failure();
  double factor = op.getFactor() ? op.getFactor()->convertToFloat() : 1.0;
  Tensor result = frame.get(op.getInput());
  for (int64_t row = 0; row < result.getRows(); ++row)
    for (int64_t i = 0; i < result.getWidth(); ++i)
      result.at(row, i) *= factor * (*weight ? (*weight)->at(i) : 1.0);
  frame.set(op.getResult(), std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.norm
//===----------------------------------------------------------------------===//

/// Mean of `count` terms.
static double getMean(int64_t count, function_ref<double(int64_t)> term) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += term(i);
  return sum / static_cast<double>(count);
}

/// (x - mean) / sqrt(variance + eps) * (weight + plus) + bias, where kind `rms`
/// takes 0 for the mean.
static void normalize(NormOp op, ArrayRef<double> x, const Weights *weight,
                      const Weights *bias, MutableArrayRef<double> result) {
  int64_t width = static_cast<int64_t>(x.size());
  double mean = op.getKind() == NormKind::Layer
                    ? getMean(width, [&](int64_t i) { return x[i]; })
                    : 0.0;
  double variance =
      getMean(width, [&](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
  double root = std::sqrt(variance + op.getEps().convertToFloat());
  double plus = op.getPlus() ? op.getPlus()->convertToFloat() : 0.0;
  for (int64_t i = 0; i < width; ++i)
    result[i] = (x[i] - mean) / root * (weight ? weight->at(i) + plus : 1.0) +
                (bias ? bias->at(i) : 0.0);
}

/// Each of `heads` parts of each row is normalized alone.
LogicalResult rondo::interpreter::execute(NormOp op, Frame &frame) {
  FailureOr<const Weights *> weight = nullptr, bias = nullptr;
  if (op.getWeightAttr())
    if (failed(weight = frame.resolve(op, op.getWeightAttr())))
      return failure();
  if (op.getBiasAttr())
    if (failed(bias = frame.resolve(op, op.getBiasAttr())))
      return failure();
  const Tensor &x = frame.get(op.getInput());
  Tensor result = frame.makeRows(op.getResult());
  int64_t width = x.getWidth() / op.getHeads().value_or(1);
  for (int64_t i = 0; i < static_cast<int64_t>(x.values.size()); i += width)
    normalize(op, ArrayRef(x.values).slice(i, width), *weight, *bias,
              MutableArrayRef(result.values).slice(i, width));
  frame.set(op.getResult(), std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.activation
//===----------------------------------------------------------------------===//

static double activate(ActivationKind kind, double x) {
  switch (kind) {
  case ActivationKind::SiLU:
    return x / (1 + std::exp(-x));
  case ActivationKind::Sigmoid:
    return 1 / (1 + std::exp(-x));
  case ActivationKind::GeLU:
    return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
  case ActivationKind::GeLUTanh: // Hendrycks and Gimpel, arXiv:1606.08415
    return x / 2 *
           (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  case ActivationKind::ReLU:
    return std::max(x, 0.0);
  case ActivationKind::Tanh:
    return std::tanh(x);
  }
  llvm_unreachable("unknown activation");
}

LogicalResult rondo::interpreter::execute(ActivationOp op, Frame &frame) {
  Tensor result = frame.get(op.getInput());
  for (double &value : result.values)
    value = activate(op.getKind(), value);
  frame.set(op.getResult(), std::move(result));
  return success();
}

//===----------------------------------------------------------------------===//
// rondo.rope
//===----------------------------------------------------------------------===//

/// Turns (a, b) by `angle`, in radians.
static void rotate(double &a, double &b, double angle) {
  double x = a, y = b;
  a = x * std::cos(angle) - y * std::sin(angle);
  b = y * std::cos(angle) + x * std::sin(angle);
}

/// Pair p of every head turns by position * frequencies[p].
LogicalResult rondo::interpreter::execute(RopeOp op, Frame &frame) {
  Tensor result = frame.get(op.getInput());
  auto frequencies = llvm::to_vector(op.getFrequencies().getValues<float>());
  int64_t pairs = static_cast<int64_t>(frequencies.size());
  int64_t dim = result.getWidth() / op.getHeads();
  bool half = op.getPairs() == RopePairs::Half;
  for (auto [row, facts] : llvm::enumerate(frame.machine.rows))
    for (int64_t head = 0; head < int64_t(op.getHeads()); ++head)
      for (int64_t p = 0; p < pairs; ++p) {
        int64_t a = head * dim + (half ? p : 2 * p);
        int64_t b = a + (half ? pairs : 1);
        rotate(result.at(row, a), result.at(row, b),
               static_cast<double>(facts.position) * frequencies[p]);
      }
  frame.set(op.getResult(), std::move(result));
  return success();
}
