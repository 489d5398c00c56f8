//===- ModuleOptions.cpp - options as attributes of a module --------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "ModuleOptions.h"

#include "Diagnostics.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Driver/SelectStorage.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/StringSwitch.h"

#include <algorithm>

using namespace mlir;
using namespace rondo;

/// Defaults of the command line, see its `--help`.
static constexpr int64_t kDefaultContext = 4096;
static constexpr int64_t kDefaultSequences = 16;
static constexpr int64_t kDefaultRows = 512;
static constexpr int64_t kDefaultOptimization = kMaxOptimization;

//===----------------------------------------------------------------------===//
// Phase
//===----------------------------------------------------------------------===//

FailureOr<Phase> rondo::settlePhase(ModuleOp module,
                                    std::optional<Phase> given) {
  std::optional<Phase> phase = given.value_or(Phase::Input);
  if (auto said = module->getAttrOfType<StringAttr>(kPhaseAttr)) {
    phase = symbolizePhase(said.getValue());
    if (!phase || *phase == Phase::Artifact)
      return module.emitError("'rondo.phase' is '")
             << said.getValue() << "', which is no phase of a module";
    if (given && *given != *phase)
      return module.emitError("module is at phase '")
             << said.getValue() << "', but --compile-from says '"
             << stringifyPhase(*given) << "'; leave the option out";
  }
  module->setAttr(kPhaseAttr,
                  StringAttr::get(module.getContext(), stringifyPhase(*phase)));
  return *phase;
}

//===----------------------------------------------------------------------===//
// First setting
//===----------------------------------------------------------------------===//

/// Longest sequence: as given, else the checkpoint's within the default.
static int64_t chooseContext(ModuleOp module, const ModelOptions &options) {
  auto limit = module->getAttrOfType<IntegerAttr>(kContextLimitAttr);
  if (options.context) {
    if (limit && *options.context > limit.getInt())
      report("warning", "--context=" + std::to_string(*options.context) +
                            " is beyond the " + std::to_string(limit.getInt()) +
                            " positions that the checkpoint is made for");
    return *options.context;
  }
  return limit ? std::min(limit.getInt(), kDefaultContext) : kDefaultContext;
}

/// Storage of keys and values: as given, else f32 where nothing else rounds.
static Type chooseKV(ModuleOp module, const ModelOptions &options) {
  MLIRContext *ctx = module.getContext();
  bool isExact = options.exact || getMainStorage(module) == StorageType::F32;
  std::string name = options.kv.value_or(isExact ? "f32" : "bf16");
  if (name == "f32")
    return Float32Type::get(ctx);
  return name == "f16" ? Type(Float16Type::get(ctx))
                       : Type(BFloat16Type::get(ctx));
}

static void setOptions(ModuleOp module, const ModelOptions &options) {
  Builder builder(module.getContext());
  auto entry = [&](StringRef key, Attribute value) {
    return builder.getNamedAttr(key, value);
  };
  StringRef weights =
      options.weights ? StringRef(options.weights->text) : StringRef("keep");
  module->setAttr(
      kOptionsAttr,
      builder.getDictionaryAttr({
          entry("context",
                builder.getI64IntegerAttr(chooseContext(module, options))),
          entry("sequences",
                builder.getI64IntegerAttr(
                    options.sequences.value_or(kDefaultSequences))),
          entry("rows",
                builder.getI64IntegerAttr(options.rows.value_or(kDefaultRows))),
          entry("kv", TypeAttr::get(chooseKV(module, options))),
          entry("arithmetic",
                builder.getStringAttr(options.exact ? "exact" : "fast")),
          entry("weights", builder.getStringAttr(weights)),
          entry("lora", builder.getStringAttr(options.lora.value_or("auto"))),
          entry("optimization",
                builder.getI64IntegerAttr(
                    options.optimization.value_or(kDefaultOptimization))),
          entry("trace", builder.getBoolAttr(options.tracePoints)),
          entry("weightless", builder.getBoolAttr(options.weightless)),
      }));
}

//===----------------------------------------------------------------------===//
// Settings that are there already
//===----------------------------------------------------------------------===//

/// `option` is what stands in front of the value, as in "--rows=".
static LogicalResult conflict(ModuleOp module, StringRef option,
                              const llvm::Twine &given,
                              const llvm::Twine &recorded) {
  return module.emitError("module was made with ")
         << option << recorded << ", but the command line says " << given
         << "; leave the option out, or compile from the checkpoint";
}

/// Text of an option's recorded value, as a user writes it.
static std::string printValue(Attribute value) {
  if (auto text = dyn_cast<StringAttr>(value))
    return text.str();
  if (auto integer = dyn_cast<IntegerAttr>(value))
    return std::to_string(integer.getInt());
  std::string text;
  llvm::raw_string_ostream os(text);
  value.print(os, /*elideType=*/true);
  return text;
}

/// Compares the values that the command line gives with those of the module.
class ConflictChecker {
public:
  ConflictChecker(ModuleOp module, DictionaryAttr options)
      : module(module), options(options) {}

