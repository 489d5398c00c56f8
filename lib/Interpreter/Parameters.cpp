//===- Parameters.cpp - the weights that an execution reads ---------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Parameters.h"

#include "rondo/Bundle/LowRankDelta.h"
#include "rondo/Bundle/ParamRows.h"
#include "rondo/Bundle/Storage.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

/// Says why values cannot be converted.
static LogicalResult reportConversion(ParamOp param, ConversionResult result,
                                      const ArchiveTensor &tensor) {
  bool overflow = result == ConversionResult::Overflow;
  return param.emitOpError("cannot be stored as ")
         << param.getStoredType() << ": tensor '" << tensor.key
         << "' holds values "
         << (overflow ? "beyond its range" : "that are not finite")
         << "; store it as f32 or bf16";
}

/// The checkpoint's values, with the delta added if there is one, rounded to
/// the type they are stored as.
static FailureOr<Weights> load(ParamOp param, const ArchiveTensor &tensor,
                               const LowRankDelta *delta, int64_t entry) {
  int64_t layer = entry / param.getDepthCount();
  int64_t side = entry % param.getDepthCount();
  bool isMerged = delta && delta->isPresent(layer, side);
  StorageType stored = getStorageType(param.getStoredType());
  ParamRows rows(param);
  Weights weights;
  weights.width = rows.getWidth();
  weights.values.resize(param.getTensorType().getNumElements());
  std::vector<char> source, row(getByteSize(stored, weights.width));
  std::vector<float> scratch(weights.width);
  for (int64_t i = 0; i < rows.getCount(); ++i) {
    const char *bytes = rows.get(tensor, i, source);
    ConversionResult result =
        isMerged ? delta->convertRow(layer, side, i, tensor.type, bytes, stored,
                                     row.data(), scratch)
                 : convertRow(tensor.type, bytes, stored, row.data(),
                              scratch.data(), weights.width);
    if (result != ConversionResult::Done)
      return reportConversion(param, result, tensor);
    widenRow(stored, row.data(), weights.values.data() + i * weights.width,
             weights.width);
  }
  return weights;
}

/// The values of an entry; zeros for one that has no tensor.
FailureOr<Weights> Parameters::read(ParamOp param, int64_t entry) {
  auto key = dyn_cast<StringAttr>(param.getKeys()[entry]);
  if (!key) {
    Weights zeros;
    zeros.width = param.getTensorType().getShape().back();
    zeros.values.resize(param.getTensorType().getNumElements());
    return zeros;
  }
  const ArchiveTensor *tensor = archives.lookup(key.getValue());
  assert(tensor && "archives are opened for all keys");
  llvm::Expected<std::unique_ptr<LowRankDelta>> delta =
      LowRankDelta::create(param, archives);
  if (!delta)
    return param.emitOpError(toString(delta.takeError()));
  return load(param, *tensor, delta->get(), entry);
}

FailureOr<const Weights *> Parameters::resolve(Operation *user,
                                               FlatSymbolRefAttr symbol,
                                               ExecutionPoint point) {
  auto param = symbols.lookupNearestSymbolFrom<ParamOp>(user, symbol);
  assert(param && "the verifier looks symbols up");
  int64_t entry = param.getEntry(point.layer, point.side);
  assert(entry < param.getEntryCount() && "the verifier bounds the indices");
  auto found = loaded.find({param, entry});
  if (found == loaded.end()) {
    FailureOr<Weights> weights = read(param, entry);
    if (failed(weights))
      return failure();
    found = loaded.try_emplace({param, entry}, std::move(*weights)).first;
  }
  return &found->second;
}
