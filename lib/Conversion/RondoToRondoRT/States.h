//===- States.h - places of the model's values -----------------*- C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A *state* is a place for rows that live from one body to the next. Bodies
// address states by fixed numbers, so all executions of a body must find their
// values in the same ones. Values joined by a loop (initial value, argument,
// yielded value, result) or by the call sites of a block share a state.
//
// Invariant, checked by executing the model symbolically: when a unit reads a
// value, its state holds that value and not a later one.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_CONVERSION_RONDOTORONDORT_STATES_H
#define RONDO_LIB_CONVERSION_RONDOTORONDORT_STATES_H

#include "ModelTree.h"

#include "llvm/ADT/DenseMap.h"

namespace rondo {

/// The state of every model-level value.
using StateMap = llvm::DenseMap<mlir::Value, int64_t>;

/// A model whose values have places.
struct PlacedModel {
  ModelTree tree;
  StateMap states;
};

/// Numbers the states of `model`'s values, of which those of its inputs are
/// filled before it starts, after inserting `rondo_rt.copy` where a unit would
/// read a state that is overwritten before. Emits an error for an argument that
/// is no input or that nothing reads.
llvm::FailureOr<PlacedModel> placeStates(mlir::func::FuncOp model);

} // namespace rondo

#endif // RONDO_LIB_CONVERSION_RONDOTORONDORT_STATES_H
