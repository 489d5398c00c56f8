//===- RopeConfig.cpp - rotary frequencies of a config.json ---------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 one
// object `rope_parameters`; both are in the wild, sometimes in one file, and
// must then agree.
//
//===----------------------------------------------------------------------===//
#include "RopeConfig.h"
#include "Rope.h"
#include "Support.h"

using namespace llvm;
using namespace rondo;

static constexpr StringLiteral kFraction = "partial_rotary_factor";

/// Reads a number that may stand under several names, and in `rope_parameters`
/// under the name `inner`.
static double readNumber(ConfigReader &config, ConfigReader *parameters,
                         ArrayRef<StringLiteral> names, StringRef inner) {
  std::optional<double> found;
  StringRef where;
  for (StringRef name : names) {
    std::optional<double> number = config.getOptionalPositive(name);
    if (found && number && *found != *number)
      config.fail(quoted(where) + " is " + formatNumber(*found) + ", " +
                  quoted(name) + " is " + formatNumber(*number) +
                  "; remove the wrong one");
    if (number)
      std::tie(found, where) = std::tie(number, name);
  }
  std::optional<double> nested =
      parameters ? parameters->getOptionalPositive(inner) : std::nullopt;
  if (found && nested && *found != *nested)
    config.fail(quoted(where) + " is " + formatNumber(*found) +
                ", in 'rope_parameters' it is " + formatNumber(*nested) +
                "; remove the wrong one");
  if (!found && !nested && !config.hasFailed())
    config.fail("required key " + quoted(names.front()) + " is missing, " +
                (inner == names.front() ? "alone or in"
                                        : "or " + quoted(inner) + " in") +
                " 'rope_parameters'; add the model's number");
  return nested.value_or(found.value_or(1.0));
}

/// Reads a description of frequencies ("rope_scaling", "rope_parameters").
static RopeScaling readScaling(ConfigReader &config, bool turnsWholeHeads) {
  RopeScaling scaling;
  std::optional<StringRef> type = config.getOptionalText("rope_type");
  std::optional<StringRef> oldType = config.getOptionalText("type");
  if (type && oldType && *type != *oldType)
    config.fail("'rope_type' is " + quoted(*type) + ", 'type' is " +
                quoted(*oldType) + "; remove the wrong one");
  StringRef kind = type.value_or(oldType.value_or("default"));
  if (turnsWholeHeads)
    if (std::optional<double> part = config.getOptionalPositive(kFraction))
      if (*part != 1.0)
        config.fail("'partial_rotary_factor' is " + formatNumber(*part) +
                    ", but this family turns whole heads");
  config.logDecision("rope type " + kind);
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::Linear;
    scaling.factor = config.getPositive("factor");
  } else if (kind == "llama3") {
    scaling.kind = RopeScaling::Kind::Llama3;
    scaling.factor = config.getPositive("factor");
    scaling.lowFrequencyFactor = config.getPositive("low_freq_factor");
    scaling.highFrequencyFactor = config.getPositive("high_freq_factor");
    scaling.originalContext =
        config.getCount("original_max_position_embeddings");
    if (scaling.highFrequencyFactor <= scaling.lowFrequencyFactor)
      config.fail("'high_freq_factor' must be above 'low_freq_factor'");
  } else if (kind != "default") {
    config.fail("rope type " + quoted(kind) +
                " is not supported; known: default, linear, llama3");
  }
  return scaling;
}

static bool areEqual(const RopeScaling &a, const RopeScaling &b) {
  return a.kind == b.kind && a.factor == b.factor &&
         a.lowFrequencyFactor == b.lowFrequencyFactor &&
         a.highFrequencyFactor == b.highFrequencyFactor &&
         a.originalContext == b.originalContext;
}

/// Dimensions of a head that are turned.
static int64_t readTurned(ConfigReader &config, ConfigReader *parameters,
                          int64_t headDim, const RopeNames &names) {
  if (names.fraction.empty())
    return headDim;
  double fraction = readNumber(config, parameters, names.fraction, kFraction);
  int64_t turned = std::min(fraction, 1.0) * headDim;
  if (fraction > 1 || turned < 2 || turned % 2 != 0)
    config.fail(quoted(names.fraction.front()) + " is " +
                formatNumber(fraction) + " of heads of " + Twine(headDim) +
                " dimensions, but rope turns an even number of 2 to " +
                Twine(headDim));
  return turned;
}

SmallVector<float> rondo::readRope(ConfigReader &config, int64_t headDim,
                                   const RopeNames &names) {
  bool wholeHeads = names.fraction.empty();
  std::optional<RopeScaling> scaling;
  std::optional<ConfigReader> parameters;
  if (const json::Object *object =
          config.getOptionalObject("rope_parameters")) {
    parameters.emplace(*object, config.nest("rope_parameters"),
                       config.getLog());
    scaling = readScaling(*parameters, wholeHeads);
  }
  ConfigReader *nested = parameters ? &*parameters : nullptr;
  double theta = readNumber(config, nested, names.theta, "rope_theta");
  int64_t turned = readTurned(config, nested, headDim, names);
  if (parameters)
    config.finishNested(*parameters);
  if (const json::Object *object = config.getOptionalObject("rope_scaling")) {
    ConfigReader reader(*object, config.nest("rope_scaling"), config.getLog());
    RopeScaling old = readScaling(reader, wholeHeads);
    config.finishNested(reader);
    if (scaling && !areEqual(*scaling, old))
      config.fail("'rope_parameters' and 'rope_scaling' describe different "
                  "frequencies; remove the wrong one");
    scaling = old;
  }
  return computeRopeFrequencies(theta, turned, scaling.value_or(RopeScaling()));
}
