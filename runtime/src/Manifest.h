//===- Manifest.h - what a bundle says about itself -------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The manifest as typed data; docs/Bundle.md describes the JSON. Invariant of a
// parsed one: every size is in its range and every index refers to something.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_MANIFEST_H
#define RONDO_RT_MANIFEST_H

#include "Status.h"

#include <string>
#include <string_view>
#include <vector>

namespace rondo_rt {

/// A tensor of the file and what it must hash to.
struct TensorEntry {
  std::string name;
  uint64_t offset = 0; // bytes from the start of the data section
  uint64_t bytes = 0;
  std::string hash; // XXH3-128, 32 hexadecimal digits
};

/// One kind of work of a step.
struct Stage {
  std::string name; // "<body>.<work>" or "<work>"
  uint64_t executions = 0;
  uint64_t bytes = 0;     // weight bytes of one execution
  uint64_t sideBytes = 0; // of them, those that vary by depth
  uint64_t flops = 0;     // of one execution and row
};

/// A place whose rows a tracing session keeps.
struct TracePoint {
  std::string name;
  int32_t index = -1;
  uint32_t width = 0; // floats
  rondo_rt_trace_form form = RONDO_RT_TRACE_ROWS;
};

/// A packed weight inside the weight region.
struct Packing {
  std::string name;
  uint64_t offset = 0; // bytes from the start of the weight region
  uint64_t bytes = 0;
  std::string type;
};

/// A result of the model: where it stands in a row of the logits.
struct Output {
  std::string name;
  uint32_t width = 0;  // floats
  uint32_t offset = 0; // floats
  bool first = false;  // only of a sequence's first row
};

/// Where the rows of a value stand that lives from body to body.
struct StatePlace {
  uint64_t offset = 0;   // bytes from the arena's start to row 0
  uint64_t rowBytes = 0; // rows follow each other
};

/// Where the rows of an input come from that nobody gives.
enum class InputInit { Given, Zeros, Normal };

/// What the model takes beside tokens, filled in before the prelude.
struct InputPlace {
  std::string name;
  uint32_t state = 0; // index among the states
  uint32_t width = 0; // floats
  InputInit init = InputInit::Given;
  double deviation = 0; // of InputInit::Normal
};

/// The loop over visits whose rows a router selects.
struct RoutingPlace {
  uint32_t state = 0;      // index among the states, of the rows' records
  uint32_t firstVisit = 0; // of the schedule
  uint32_t visits = 0;
  bool cohort = false; // prompts are routed whole
  bool call = false;   // and nothing continues what a step has computed
};

/// The KV cache's shape.
struct KvLayout {
  std::string type;
  uint32_t slots = 0;
  uint64_t pageBytes = 0;
  uint64_t positionBytes = 0; // K and V of one position in one slot
  bool chunkInvariant = true;
};

struct Manifest {
  std::string targetKind;
  std::string arithmetic;
  std::string weightType;
  uint32_t vocabulary = 0;
  uint32_t tokenTypes = 0; // 0: the model takes none
  bool cohort = false;     // all rows of a sequence are computed in one step
  uint32_t context = 0;
  uint32_t sequences = 0;
  uint32_t rows = 0;
  uint64_t arenaBytes = 0;
  uint64_t scratchBytes = 0; // of one thread
  uint64_t logitsStride = 0; // floats
  uint64_t weightBytes = 0;
  uint32_t executions = 0;
  uint32_t depth = 0; // visits of the layer that is visited most
  bool weightless = false;
  KvLayout kv;
  std::vector<uint32_t> stopTokens;
  std::vector<uint32_t> visitBegin;
  std::vector<std::string> bodies;
  uint64_t entries[RONDO_RT_ENTRY_COUNT] = {};
  std::vector<Output> outputs;    // at least one, none overlaps another
  std::vector<StatePlace> states; // by ascending offset, none overlaps another
  std::vector<InputPlace> inputs;
  std::vector<RoutingPlace> routing; // at most one
  std::vector<Stage> stages;
  std::vector<TracePoint> trace;
  std::vector<TensorEntry> tensors;
  std::vector<Packing> packing;

  /// Whether the prompts of a sequence are routed whole.
  bool routesPrompts() const {
    return !routing.empty() && routing.front().cohort;
  }
  /// Whether a step is a whole sequence, which nothing continues.
  bool routesCalls() const { return !routing.empty() && routing.front().call; }
  /// Whether tokens can be drawn from what the model computes.
  bool hasLogits() const { return outputs.front().name == "logits"; }
  /// The tensor `name`, or null.
  const TensorEntry *findTensor(std::string_view name) const;
  /// Floats of the widest trace point, 0 without any.
  uint32_t widestTracePoint() const;
  /// Rows that a session keeps between their steps: two steps full, and one
  /// more for each sequence, so that a new token always has a place.
  uint32_t rowsInFlight() const { return 2 * rows + sequences; }
  /// Bytes of all states of one row.
  uint64_t stateBytes() const;
  /// Pages of one sequence of full length.
  uint32_t pagesPerSequence() const;
};

/// Names of the tensors that are not weights.
inline constexpr char kCodeTensor[] = "code.cpu";
inline constexpr char kScheduleTensor[] = "schedule.executions";
inline constexpr char kWeightPrefix[] = "weight.";

/// Parses and checks a manifest.
Error parseManifest(std::string_view text, Manifest &manifest);

} // namespace rondo_rt

#endif // RONDO_RT_MANIFEST_H
