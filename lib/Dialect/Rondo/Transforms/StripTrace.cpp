//===- StripTrace.cpp - remove trace points -------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Trace points have effects, so nothing else removes them; a bundle without
// them must not pay for them, or for what is computed for them alone. Logits
// are the same bits either way.
//
//   rondo.trace "hidden" %x : tensor<?x64xf32>   ==>   (nothing)
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/Rondo/Transforms/Passes.h"

#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_STRIPTRACEPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

/// Whether the options of `module` ask for trace points.
static bool keepsTrace(ModuleOp module) {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  auto trace = options ? options.getAs<BoolAttr>("trace") : BoolAttr();
  return trace && trace.getValue();
}

/// Erases those of `ops` that nothing reads any more, and what only they read.
static void eraseDead(SmallVector<Operation *> ops) {
  llvm::SmallSetVector<Operation *, 8> left(ops.begin(), ops.end());
  while (!left.empty()) {
    Operation *op = left.pop_back_val();
    if (!isOpTriviallyDead(op))
      continue;
    for (Value operand : op->getOperands())
      if (Operation *def = operand.getDefiningOp())
        left.insert(def);
    op->erase();
  }
}

namespace {
struct StripTracePass : rondo::impl::StripTracePassBase<StripTracePass> {
  void runOnOperation() override {
    if (keepsTrace(getOperation()))
      return markAllAnalysesPreserved();
    SmallVector<Operation *> unread;
    getOperation().walk([&](TraceOp trace) {
      if (Operation *def = trace.getValue().getDefiningOp())
        unread.push_back(def);
      trace.erase();
      ++numStripped;
    });
    eraseDead(std::move(unread));
  }
};
} // namespace
