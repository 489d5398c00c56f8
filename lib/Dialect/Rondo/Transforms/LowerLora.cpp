//===- LowerLora.cpp - low-rank deltas as linears -------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   %q = linear %x, [@q] lora [<@a, @b, s>]
//   ==>
//   %w = linear %x, [@q];  %t = linear %x, [@a];  %u = linear %t, [@b]
//   %q = %w + s * %u
//
//===----------------------------------------------------------------------===//
#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_LOWERLORAPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

/// `rows` times the parameter `weight`.
static Value createLinear(OpBuilder &builder, Location loc, Value rows,
                          FlatSymbolRefAttr weight, int64_t width) {
  Type type = RankedTensorType::get({ShapedType::kDynamic, width},
                                    builder.getF32Type());
  return LinearOp::create(builder, loc, type, rows,
                          builder.getArrayAttr({weight}),
                          /*biases=*/ArrayAttr(), /*lora=*/ArrayAttr(),
                          /*arithmetic=*/ArithmeticAttr())
      .getOutputs()
      .front();
}

/// scale * B (A rows); `narrow` is A rows.
static Value createDelta(OpBuilder &builder, Location loc, Value narrow,
                         LoRAAttr delta, int64_t width) {
  Value wide = createLinear(builder, loc, narrow, delta.getB(), width);
  if (delta.getScale().getValue().isExactlyValue(1.0))
    return wide;
  return ScaleOp::create(builder, loc, wide.getType(), wide,
                         /*weight=*/FlatSymbolRefAttr(), delta.getScale());
}

int64_t rondo::lowerLora(RewriterBase &rewriter, LinearOp linear,
                         SymbolTableCollection &symbols) {
  ArrayAttr deltas = linear.getLoraAttr();
  if (!deltas)
    return 0;
  Location loc = linear.getLoc();
  rewriter.modifyOpInPlace(linear, [&] { linear.removeLoraAttr(); });
  rewriter.setInsertionPointAfter(linear);
  int64_t lowered = 0;
  // Matrices that are parts of one have one A.
  DenseMap<Attribute, Value> narrow;
  for (auto [output, attribute] : llvm::zip(linear.getOutputs(), deltas)) {
    auto delta = dyn_cast<LoRAAttr>(attribute);
    if (!delta)
      continue;
    auto a = symbols.lookupNearestSymbolFrom<ParamOp>(linear, delta.getA());
    int64_t width = cast<RankedTensorType>(output.getType()).getDimSize(1);
    Value &product = narrow[delta.getA()];
    if (!product)
      product = createLinear(rewriter, loc, linear.getInput(), delta.getA(),
                             a.getTensorType().getDimSize(0));
    Value added = createDelta(rewriter, loc, product, delta, width);
    auto sum = arith::AddFOp::create(rewriter, loc, output, added);
    rewriter.replaceAllUsesExcept(output, sum, sum);
    ++lowered;
  }
  return lowered;
}

namespace {
struct LowerLoraPass : rondo::impl::LowerLoraPassBase<LowerLoraPass> {
  void runOnOperation() override {
    SymbolTableCollection symbols;
    IRRewriter rewriter(&getContext());
    getOperation().walk([&](LinearOp linear) {
      numLowered += lowerLora(rewriter, linear, symbols);
    });
  }
};
} // namespace
