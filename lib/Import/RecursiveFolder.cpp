//===- RecursiveFolder.cpp - folders that `rondo convert` writes ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The configuration of a plain family with an object `recursive`; layers that
// share weights are stored once. docs/RecursiveFolder.md has the format.
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "Json.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace rondo;

namespace {
/// The low-rank deltas of a folder.
struct Deltas {
  double scale = 1;
  /// Last parts of the names of matrices.
  SmallVector<std::string> targets;
};

/// `model.layers.<j>.<module>.<r>.<field>` for what varies by depth.
class FolderKeys : public LayerKeys {
public:
  FolderKeys(StringRef prefix, Sharing sharing, bool ownNorms,
             std::optional<Deltas> deltas)
      : LayerKeys(prefix), sharing(std::move(sharing)), ownNorms(ownNorms),
        deltas(std::move(deltas)) {}

  int64_t getDepths(int64_t layer) const override {
    return sharing.getDepths(layer);
  }
  bool hasOwnNorms(int64_t layer) const override {
    return ownNorms && !sharing.isEdge(layer);
  }
  std::string getAtDepth(int64_t layer, int64_t depth,
                         StringRef name) const override {
    auto [module, field] = name.rsplit('.');
    return makeKey(layer, (module + "." + Twine(depth) + "." + field).str());
  }
  Expected<double> getScale(int64_t layer, int64_t depth, StringRef linear,
                            int64_t rank) const override {
    if (deltas && is_contained(deltas->targets, linear.rsplit('.').second))
      return deltas->scale;
    return importError(
        "tensor " +
        quoted(getAtDepth(layer, depth, (linear + ".lora_A.weight").str())) +
        " is there, but 'recursive.lora' of config.json does "
        "not name it as a target; convert the model again");
  }

private:
  Sharing sharing;
  bool ownNorms;
  std::optional<Deltas> deltas;
};
} // namespace

static Deltas readDeltas(ConfigReader &config) {
  Deltas deltas;
  config.getCount("rank");
  deltas.scale = config.getPositive("scale");
  const json::Array *targets = config.getOptionalArray("targets");
  for (const json::Value &target : targets ? *targets : json::Array())
    if (std::optional<StringRef> name = target.getAsString())
      deltas.targets.push_back(name->str());
    else
      config.fail("'targets' has " + formatJson(target) +
                  ", expected names of matrices");
  if (!targets)
    config.fail("required key 'targets' is missing; convert the model again");
  return deltas;
}

/// Applies the object `recursive` to a decoder of unrolled layers.
static void readRecursive(ConfigReader &config, Decoder &decoder) {
  const json::Object *object = config.getOptionalObject("recursive");
  if (!object)
    return config.fail("required key 'recursive' is missing; convert the "
                       "model with `rondo convert recursive`");
  ConfigReader recursive(*object, config.nest("recursive"), config.getLog());
  if (recursive.getCount("format_version") != 1)
    recursive.fail("'format_version' is not 1, the only one that this version "
                   "reads; convert the model again");
  StringRef kind = recursive.getOptionalText("sharing").value_or("");
  int64_t visits = recursive.getCount("num_recursion", UINT16_MAX);
  StringRef norms = recursive.getWord("norms", {"shared", "per-depth"});
  recursive.ignore({"initialization"});
  std::optional<Deltas> deltas;
  if (const json::Object *lora = recursive.getOptionalObject("lora")) {
    ConfigReader reader(*lora, recursive.nest("lora"), config.getLog());
    deltas = readDeltas(reader);
    recursive.finishNested(reader);
  }
  config.finishNested(recursive);
  Expected<Sharing> sharing = Sharing::create(kind, decoder.layers, visits);
  if (!sharing)
    return config.fail(toString(sharing.takeError()));
  decoder.layers = sharing->getStored();
  decoder.schedule = sharing->makeSchedule(KVPolicy::getPerDepth());
  decoder.layerKeys =
      std::make_shared<FolderKeys>(decoder.keys->layerPrefix, *sharing,
                                   norms == "per-depth", std::move(deltas));
}

static Decoder makeRecursive(ConfigReader &config, Decoder decoder) {
  decoder.architecture = "recursive_" + decoder.architecture;
  readRecursive(config, decoder);
  return decoder;
}

Decoder rondo::readRecursiveLlama(ConfigReader &config) {
  return makeRecursive(config, readLlama(config));
}

Decoder rondo::readRecursiveGemma(ConfigReader &config) {
  return makeRecursive(config, readGemma(config));
}

Decoder rondo::readRecursiveGPTNeoX(ConfigReader &config) {
  return makeRecursive(config, readGPTNeoX(config));
}
