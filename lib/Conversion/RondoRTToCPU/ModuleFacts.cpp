//===- ModuleFacts.cpp - what emission needs to know of a module -*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "ModuleFacts.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo_rt/abi.h"

using namespace mlir;
using namespace rondo;
using namespace rondo::cpu;

int64_t KVLayout::getKeyBytes() const {
  return RONDO_RT_PAGE_POSITIONS * keyLanes * getElementBytes();
}

int64_t KVLayout::getHeadBytes() const {
  return RONDO_RT_PAGE_POSITIONS * (keyLanes + valueLanes) * getElementBytes();
}

cpu::PanelFormat KVLayout::getFormat() const {
  if (element.isF32())
    return PanelFormat::F32;
  return element.isF16() ? PanelFormat::F16 : PanelFormat::BF16;
}

static int64_t getInt(DictionaryAttr dict, StringRef name) {
  return cast<IntegerAttr>(dict.get(name)).getInt();
}

FailureOr<ModuleFacts> ModuleFacts::read(ModuleOp module) {
  auto options = module->getAttrOfType<DictionaryAttr>(kOptionsAttr);
  auto target = module->getAttrOfType<DictionaryAttr>(kTargetAttr);
  auto kv = module->getAttrOfType<DictionaryAttr>("rondo_rt.kv");
  if (!options || !target || !kv)
    return module.emitError("expected the module attributes '")
           << kOptionsAttr << "', '" << kTargetAttr << "' and 'rondo_rt.kv'";
  ModuleFacts facts;
  facts.module = module;
  facts.context = getInt(options, "context");
  facts.rows = getInt(options, "rows");
  if (auto selection = module->getAttrOfType<IntegerAttr>("rondo_rt.selection"))
    facts.selection = selection.getInt();
  facts.kv = {
      getInt(kv, "heads"),     getInt(kv, "head_dim"),
      getInt(kv, "key_lanes"), getInt(kv, "value_lanes"),
      getInt(kv, "slots"),     cast<TypeAttr>(options.get("kv")).getValue()};
  for (Attribute feature : cast<ArrayAttr>(target.get("features"))) {
    StringRef name = cast<StringAttr>(feature).getValue();
    facts.features.avx512 |= name == "avx512";
    facts.features.avx512vnni |= name == "avx512-vnni";
    facts.features.avx512bf16 |= name == "avx512-bf16";
  }
  auto scope = module->getAttrOfType<StringAttr>(kScopeAttr);
  facts.isCohort = scope && scope.getValue() == "cohort";
  facts.traceWidth = 0;
  if (auto points = module->getAttrOfType<ArrayAttr>("rondo_rt.trace_points"))
    for (Attribute point : points)
      facts.traceWidth = std::max(facts.traceWidth,
                                  getInt(cast<DictionaryAttr>(point), "width"));
  facts.logitsLanes = rt::getLogitsLanes(module);
  return facts;
}

cpu::PanelFormat rondo::cpu::toKernelFormat(rt::PanelFormat format) {
  switch (format) {
  case rt::PanelFormat::F32:
    return PanelFormat::F32;
  case rt::PanelFormat::F16:
    return PanelFormat::F16;
  case rt::PanelFormat::BF16Pair:
    return PanelFormat::BF16Pair;
  case rt::PanelFormat::Q8_0:
    return PanelFormat::Q8_0;
  case rt::PanelFormat::Q4_0:
    return PanelFormat::Q4_0;
  case rt::PanelFormat::Q4_1:
    return PanelFormat::Q4_1;
  }
  llvm_unreachable("unknown panel format");
}

cpu::RowFormat rondo::cpu::toKernelFormat(rt::RowFormat format) {
  switch (format) {
  case rt::RowFormat::F32:
    return RowFormat::F32;
  case rt::RowFormat::BF16AsF32:
    return RowFormat::BF16AsF32;
  case rt::RowFormat::BF16Pair:
    return RowFormat::BF16Pair;
  case rt::RowFormat::Int8Group:
    return RowFormat::Int8Group;
  }
  llvm_unreachable("unknown row format");
}
