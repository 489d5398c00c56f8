//===- Machine.cpp - the CPU that code is compiled for --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One table maps the runtime's instruction-set bits to LLVM's feature names;
// named CPUs are looked up in LLVM's own tables, the native one with cpuid.
//
//===----------------------------------------------------------------------===//
#include "rondo/Target/CPU/Machine.h"

#include "rondo_rt/abi.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/Function.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/Triple.h"

#include <optional>

using namespace rondo;
using namespace rondo::cpu;

namespace {

/// One bit of the runtime's instruction sets.
struct FeatureInfo {
  uint64_t bit;
  /// Name in `rondo.target` and in messages.
  const char *name;
  /// LLVM's features that together make it up.
  std::vector<const char *> parts;
};

} // namespace

static constexpr char kTriple[] = "x86_64-unknown-linux-gnu";

/// The bits in ascending order. The parts of x86-64-v3 and v4 are those of the
/// psABI's levels that reach vector code.
static const std::vector<FeatureInfo> &getFeatureTable() {
  static const std::vector<FeatureInfo> table = {
      {RONDO_RT_CPU_X86_64_V3,
       "x86-64-v3",
       {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "popcnt",
        "sse4.2"}},
      {RONDO_RT_CPU_AVX512,
       "avx512",
       {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
      {RONDO_RT_CPU_AVX512_VNNI, "avx512-vnni", {"avx512vnni"}},
      {RONDO_RT_CPU_AVX512_BF16, "avx512-bf16", {"avx512bf16"}},
  };
  return table;
}

/// The bits whose parts `has` confirms; those beside the base need AVX-512.
template <typename Has> static uint64_t collectFeatures(Has has) {
  uint64_t features = 0;
  for (const FeatureInfo &info : getFeatureTable()) {
    bool present = true;
    for (const char *part : info.parts)
      present &= has(part);
    if (present)
      features |= info.bit;
    else if (info.bit <= RONDO_RT_CPU_AVX512)
      break; // What follows would build on it.
  }
  return features;
}

static const llvm::Target *getX86Target() {
  static const llvm::Target *target = [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
    std::string ignored;
    return llvm::TargetRegistry::lookupTarget(llvm::Triple(kTriple), ignored);
  }();
  return target;
}

static llvm::Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

/// `machine`, or an error where it is below the floor.
static llvm::Expected<Machine> checkFloor(Machine machine) {
  if (machine.features & RONDO_RT_CPU_X86_64_V3)
    return machine;
  return makeError("CPU '" + machine.cpu +
                   "' is below x86-64-v3 (AVX2, FMA, F16C, BMI2), the least "
                   "that Rondo compiles for; name a newer one, for example "
                   "--target=cpu:x86-64-v3");
}

//===----------------------------------------------------------------------===//
// From text
//===----------------------------------------------------------------------===//

llvm::Expected<Machine> rondo::cpu::getNativeMachine() {
  llvm::StringMap<bool> host = llvm::sys::getHostCPUFeatures();
  Machine machine;
  machine.cpu = llvm::sys::getHostCPUName().str();
  machine.features =
      collectFeatures([&](const char *part) { return host.lookup(part); });
  return checkFloor(std::move(machine));
}

/// The CPU that LLVM knows as `name`.
static llvm::Expected<Machine> getNamedMachine(llvm::StringRef name) {
  const llvm::Target *target = getX86Target();
  if (!target)
    return makeError("this LLVM has no x86-64 code generator");
  // The empty CPU keeps LLVM from printing its own warning on unknown names.
  std::unique_ptr<llvm::MCSubtargetInfo> known(
      target->createMCSubtargetInfo(llvm::Triple(kTriple), "", ""));
  if (!known->isCPUStringValid(name))
    return makeError("unknown CPU '" + name +
                     "' in --target; use cpu:native, cpu:x86-64-v3, "
                     "cpu:x86-64-v4 or a name that 'llc -march=x86-64 "
                     "-mcpu=help' lists");
  std::unique_ptr<llvm::MCSubtargetInfo> info(
      target->createMCSubtargetInfo(llvm::Triple(kTriple), name, ""));
  Machine machine;
  machine.cpu = name.str();
  machine.features = collectFeatures([&](const char *part) {
    return info->checkFeatures((llvm::Twine("+") + part).str());
  });
  return checkFloor(std::move(machine));
}

llvm::Expected<Machine> rondo::cpu::parseTarget(llvm::StringRef text) {
  auto [kind, name] = text.split(':');
  if (kind == "nvptx")
    return makeError("target '" + text +
                     "' is not in this version, which compiles for CPUs only; "
                     "use --target=cpu:native");
  if (kind != "cpu" || (name.empty() && text.contains(':')))
    return makeError("unknown target '" + text +
                     "'; use cpu, cpu:native, cpu:x86-64-v3, cpu:x86-64-v4 or "
                     "cpu:CPU-NAME");
  if (name.empty() || name == "native")
    return getNativeMachine();
  return getNamedMachine(name);
}

//===----------------------------------------------------------------------===//
// In the IR
//===----------------------------------------------------------------------===//

std::vector<std::string> rondo::cpu::getFeatureNames(uint64_t features) {
  std::vector<std::string> names;
  for (const FeatureInfo &info : getFeatureTable())
    if (features & info.bit)
      names.push_back(info.name);
  return names;
}

mlir::DictionaryAttr rondo::cpu::getTargetAttr(mlir::MLIRContext *ctx,
                                               const Machine &machine) {
  mlir::Builder builder(ctx);
  std::vector<std::string> names = getFeatureNames(machine.features);
  llvm::SmallVector<llvm::StringRef> features(names.begin(), names.end());
  return builder.getDictionaryAttr({
      builder.getNamedAttr("kind", builder.getStringAttr("cpu")),
      builder.getNamedAttr("cpu", builder.getStringAttr(machine.cpu)),
      builder.getNamedAttr("features", builder.getStrArrayAttr(features)),
  });
}

/// The bit that `name` stands for, 0 if it is unknown.
static uint64_t getFeatureBit(llvm::StringRef name) {
  for (const FeatureInfo &info : getFeatureTable())
    if (name == info.name)
      return info.bit;
  return 0;
}

llvm::Expected<Machine> rondo::cpu::getMachine(mlir::DictionaryAttr target) {
  auto kind = target ? target.getAs<mlir::StringAttr>("kind") : nullptr;
  auto name = target ? target.getAs<mlir::StringAttr>("cpu") : nullptr;
  auto features = target ? target.getAs<mlir::ArrayAttr>("features") : nullptr;
  if (!kind || !name || !features)
    return makeError("'rondo.target' must be a dictionary of 'kind', 'cpu' and "
                     "'features'");
  if (kind.getValue() != "cpu")
    return makeError("'rondo.target' has kind '" + kind.getValue() +
                     "', this version compiles for 'cpu' only");
  Machine machine;
  machine.cpu = name.str();
  for (mlir::Attribute feature : features) {
    auto text = llvm::dyn_cast<mlir::StringAttr>(feature);
    uint64_t bit = text ? getFeatureBit(text.getValue()) : 0;
    if (!bit)
      return makeError("'rondo.target' has an unknown instruction set in "
                       "'features'");
    machine.features |= bit;
  }
  return checkFloor(std::move(machine));
}

//===----------------------------------------------------------------------===//
// To LLVM
//===----------------------------------------------------------------------===//

llvm::StringRef rondo::cpu::getBaseCPU(const Machine &machine) {
  return machine.features & RONDO_RT_CPU_AVX512 ? "x86-64-v4" : "x86-64-v3";
}

std::string rondo::cpu::getFeatureString(const Machine &machine) {
  std::string text;
  for (const FeatureInfo &info : getFeatureTable()) {
    if (info.bit <= RONDO_RT_CPU_AVX512 || !(machine.features & info.bit))
      continue;
    for (const char *part : info.parts)
      text += (text.empty() ? "+" : ",+") + std::string(part);
  }
  return text;
}

void rondo::cpu::setTargetAttributes(llvm::Function &function,
                                     const Machine &machine) {
  function.addFnAttr("target-cpu", getBaseCPU(machine));
  function.addFnAttr("target-features", getFeatureString(machine));
  function.addFnAttr("tune-cpu", machine.cpu);
  // x86-64-v4 prefers 256 bits by default, for the sake of old Skylakes.
  if (machine.features & RONDO_RT_CPU_AVX512)
    function.addFnAttr("prefer-vector-width", "512");
}

llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
rondo::cpu::createTargetMachine(const Machine &machine, int optimization) {
  const llvm::Target *target = getX86Target();
  if (!target)
    return makeError("this LLVM has no x86-64 code generator");
  std::optional<llvm::CodeGenOptLevel> level =
      llvm::CodeGenOpt::getLevel(optimization);
  return std::unique_ptr<llvm::TargetMachine>(target->createTargetMachine(
      llvm::Triple(kTriple), getBaseCPU(machine), getFeatureString(machine),
      llvm::TargetOptions(), llvm::Reloc::PIC_, llvm::CodeModel::Small,
      level.value_or(llvm::CodeGenOptLevel::Aggressive)));
}
