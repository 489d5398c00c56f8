//===- LowRankDelta.cpp - what is added to a matrix when packed -----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/LowRankDelta.h"

#include "rondo/Bundle/ParamRows.h"

#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace rondo;

llvm::Error LowRankDelta::findFactor(ParamOp matrix, FlatSymbolRefAttr name,
                                     const ArchiveSet &archives,
                                     Factor &factor) {
  factor.param = SymbolTable::lookupNearestSymbolFrom<ParamOp>(matrix, name);
  assert(factor.param && "the verifier looks factors up");
  llvm::Expected<std::vector<const ArchiveTensor *>> entries =
      findTensors(factor.param, archives);
  if (!entries)
    return entries.takeError();
  factor.entries = std::move(*entries);
  return llvm::Error::success();
}

llvm::Expected<std::unique_ptr<LowRankDelta>>
LowRankDelta::create(ParamOp param, const ArchiveSet &archives) {
  if (!param.getPlus())
    return nullptr;
  auto delta = std::make_unique<LowRankDelta>();
  delta->scale = param.getPlus()->getScale().getValueAsDouble();
  for (auto [name, factor] : {std::pair(param.getPlus()->getA(), &delta->a),
                              std::pair(param.getPlus()->getB(), &delta->b)})
    if (llvm::Error error = findFactor(param, name, archives, *factor))
      return std::move(error);
  return std::move(delta);
}

bool LowRankDelta::isPresent(int64_t layer, int64_t side) const {
  return a.get(layer, side) && b.get(layer, side);
}

/// Row `row` of a factor, in f32.
static std::vector<float> widen(ParamOp param, const ArchiveTensor &tensor,
                                int64_t row) {
  ParamRows rows(param);
  std::vector<char> scratch;
  std::vector<float> values(rows.getWidth());
  widenRow(tensor.type, rows.get(tensor, row, scratch), values.data(),
           values.size());
  return values;
}

void LowRankDelta::addRow(int64_t layer, int64_t side, int64_t row,
                          llvm::MutableArrayRef<float> values) const {
  std::vector<double> sums(values.size());
  std::vector<float> left = widen(b.param, *b.get(layer, side), row);
  for (auto [rank, weight] : llvm::enumerate(left)) {
    std::vector<float> right = widen(a.param, *a.get(layer, side), rank);
    for (size_t i = 0; i < sums.size(); ++i)
      sums[i] += static_cast<double>(weight) * right[i];
  }
  for (size_t i = 0; i < sums.size(); ++i)
    values[i] = static_cast<float>(values[i] + scale * sums[i]);
}

ConversionResult
LowRankDelta::convertRow(int64_t layer, int64_t side, int64_t row,
                         StorageType from, const char *source, StorageType to,
                         char *target,
                         llvm::MutableArrayRef<float> values) const {
  widenRow(from, source, values.data(), values.size());
  addRow(layer, side, row, values);
  return narrowRow(to, values.data(), target, values.size());
}
