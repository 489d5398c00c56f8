//===- Inputs.cpp - arguments and rows of a run ---------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Inputs.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <limits>
#include <set>

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

bool rondo::interpreter::hasRows(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() > 0 && tensor.isDynamicDim(0);
}

/// Whether an argument may have `type`: f32 or i32, only rows dynamic.
static bool isArgumentType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor)
    return false;
  bool rows = hasRows(type);
  return llvm::none_of(tensor.getShape().drop_front(rows),
                       ShapedType::isDynamic) &&
         (tensor.getElementType().isF32() ||
          tensor.getElementType().isInteger(32));
}

/// "[?, 64]"
static std::string formatShape(ArrayRef<int64_t> shape) {
  auto text = llvm::map_range(shape, [](int64_t size) {
    return ShapedType::isDynamic(size) ? "?" : std::to_string(size);
  });
  return "[" + llvm::join(text, ", ") + "]";
}

namespace {
/// Takes tensors from the map; what nobody took is left over.
class Binder {
public:
  Binder(func::FuncOp function, ArrayRef<std::string> names,
         const TensorMap &tensors)
      : function(function), names(names), tensors(tensors) {}

  FailureOr<Inputs> bind();

private:
  LogicalResult bindArguments();
  LogicalResult bindRows();
  LogicalResult checkRows();
  LogicalResult checkLeftOver();
  FailureOr<Tensor> takeArgument(BlockArgument argument);
  void makeZeros();
  FailureOr<std::vector<int64_t>> takeNumbers(StringRef name);
  const Tensor *take(StringRef name);
  LogicalResult checkTensor(StringRef name, const Tensor &tensor,
                            ArrayRef<int64_t> shape, NumberKind kind);
  LogicalResult checkNumbers(StringRef name, const Tensor &tensor,
                             NumberKind kind);

  func::FuncOp function;
  ArrayRef<std::string> names;
  const TensorMap &tensors;
  std::set<std::string> taken;
  Inputs inputs;
  /// Arguments that nobody gives and that are zeros then.
  SmallVector<BlockArgument> missing;
  /// Rows of all steps; known with the first argument that has rows.
  std::optional<int64_t> rowCount;
};
} // namespace

const Tensor *Binder::take(StringRef name) {
  auto found = tensors.find(name.str());
  if (found == tensors.end())
    return nullptr;
  taken.insert(name.str());
  return &found->second;
}

LogicalResult Binder::checkTensor(StringRef name, const Tensor &tensor,
                                  ArrayRef<int64_t> shape, NumberKind kind) {
  bool fits = tensor.shape.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = ShapedType::isDynamic(shape[i]) || shape[i] == tensor.shape[i];
  if (!fits)
    return function.emitError("input '")
           << name << "' has shape " << formatShape(tensor.shape)
           << ", expected " << formatShape(shape)
           << "; all inputs with rows have equally many";
  return checkNumbers(name, tensor, kind);
}

LogicalResult Binder::checkNumbers(StringRef name, const Tensor &tensor,
                                   NumberKind kind) {
  bool isInteger = kind == NumberKind::Integer;
  if (tensor.kind != kind)
    return function.emitError("input '")
           << name << "' holds " << (isInteger ? "floats" : "integers")
           << ", expected "
           << (isInteger ? "integers (I32 or I64)"
                         : "floats (F64, F32, F16 or BF16)");
  constexpr std::numeric_limits<int32_t> range;
  for (double value : tensor.values)
    if (isInteger && (value < range.min() || value > range.max()))
      return function.emitError("input '")
             << name << "' holds an integer beyond 32 bits, about " << value
             << "; give ids and numbers that fit i32";
  return success();
}

FailureOr<Tensor> Binder::takeArgument(BlockArgument argument) {
  auto type = cast<RankedTensorType>(argument.getType());
  bool isInteger = type.getElementType().isInteger(32);
  unsigned number = argument.getArgNumber();
  SmallVector<std::string> keys;
  auto input = function.getArgAttrOfType<InputAttr>(number, kInputAttr);
  if (input)
    keys.push_back(input.getName().str());
  if (number < names.size() && !names[number].empty())
    keys.push_back(names[number]);
  keys.push_back(std::to_string(number));
  if (isInteger && hasRows(type) && keys.front() != "tokens")
    keys.push_back("tokens");
  for (const std::string &key : keys) {
    const Tensor *tensor = take(key);
    if (!tensor)
      continue;
    SmallVector<int64_t> shape(type.getShape());
    if (hasRows(type) && rowCount)
      shape.front() = *rowCount;
    if (failed(
            checkTensor(key, *tensor, shape,
                        isInteger ? NumberKind::Integer : NumberKind::Float)))
      return failure();
    return *tensor;
  }
  if (input && input.getInit() == InputInit::Zeros) {
    missing.push_back(argument);
    return Tensor();
  }
  return function.emitError("argument ")
         << number << " has no input; put a tensor called '"
         << llvm::join(keys, "' or '") << "' into the file of --inputs";
}

