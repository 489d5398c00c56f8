//===- HoistDepthInvariants.cpp - compute once what no depth changes ------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What is injected at every step does not change with depth; neither does a
// carried value that every iteration hands on as it was.
//
//   %y:2 = rondo.loop %d to 4 carries(%h = %x, %e = %x) ... {
//     %n = rondo.norm rms %e, @w ...                        (reads no state)
//     ...
//     rondo.yield %z, %e
//   }
//   ==>
//   %n = rondo.norm rms %x, @w ...
//   %y = rondo.loop %d to 4 carries(%h = %x) ... { ... rondo.yield %z }
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Remarks.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Transforms/LoopInvariantCodeMotionUtils.h"

#define DEBUG_TYPE "rondo-hoist-depth-invariants"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_HOISTDEPTHINVARIANTSPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

/// The positions of the carried values of `loop` that iterations change.
static SmallVector<unsigned> getStatePositions(LoopOp loop) {
  SmallVector<unsigned> state;
  for (auto [i, argument, yielded] :
       llvm::enumerate(loop.getCarriedArgs(), loop.getYieldedValues()))
    if (yielded != argument)
      state.push_back(i);
  return state;
}

/// The values of `range` at `positions`.
template <typename RangeT>
static SmallVector<Value> pick(RangeT &&range, ArrayRef<unsigned> positions) {
  return llvm::map_to_vector(positions,
                             [&](unsigned i) -> Value { return range[i]; });
}

/// Replaces `loop` by one that carries only the values at `state`; readers of
/// the others take the initial values.
static LoopOp carryOnly(RewriterBase &rewriter, LoopOp loop,
                        ArrayRef<unsigned> state) {
  SmallVector<Value> inits = pick(loop.getInits(), state);
  rewriter.setInsertionPoint(loop);
  auto slim = LoopOp::create(rewriter, loop.getLoc(), TypeRange(inits),
                             loop.getCountAttr(), inits);
  slim->setDiscardableAttrs(loop->getDiscardableAttrDictionary());

  Block *body = &loop.getBody().front();
  auto yield = cast<YieldOp>(body->getTerminator());
  rewriter.modifyOpInPlace(yield, [&] {
    yield.getValuesMutable().assign(pick(yield.getValues(), state));
  });
  SmallVector<Type> types(1, rewriter.getIndexType());
  llvm::append_range(types, TypeRange(inits));
  SmallVector<Location> locs(types.size(), loop.getLoc());
  Block *slimBody =
      rewriter.createBlock(&slim.getBody(), slim.getBody().end(), types, locs);

  // By default arguments and results are the initial values; state is not.
  SmallVector<Value> arguments(1, slim.getInductionVar());
  llvm::append_range(arguments, loop.getInits());
  SmallVector<Value> results(loop.getInits());
  for (auto [i, position] : llvm::enumerate(state)) {
    arguments[position + 1] = slim.getCarriedArgs()[i];
    results[position] = slim.getResult(i);
  }
  rewriter.mergeBlocks(body, slimBody, arguments);
  rewriter.replaceOp(loop, results);
  return slim;
}

HoistCounts rondo::hoistDepthInvariants(RewriterBase &rewriter, LoopOp loop) {
  HoistCounts counts;
  SmallVector<unsigned> state = getStatePositions(loop);
  counts.elided = loop.getInits().size() - state.size();
  if (counts.elided != 0)
    loop = carryOnly(rewriter, loop, state);

  counts.hoisted = moveLoopInvariantCode(
      &loop.getBody(),
      [](Value value, Region *region) {
        return value.getParentRegion()->isProperAncestor(region);
      },
      [](Operation *op, Region *) { return isPure(op); },
      [&](Operation *op, Region *) { rewriter.moveOpBefore(op, loop); });
  if (counts.hoisted + counts.elided != 0)
    remarkApplied(loop, DEBUG_TYPE,
                  "hoisted {0} operations and dropped {1} carried values that "
                  "do not change with depth",
                  counts.hoisted, counts.elided);
  return counts;
}

namespace {
struct HoistDepthInvariantsPass
    : rondo::impl::HoistDepthInvariantsPassBase<HoistDepthInvariantsPass> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    // Inner loops first: what leaves them may leave the outer one as well.
    getOperation().walk([&](LoopOp loop) {
      HoistCounts counts = hoistDepthInvariants(rewriter, loop);
      numHoisted += counts.hoisted;
      numElided += counts.elided;
    });
  }
};
} // namespace
