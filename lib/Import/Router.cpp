//===- Router.cpp - what chooses the rows of visits -----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Router.h"
#include "Json.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace rondo;

//===----------------------------------------------------------------------===//
// Configuration
//===----------------------------------------------------------------------===//

namespace {
/// Reads the section by its kind of router.
class RouterReader {
public:
  RouterReader(ConfigReader &config, const Sharing &sharing,
               std::optional<RoutingMode> mode)
      : config(config), sharing(sharing), mode(mode) {}

  Router read() {
    StringRef type = config.getWord("type", {"expert", "token"});
    bool isExpert = type == "expert";
    checkSharing(isExpert);
    readCapacities(isExpert);
    if (config.getOptionalFlag("rand_router"))
      config.fail("'rand_router' draws its scores, which is not supported; "
                  "train with a router");
    StringRef kind =
        config.getWord("router_type", {"linear", "mlp", "wide_mlp"});
    router.isMLP = kind != "linear";
    router.temperature = config.getPositive("temp");
    config.ignore({"enable", "z_loss", "z_coeff"});
    config.ignore(
        {isExpert ? StringLiteral("token") : StringLiteral("expert")});
    const json::Object *object = config.getOptionalObject(type);
    if (!object)
      config.fail("required section " + quoted(type) + " is missing");
    if (config.hasFailed())
      return router;
    ConfigReader section(*object, config.nest(type), config.getLog());
    if (isExpert)
      readExpert(section);
    else
      readToken(section);
    config.finishNested(section);
    return router;
  }

private:
  void checkSharing(bool isExpert) {
    StringRef name = sharing.getName();
    bool isKnown = name == "middle_cycle" || (isExpert && name == "cycle");
    if (!isKnown)
      config.fail("'recursive.sharing' is " + quoted(name) + "; a router of " +
                  (isExpert ? "experts needs cycle or middle_cycle"
                            : "tokens needs middle_cycle"));
  }

  /// One number for each visit, as text; without them visit r of R takes
  /// (R - r) / R.
  void readCapacities(bool isExpert) {
    int64_t visits = sharing.getVisits();
    std::optional<StringRef> text = config.getOptionalText("capacity");
    if (!text) {
      for (int64_t r = 0; r < visits; ++r)
        router.capacities.push_back(static_cast<double>(visits - r) / visits);
      return;
    }
    SmallVector<StringRef> parts;
    text->split(parts, ',');
    for (StringRef part : parts) {
      double capacity = 0;
      if (!to_float(part.trim(), capacity) || !(capacity > 0 && capacity <= 1))
        return config.fail("'capacity' has " + quoted(part) +
                           ", expected numbers above 0 and not above 1");
      if (!router.capacities.empty() && capacity > router.capacities.back())
        return config.fail("'capacity' rises to " + quoted(part) +
                           ", but a visit takes no more rows than the one "
                           "before it");
      router.capacities.push_back(capacity);
    }
    if (static_cast<int64_t>(parts.size()) != visits && isExpert)
      config.fail("'capacity' has " + Twine(parts.size()) +
                  " numbers, expected one for each of " + Twine(visits) +
                  " visits");
  }

  void readFunction(ConfigReader &section, ArrayRef<StringLiteral> words) {
    StringRef name = section.getWord("router_func", words, /*absent=*/"null");
    router.function = name == "sigmoid"   ? RouteFunction::Sigmoid
                      : name == "tanh"    ? RouteFunction::Tanh
                      : name == "softmax" ? RouteFunction::Softmax
                                          : RouteFunction::Identity;
    router.alpha = section.getPositive("alpha");
    // The raw output is taken as it is.
    if (router.function == RouteFunction::Identity)
      router.alpha = 1;
    router.additive =
        section.getWord("gating", {"weighted", "additive"}) == "additive";
  }