  /// Checks an option with a value, if it was given. `option` is what stands in
  /// front of the value.
  void value(StringRef option, StringRef key,
             const std::optional<std::string> &given) {
    std::string recorded = printValue(options.get(key));
    if (succeeded(result) && given && recorded != *given)
      result = conflict(module, option, *given, recorded);
  }
  /// Checks a flag: given, it has to be on.
  void flag(StringRef name, StringRef key, Attribute on, bool given) {
    if (failed(result) || !given || options.get(key) == on)
      return;
    result = module.emitError("module was made without ")
             << name << "; leave the option out, or compile from the "
             << "checkpoint";
  }

  LogicalResult result = success();

private:
  ModuleOp module;
  DictionaryAttr options;
};

static std::optional<std::string> toText(std::optional<int64_t> number) {
  if (!number)
    return std::nullopt;
  return std::to_string(*number);
}

static bool isBetween(int64_t least, int64_t most, Attribute value) {
  auto integer = dyn_cast<IntegerAttr>(value);
  return integer && integer.getType().isSignlessInteger(64) &&
         integer.getInt() >= least && integer.getInt() <= most;
}

/// Whether an option has a value that a command line can give: a dump may have
/// been edited.
static bool isValid(StringRef key, Attribute value) {
  auto type = dyn_cast<TypeAttr>(value);
  return llvm::StringSwitch<bool>(key)
      .Case("context", isBetween(1, kMaxContext, value))
      .Case("sequences", isBetween(1, kMaxSequences, value))
      .Case("rows", isBetween(1, kMaxRows, value))
      .Case("optimization", isBetween(0, kMaxOptimization, value))
      .Case("kv", type && isa<Float32Type, BFloat16Type, Float16Type>(
                              type.getValue()))
      .Cases({"trace", "weightless"}, isa<BoolAttr>(value))
      .Default(isa<StringAttr>(value));
}

/// Checks that all options are there and valid.
static LogicalResult verifyOptions(ModuleOp module, DictionaryAttr recorded) {
  for (StringRef key :
       {"context", "sequences", "rows", "kv", "arithmetic", "weights", "lora",
        "optimization", "trace", "weightless"}) {
    Attribute value = recorded.get(key);
    if (!value)
      return module.emitError("'rondo.options' lacks '") << key << "'";
    if (!isValid(key, value))
      return module.emitError("'rondo.options' has no valid '")
             << key << "', got " << value;
  }
  return success();
}

static LogicalResult checkOptions(ModuleOp module, DictionaryAttr recorded,
                                  const ModelOptions &options) {
  if (failed(verifyOptions(module, recorded)))
    return failure();
  Builder builder(module.getContext());
  ConflictChecker checker(module, recorded);
  checker.value("--context=", "context", toText(options.context));
  checker.value("--sequences=", "sequences", toText(options.sequences));
  checker.value("--rows=", "rows", toText(options.rows));
  checker.value("--kv=", "kv", options.kv);
  checker.value("-O", "optimization", toText(options.optimization));
  checker.value("--lora=", "lora", options.lora);
  if (options.weights)
    checker.value("--weights=", "weights", options.weights->text);
  checker.flag("--exact", "arithmetic", builder.getStringAttr("exact"),
               options.exact);
  checker.flag("--trace-points", "trace", builder.getBoolAttr(true),
               options.tracePoints);
  checker.flag("--weightless", "weightless", builder.getBoolAttr(true),
               options.weightless);
  return checker.result;
}

/// Sets the target, or checks the one that the module has.
static LogicalResult applyTarget(ModuleOp module, const ModelOptions &options) {
  auto recorded = module->getAttrOfType<DictionaryAttr>(kTargetAttr);
  if (!recorded) {
    llvm::Expected<cpu::Machine> machine =
        options.machine ? *options.machine : cpu::getNativeMachine();
    if (!machine)
      return module.emitError(toString(machine.takeError()));
    module->setAttr(kTargetAttr,
                    cpu::getTargetAttr(module.getContext(), *machine));
    return success();
  }
  llvm::Expected<cpu::Machine> machine = cpu::getMachine(recorded);
  if (!machine)
    return module.emitError(toString(machine.takeError()));
  if (options.machine &&
      cpu::getTargetAttr(module.getContext(), *options.machine) != recorded)
    return conflict(module, "--target=", "cpu:" + options.machine->cpu,
                    "cpu:" + machine->cpu);
  return success();
}

LogicalResult rondo::applyModuleOptions(ModuleOp module, Phase phase,
                                        const ModelOptions &options) {
  if (failed(applyTarget(module, options)))
    return failure();
  if (auto recorded = module->getAttrOfType<DictionaryAttr>(kOptionsAttr))
    return checkOptions(module, recorded, options);
  if (phase > Phase::Rondo)
    return module.emitError("module at phase '")
           << stringifyPhase(phase)
           << "' lacks 'rondo.options', which --dump-phases writes";
  if (options.weights && failed(selectStorage(module, *options.weights)))
    return failure();
  setOptions(module, options);
  return success();
}

bool rondo::isWeightless(ModuleOp module, const ModelOptions &options) {
  auto recorded = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  auto flag = recorded ? recorded.getAs<BoolAttr>("weightless") : nullptr;
  return flag ? flag.getValue() : options.weightless;
}

int rondo::getOptimization(ModuleOp module) {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  return static_cast<int>(options.getAs<IntegerAttr>("optimization").getInt());
}
