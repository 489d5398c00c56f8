//===- StoredLayers.cpp - layers by the weights they read -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/StoredLayers.h"

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include <algorithm>

using namespace mlir;
using namespace rondo;

/// Adds the matrices that `op` names, itself or through packed weights.
static void collectMatrices(Operation *op, const SymbolTable &symbols,
                            SmallVector<Operation *> &params) {
  auto uses = SymbolTable::getSymbolUses(op);
  for (SymbolTable::SymbolUse use : *uses) {
    Operation *named = symbols.lookup(use.getSymbolRef().getRootReference());
    auto param = dyn_cast_or_null<ParamOp>(named);
    if (param && param.getTensorType().getRank() == 2)
      params.push_back(param);
    else if (isa_and_nonnull<rt::PackedOp>(named))
      collectMatrices(named, symbols, params);
  }
}

const SmallVector<Operation *> &StoredLayers::getParams(Operation *code) {
  auto [place, isNew] = paramsOf.try_emplace(code);
  if (isNew)
    collectMatrices(code, symbols, place->second);
  return place->second;
}

void StoredLayers::addExecution(Operation *code, int64_t layer) {
  Entries entries;
  for (Operation *param : getParams(code)) {
    // A parameter without layers serves every layer.
    bool stacked = cast<ParamOp>(param).getLayerCount() > 1;
    entries.insert({param, stacked ? layer : 0});
  }
  ++executions[entries];
}

/// Whether the matrices in `part` are among those in `whole`.
template <typename Entries>
static bool isPart(const Entries &part, const Entries &whole) {
  return std::includes(whole.begin(), whole.end(), part.begin(), part.end());
}

bool StoredLayers::isPartOfAnother(const Entries &entries) const {
  return llvm::any_of(executions, [&](const auto &other) {
    return other.first.size() > entries.size() && isPart(entries, other.first);
  });
}

int64_t StoredLayers::count() const {
  return llvm::count_if(executions, [&](const auto &layer) {
    return !isPartOfAnother(layer.first);
  });
}

int64_t StoredLayers::getDepth() const {
  int64_t depth = 0;
  for (const auto &[whole, unused] : executions) {
    int64_t times = 0;
    for (const auto &[part, count] : executions)
      times += isPart(part, whole) ? count : 0;
    depth = std::max(depth, times);
  }
  return depth;
}
