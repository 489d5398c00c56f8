//===- RondoAttributes.cpp - verification of the module attributes --------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The discardable attributes of RondoModuleAttrs.h have one kind each and stand
// on the module, but for `rondo.input`, which stands on arguments of functions.
// Other `rondo.` names are left to the passes that use them.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace rondo;

namespace {
/// What a module attribute holds.
enum class AttrKind {
  Other,
  Text,
  Texts,
  Integer,
  Integers,
  Unit,
  Dict,
  Dicts
};
} // namespace

/// The kind of the attribute called `name`; `Other` for names not listed.
static AttrKind getKind(StringRef name) {
  return llvm::StringSwitch<AttrKind>(name)
      .Cases({kPhaseAttr, kArchitectureAttr, kNameAttr, kKVPolicyAttr},
             AttrKind::Text)
      .Case(kTrainedKVAttr, AttrKind::Texts)
      .Case(kForceKVPolicyAttr, AttrKind::Unit)
      .Case(kStopTokensAttr, AttrKind::Integers)
      .Case(kContextLimitAttr, AttrKind::Integer)
      .Case(kArchivesAttr, AttrKind::Dicts)
      .Cases({kTokenizerAttr, kChatTemplateAttr, kOptionsAttr, kTargetAttr},
             AttrKind::Dict)
      .Default(AttrKind::Other);
}

/// Whether `attr` is an array of `ElementT` only.
template <typename ElementT> static bool isArrayOf(Attribute attr) {
  auto array = dyn_cast<ArrayAttr>(attr);
  return array && llvm::all_of(array, llvm::IsaPred<ElementT>);
}

static bool matches(AttrKind kind, Attribute attr) {
  switch (kind) {
  case AttrKind::Other:
    return true;
  case AttrKind::Text:
    return isa<StringAttr>(attr);
  case AttrKind::Texts:
    return isArrayOf<StringAttr>(attr);
  case AttrKind::Integer:
    return isa<IntegerAttr>(attr);
  case AttrKind::Integers:
    return isArrayOf<IntegerAttr>(attr) || isa<DenseI64ArrayAttr>(attr);
  case AttrKind::Unit:
    return isa<UnitAttr>(attr);
  case AttrKind::Dict:
    return isa<DictionaryAttr>(attr);
  case AttrKind::Dicts:
    return isArrayOf<DictionaryAttr>(attr);
  }
  llvm_unreachable("unhandled attribute kind");
}

static StringRef describe(AttrKind kind) {
  switch (kind) {
  case AttrKind::Other:
    return "anything";
  case AttrKind::Text:
    return "a string";
  case AttrKind::Texts:
    return "an array of strings";
  case AttrKind::Integer:
    return "an integer";
  case AttrKind::Integers:
    return "an array of integers";
  case AttrKind::Unit:
    return "a unit attribute";
  case AttrKind::Dict:
    return "a dictionary";
  case AttrKind::Dicts:
    return "an array of dictionaries";
  }
  llvm_unreachable("unhandled attribute kind");
}

static bool isPhaseName(StringRef name) {
  return llvm::is_contained(
      {"input", "rondo", "step", "tiled", "buffers", "target", "artifact"},
      name);
}

/// Checks the option that decides how contractions are computed.
static LogicalResult verifyOptions(Operation *op, DictionaryAttr options) {
  Attribute mode = options.get("arithmetic");
  if (!mode)
    return success();
  auto text = dyn_cast<StringAttr>(mode);
  if (text && (text == "exact" || text == "fast"))
    return success();
  return op->emitError("attribute '")
         << kOptionsAttr << "' expected 'arithmetic' to be \"exact\" or "
         << "\"fast\", got " << mode;
}

/// Checks a limit that a bundle could not say.
static LogicalResult verifyContextLimit(Operation *op, IntegerAttr limit) {
  if (limit.getValue().isStrictlyPositive())
    return success();
  return op->emitError("attribute '")
         << kContextLimitAttr << "' expected a positive number of positions, "
         << "got " << limit;
}

