//===- FuseProjections.cpp - one pass over shared rows --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Query, key and value (gate and up) read the same rows. One operation of
// several weights makes one stage of them: the rows are read, normalized or
// quantized once, and one barrier ends them all.
//
//   %q = rondo.linear %x, [@q]   ==>   %q, %k = rondo.linear %x, [@q, @k]
//   %k = rondo.linear %x, [@k]
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Remarks.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

#define DEBUG_TYPE "rondo-fuse-projections"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_FUSEPROJECTIONSPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

namespace {
/// Linears with equal keys may become one.
struct FusionKey {
  Value input;
  ArithmeticAttr arithmetic;
  /// Null if the weights of the linear differ in it already.
  Type storage;
  /// Only linears read the results (A of a low-rank product): stage formation
  /// has another place for it than for what is read otherwise.
  bool feedsLinears;

  bool operator==(const FusionKey &other) const {
    return input == other.input && arithmetic == other.arithmetic &&
           storage == other.storage && feedsLinears == other.feedsLinears;
  }
};

/// Linears of one key, in program order.
struct FusionGroup {
  FusionKey key;
  SmallVector<LinearOp> linears;
};
} // namespace

static FusionKey getKey(LinearOp linear, SymbolTableCollection &symbols) {
  FusionKey key{linear.getInput(), linear.getArithmeticAttr(), Type(),
                linear.feedsLinears()};
  for (auto weight : linear.getWeights().getAsRange<FlatSymbolRefAttr>()) {
    auto param = symbols.lookupNearestSymbolFrom<ParamOp>(linear, weight);
    Type storage = param.getStoredType();
    if (key.storage && key.storage != storage)
      return {linear.getInput(), linear.getArithmeticAttr(), Type(),
              key.feedsLinears};
    key.storage = storage;
  }
  return key;
}

/// The groups of `block`, by first member.
static SmallVector<FusionGroup> collectGroups(Block &block,
                                              SymbolTableCollection &symbols) {
  SmallVector<FusionGroup> groups;
  for (auto linear : block.getOps<LinearOp>()) {
    FusionKey key = getKey(linear, symbols);
    FusionGroup *group = llvm::find_if(
        groups, [&](FusionGroup &group) { return group.key == key; });
    if (group == groups.end() || !key.storage) {
      groups.push_back({key, {linear}});
      continue;
    }
    group->linears.push_back(linear);
  }
  return groups;
}

/// The bias entries of `linear`, `unit` where it has none.
static SmallVector<Attribute> getEntries(LinearOp linear, ArrayAttr entries) {
  if (entries)
    return SmallVector<Attribute>(entries.getValue());
  return SmallVector<Attribute>(linear.getWeights().size(),
                                UnitAttr::get(linear.getContext()));
}

/// Null if there is no entry but `unit`.
static ArrayAttr getArrayAttr(Builder &builder, ArrayRef<Attribute> entries) {
  return llvm::all_of(entries, llvm::IsaPred<UnitAttr>)
             ? ArrayAttr()
             : builder.getArrayAttr(entries);
}

/// Replaces `linears`, at least two, by one at the place of the first: they are
/// pure and their one operand is defined before it.
static void fuse(RewriterBase &rewriter, ArrayRef<LinearOp> linears) {
  SmallVector<Attribute> weights, biases, deltas;
  SmallVector<Type> types;
  SmallVector<Location> locs;
  for (LinearOp linear : linears) {
    llvm::append_range(weights, linear.getWeights());
    llvm::append_range(biases, getEntries(linear, linear.getBiasesAttr()));
    llvm::append_range(deltas, getEntries(linear, linear.getLoraAttr()));
    llvm::append_range(types, linear.getOutputs().getTypes());
    locs.push_back(linear.getLoc());
  }
  LinearOp first = linears.front();
  rewriter.setInsertionPoint(first);
  auto fused = LinearOp::create(
      rewriter, rewriter.getFusedLoc(locs), types, first.getInput(),
      rewriter.getArrayAttr(weights), getArrayAttr(rewriter, biases),
      getArrayAttr(rewriter, deltas), first.getArithmeticAttr());
  ValueRange results = fused.getOutputs();
  for (LinearOp linear : linears) {
    size_t count = linear.getOutputs().size();
    rewriter.replaceOp(linear, results.take_front(count));
    results = results.drop_front(count);
  }
}

/// Says which linears of the same rows stay apart, and why.
static void remarkApart(ArrayRef<FusionGroup> groups) {
  for (auto [i, group] : llvm::enumerate(groups))
    for (const FusionGroup &earlier : groups.take_front(i)) {
      if (earlier.key.input != group.key.input ||
          earlier.key.feedsLinears != group.key.feedsLinears)
        continue;
      remarkDeclined(group.linears.front(), DEBUG_TYPE,
                     "stays apart from another linear of the same rows: {0}",
                     earlier.key.arithmetic == group.key.arithmetic
                         ? "storage types differ"
                         : "arithmetic modes differ");
      break;
    }
}

int64_t rondo::fuseProjections(RewriterBase &rewriter, Block &block,
                               SymbolTableCollection &symbols) {
  SmallVector<FusionGroup> groups = collectGroups(block, symbols);
  remarkApart(groups);
  int64_t fused = 0;
  for (FusionGroup &group : groups) {
    if (group.linears.size() < 2)
      continue;
    fuse(rewriter, group.linears);
    fused += group.linears.size() - 1;
  }
  return fused;
}

namespace {
struct FuseProjectionsPass
    : rondo::impl::FuseProjectionsPassBase<FuseProjectionsPass> {
  void runOnOperation() override {
    SymbolTableCollection symbols;
    IRRewriter rewriter(&getContext());
    getOperation().walk([&](Block *block) {
      numFused += fuseProjections(rewriter, *block, symbols);
    });
  }
};
} // namespace
