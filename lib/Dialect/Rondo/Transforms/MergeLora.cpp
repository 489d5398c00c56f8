//===- MergeLora.cpp - low-rank deltas as part of their matrices ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   param @q layers(2) from ["q.0", "q.1"]
//   %q = linear %x, [@q] lora [<@a, @b, s>]           @a, @b: depths(2)
//   ==>
//   param @q.merged layers(2) depths(2)
//     from ["q.0", "q.0", "q.1", "q.1"] plus <@a, @b, s>
//   %q = linear %x, [@q.merged]
//
//===----------------------------------------------------------------------===//
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Remarks.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

#define DEBUG_TYPE "rondo-merge-lora"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_MERGELORAPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

namespace {
/// What is merged.
enum class Mode {
  /// What costs nothing: deltas that are the same at all depths, of matrices
  /// that are not stored in blocks.
  Auto,
  All,
  None,
};

/// A matrix and its delta.
struct Merge {
  ParamOp weight, a, b;
  LoRAAttr delta;

  int64_t getLayers() {
    return std::max(
        {weight.getLayerCount(), a.getLayerCount(), b.getLayerCount()});
  }
  int64_t getDepths() {
    return std::max(
        {weight.getDepthCount(), a.getDepthCount(), b.getDepthCount()});
  }
};
} // namespace

/// Why a delta is left alone, or empty.
static StringRef getReason(Merge merge, Mode mode) {
  if (llvm::any_of(merge.weight.getKeys(), llvm::IsaPred<UnitAttr>))
    return "the matrix is absent at some depths";
  if (mode == Mode::All)
    return "";
  if (merge.getDepths() > std::max<int64_t>(1, merge.weight.getDepthCount()))
    return "it varies by depth, so each depth would read a matrix of its own";
  if (isBlockQuantized(merge.weight.getStoredType()))
    return "the matrix is stored in blocks, which would round it again";
  return "";
}

/// Declares the sum behind the matrix.
static ParamOp declareSum(Merge merge, SymbolTable &symbols) {
  ParamOp weight = merge.weight;
  OpBuilder builder(weight);
  builder.setInsertionPointAfter(weight);
  SmallVector<Attribute> keys;
  int64_t layers = merge.getLayers(), depths = merge.getDepths();
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t depth = 0; depth < depths; ++depth)
      keys.push_back(weight.getKeys()[weight.getEntry(layer, depth)]);
  auto count = [&](int64_t number) {
    return number > 1 ? builder.getI64IntegerAttr(number) : IntegerAttr();
  };
  auto sum = cast<ParamOp>(builder.clone(*weight));
  sum.setSymName((weight.getSymName() + ".merged").str());
  sum.setKeysAttr(builder.getArrayAttr(keys));
  sum.setLayersAttr(weight.getLayersAttr() ? builder.getI64IntegerAttr(layers)
                                           : count(layers));
  sum.setDepthsAttr(weight.getDepthsAttr() ? builder.getI64IntegerAttr(depths)
                                           : count(depths));
  sum.setPlusAttr(merge.delta);
  symbols.insert(sum); // renames if the name is taken
  return sum;
}

namespace {
struct MergeLoraPass : rondo::impl::MergeLoraPassBase<MergeLoraPass> {
  void runOnOperation() override {
    SymbolTable symbols(getOperation());
    Mode mode = getMode(getOperation());
    if (mode == Mode::None)
      return;
    getOperation().walk(
        [&](LinearOp linear) { mergeDeltas(linear, mode, symbols); });
    for (ParamOp weight : mergedWeights)
      if (SymbolTable::symbolKnownUseEmpty(weight, getOperation()))
        weight.erase();
  }

private:
  static Mode getMode(ModuleOp module) {
    auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
    auto name = options ? options.getAs<StringAttr>("lora") : StringAttr();
    if (!name || name == "auto")
      return Mode::Auto;
    return name == "merge" ? Mode::All : Mode::None;
  }

  void mergeDeltas(LinearOp linear, Mode mode, SymbolTable &symbols) {
    ArrayAttr deltas = linear.getLoraAttr();
    if (!deltas)
      return;
    SmallVector<Attribute> weights(linear.getWeights().getValue());
    SmallVector<Attribute> left(deltas.getValue());
    for (size_t i = 0; i < left.size(); ++i)
      if (auto delta = dyn_cast<LoRAAttr>(left[i]))
        if (mergeDelta(linear, delta, weights[i], mode, symbols))
          left[i] = UnitAttr::get(&getContext());
    linear.setWeightsAttr(ArrayAttr::get(&getContext(), weights));
    if (llvm::all_of(left, llvm::IsaPred<UnitAttr>))
      linear.removeLoraAttr();
    else
      linear.setLoraAttr(ArrayAttr::get(&getContext(), left));
  }

  /// Makes `weight` name the sum with its delta.
  bool mergeDelta(LinearOp linear, LoRAAttr delta, Attribute &weight, Mode mode,
                  SymbolTable &symbols) {
    auto find = [&](Attribute name) {
      return symbols.lookup<ParamOp>(cast<FlatSymbolRefAttr>(name).getValue());
    };
    Merge merge{find(weight), find(delta.getA()), find(delta.getB()), delta};
    StringRef reason = getReason(merge, mode);
    if (!reason.empty()) {
      remarkDeclined(linear, DEBUG_TYPE, "the delta of @{0} stays apart: {1}",
                     merge.weight.getSymName(), reason);
      ++numSeparate;
      return false;
    }
    ParamOp &sum = sums[{merge.weight, delta}];
    if (!sum)
      sum = declareSum(merge, symbols);
    mergedWeights.insert(merge.weight);
    weight = FlatSymbolRefAttr::get(sum.getSymNameAttr());
    remarkApplied(linear, DEBUG_TYPE,
                  "merged the delta of @{0}, {1} entries of {2} bytes",
                  merge.weight.getSymName(), sum.getEntryCount(),
                  getStorageBytes(sum.getStoredType(),
                                  sum.getTensorType().getNumElements()));
    ++numMerged;
    return true;
  }

  DenseMap<std::pair<Operation *, Attribute>, ParamOp> sums;
  llvm::SetVector<ParamOp> mergedWeights;
};
} // namespace