LogicalResult Binder::bindArguments() {
  for (BlockArgument argument : function.getArguments()) {
    if (!isArgumentType(argument.getType()))
      return function.emitError("argument ")
             << argument.getArgNumber() << " has type " << argument.getType()
             << "; an entry takes tensors of f32 or i32 whose dimensions are "
                "static but for the first";
    FailureOr<Tensor> tensor = takeArgument(argument);
    if (failed(tensor))
      return failure();
    bool isGiven = !llvm::is_contained(missing, argument);
    if (hasRows(argument.getType()) && !rowCount && isGiven)
      rowCount = tensor->getRows();
    inputs.arguments.push_back(std::move(*tensor));
  }
  return success();
}

/// Inputs that are zeros unless given; their rows are those of the others.
void Binder::makeZeros() {
  for (BlockArgument argument : missing) {
    int64_t width = cast<RankedTensorType>(argument.getType()).getDimSize(1);
    inputs.arguments[argument.getArgNumber()] =
        Tensor::zeros({*rowCount, width});
  }
}

/// The integers [rows] called `name`; zeros if there are none.
FailureOr<std::vector<int64_t>> Binder::takeNumbers(StringRef name) {
  const Tensor *tensor = take(name);
  if (!tensor)
    return std::vector<int64_t>(*rowCount, 0);
  if (failed(checkTensor(name, *tensor, {*rowCount}, NumberKind::Integer)))
    return failure();
  return std::vector<int64_t>(tensor->values.begin(), tensor->values.end());
}

LogicalResult Binder::bindRows() {
  FailureOr<std::vector<int64_t>> sequences = takeNumbers("sequences");
  FailureOr<std::vector<int64_t>> positions = takeNumbers("positions");
  FailureOr<std::vector<int64_t>> numbers = takeNumbers("steps");
  FailureOr<std::vector<int64_t>> types = takeNumbers("token_types");
  if (failed(sequences) || failed(positions) || failed(numbers) ||
      failed(types))
    return failure();
  std::map<int64_t, std::vector<int64_t>> steps;
  for (int64_t row = 0; row < *rowCount; ++row)
    steps[(*numbers)[row]].push_back(row);
  inputs.rows.resize(*rowCount);
  bool counted = !taken.count("positions");
  std::map<int64_t, int64_t> lengths; // by sequence
  for (auto &[number, rows] : steps) {
    for (int64_t row : rows) {
      int64_t sequence = (*sequences)[row];
      int64_t position = counted ? lengths[sequence]++ : (*positions)[row];
      inputs.rows[row] = {sequence, position, (*types)[row],
                          /*place=*/position};
    }
    inputs.steps.push_back(std::move(rows));
  }
  if (inputs.steps.empty())
    inputs.steps.emplace_back(); // a function without rows runs once
  return success();
}

/// In one step every row is another position.
LogicalResult Binder::checkRows() {
  for (const std::vector<int64_t> &step : inputs.steps) {
    std::set<std::pair<int64_t, int64_t>> seen;
    for (int64_t row : step) {
      auto [sequence, position, type, place] = inputs.rows[row];
      if (position < 0)
        return function.emitError("input 'positions' is ")
               << position << " for row " << row << "; positions count from 0";
      if (!seen.emplace(sequence, position).second)
        return function.emitError("row ")
               << row << " is position " << position << " of sequence "
               << sequence
               << ", as another row of its step; tell them apart by "
                  "'sequences', 'positions' or 'steps'";
    }
  }
  return success();
}

LogicalResult Binder::checkLeftOver() {
  for (const auto &entry : tensors)
    if (!taken.count(entry.first))
      return function.emitError("input '")
             << entry.first << "' is for no argument of '@"
             << function.getName()
             << "'; name it after one, by its name or number, or leave it out";
  return success();
}

FailureOr<Inputs> Binder::bind() {
  if (failed(bindArguments()))
    return failure();
  rowCount = rowCount.value_or(0);
  makeZeros();
  if (failed(bindRows()) || failed(checkRows()) || failed(checkLeftOver()))
    return failure();
  return std::move(inputs);
}

FailureOr<Inputs> rondo::interpreter::bindInputs(func::FuncOp function,
                                                 ArrayRef<std::string> names,
                                                 const TensorMap &tensors) {
  return Binder(function, names, tensors).bind();
}