  void readExpert(ConfigReader &section) {
    readFunction(section, {"sigmoid", "tanh", "null"});
    StringRef sampling = section.getWord(
        "sampling", {"aux_loss", "aux_router", "null"}, /*absent=*/"null");
    router.hasAuxiliary = sampling == "aux_router";
    section.ignore({"cap_warmup_step", "include_first", "coeff"});
    int64_t first = sharing.getName() == "cycle" ? 0 : 1;
    for (int64_t r = 0; r < sharing.getVisits(); ++r)
      router.keys.push_back("model.layers." + std::to_string(first + r) +
                            ".mor_router.router");
    if (mode == RoutingMode::Causal)
      makeCausal(sampling);
    else if (!mode)
      section.getLog().push_back(
          "routing as released: a prompt is routed whole, new tokens run all "
          "visits; --routing=causal routes each row by itself");
  }

  void makeCausal(StringRef sampling) {
    if (sampling != "aux_loss")
      config.fail(
          "'expert.sampling' is " + quoted(sampling) +
          ", but --routing=causal needs a router that is trained to say "
          "who goes on, aux_loss; leave it out");
    if (router.capacities.front() != 1)
      config.fail("'capacity' of the first visit is not 1, but "
                  "--routing=causal takes every row there; leave it out");
    router.rule = RouteRule::Threshold;
    router.capacities.clear();
  }

  void readToken(ConfigReader &section) {
    router.rule = RouteRule::Choice;
    router.capacities.clear();
    readFunction(section, {"softmax", "sigmoid"});
    router.hasBiases =
        section.getWord("balancing", {"loss", "loss_free"}) == "loss_free";
    section.ignore({"bal_warmup_step", "coeff", "u"});
    router.keys.push_back("model.layers.1.mor_router.router");
    router.biasesKey = "model.layers.1.router_bias";
    if (mode)
      config.fail("--routing is for routers of experts; rows of this model "
                  "choose their depth by themselves anyway, leave it out");
  }

  ConfigReader &config;
  const Sharing &sharing;
  std::optional<RoutingMode> mode;
  Router router;
};
} // namespace

Router rondo::readRouter(ConfigReader &config, const Sharing &sharing,
                         std::optional<RoutingMode> mode) {
  return RouterReader(config, sharing, mode).read();
}

//===----------------------------------------------------------------------===//
// Keys
//===----------------------------------------------------------------------===//

RoutedKeys::RoutedKeys(StringRef prefix, Sharing sharing, bool ownNorms,
                       bool isChoice)
    : LayerKeys(prefix), prefix(prefix.str()), sharing(std::move(sharing)),
      ownNorms(ownNorms), isChoice(isChoice) {}

bool RoutedKeys::hasOwnNorms(int64_t layer) const {
  return ownNorms && !sharing.isEdge(layer);
}

int64_t RoutedKeys::getDepths(int64_t layer) const {
  return sharing.getDepths(layer);
}

std::string RoutedKeys::getShared(int64_t layer, StringRef name) const {
  return getAtDepth(layer, 0, name);
}

SmallVector<std::string> RoutedKeys::getCopies(int64_t layer,
                                               StringRef name) const {
  SmallVector<std::string> copies;
  for (int64_t depth = 1; depth < getDepths(layer); ++depth)
    copies.push_back(getAtDepth(layer, depth, name));
  return copies;
}

/// Checkpoints of the authors' first code have an attention of its own for each
/// visit, where experts are routed.
bool RoutedKeys::mayVary(int64_t layer, StringRef name) const {
  return !isChoice && !sharing.isEdge(layer) && name.starts_with("self_attn.");
}

/// The wrapper `block` is left out, as TrainingFolder::rename does.
std::string RoutedKeys::getAtDepth(int64_t layer, int64_t depth,
                                   StringRef name) const {
  int64_t edges = sharing.isEdge(0) ? 1 : 0;
  auto make = [&](const Twine &module) {
    return (prefix + module + "." + name).str();
  };
  if (sharing.isEdge(layer)) {
    int64_t modules = isChoice ? 1 : sharing.getVisits();
    return make(Twine(layer == 0 ? 0 : edges + modules));
  }
  if (isChoice)
    return make(Twine(edges) + ".block_list." + Twine(depth) + "." +
                Twine(layer - edges));
  return make(Twine(edges + depth) + "." + Twine(layer - edges));
}
