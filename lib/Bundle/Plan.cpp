//===- Plan.cpp - what a bundle's manifest says of the code ---------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// One `visit` function for each struct lists its members once; a writer and a
// reader of dictionaries go through it.
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Plan.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// Members
//===----------------------------------------------------------------------===//

template <typename Visitor> static void visit(KVPlan &kv, Visitor &visitor) {
  visitor("slots", kv.slots);
  visitor("heads", kv.heads);
  visitor("head_dim", kv.headDim);
  visitor("padded_head_dim", kv.paddedHeadDim);
  visitor("page_bytes", kv.pageBytes);
  visitor("chunk_invariant", kv.chunkInvariant);
}

template <typename Visitor>
static void visit(BlockPlan &block, Visitor &visitor) {
  visitor("name", block.name);
  visitor("layers", block.layers);
  visitor("visits", block.visits);
}

template <typename Visitor>
static void visit(StatePlan &state, Visitor &visitor) {
  visitor("offset", state.offset);
  visitor("row_bytes", state.rowBytes);
}

template <typename Visitor>
static void visit(InputPlan &input, Visitor &visitor) {
  visitor("name", input.name);
  visitor("state", input.state);
  visitor("width", input.width);
  visitor("init", input.init);
  visitor("deviation", input.deviation);
}

template <typename Visitor>
static void visit(RoutingPlan &routing, Visitor &visitor) {
  visitor("state", routing.state);
  visitor("first_visit", routing.firstVisit);
  visitor("visits", routing.visits);
  visitor("scope", routing.scope);
}

template <typename Visitor>
static void visit(OutputPlan &output, Visitor &visitor) {
  visitor("name", output.name);
  visitor("width", output.width);
  visitor("offset", output.offset);
  visitor("first", output.first);
}

template <typename Visitor>
static void visit(StagePlan &stage, Visitor &visitor) {
  visitor("name", stage.name);
  visitor("executions", stage.executions);
  visitor("bytes", stage.bytes);
  visitor("side_bytes", stage.sideBytes);
  visitor("flops", stage.flops);
}

template <typename Visitor>
static void visit(TracePlan &point, Visitor &visitor) {
  visitor("name", point.name);
  visitor("index", point.index);
  visitor("width", point.width);
  visitor("form", point.form);
}

template <typename Visitor> static void visit(Plan &plan, Visitor &visitor) {
  visitor("vocabulary", plan.vocabulary);
  visitor("token_types", plan.tokenTypes);
  visitor("cohort", plan.cohort);
  visitor("hidden", plan.hidden);
  visitor("arena_bytes", plan.arenaBytes);
  visitor("scratch_bytes", plan.scratchBytes);
  visitor("logits_stride", plan.logitsStride);
  visitor("arithmetic", plan.arithmetic);
  visitor("kv", plan.kv);
  visitor("bodies", plan.bodies);
  visitor("blocks", plan.blocks);
  visitor("unique_layers", plan.uniqueLayers);
  visitor("executed_layers", plan.executedLayers);
  visitor("depth", plan.depth);
  visitor("outputs", plan.outputs);
  visitor("states", plan.states);
  visitor("inputs", plan.inputs);
  visitor("routing", plan.routing);
  visitor("stages", plan.stages);
  visitor("trace", plan.trace);
}

//===----------------------------------------------------------------------===//
// Writing and reading
//===----------------------------------------------------------------------===//

namespace {

class Writer {
public:
  explicit Writer(MLIRContext *ctx) : builder(ctx) {}

  template <typename T> void operator()(StringRef key, T &value) {
    entries.push_back(builder.getNamedAttr(key, write(value)));
  }
  DictionaryAttr finish() { return builder.getDictionaryAttr(entries); }

private:
  Attribute write(int64_t value) { return builder.getI64IntegerAttr(value); }
  Attribute write(double value) { return builder.getF64FloatAttr(value); }
  Attribute write(bool value) { return builder.getBoolAttr(value); }
  Attribute write(std::string &text) { return builder.getStringAttr(text); }
  template <typename T> Attribute write(std::vector<T> &values) {
    SmallVector<Attribute> elements;
    for (T &value : values)
      elements.push_back(write(value));
    return builder.getArrayAttr(elements);
  }
  template <typename T> Attribute write(T &record) {
    Writer nested(builder.getContext());
    visit(record, nested);
    return nested.finish();
  }

  Builder builder;
  SmallVector<NamedAttribute> entries;
};

/// Reads every member of one dictionary; remembers the first fault.
class Reader {
public:
  Reader(DictionaryAttr dictionary, std::string &fault)
      : dictionary(dictionary), fault(fault) {}

  template <typename T> void operator()(StringRef key, T &value) {
    ++asked;
    Attribute attr = dictionary.get(key);
    if (!attr || !read(attr, value))
      note(key);
  }
  void finish() {
    if (asked != dictionary.size())
      note("unknown key");
  }

private:
  void note(StringRef key) {
    if (fault.empty())
      fault = key.str();
  }
  bool read(Attribute attr, int64_t &value) {
    auto integer = dyn_cast<IntegerAttr>(attr);
    if (integer && integer.getType().isSignlessInteger(64))
      value = integer.getInt();
    return static_cast<bool>(integer);
  }
  bool read(Attribute attr, double &value) {
    auto number = dyn_cast<FloatAttr>(attr);
    if (number && number.getType().isF64())
      value = number.getValueAsDouble();
    return static_cast<bool>(number);
  }
  bool read(Attribute attr, bool &value) {
    auto flag = dyn_cast<BoolAttr>(attr);
    value = flag && flag.getValue();
    return static_cast<bool>(flag);
  }
  bool read(Attribute attr, std::string &text) {
    auto string = dyn_cast<StringAttr>(attr);
    text = string ? string.str() : "";
    return static_cast<bool>(string);
  }
  template <typename T> bool read(Attribute attr, std::vector<T> &values) {
    auto array = dyn_cast<ArrayAttr>(attr);
    if (!array)
      return false;
    for (Attribute element : array)
      if (!read(element, values.emplace_back()))
        return false;
    return true;
  }
  template <typename T> bool read(Attribute attr, T &record) {
    auto nested = dyn_cast<DictionaryAttr>(attr);
    if (!nested)
      return false;
    Reader reader(nested, fault);
    visit(record, reader);
    reader.finish();
    return true;
  }

  DictionaryAttr dictionary;
  std::string &fault;
  size_t asked = 0;
};

} // namespace

void rondo::setPlan(ModuleOp module, const Plan &plan) {
  Plan copy = plan; // `visit` serves reading too
  Writer writer(module.getContext());
  visit(copy, writer);
  module->setAttr(kPlanAttr, writer.finish());
}

FailureOr<Plan> rondo::getPlan(ModuleOp module) {
  auto dictionary = module->getAttrOfType<DictionaryAttr>(kPlanAttr);
  if (!dictionary)
    return module.emitError("expected attribute '")
           << kPlanAttr << "', which phase 'buffers' sets";
  Plan plan;
  std::string fault;
  Reader reader(dictionary, fault);
  visit(plan, reader);
  reader.finish();
  if (!fault.empty())
    return module.emitError("attribute '")
           << kPlanAttr << "' is malformed at '" << fault << "'";
  return plan;
}
