//===- Adapter.cpp - what adapter_config.json says ------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Adapter.h"
#include "Config.h"
#include "Json.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Regex.h"
#include <cmath>

using namespace llvm;
using namespace rondo;

/// Bookkeeping, training, and where layers got their deltas, which the tensors
/// say themselves.
static constexpr StringLiteral kInertKeys[] = {
    "auto_mapping",    "base_model_name_or_path",
    "corda_config",    "ensure_weight_tying",
    "eva_config",      "exclude_modules",
    "inference_mode",  "init_lora_weights",
    "layers_pattern",  "layers_to_transform",
    "loftq_config",    "lora_dropout",
    "megatron_config", "megatron_core",
    "peft_version",    "revision",
    "runtime_config",  "task_type",
};

/// Checks what the numbers of `values` cannot say.
static void checkOptions(ConfigReader &config) {
  StringRef type = config.getOptionalText("peft_type").value_or("");
  if (type != "LORA")
    config.fail("'peft_type' is " + quoted(type) +
                "; known: LORA, merge others into the weights");
  StringRef bias = config.getOptionalText("bias").value_or("none");
  if (bias != "none")
    config.fail("'bias' is " + quoted(bias) +
                ", which is not supported; merge the adapter into the weights");
  config.getPositive("r");
  config.getPositive("lora_alpha");
  config.getOptionalObject("rank_pattern");
  config.getOptionalObject("alpha_pattern");
  config.getOptionalFlag("use_rslora");
  if (!config.getOptionalArray("target_modules"))
    config.fail("'target_modules' is no list of names of modules; take the "
                "file that PEFT wrote");
}

Expected<AdapterConfig> AdapterConfig::read(StringRef path) {
  Expected<json::Object> object = readJsonFile(path);
  if (!object)
    return object.takeError();
  AdapterConfig adapter;
  adapter.path = path.str();
  adapter.values = std::move(*object);
  ImportLog log;
  ConfigReader reader(adapter.values, adapter.path, log);
  reader.ignore(kInertKeys);
  checkOptions(reader);
  // Every other key that is set changes what a delta is (DoRA, QALoRA, ...).
  if (Error error = reader.finish())
    return std::move(error);
  return std::move(adapter);
}

Expected<double> AdapterConfig::find(StringRef pattern, StringRef linear,
                                     double fallback) const {
  const json::Object *entries = values.getObject(pattern);
  if (!entries)
    return fallback;
  for (const auto &[key, value] : *entries) {
    std::optional<double> number = value.getAsNumber();
    Regex expression("^(.*\\.)?(" + StringRef(key).str() + ")$");
    std::string fault;
    if (!number || !(*number > 0) || !std::isfinite(*number) ||
        !expression.isValid(fault))
      return importError(quoted(path) + ": the entry " +
                         quoted(StringRef(key)) + " of " + quoted(pattern) +
                         " is no number above 0 for a name; take the file that "
                         "PEFT wrote");
    if (expression.match(linear))
      return *number;
  }
  return fallback;
}

Expected<double> AdapterConfig::getScale(StringRef linear, int64_t rank) const {
  const json::Array &targets = *values.getArray("target_modules");
  if (none_of(targets, [&](const json::Value &target) {
        StringRef name = target.getAsString().value_or("");
        StringRef rest = linear;
        return rest.consume_back(name) && (rest.empty() || rest.back() == '.');
      }))
    return importError(quoted(path) + ": " + quoted(linear) +
                       " has a delta, but 'target_modules' does not name it; "
                       "take the adapter's own configuration");
  Expected<double> expected =
      find("rank_pattern", linear, *values.getNumber("r"));
  if (!expected)
    return expected.takeError();
  if (double(rank) != *expected)
    return importError("the delta of " + quoted(linear) + " has rank " +
                       Twine(rank) + ", but " + quoted(path) + " says " +
                       formatNumber(*expected) +
                       "; take the adapter's own configuration");
  Expected<double> alpha =
      find("alpha_pattern", linear, *values.getNumber("lora_alpha"));
  if (!alpha)
    return alpha.takeError();
  bool rankStabilized = values.getBoolean("use_rslora").value_or(false);
  return *alpha / (rankStabilized ? std::sqrt(double(rank)) : double(rank));
}
