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

/// Reads a theta that may stand in two places.
static double readTheta(ConfigReader &config, ConfigReader *parameters) {
  std::optional<double> outer = config.getOptionalPositive("rope_theta");
  std::optional<double> inner =
      parameters ? parameters->getOptionalPositive("rope_theta") : std::nullopt;
  if (outer && inner && *outer != *inner)
    config.fail("'rope_theta' is " + formatNumber(*outer) +
                ", in 'rope_parameters' it is " + formatNumber(*inner) +
                "; remove the wrong one");
  if (!outer && !inner && !config.hasFailed())
    config.fail("required key 'rope_theta' is missing, alone or in "
                "'rope_parameters'; add the model's number");
  return inner.value_or(outer.value_or(1.0));
}

/// Reads a description of frequencies ("rope_scaling", "rope_parameters").
static RopeScaling readScaling(ConfigReader &config) {
  RopeScaling scaling;
  std::optional<StringRef> type = config.getOptionalText("rope_type");
  std::optional<StringRef> oldType = config.getOptionalText("type");
  if (type && oldType && *type != *oldType)
    config.fail("'rope_type' is " + quoted(*type) + ", 'type' is " +
                quoted(*oldType) + "; remove the wrong one");
  StringRef kind = type.value_or(oldType.value_or("default"));
  if (std::optional<double> part =
          config.getOptionalPositive("partial_rotary_factor"))
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

SmallVector<float> rondo::readRope(ConfigReader &config, int64_t headDim) {
  std::optional<RopeScaling> scaling;
  std::optional<ConfigReader> parameters;
  if (const json::Object *object =
          config.getOptionalObject("rope_parameters")) {
    parameters.emplace(*object, config.nest("rope_parameters"),
                       config.getLog());
    scaling = readScaling(*parameters);
  }
  double theta = readTheta(config, parameters ? &*parameters : nullptr);
  if (parameters)
    config.finishNested(*parameters);
  if (const json::Object *object = config.getOptionalObject("rope_scaling")) {
    ConfigReader reader(*object, config.nest("rope_scaling"), config.getLog());
    RopeScaling old = readScaling(reader);
    config.finishNested(reader);
    if (scaling && !areEqual(*scaling, old))
      config.fail("'rope_parameters' and 'rope_scaling' describe different "
                  "frequencies; remove the wrong one");
    scaling = old;
  }
  return computeRopeFrequencies(theta, headDim,
                                scaling.value_or(RopeScaling()));
}
