//===- Describe.cpp - the manifest for people and programs ----------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The runtime has checked the manifest, so members are read without checks
// here.
//===----------------------------------------------------------------------===//
#include "Describe.h"

#include <nlohmann/json.hpp>

#include <cstdio>

using namespace rondo_run;
using Json = nlohmann::json;

namespace {

void line(const char *label, const std::string &text) {
  std::printf("%-14s %s\n", label, text.c_str());
}

/// From here on a number with one decimal would read 1000.0.
constexpr double kNextUnit = 999.95;

std::string bytesText(double bytes) {
  static const char *const kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  for (; bytes >= (unit ? kNextUnit : 1000) && unit < 4; ++unit)
    bytes /= 1000;
  char text[48];
  std::snprintf(text, sizeof(text), unit ? "%.1f %s" : "%.0f %s", bytes,
                kUnits[unit]);
  return text;
}

/// The members of an array of strings, or of one member of its objects.
std::string join(const Json &array, const char *member = nullptr) {
  std::string text;
  for (const Json &element : array) {
    text += text.empty() ? "" : ", ";
    text += (member ? element[member] : element).get<std::string>();
  }
  return text.empty() ? "none" : text;
}

std::string number(const Json &value) { return value.dump(); }

/// "1 layer", "2 layers".
std::string count(const Json &value, const std::string &noun) {
  return number(value) + " " + noun + (value == 1 ? "" : "s");
}

void describeSchedule(const Json &schedule) {
  line("schedule", "depth " + number(schedule["depth"]) + ", " +
                       count(schedule["unique_layers"], "unique layer") + ", " +
                       number(schedule["executed_layers"]) + " executed");
  for (const Json &block : schedule["blocks"])
    line("  block", block["name"].get<std::string>() + ": " +
                        count(block["layers"], "layer") + ", " +
                        count(block["visits"], "visit"));
}

void describeStages(const Json &stages) {
  for (const Json &stage : stages)
    line("  stage", stage["name"].get<std::string>() + ": " +
                        number(stage["executions"]) + " x " +
                        bytesText(stage["bytes"].get<double>()));
}

/// Bytes of a tensor of the bundle by name, 0 if there is none.
double tensorBytes(const Json &manifest, const std::string &name) {
  for (const Json &tensor : manifest["tensors"])
    if (tensor["name"] == name)
      return tensor["bytes"].get<double>();
  return 0;
}

void describeSizes(const Json &manifest) {
  const Json &kv = manifest["kv"];
  line("weights", manifest["weights"].get<std::string>() + ", " +
                      bytesText(manifest["weight_bytes"].get<double>()) +
                      (manifest["weightless"] ? " (weightless)" : ""));
  line("code", bytesText(tensorBytes(manifest, "code.cpu")));
  line("arena", bytesText(manifest["arena_bytes"].get<double>()));
  line("scratch",
       bytesText(manifest["scratch_bytes"].get<double>()) + " a thread");
  line("kv", kv["type"].get<std::string>() + ", policy " +
                 kv["policy"].get<std::string>() + ", " + number(kv["slots"]) +
                 " slots, " + bytesText(kv["page_bytes"].get<double>()) +
                 " for " + number(kv["page_positions"]) + " positions");
}

} // namespace

void rondo_run::describe(const rondo_rt_model *model, bool json) {
  Json manifest = Json::parse(rondo_rt_model_manifest(model));
  if (json) {
    std::printf("%s\n", manifest.dump(2).c_str());
    return;
  }
  const Json &target = manifest["target"];
  line("name", manifest["name"]);
  line("architecture", manifest["architecture"]);
  line("producer", manifest["producer"]);
  line("ABI", number(manifest["abi"]));
  line("target", target["kind"].get<std::string>() + ", " +
                     target["cpu"].get<std::string>() + ", needs " +
                     join(target["features"]));
  line("arithmetic", manifest["arithmetic"]);
  line("vocabulary", number(manifest["vocabulary"]));
  line("outputs",
       join(manifest["outputs"], "name") +
           (manifest["scope"] == "cohort" ? ", of whole sequences in one step"
                                          : ""));
  line("context", number(manifest["context"]) + " positions, " +
                      number(manifest["sequences"]) + " sequences, " +
                      number(manifest["rows"]) + " rows a step");
  for (const Json &input : manifest["inputs"])
    line("input", input["name"].get<std::string>() + ", " +
                      number(input["width"]) + " numbers a position, " +
                      input["init"].get<std::string>() +
                      (input["init"] == "given" ? "" : " unless given"));
  describeSchedule(manifest["schedule"]);
  describeStages(manifest["stages"]);
  describeSizes(manifest);
  line("archives", join(manifest["archives"], "name"));
  line("tokenizer", manifest["tokenizer"] ? "yes" : "no");
  line("trace points", std::to_string(manifest["trace"].size()));
}

size_t rondo_run::countTensors(const rondo_rt_model *model) {
  return Json::parse(rondo_rt_model_manifest(model))["tensors"].size();
}
