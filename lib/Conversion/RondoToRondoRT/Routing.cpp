//===- Routing.cpp - what the runtime needs to know of a router -*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Routing.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace rondo;

/// The state that holds `value`, an argument of `body` or what it returns.
static std::optional<int64_t> findState(rt::BodyOp body, Value value) {
  mlir::Block &block = body.getBody().front();
  if (auto argument = dyn_cast<BlockArgument>(value))
    return body.getInputs()[argument.getArgNumber()];
  for (auto [returned, state] :
       llvm::zip(block.getTerminator()->getOperands(), body.getOutputs()))
    if (returned == value)
      return state;
  return std::nullopt;
}

/// Whether rows of one sequence are routed together.
static bool isCohort(ArrayRef<rt::BodyOp> bodies) {
  return llvm::any_of(bodies, [](rt::BodyOp body) {
    return llvm::any_of(body.getOps<RouteOp>(),
                        [](RouteOp route) { return route.isCohort(); });
  });
}

/// What is routed together: a row by itself, the rows of a sequence in a step,
/// or a whole call, whose keys and values no later one may read.
static StringRef getScope(ModuleOp module, ArrayRef<rt::BodyOp> bodies) {
  auto policy = module->getAttrOfType<StringAttr>(kKVPolicyAttr);
  if (policy && policy == "hybrid")
    return "call";
  return isCohort(bodies) ? "cohort" : "row";
}

FailureOr<DictionaryAttr> rondo::describeRouting(
    ModuleOp module, ArrayRef<rt::BodyOp> bodies,
    llvm::function_ref<std::optional<VisitSpan>(int64_t)> findVisits) {
  Builder builder(module.getContext());
  DictionaryAttr routing;
  for (rt::BodyOp body : bodies)
    for (auto select : body.getOps<SelectRowsOp>()) {
      std::optional<VisitSpan> visits = findVisits(body.getNumber());
      std::optional<int64_t> state = findState(body, select.getRecord());
      if (routing || !visits || !state)
        return select.emitOpError("expected one loop over visits that selects "
                                  "rows once in each, by a record that it "
                                  "carries");
      auto entry = [&](StringRef name, int64_t value) {
        return builder.getNamedAttr(name, builder.getI64IntegerAttr(value));
      };
      routing = builder.getDictionaryAttr(
          {entry("state", *state), entry("first_visit", visits->first),
           entry("visits", visits->count),
           builder.getNamedAttr(
               "scope", builder.getStringAttr(getScope(module, bodies)))});
    }
  return routing;
}
