//===- SelectArithmetic.cpp - decide how products are formed --------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The mode is a property of the storage type and of one option, decided once
// and early: the same mode then serves every row class of a bundle, and later
// passes only read it.
//
//   rondo.linear %x, [@g] : ...  ==>  rondo.linear %x, [@g]
//   arithmetic(bf16_dot) : ...
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_SELECTARITHMETICPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

/// The fastest mode that keeps the values of weights stored as `storage`.
static Arithmetic getFastest(Type storage) {
  if (storage.isBF16())
    return Arithmetic::BF16Dot;
  return isBlockQuantized(storage) ? Arithmetic::Int8Dynamic
                                   : Arithmetic::Exact;
}

LogicalResult rondo::selectArithmetic(LinearOp linear, bool fast,
                                      SymbolTableCollection &symbols) {
  if (linear.getArithmetic())
    return success();
  std::optional<Arithmetic> mode;
  for (auto weight : linear.getWeights().getAsRange<FlatSymbolRefAttr>()) {
    auto param = symbols.lookupNearestSymbolFrom<ParamOp>(linear, weight);
    Arithmetic own =
        fast ? getFastest(param.getStoredType()) : Arithmetic::Exact;
    if (mode && *mode != own)
      return linear.emitOpError(
                 "expected weights of one arithmetic mode, got '")
             << stringifyArithmetic(*mode) << "' and '"
             << stringifyArithmetic(own) << "' for '" << weight << "'";
    mode = own;
  }
  linear.setArithmetic(mode);
  return success();
}

/// Whether the options of `module` let contractions be fast, which is the
/// default.
static bool isFast(ModuleOp module) {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  auto mode = options ? options.getAs<StringAttr>("arithmetic") : StringAttr();
  return !mode || mode == "fast";
}

namespace {
struct SelectArithmeticPass
    : rondo::impl::SelectArithmeticPassBase<SelectArithmeticPass> {
  void runOnOperation() override {
    bool fast = isFast(getOperation());
    SymbolTableCollection symbols;
    WalkResult result = getOperation().walk([&](LinearOp linear) {
      return WalkResult(selectArithmetic(linear, fast, symbols));
    });
    if (result.wasInterrupted())
      signalPassFailure();
  }
};
} // namespace
