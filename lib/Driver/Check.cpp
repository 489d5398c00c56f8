//===- Check.cpp - what an import says without compiling ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Estimates from the model level alone: close enough to see whether a model
// fits a machine, before minutes are spent on compiling it.
//
//===----------------------------------------------------------------------===//
#include "Check.h"

#include "Summary.h"
#include "rondo/Bundle/Storage.h"
#include "rondo/Bundle/StoredLayers.h"
#include "rondo/Dialect/Rondo/Analysis/ScheduleAnalysis.h"
#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/FormatVariadic.h"

#include <algorithm>
#include <map>
#include <set>

using namespace mlir;
using namespace rondo;

/// Memory bandwidth that the time of a step is quoted for: two DDR4-3200
/// channels at four fifths of their peak, bytes a second.
static constexpr double kReferenceBandwidth = 40e9;

/// From here on a number with one decimal would read 1000.0.
static constexpr double kNextUnit = 999.95;

std::string rondo::formatBytes(uint64_t bytes) {
  if (bytes < 1000)
    return llvm::formatv("{0} B", bytes);
  const char *units[] = {"kB", "MB", "GB", "TB"};
  int unit = 0;
  double value = bytes / 1e3;
  for (; value >= kNextUnit && unit < 3; ++unit)
    value /= 1e3;
  return llvm::formatv("{0:f1} {1}", value, units[unit]);
}

namespace {

/// What a model takes, in bytes.
struct Estimate {
  uint64_t weights = 0;
  uint64_t step = 0; // weights that one decode step reads
  uint64_t kvPosition = 0;
  uint64_t arena = 0;
};

class Estimator {
public:
  explicit Estimator(ModuleOp module)
      : module(module), symbols(module), layers(module) {}

  LogicalResult run();
  void print(raw_ostream &os) const;

private:
  uint64_t getEntryBytes(ParamOp param) const;
  uint64_t getLinearBytes(Operation *root);
  void readBlock(BlockOp block, ArrayRef<int64_t> slots);
  int64_t getLiveWidth();
  int64_t getOption(StringRef key) const;

  ModuleOp module;
  SymbolTable symbols;
  SmallVector<Execution> executions;
  int64_t executedLayers = 0;
  StoredLayers layers;
  Estimate estimate;
};

} // namespace

int64_t Estimator::getOption(StringRef key) const {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  auto value = options ? options.getAs<IntegerAttr>(key) : nullptr;
  return value ? value.getInt() : 0;
}

uint64_t Estimator::getEntryBytes(ParamOp param) const {
  return getByteSize(getStorageType(param.getStoredType()),
                     param.getTensorType().getNumElements());
}

/// Bytes of the matrices that the linears under `root` read once.
uint64_t Estimator::getLinearBytes(Operation *root) {
  uint64_t bytes = 0;
  root->walk([&](LinearOp linear) {
    for (auto weight : linear.getWeights().getAsRange<FlatSymbolRefAttr>())
      if (auto param = symbols.lookup<ParamOp>(weight.getValue()))
        bytes += getEntryBytes(param);
  });
  return bytes;
}

/// A block that is executed with `slots`, one for each execution.
void Estimator::readBlock(BlockOp block, ArrayRef<int64_t> slots) {
  estimate.step += slots.size() * getLinearBytes(block);
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  auto kv = options ? options.getAs<TypeAttr>("kv") : nullptr;
  int64_t element = kv ? kv.getValue().getIntOrFloatBitWidth() / 8 : 4;
  int64_t written = std::set<int64_t>(slots.begin(), slots.end()).size();
  block.walk([&](AppendOp append) {
    auto type = cast<RankedTensorType>(append.getKey().getType());
    int64_t heads = append.getHeads();
    int64_t lanes = heads * rt::padToLanes(type.getDimSize(1) / heads);
    estimate.kvPosition += written * 2 * lanes * element;
  });
}

LogicalResult Estimator::run() {
  for (ParamOp param : module.getOps<ParamOp>())
    estimate.weights += param.getEntryCount() * getEntryBytes(param);
  for (auto model : module.getOps<func::FuncOp>()) {
    FailureOr<SmallVector<Execution>> schedule = flattenSchedule(model);
    if (failed(schedule))
      return failure();
    executions.append(*schedule);
    estimate.step += getLinearBytes(model);
  }
  std::map<StringRef, SmallVector<int64_t>> slots;
  bool anyCaches = llvm::any_of(module.getOps<BlockOp>(), [](BlockOp block) {
    return block.getCaches() > 0;
  });
  for (Execution &execution : executions) {
    auto block = symbols.lookup<BlockOp>(execution.op.getBlock());
    slots[block.getSymName()].push_back(execution.slot);
    // As in a bundle, layers are the blocks with a cache, if any has one.
    if (block.getCaches() == 0 && anyCaches)
      continue;
    ++executedLayers;
    layers.addExecution(block, execution.layer);
  }
  for (BlockOp block : module.getOps<BlockOp>())
    readBlock(block, slots[block.getSymName()]);
  estimate.arena = getOption("rows") * getLiveWidth() * sizeof(float);
  return success();
}

/// Values of a row that live at once in a block: what goes in, what comes out,
/// and its widest rows.
int64_t Estimator::getLiveWidth() {
  int64_t widest = 0, state = 0;
  module.walk([&](LinearOp linear) {
    if (!linear->getParentOfType<BlockOp>())
      return;
    int64_t sum = 0;
    for (Value output : linear.getOutputs())
      sum += cast<RankedTensorType>(output.getType()).getDimSize(1);
    widest = std::max(widest, sum);
  });
  for (BlockOp block : module.getOps<BlockOp>())
    for (Type type : block.getBody().getArgumentTypes())
      if (auto rows = dyn_cast<RankedTensorType>(type))
        state = std::max(state, rows.getDimSize(rows.getRank() - 1));
  return 2 * state + widest;
}

void Estimator::print(raw_ostream &os) const {
  os << "layers: "
     << describeLayers(layers.getDepth(), layers.count(), executedLayers)
     << '\n';
  uint64_t context = getOption("context");
  os << "weights: " << formatBytes(estimate.weights) << '\n';
  os << "KV: " << formatBytes(estimate.kvPosition) << " a position, "
     << formatBytes(estimate.kvPosition * context) << " a sequence of "
     << context << ", " << getOption("sequences") << " sequences at most\n";
  os << "arena: about " << formatBytes(estimate.arena) << '\n';
  os << "decode step: reads " << formatBytes(estimate.step) << " of weights, "
     << llvm::formatv("{0:f2} ms at {1:f0} GB/s\n",
                      estimate.step / kReferenceBandwidth * 1e3,
                      kReferenceBandwidth / 1e9);
}

LogicalResult rondo::writeCheck(const Import &import, raw_ostream &os) {
  for (const std::string &line : import.log)
    os << line << '\n';
  Estimator estimator(*import.module);
  if (failed(estimator.run()))
    return failure();
  estimator.print(os);
  return success();
}
