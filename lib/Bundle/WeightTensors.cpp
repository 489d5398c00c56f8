//===- WeightTensors.cpp - what stands in the weight region ---------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Weights.h"

#include "PackedStorage.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace rondo;

StorageType rondo::getStorageType(rt::PanelFormat format) {
  switch (format) {
  case rt::PanelFormat::F32:
    return StorageType::F32;
  case rt::PanelFormat::F16:
    return StorageType::F16;
  case rt::PanelFormat::BF16Pair:
    return StorageType::BF16;
  case rt::PanelFormat::Q8_0:
    return StorageType::Q8_0;
  case rt::PanelFormat::Q4_0:
    return StorageType::Q4_0;
  case rt::PanelFormat::Q4_1:
    return StorageType::Q4_1;
  }
  llvm_unreachable("covered switch");
}

int64_t rondo::getEntryBytes(rt::VectorOp op) {
  return op.getLayout().getLanes() * op.getRepeat() * sizeof(float);
}

int64_t rondo::getTableBytes(rt::RopeTableOp op) {
  return op.getPositions() * op.getChunks() * rt::kLanes * sizeof(float);
}

static WeightTensor describe(rt::PackedOp op) {
  WeightTensor tensor;
  tensor.type = getStorageType(op.getFormat());
  tensor.k = op.getK();
  tensor.units = op.getTotalPanels();
  tensor.bytes = op.getEntryBytes();
  tensor.entries = op.getLayers() * op.getDepths();
  tensor.entryStride = op.getStride().value_or(tensor.bytes);
  for (Attribute param : op.getParams())
    tensor.sources.push_back(cast<FlatSymbolRefAttr>(param).getValue().str());
  return tensor;
}

static WeightTensor describe(rt::VectorOp op) {
  WeightTensor tensor;
  tensor.bytes = getEntryBytes(op);
  tensor.units = tensor.bytes / sizeof(float) / rt::kLanes;
  tensor.entries = op.getLayers() * op.getDepths();
  tensor.entryStride = op.getStride().value_or(tensor.bytes);
  tensor.sources.push_back(op.getParam().str());
  return tensor;
}

static WeightTensor describe(rt::RopeTableOp op) {
  WeightTensor tensor;
  tensor.units = op.getPositions();
  tensor.bytes = tensor.entryStride = getTableBytes(op);
  return tensor;
}

/// Adds `whole`, which describes one entry, as one tensor if its entries follow
/// each other, else as one for each entry.
static void addEntries(WeightTensor whole, std::vector<WeightTensor> &tensors) {
  int64_t entries = whole.entries;
  if (entries == 1 || whole.entryStride == whole.bytes) {
    whole.entryStride = whole.bytes;
    whole.bytes *= entries;
    tensors.push_back(std::move(whole));
    return;
  }
  WeightTensor tensor = whole;
  tensor.entries = 1;
  tensor.entryStride = whole.bytes;
  for (int64_t entry = 0; entry < entries; ++entry) {
    tensor.name = whole.name + "." + std::to_string(entry);
    tensor.offset = whole.offset + entry * whole.entryStride;
    tensor.firstEntry = entry;
    tensors.push_back(tensor);
  }
}

FailureOr<std::vector<WeightTensor>> rondo::getWeightTensors(ModuleOp module) {
  std::vector<WeightTensor> tensors;
  bool planned = true;
  auto add = [&](auto op) {
    if (!op.getOffset()) {
      op.emitOpError("expected an offset, which phase 'buffers' sets");
      planned = false;
      return;
    }
    WeightTensor tensor = describe(op);
    tensor.name = ("weight." + op.getSymName()).str();
    tensor.offset = *op.getOffset();
    tensor.op = op;
    addEntries(std::move(tensor), tensors);
  };
  for (Operation &op : *module.getBody())
    TypeSwitch<Operation *>(&op)
        .Case<rt::PackedOp, rt::VectorOp, rt::RopeTableOp>(add);
  if (!planned)
    return failure();

  llvm::sort(tensors,
             [](const auto &a, const auto &b) { return a.offset < b.offset; });
  int64_t end = 0;
  for (const WeightTensor &tensor : tensors) {
    if (tensor.offset < end || tensor.offset % 64)
      return tensor.op->emitOpError("expected an offset of at least ")
             << end << " and a multiple of 64, got " << tensor.offset;
    end = tensor.offset + tensor.bytes;
  }
  return tensors;
}
