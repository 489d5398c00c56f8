//===- StripTrace.cpp - remove trace points -------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Trace points have effects, so nothing else removes them; a bundle without
// them must not pay for them. Logits are the same bits either way.
//
//   rondo.trace "hidden" %x : tensor<?x64xf32>   ==>   (nothing)
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/Rondo/Transforms/Passes.h"

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

namespace {
struct StripTracePass : rondo::impl::StripTracePassBase<StripTracePass> {
  void runOnOperation() override {
    if (keepsTrace(getOperation()))
      return markAllAnalysesPreserved();
    getOperation().walk([&](TraceOp trace) {
      trace.erase();
      ++numStripped;
    });
  }
};
} // namespace
