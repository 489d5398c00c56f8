//===- SelectStorage.cpp - storage types of matrices ----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Driver/SelectStorage.h"

#include "rondo/Bundle/Storage.h"
#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// The option
//===----------------------------------------------------------------------===//

/// The type called `name`, Other for `keep`; empty if there is none.
static std::optional<StorageType> getTypeNamed(StringRef name) {
  return llvm::StringSwitch<std::optional<StorageType>>(name)
      .Case("keep", StorageType::Other)
      .Case("f32", StorageType::F32)
      .Case("bf16", StorageType::BF16)
      .Case("f16", StorageType::F16)
      .Cases({"q8_0", "int8"}, StorageType::Q8_0)
      .Cases({"q4_0", "int4"}, StorageType::Q4_0)
      .Case("q4_1", StorageType::Q4_1)
      .Default(std::nullopt);
}

llvm::Expected<WeightTypes> rondo::parseWeightTypes(StringRef text) {
  WeightTypes types;
  types.text = text.str();
  bool seen = false;
  for (StringRef item : llvm::split(text, ',')) {
    auto [role, name] = item.contains('=')
                            ? item.split('=')
                            : std::pair<StringRef, StringRef>("", item);
    std::optional<StorageType> type = getTypeNamed(name);
    bool known = is_contained({"", "head", "embed", "lora"}, role);
    std::optional<StorageType> *place = role == "head"    ? &types.head
                                        : role == "embed" ? &types.embed
                                        : role == "lora"  ? &types.lora
                                                          : &types.matrices;
    bool repeated = role.empty() ? seen : place->has_value();
    if (!type || !known || repeated)
      return llvm::createStringError(
          llvm::inconvertibleErrorCode(),
          "wrong --weights item '" + item +
              "'; write one of keep, f32, bf16, f16, q8_0, q4_0, q4_1, int8, "
              "int4, and beside it head=TYPE, embed=TYPE and lora=TYPE, each "
              "once");
    *place = type;
    seen |= role.empty();
  }
  if (types.matrices == StorageType::Other)
    types.matrices.reset();
  return types;
}

//===----------------------------------------------------------------------===//
// Roles of parameters
//===----------------------------------------------------------------------===//

namespace {

/// Parameters that `head=`, `embed=` and `lora=` mean.
struct Roles {
  llvm::SmallSetVector<ParamOp, 2> heads;
  llvm::SmallSetVector<ParamOp, 16> deltas;
  llvm::SmallSetVector<ParamOp, 2> deciding; // of routers and exit gates
  llvm::MapVector<ParamOp, SmallVector<EmbedOp>> embeddings;
};

} // namespace

static SmallVector<LoRAAttr> getDeltas(LinearOp linear) {
  SmallVector<LoRAAttr> deltas;
  if (ArrayAttr entries = linear.getLoraAttr())
    for (Attribute entry : entries)
      if (auto delta = dyn_cast<LoRAAttr>(entry))
        deltas.push_back(delta);
  return deltas;
}

/// Whether `value` is what rows are routed by or exit by, perhaps after more
/// layers of the router.
static bool feedsDecision(Value value) {
  return llvm::any_of(value.getUsers(), [](Operation *user) {
    if (isa<RouteOp, ExitOp>(user))
      return true;
    return isa<LinearOp, ActivationOp>(user) &&
           llvm::any_of(user->getResults(), feedsDecision);
  });
}

/// The head is the matrix whose product the model returns; the embedding is
/// what tokens look up.
static Roles findRoles(ModuleOp module) {
  SymbolTable symbols(module);
  Roles roles;
  module.walk([&](EmbedOp embed) {
    if (auto param = symbols.lookup<ParamOp>(embed.getTable()))
      roles.embeddings[param].push_back(embed);
  });
  module.walk([&](LinearOp linear) {
    for (auto delta : getDeltas(linear))
      for (FlatSymbolRefAttr factor : {delta.getA(), delta.getB()})
        if (auto param = symbols.lookup<ParamOp>(factor.getValue()))
          roles.deltas.insert(param);
  });
  module.walk([&](LinearOp linear) {
    if (llvm::none_of(linear.getOutputs(), feedsDecision))
      return;
    for (auto weight : linear.getWeights().getAsRange<FlatSymbolRefAttr>())
      if (auto param = symbols.lookup<ParamOp>(weight.getValue()))
        roles.deciding.insert(param);
  });
  module.walk([&](func::ReturnOp end) {
    for (Value value : end.getOperands()) {
      auto linear = value.getDefiningOp<LinearOp>();
      if (!linear)
        continue;
      for (auto weight : linear.getWeights().getAsRange<FlatSymbolRefAttr>())
        if (auto param = symbols.lookup<ParamOp>(weight.getValue()))
          roles.heads.insert(param);
    }
  });
  return roles;
}