/// Checks that stop tokens are token ids: 32 bits, of which the last is none.
static LogicalResult verifyStopTokens(Operation *op, Attribute tokens) {
  SmallVector<int64_t> ids;
  if (auto dense = dyn_cast<DenseI64ArrayAttr>(tokens))
    llvm::append_range(ids, dense.asArrayRef());
  else
    for (IntegerAttr token : cast<ArrayAttr>(tokens).getAsRange<IntegerAttr>())
      ids.push_back(token.getValue().getSExtValue());
  for (int64_t id : ids)
    if (id < 0 || id >= UINT32_MAX)
      return op->emitError("attribute '")
             << kStopTokensAttr << "' expected token ids, got " << id;
  return success();
}

LogicalResult RondoDialect::verifyOperationAttribute(Operation *op,
                                                     NamedAttribute attr) {
  StringRef name = attr.getName();
  if (name == kInputAttr) // input_c3
    return op->emitError("attribute '")
           << name << "' expected to stand on an argument of a function";
  AttrKind kind = getKind(name);
  if (kind == AttrKind::Other)
    return success();
  if (!isa<ModuleOp>(op))
    return op->emitError("attribute '")
           << name << "' expected to stand on 'builtin.module', got '"
           << op->getName() << "'";
  if (!matches(kind, attr.getValue()))
    return op->emitError("attribute '")
           << name << "' expected " << describe(kind) << ", got "
           << attr.getValue();
  if (name == kPhaseAttr && !isPhaseName(cast<StringAttr>(attr.getValue())))
    return op->emitError("attribute '")
           << name << "' expected the name of a phase, got " << attr.getValue();
  if (name == kContextLimitAttr)
    return verifyContextLimit(op, cast<IntegerAttr>(attr.getValue()));
  if (name == kStopTokensAttr)
    return verifyStopTokens(op, attr.getValue());
  if (name == kOptionsAttr)
    return verifyOptions(op, cast<DictionaryAttr>(attr.getValue()));
  return success();
}

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

LogicalResult InputAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                StringRef name, InputInit init,
                                FloatAttr deviation) {
  // input_c1
  if (name.empty())
    return emitError() << "expected an input to have a name";
  // input_c2
  bool isNormal = init == InputInit::Normal;
  if (isNormal != static_cast<bool>(deviation))
    return emitError() << "expected 'deviation' "
                       << (isNormal ? "of an input with init = normal"
                                    : "with init = normal only");
  if (deviation &&
      (!deviation.getType().isF64() || !deviation.getValue().isFinite() ||
       !(deviation.getValueAsDouble() > 0)))
    return emitError() << "expected 'deviation' of f64, finite and above 0, "
                          "got "
                       << deviation;
  return success();
}

LogicalResult RondoDialect::verifyRegionArgAttribute(Operation *op,
                                                     unsigned /*region*/,
                                                     unsigned number,
                                                     NamedAttribute attr) {
  if (attr.getName() != kInputAttr)
    return success();
  auto input = dyn_cast<InputAttr>(attr.getValue());
  if (!input)
    return op->emitError("attribute '")
           << kInputAttr << "' expected '#rondo.input', got "
           << attr.getValue();
  // input_c3
  auto function = dyn_cast<FunctionOpInterface>(op);
  if (!function || !isRowsType(function.getArgumentTypes()[number]))
    return op->emitError("attribute '")
           << kInputAttr << "' of argument " << number
           << " expected an argument with the type of rows";
  // input_c4
  for (unsigned other = 0; other < number; ++other)
    if (auto earlier = function.getArgAttrOfType<InputAttr>(other, kInputAttr);
        earlier && earlier.getName() == input.getName())
      return op->emitError("arguments ")
             << other << " and " << number << " are inputs of one name, '"
             << input.getName() << "'; give each its own";
  return success();
}

LogicalResult RondoDialect::verifyRegionResultAttribute(Operation *op, unsigned,
                                                        unsigned number,
                                                        NamedAttribute attr) {
  if (attr.getName() != kOutputAttr)
    return success();
  auto function = dyn_cast<FunctionOpInterface>(op);
  // output_c2
  if (isa<OutputAttr>(attr.getValue()) && function &&
      isRowsType(function.getResultTypes()[number]))
    return success();
  return op->emitError("attribute '")
         << kOutputAttr
         << "' expected '#rondo.output' on a result that is rows, got "
         << attr.getValue() << " on result " << number;
}
