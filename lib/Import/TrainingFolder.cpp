//===- TrainingFolder.cpp - folders of the MoR/RRT training code ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "TrainingFolder.h"
#include "Json.h"
#include "Support.h"
#include "Yaml.h"

#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace rondo;

namespace {
/// Keys by unrolled layer: what a group of layers shares is stored for each.
class UnrolledKeys : public LayerKeys {
public:
  UnrolledKeys(StringRef prefix, Sharing sharing, bool ownNorms,
               std::shared_ptr<const AdapterConfig> adapter)
      : LayerKeys(prefix), sharing(std::move(sharing)), ownNorms(ownNorms),
        adapter(std::move(adapter)) {}

  int64_t getDepths(int64_t layer) const override {
    return sharing.getDepths(layer);
  }
  bool hasOwnNorms(int64_t layer) const override {
    return ownNorms && !sharing.isEdge(layer);
  }
  std::string getShared(int64_t layer, StringRef name) const override {
    return getAtDepth(layer, 0, name);
  }
  SmallVector<std::string> getCopies(int64_t layer,
                                     StringRef name) const override {
    SmallVector<std::string> copies;
    for (int64_t depth = 1; depth < getDepths(layer); ++depth)
      copies.push_back(getAtDepth(layer, depth, name));
    return copies;
  }
  std::string getAtDepth(int64_t layer, int64_t depth,
                         StringRef name) const override {
    return makeKey(sharing.getUnrolled(layer, depth), name);
  }
  Expected<double> getScale(int64_t layer, int64_t depth, StringRef linear,
                            int64_t rank) const override {
    if (!adapter)
      return LayerKeys::getScale(layer, depth, linear, rank);
    return adapter->getScale(getAtDepth(layer, depth, linear), rank);
  }

private:
  Sharing sharing;
  bool ownNorms;
  std::shared_ptr<const AdapterConfig> adapter;
};
} // namespace

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

Expected<TrainingFolder> TrainingFolder::read(StringRef folder,
                                              StringRef adapter) {
  TrainingFolder result;
  result.folder = folder.str();
  result.trainingPath = joinPath(folder, "train_config.yaml");
  if (isFile(result.trainingPath)) {
    Expected<json::Object> object = readYamlFile(result.trainingPath);
    if (!object)
      return object.takeError();
    result.training = std::make_shared<json::Object>(std::move(*object));
    if (Error error = result.check())
      return std::move(error);
  }
  result.adapterFolder = (adapter.empty() ? folder : adapter).str();
  std::string path = joinPath(result.adapterFolder, "adapter_config.json");
  if (!adapter.empty() || isFile(path)) {
    Expected<AdapterConfig> config = AdapterConfig::read(path);
    if (!config)
      return config.takeError();
    result.adapter = std::make_shared<AdapterConfig>(std::move(*config));
  }
  return result;
}

bool TrainingFolder::isEnabled(StringRef section) const {
  const json::Object *object = training->getObject(section);
  return object && object->getBoolean("enable").value_or(false);
}

