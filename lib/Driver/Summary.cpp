//===- Summary.cpp - what a compilation made ------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Summary.h"

#include "Check.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Target/CPU/Machine.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace rondo;

static StringRef getText(ModuleOp module, StringRef key) {
  auto text = module->getAttrOfType<StringAttr>(key);
  return text ? text.getValue() : "unknown";
}

std::string rondo::describeLayers(int64_t depth, int64_t unique,
                                  int64_t executed) {
  return llvm::formatv("depth {0}, {1} unique layer{2}, {3} executed", depth,
                       unique, unique == 1 ? "" : "s", executed);
}

/// "layer x 30; depth 2, 30 unique layers, 60 executed".
static std::string describeSchedule(const Plan &plan) {
  std::string text;
  for (const BlockPlan &block : plan.blocks)
    text += llvm::formatv("{0}{1} x {2}", text.empty() ? "" : ", ", block.name,
                          block.layers);
  return text + "; " +
         describeLayers(plan.depth, plan.uniqueLayers, plan.executedLayers);
}

static std::string describeTarget(ModuleOp module) {
  auto target = module->getAttrOfType<DictionaryAttr>(kTargetAttr);
  llvm::Expected<cpu::Machine> machine = cpu::getMachine(target);
  if (!machine)
    return toString(machine.takeError());
  return "cpu:" + machine->cpu + " (" +
         llvm::join(cpu::getFeatureNames(machine->features), ", ") + ")";
}

void rondo::writeSummary(const SummaryInputs &inputs) {
  ModuleOp module = inputs.module;
  auto line = [](StringRef key, const llvm::Twine &value) {
    llvm::errs() << llvm::formatv("  {0,-13} ", key) << value << '\n';
  };
  llvm::errs() << "rondoc: wrote '" << inputs.path << "', "
               << formatBytes(inputs.sizes.file) << '\n';
  line("architecture", getText(module, kArchitectureAttr));
  line("schedule", describeSchedule(inputs.plan));
  line("KV policy", getText(module, kKVPolicyAttr));
  auto exit = module->getAttrOfType<StringAttr>("rondo_rt.exit_rule");
  line("exit rule", exit ? exit.getValue() : StringRef("none (fixed depth)"));
  line("arithmetic", inputs.plan.arithmetic);
  line("weights", formatBytes(inputs.sizes.weights));
  line("code", formatBytes(inputs.sizes.code));
  line("arena", formatBytes(inputs.plan.arenaBytes));
  line("target", describeTarget(module));
  line("time", llvm::formatv("{0:f1} s", inputs.seconds).str());
}

ProgressBar::ProgressBar(StringRef title)
    : title(title), terminal(llvm::errs().is_displayed()) {}

void ProgressBar::show(uint64_t done, uint64_t all) {
  int percent = all ? static_cast<int>(done * 100 / all) : 100;
  if (!terminal || percent == shown)
    return;
  shown = percent;
  constexpr int kWidth = 40;
  int filled = percent * kWidth / 100;
  llvm::errs() << '\r' << title << " [" << std::string(filled, '=')
               << std::string(kWidth - filled, ' ') << "] " << percent << "%";
}

void ProgressBar::clear() {
  if (terminal && shown >= 0)
    llvm::errs() << '\r' << std::string(title.size() + 50, ' ') << '\r';
}
