//===- Routing.h - what the runtime needs to know of a router --*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDOTORONDORT_ROUTING_H
#define RONDO_LIB_CONVERSION_RONDOTORONDORT_ROUTING_H

#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

namespace rondo {

/// Consecutive visits of the schedule.
struct VisitSpan {
  int64_t first, count;
};

/// {state, first_visit, visits, scope} of the routed loop among `bodies`, null
/// if there is none; the state is that of its records. `findVisits` gives the
/// visits that execute a body, if they follow each other. Emits an error if
/// there are several such loops or the record is no state.
llvm::FailureOr<mlir::DictionaryAttr> describeRouting(
    mlir::ModuleOp module, llvm::ArrayRef<rt::BodyOp> bodies,
    llvm::function_ref<std::optional<VisitSpan>(int64_t)> findVisits);

} // namespace rondo

#endif // RONDO_LIB_CONVERSION_RONDOTORONDORT_ROUTING_H
