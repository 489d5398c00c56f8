//===- MergeRepeatedEntries.cpp - each entry of a parameter once ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The first half of rondo-reroll-layers. Entries with one key are one tensor:
//
//   rondo.param @w layers(4) : ... from ["0", "1", "0", "1"]
//   rondo.apply @b(%x) layer(3) ...
//   ==>
//   rondo.param @w layers(2) : ... from ["0", "1"]
//   rondo.apply @b(%x) layer(1) ...
//
// An execution has one layer for all stacked parameters of its block, so
// parameters that blocks tie together change together or not at all.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/DepthMaps.h"
#include "rondo/Dialect/Rondo/Transforms/Remarks.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

#include "mlir/IR/AffineExpr.h"
#include "mlir/IR/AffineMap.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/MapVector.h"

#define DEBUG_TYPE "rondo-reroll-layers"

using namespace mlir;
using namespace rondo;

namespace {
/// Which entries of a stack stay.
struct EntryMap {
  /// The new entry of each old one.
  SmallVector<int64_t> newEntry;
  /// The keys that stay, in order of first mention; those of one layer
  /// together.
  SmallVector<ArrayRef<Attribute>> keys;

  bool merges() const { return keys.size() < newEntry.size(); }
};

/// Stacked parameters that blocks tie together, and the executions of those
/// blocks.
struct StackGroup {
  SmallVector<ParamOp> params;
  SmallVector<ApplyOp> applies;
};
} // namespace

static EntryMap getEntryMap(ParamOp param) {
  EntryMap map;
  for (int64_t layer = 0; layer < param.getLayerCount(); ++layer) {
    ArrayRef<Attribute> keys = param.getLayerKeys(layer);
    auto it = llvm::find(map.keys, keys);
    map.newEntry.push_back(it - map.keys.begin());
    if (it == map.keys.end())
      map.keys.push_back(keys);
  }
  return map;
}

/// The stacked parameters of `module` by the blocks that tie them together.
static SmallVector<StackGroup> collectGroups(ModuleOp module) {
  SymbolTableCollection symbols;
  llvm::EquivalenceClasses<Operation *> classes;
  for (auto block : module.getOps<BlockOp>())
    for (ParamOp param : getUsedParams(block, symbols))
      if (param.getLayers())
        classes.unionSets(block.getOperation(), param.getOperation());

  llvm::MapVector<Operation *, StackGroup> groups;
  for (auto param : module.getOps<ParamOp>())
    if (auto it = classes.findLeader(param.getOperation());
        it != classes.member_end())
      groups[*it].params.push_back(param);
  module.walk([&](ApplyOp apply) {
    auto block =
        symbols.lookupNearestSymbolFrom<BlockOp>(apply, apply.getBlockAttr());
    if (auto it = classes.findLeader(block.getOperation());
        it != classes.member_end())
      groups[*it].applies.push_back(apply);
  });
  return llvm::map_to_vector(groups, [](auto &entry) { return entry.second; });
}

/// Whether `newEntry[i] == form(i)` for all i from `min` to `max`.
template <typename FormT>
static bool hasForm(ArrayRef<int64_t> newEntry, int64_t min, int64_t max,
                    FormT form) {
  for (int64_t i = min; i <= max; ++i)
    if (newEntry[i] != form(i))
      return false;
  return true;
}

/// The layer map of `apply` after old entries have become new ones; nullopt if
/// no affine map says so.
static std::optional<AffineMap> composeLayer(ApplyOp apply,
                                             const EntryMap &entries) {
  AffineMap layer = apply.getLayer();
  std::optional<IndexRange> range = getRange(layer, apply.getIndices());
  int64_t oldCount = entries.newEntry.size(), newCount = entries.keys.size();
  int64_t min = range ? range->min : 0, max = range ? range->max : oldCount - 1;
  ArrayRef<int64_t> newEntry = entries.newEntry;

  AffineExpr old = layer.getResult(0), expr;
  int64_t shift = min - newEntry[min], run = oldCount / newCount;
  if (hasForm(newEntry, min, max, [&](int64_t i) { return i - shift; }))
    expr = old - shift;
  else if (hasForm(newEntry, min, max, [&](int64_t i) { return i % newCount; }))
    expr = old % newCount;
  else if (hasForm(newEntry, min, max, [&](int64_t i) { return i / run; }))
    expr = old.floorDiv(run);
  else
    return std::nullopt;
  return simplifyAffineMap(
      AffineMap::get(layer.getNumDims(), /*symbolCount=*/0, expr));
}

/// Merges the entries of `group` if its parameters repeat alike; returns how
/// many entries went.
static int64_t mergeGroup(StackGroup &group) {
  SmallVector<EntryMap> maps = llvm::map_to_vector(group.params, getEntryMap);
  if (llvm::none_of(maps, [](const EntryMap &map) { return map.merges(); }))
    return 0;
  const EntryMap &entries = maps.front();
  for (auto [param, map] : llvm::zip(group.params, maps))
    if (map.newEntry != entries.newEntry) {
      remarkDeclined(
          group.params.front(), DEBUG_TYPE,
          "repeated entries of '@{0}' stay: '@{1}' repeats otherwise",
          group.params.front().getSymName(), param.getSymName());
      return 0;
    }
  SmallVector<AffineMap> layers;
  for (ApplyOp apply : group.applies) {
    std::optional<AffineMap> layer = composeLayer(apply, entries);
    if (!layer) {
      remarkDeclined(group.params.front(), DEBUG_TYPE,
                     "repeated entries of '@{0}' stay: no affine map takes old "
                     "layers to new ones",
                     group.params.front().getSymName());
      return 0;
    }
    layers.push_back(*layer);
  }
  for (auto [apply, layer] : llvm::zip(group.applies, layers))
    apply.setLayer(layer);
  for (auto [param, map] : llvm::zip(group.params, maps)) {
    SmallVector<Attribute> keys;
    for (ArrayRef<Attribute> layer : map.keys)
      llvm::append_range(keys, layer);
    param.setKeysAttr(ArrayAttr::get(param.getContext(), keys));
    param.setLayers(map.keys.size());
  }
  return (entries.newEntry.size() - entries.keys.size()) * group.params.size();
}

int64_t rondo::mergeRepeatedEntries(ModuleOp module) {
  int64_t merged = 0;
  for (StackGroup &group : collectGroups(module))
    merged += mergeGroup(group);
  return merged;
}