Error TrainingFolder::check() const {
  auto fail = [&](const Twine &text) {
    return importError(quoted(trainingPath) + ": " + text);
  };
  if (isEnabled("mor") && isEnabled("relaxation"))
    return fail("'mor' and 'relaxation' are both enabled, which the training "
                "code does not combine; take one of them");
  for (StringRef section : {"relaxation", "kv_sharing", "mor"})
    if (isEnabled(section) && !isEnabled("recursive"))
      return fail(quoted(section) + " is enabled without 'recursive'; expected "
                                    "both or none");
  if (!isEnabled("relaxation"))
    return Error::success();
  StringRef method =
      training->getObject("relaxation")->getString("method").value_or("");
  if (method != "lora" && method != "recursion_encoding")
    return fail("'relaxation.method' is " + quoted(method) +
                "; train with one of: lora, recursion_encoding");
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Applying
//===----------------------------------------------------------------------===//

bool TrainingFolder::sharesKV(ConfigReader &config,
                              const Sharing &sharing) const {
  bool stored = config.getOptionalObject("kv_sharing") != nullptr;
  auto fail = [&](const Twine &text) {
    config.fail(quoted(trainingPath) + ": " + text);
    return false;
  };
  if (isEnabled("kv_sharing") != stored)
    return fail("it and config.json disagree whether 'kv_sharing' is enabled; "
                "take files of one run");
  if (!stored)
    return false;
  const json::Object &section = *training->getObject("kv_sharing");
  if (section.getString("sharing") != sharing.getName() ||
      section.getInteger("num_recursion") != sharing.getVisits())
    return fail("'kv_sharing' and 'recursive' differ in sharing or visits; "
                "only the same for both is supported");
  if (sharing.getName() == "middle_sequence")
    return fail("'kv_sharing' with middle_sequence does not exist; expected "
                "another sharing");
  if (updatesKV() && (!isEnabled("mor") || sharing.getName() != "middle_cycle"))
    return fail("'kv_sharing.update_cache' is for routers of experts with "
                "middle_cycle; train without it");
  return true;
}

/// Whether visits replace the shared keys and values of their rows.
bool TrainingFolder::updatesKV() const {
  const json::Object *section = training->getObject("kv_sharing");
  return section && section->getBoolean("update_cache").value_or(false);
}

void TrainingFolder::applyRouter(ConfigReader &config, Decoder &decoder,
                                 Sharing sharing, bool ownNorms, bool sharesKV,
                                 std::optional<RoutingMode> mode) const {
  if (sharing.getVisits() < 2)
    return config.fail(
        "'mor' needs a block of at least two visits, "
        "'recursive.num_recursion' is 1; train without a router");
  ConfigReader reader(*training->getObject("mor"), "train_config.yaml: mor",
                      config.getLog());
  decoder.router = readRouter(reader, sharing, mode);
  config.finishNested(reader);
  if (config.hasFailed())
    return;
  decoder.router->sharesKV = sharesKV;
  // There all rows run the first visit, whether it is merged or not.
  if (sharesKV && !decoder.router->capacities.empty() &&
      decoder.router->capacities.front() != 1)
    return config.fail("'mor.capacity' of the first visit is not 1, whose keys "
                       "and values the others share; train with 1");
  decoder.trainedKV = !sharesKV     ? "recursion-wise"
                      : updatesKV() ? "hybrid"
                                    : "shared-first";
  if (updatesKV() && decoder.router->rule != RouteRule::TopK)
    return config.fail("'kv_sharing.update_cache' holds for one call and a "
                       "router of experts as released; leave --routing out, or "
                       "train without it");
  decoder.traceLayers = false;
  decoder.layerKeys = std::make_shared<RoutedKeys>(decoder.keys->layerPrefix,
                                                   std::move(sharing), ownNorms,
                                                   decoder.router->isChoice());
}

void TrainingFolder::apply(ConfigReader &config, Decoder &decoder,
                           std::optional<RoutingMode> routing) const {
  Sharing sharing = Sharing::createPlain(decoder.layers);
  bool ownNorms = false;
  if (training && isEnabled("recursive")) {
    ConfigReader recursive(*training->getObject("recursive"),
                           "train_config.yaml: recursive", config.getLog());
    StringRef kind = recursive.getOptionalText("sharing").value_or("");
    int64_t visits = recursive.getCount("num_recursion", UINT16_MAX);
    ownNorms = !recursive.getFlag("ln_share");
    recursive.ignore({"enable", "base_depth", "initialization"});
    config.finishNested(recursive);
    if (config.hasFailed())
      return;
    Expected<Sharing> found = Sharing::create(kind, decoder.layers, visits);
    if (!found)
      return config.fail(toString(found.takeError()));
    sharing = std::move(*found);
  }
  bool reusesKV = training && sharesKV(config, sharing);
  decoder.layers = sharing.getStored();
  decoder.schedule =
      sharing.makeSchedule(!reusesKV     ? KVPolicy::getPerDepth()
                           : updatesKV() ? KVPolicy::getHybrid()
                                         : KVPolicy::getFirstStep());
  if (training && isEnabled("mor"))
    return applyRouter(config, decoder, std::move(sharing), ownNorms, reusesKV,
                       routing);
  if (reusesKV)
    decoder.trainedKV = "first-step";
  decoder.layerKeys = std::make_shared<UnrolledKeys>(
      decoder.keys->layerPrefix, std::move(sharing), ownNorms, adapter);
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// Takes `part` out of `key`.
static void remove(std::string &key, StringRef part, StringRef by) {
  if (size_t at = key.find(part.data(), 0, part.size());
      at != std::string::npos)
    key.replace(at, part.size(), by.data(), by.size());
}

std::string TrainingFolder::rename(StringRef key) {
  key.consume_front("base_model.model.");
  std::string name = key.str();
  remove(name, ".block.", ".");
  remove(name, ".base_layer.", ".");
  remove(name, ".default.weight", ".weight");
  return name;
}

Error TrainingFolder::openAdapter(TensorTable &tensors,
                                  ArchiveSet &archives) const {
  std::string path = joinPath(adapterFolder, "adapter_model.safetensors");
  if (!adapter || (!isFile(path) && adapterFolder == folder))
    return Error::success();
  Expected<std::unique_ptr<Archive>> archive = openArchive(path);
  if (!archive)
    return archive.takeError();
  if (tensors.addBeside(**archive, rename) == 0)
    return Error::success();
  return archives.add(std::move(*archive));
}