//===----------------------------------------------------------------------===//
// Selection
//===----------------------------------------------------------------------===//

/// Makes `param` store `type`; empty or Other keeps the checkpoint's.
static LogicalResult setStorage(ParamOp param,
                                std::optional<StorageType> type) {
  RankedTensorType tensor = param.getTensorType();
  StorageType own = getStorageType(tensor.getElementType());
  if (!type || *type == StorageType::Other || *type == own) {
    param.removeStorageAttr();
    return success();
  }
  int64_t inputs = tensor.getShape().back();
  if (isBlockType(*type) && inputs % kBlockSize)
    return param.emitError("parameter '")
           << param.getSymName() << "' has " << inputs
           << " inputs, not a multiple of 32, and cannot be stored as "
           << stringify(*type).lower()
           << "; use --weights=keep, f32, bf16 or f16";
  param.setStorage(getElementType(param.getContext(), *type));
  return success();
}

/// Gives the embeddings that share `param` with the head a copy of it.
static ParamOp separateEmbedding(ParamOp param, ArrayRef<EmbedOp> embeddings) {
  OpBuilder builder(param);
  auto copy = cast<ParamOp>(builder.clone(*param));
  SymbolTable symbols(param->getParentOfType<ModuleOp>());
  copy.setSymName((param.getSymName() + ".embed").str());
  copy->remove();
  StringAttr name = symbols.insert(copy, ++param->getIterator());
  for (EmbedOp embed : embeddings)
    embed.setTableAttr(FlatSymbolRefAttr::get(name));
  return copy;
}

/// Low-rank deltas are small and their rank is seldom a multiple of 32: where
/// matrices become blocks of weights, they become bf16.
static std::optional<StorageType> getDeltaType(const WeightTypes &types) {
  if (types.lora)
    return types.lora;
  bool inBlocks = types.matrices && *types.matrices != StorageType::Other &&
                  isBlockType(*types.matrices);
  return inBlocks ? StorageType::BF16 : types.matrices;
}

LogicalResult rondo::selectStorage(ModuleOp module, const WeightTypes &types) {
  Roles roles = findRoles(module);
  for (ParamOp param : llvm::make_early_inc_range(module.getOps<ParamOp>())) {
    // What decides about rows is small, and sensitive; so is a gate that is
    // only traced, one matrix of one output.
    if (param.getTensorType().getRank() != 2 ||
        param.getTensorType().getDimSize(0) == 1 ||
        roles.deciding.contains(param))
      continue;
    bool isHead = roles.heads.contains(param);
    auto embeddings = roles.embeddings.find(param);
    bool isEmbedding = embeddings != roles.embeddings.end();
    std::optional<StorageType> type = types.matrices;
    if (isEmbedding && types.embed)
      type = types.embed;
    if (isHead && types.head)
      type = types.head;
    if (roles.deltas.contains(param))
      type = getDeltaType(types);
    if (isHead && isEmbedding && types.head && types.embed &&
        *types.head != *types.embed) {
      ParamOp copy = separateEmbedding(param, embeddings->second);
      if (failed(setStorage(copy, types.embed)))
        return failure();
    }
    if (failed(setStorage(param, type)))
      return failure();
  }
  return success();
}

StorageType rondo::getMainStorage(ModuleOp module) {
  llvm::MapVector<StorageType, int64_t> weights;
  for (ParamOp param : module.getOps<ParamOp>())
    if (param.getTensorType().getRank() == 2)
      weights[getStorageType(param.getStoredType())] +=
          param.getTensorType().getNumElements() * param.getEntryCount();
  std::pair<StorageType, int64_t> most = {StorageType::F32, 0};
  for (auto entry : weights)
    if (entry.second > most.second)
      most = entry;
  return most.first;
}
