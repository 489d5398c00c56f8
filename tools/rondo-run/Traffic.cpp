//===- Traffic.cpp - what a step must read and compute --------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "Traffic.h"

#include <nlohmann/json.hpp>

#include <string>

using namespace rondo_run;
using Json = nlohmann::json;

Traffic &Traffic::operator+=(const Traffic &other) {
  memoryBytes += other.memoryBytes;
  cacheBytes += other.cacheBytes;
  flops += other.flops;
  return *this;
}

namespace {
/// Kinds of units, in the upper bits of a key.
enum class UnitKind : uint64_t { Weights, Side, Kv, Stage };
/// Units of an execution, in the order of those kinds.
constexpr size_t kExecutionUnits = 3;
} // namespace

static uint64_t makeKey(UnitKind kind, uint64_t a, uint64_t b = 0) {
  return static_cast<uint64_t>(kind) << 62 | a << 31 | b;
}

/// The index of the body whose name starts "<body>.<work>", or -1.
static int bodyOf(const std::string &stage, const Json &bodies) {
  for (size_t index = 0; index < bodies.size(); ++index) {
    std::string prefix = bodies[index]["name"].get<std::string>() + ".";
    if (stage.compare(0, prefix.size(), prefix) == 0)
      return static_cast<int>(index);
  }
  return -1;
}

TrafficModel::TrafficModel(const Json &manifest,
                           const rondo_rt_model_info &info, double cacheBytes)
    : cacheBytes_(cacheBytes) {
  addExecutions(manifest, info);
  addOtherStages(manifest);
}

void TrafficModel::addExecutions(const Json &manifest,
                                 const rondo_rt_model_info &info) {
  const Json &bodies = manifest["schedule"]["bodies"];
  std::vector<double> bodyBytes(bodies.size()), sideBytes(bodies.size()),
      executed(bodies.size());
  for (uint32_t i = 0; i < info.execution_count; ++i)
    ++executed[info.executions[i].body];
  for (const Json &stage : manifest["stages"]) {
    int body = bodyOf(stage["name"].get<std::string>(), bodies);
    if (body < 0 || executed[body] == 0)
      continue;
    double executions = stage["executions"].get<double>();
    // A stage that some executions skip is spread over all of them.
    double share = executions / executed[body];
    double side = stage["side_bytes"].get<double>();
    sideBytes[body] += share * side;
    bodyBytes[body] += share * (stage["bytes"].get<double>() - side);
    rowFlops_ += executions * stage["flops"].get<double>();
  }
  visitBegin_ =
      manifest["schedule"]["visit_begin"].get<std::vector<uint32_t>>();
  const Json &kv = manifest["kv"];
  double elementBytes = kv["type"] == "f32" ? 4 : 2;
  double positionBytes = 2 * elementBytes * kv["heads"].get<double>() *
                         kv["padded_head_dim"].get<double>();
  for (uint32_t i = 0; i < info.execution_count; ++i) {
    const rondo_rt_execution &execution = info.executions[i];
    units_.push_back(
        {makeKey(UnitKind::Weights, execution.body, execution.layer),
         bodyBytes[execution.body], 0});
    uint64_t entry = static_cast<uint64_t>(execution.layer) << 16;
    units_.push_back(
        {makeKey(UnitKind::Side, execution.body, entry | execution.side),
         sideBytes[execution.body], 0});
    units_.push_back({makeKey(UnitKind::Kv, execution.slot), 0, positionBytes});
  }
}

void TrafficModel::addOtherStages(const Json &manifest) {
  const Json &bodies = manifest["schedule"]["bodies"];
  uint64_t index = 0;
  for (const Json &stage : manifest["stages"]) {
    ++index;
    if (bodyOf(stage["name"].get<std::string>(), bodies) >= 0)
      continue;
    double executions = stage["executions"].get<double>();
    units_.push_back({makeKey(UnitKind::Stage, index),
                      executions * stage["bytes"].get<double>(), 0});
    outputFlops_ += executions * stage["flops"].get<double>();
  }
}

Traffic TrafficModel::stepTraffic(const StepShape &step) const {
  std::vector<Read> reads;
  for (const Unit &unit : units_)
    reads.push_back(
        {unit.key, unit.bytes + unit.positionBytes *
                                    static_cast<double>(step.kvPositions)});
  Traffic traffic = countReads(reads);
  traffic.flops = rowFlops_ * step.rows + outputFlops_ * step.outputs;
  return traffic;
}

Traffic TrafficModel::visitsTraffic(const VisitsShape &shape) const {
  size_t visits = visitBegin_.size() - 1;
  double groupPositions =
      static_cast<double>(shape.kvPositions) / static_cast<double>(visits);
  std::vector<Read> reads;
  auto unitOf = [&](size_t visit, uint32_t execution, UnitKind kind) {
    return units_[(visitBegin_[visit] + execution) * kExecutionUnits +
                  static_cast<size_t>(kind)];
  };
  auto readRows = [&](size_t visit, uint32_t execution, uint64_t group,
                      double positions) {
    // Each group of rows has sequences of its own.
    Unit unit = unitOf(visit, execution, UnitKind::Kv);
    reads.push_back({unit.key | group, positions * unit.positionBytes});
  };
  for (size_t step = 0; step < visits; ++step)
    for (uint32_t i = 0; i < visitBegin_[1]; ++i) {
      Unit weights = unitOf(step, i, UnitKind::Weights);
      reads.push_back({weights.key, weights.bytes});
      for (size_t group = 0; group < visits; ++group) {
        size_t visit = shape.mixed ? (step + group) % visits : step;
        Unit side = unitOf(visit, i, UnitKind::Side);
        if (shape.mixed || group == 0)
          reads.push_back({side.key, side.bytes});
        readRows(visit, i, group, groupPositions);
      }
    }
  Traffic traffic = countReads(reads);
  traffic.flops = rowFlops_ * shape.rows;
  return traffic;
}

Traffic TrafficModel::countReads(const std::vector<Read> &reads) const {
  Traffic traffic;
  // Twice in a row; the second time is counted.
  size_t count = reads.size();
  for (size_t now = count; now < 2 * count; ++now) {
    const Read &read = reads[now % count];
    double between = 0;
    std::map<uint64_t, bool> seen;
    size_t back = now;
    do {
      const Read &other = reads[--back % count];
      if (!seen[other.key]) {
        seen[other.key] = true;
        between += other.bytes;
      }
      if (other.key == read.key)
        break;
    } while (between <= cacheBytes_ && back > now - count);
    (between <= cacheBytes_ ? traffic.cacheBytes : traffic.memoryBytes) +=
        read.bytes;
  }
  return traffic;
}
