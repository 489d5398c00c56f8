//===- Plan.h - what a bundle's manifest says of the code -------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Facts that are known while bodies and stages exist and that the bundle needs
// when they have become functions. They travel as the module attribute
// `rondo.plan`, set at the end of phase `buffers`, so that a dumped phase is
// complete.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_PLAN_H
#define RONDO_BUNDLE_PLAN_H

#include "mlir/IR/BuiltinOps.h"

#include <cstdint>
#include <string>
#include <vector>

namespace rondo {

inline constexpr llvm::StringLiteral kPlanAttr = "rondo.plan";

/// The shape of the KV cache; all zero for a model without one.
struct KVPlan {
  int64_t slots = 0;
  int64_t heads = 0;
  int64_t headDim = 0;
  int64_t paddedHeadDim = 0;
  int64_t pageBytes = 0;
  bool chunkInvariant = true;
};

/// A block: how many layers it runs, and how often the one that it runs most.
struct BlockPlan {
  std::string name;
  int64_t layers = 0;
  int64_t visits = 0;
};

/// One kind of work of a step.
struct StagePlan {
  std::string name; // "<body>.<stage>"
  int64_t executions = 0;
  int64_t bytes = 0;     // weight bytes that one execution reads
  int64_t sideBytes = 0; // of them, bytes of entries that vary by depth
  int64_t flops = 0;     // of one execution and row
};

/// A state that bodies read: where its rows stand in the arena.
struct StatePlan {
  int64_t offset = 0;   // bytes from the arena's start to row 0
  int64_t rowBytes = 0; // rows follow each other
};

/// An input of the model: the state that the runtime fills with it.
struct InputPlan {
  std::string name;
  int64_t state = 0;    // index among the plan's states
  int64_t width = 0;    // floats
  std::string init;     // "given", "zeros", "normal"
  double deviation = 0; // of `normal`
};

/// The loop over visits whose rows a router selects.
struct RoutingPlan {
  int64_t state = 0; // index among the plan's states, of the rows' records
  int64_t firstVisit = 0;
  int64_t visits = 0;
  std::string scope; // "row", "cohort", "call"
};

/// A result of the model.
struct OutputPlan {
  std::string name;
  int64_t width = 0;  // floats
  int64_t offset = 0; // floats from the start of a row of the logits
  bool first = false; // of each sequence the row of position 0 only
};

/// A place whose rows a tracing session keeps.
struct TracePlan {
  std::string name;
  int64_t index = -1;
  int64_t width = 0; // floats
  std::string form;  // of rondo.trace
};

/// See docs/Bundle.md for the meaning of each member.
struct Plan {
  int64_t vocabulary = 0;
  int64_t tokenTypes = 0; // 0: the model takes none
  bool cohort = false;    // the rows of a sequence are computed in one step
  int64_t hidden = 0;
  int64_t arenaBytes = 0;
  int64_t scratchBytes = 0;
  int64_t logitsStride = 0; // floats
  std::string arithmetic;   // "exact", "bf16-dot", "int8-dynamic"
  KVPlan kv;
  /// Names of the bodies that `rondo_rt.schedule` numbers.
  std::vector<std::string> bodies;
  std::vector<BlockPlan> blocks;
  /// Layers that are stored, executions of layers, and how often the layer that
  /// is executed most often is; see StoredLayers.h.
  int64_t uniqueLayers = 0, executedLayers = 0, depth = 0;
  /// In the order of the model's results.
  std::vector<OutputPlan> outputs;
  /// By ascending offset.
  std::vector<StatePlan> states;
  std::vector<InputPlan> inputs;
  std::vector<RoutingPlan> routing; // at most one
  std::vector<StagePlan> stages;
  std::vector<TracePlan> trace;
};

/// Works the plan out at phase `buffers`, from bodies, stages and the
/// attributes `rondo_rt.kv`, `rondo_rt.arena_bytes`, `rondo_rt.scratch_bytes`,
/// `rondo_rt.outputs`, `rondo_rt.scope`, `rondo_rt.trace_points`,
/// `rondo_rt.inputs` and `rondo_rt.routing`. An error on what is missing.
mlir::FailureOr<Plan> derivePlan(mlir::ModuleOp module);

/// Stores `plan` in the module.
void setPlan(mlir::ModuleOp module, const Plan &plan);

/// Reads the plan of the module; an error on it if there is none or if it is
/// malformed.
mlir::FailureOr<Plan> getPlan(mlir::ModuleOp module);

} // namespace rondo

#endif // RONDO_BUNDLE_PLAN_H
