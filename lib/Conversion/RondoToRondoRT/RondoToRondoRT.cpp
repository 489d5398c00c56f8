//===- RondoToRondoRT.cpp - outline bodies, flatten loops -----*- C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   func @model {                    rondo_rt.body @prelude ...
//     embed ...                      rondo_rt.body @layer block 0 ...
//     loop { loop { apply } norm }   rondo_rt.body @run0 block 1 ...
//     norm; linear                   rondo_rt.body @coda ...
//   }                          ==>   rondo_rt.schedule ...
//
// The tree of loops is executed here, once, to write the schedule: afterwards
// a loop is data.
//
//===----------------------------------------------------------------------===//
#include "ModelTree.h"
#include "Routing.h"
#include "SelectedRows.h"
#include "States.h"

#include "rondo/Conversion/Passes.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Format.h"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_CONVERTRONDOTORONDORTPASS
#include "rondo/Conversion/Passes.h.inc"
} // namespace rondo

namespace {
//===----------------------------------------------------------------------===//
// Bodies
//===----------------------------------------------------------------------===//

/// Makes one body for each block and each run.
class BodyBuilder {
public:
  BodyBuilder(ModuleOp module, StateMap &states, const SelectedRows &selected)
      : module(module), states(states), selected(selected), symbols(module),
        builder(module.getBodyRegion()) {
    builder.setInsertionPointToEnd(module.getBody());
  }

  void build(Unit &unit) {
    if (!unit.apply) {
      buildRun(unit);
      return;
    }
    auto [it, isNew] =
        numbers.try_emplace(unit.apply.getBlockAttr(), nextNumber);
    unit.body = it->second;
    if (isNew)
      buildBlock(unit);
  }

  /// Body of each number, in order; blocks only.
  SmallVector<rt::BodyOp> bodies;
  rt::BodyOp prelude, coda;

private:
  SmallVector<int64_t> getStates(ArrayRef<Value> values) {
    return llvm::map_to_vector(
        values, [&](Value value) { return states.lookup(value); });
  }

  rt::BodyOp create(StringRef name, Unit &unit, int64_t caches) {
    bool isBlock = unit.kind == rt::BodyKind::Block;
    unit.body = isBlock ? nextNumber++ : 0;
    SmallVector<int64_t> outputs;
    if (unit.kind != rt::BodyKind::Coda)
      outputs = getStates(unit.outputs);
    auto body =
        rt::BodyOp::create(builder, module.getLoc(), name, unit.kind, unit.body,
                           caches, getStates(unit.inputs), outputs,
                           /*selected=*/false);
    body.getBody().emplaceBlock();
    symbols.insert(body); // renames if the name is taken
    if (isBlock)
      bodies.push_back(body);
    return body;
  }

  void buildBlock(Unit &unit) {
    auto block = symbols.lookup<BlockOp>(unit.apply.getBlock());
    rt::BodyOp body =
        create((block.getSymName() + "_body").str(), unit, block.getCaches());
    body.setSelected(selected.isSelected(block));
    IRMapping mapping;
    mlir::Block &from = block.getBody().front();
    mlir::Block &to = body.getBody().front();
    for (BlockArgument argument : from.getArguments())
      mapping.map(argument,
                  to.addArgument(argument.getType(), argument.getLoc()));
    cloneInto(to, llvm::make_pointer_range(from.without_terminator()),
              from.getTerminator()->getOperands(), mapping);
  }

  void buildRun(Unit &unit) {
    StringRef name = unit.kind == rt::BodyKind::Prelude ? "prelude"
                     : unit.kind == rt::BodyKind::Coda  ? "coda"
                                                        : "between";
    rt::BodyOp body = create(name, unit, /*caches=*/0);
    mlir::Block &to = body.getBody().front();
    IRMapping mapping;
    if (unit.kind == rt::BodyKind::Prelude) {
      prelude = body;
      auto model = unit.run.front()->getParentOfType<func::FuncOp>();
      Value tokens = model.getArgument(0);
      mapping.map(tokens, to.addArgument(tokens.getType(), tokens.getLoc()));
    } else {
      if (unit.kind == rt::BodyKind::Coda)
        coda = body;
      for (Value input : unit.inputs)
        mapping.map(input, to.addArgument(input.getType(), input.getLoc()));
    }
    cloneInto(to, unit.run, unit.outputs, mapping);
  }

  template <typename Range, typename Values>
  void cloneInto(mlir::Block &to, Range &&ops, Values &&results,
                 IRMapping &mapping) {
    OpBuilder inside = OpBuilder::atBlockEnd(&to);
    for (Operation *op : ops)
      inside.clone(*op, mapping);
    auto values = llvm::map_to_vector(
        results, [&](Value value) { return mapping.lookup(value); });
    rt::ReturnOp::create(inside, module.getLoc(), values);
  }

  ModuleOp module;
  StateMap &states;
  const SelectedRows &selected;
  SymbolTable symbols;
  OpBuilder builder;
  DenseMap<Attribute, int64_t> numbers;
  int64_t nextNumber = 0;
};

//===----------------------------------------------------------------------===//
// Trace points
//===----------------------------------------------------------------------===//

/// Numbers trace points and remembers what they are called.
class TracePoints {
public:
  explicit TracePoints(MLIRContext *context) : builder(context) {}

  /// Points of a body that runs once in a step: absolute numbers.
  void addFixed(rt::BodyOp body) {
    body.walk([&](TraceOp trace) {
      trace->setAttr("point", builder.getI64IntegerAttr(points.size()));
      trace->setAttr("fixed", builder.getUnitAttr());
      add(trace, getIndex(trace));
    });
  }

  /// Points of one execution; returns the first, or -1 if the body has none.
  int64_t addExecution(rt::BodyOp body) {
    int64_t first = points.size();
    body.walk([&](TraceOp trace) {
      trace->setAttr("point", builder.getI64IntegerAttr(points.size() - first));
      add(trace, getIndex(trace));
    });
    return static_cast<int64_t>(points.size()) == first ? -1 : first;
  }

  ArrayAttr getAttr() { return builder.getArrayAttr(points); }

private:
  /// Number of the point among those of its name, -1 if it has none.
  int64_t getIndex(TraceOp trace) {
    return trace.getSingle() ? -1 : counts[trace.getName()]++;
  }

  void add(TraceOp trace, int64_t index) {
    points.push_back(builder.getDictionaryAttr({
        builder.getNamedAttr("name", trace.getNameAttr()),
        builder.getNamedAttr("index", builder.getI64IntegerAttr(index)),
        builder.getNamedAttr("width",
                             builder.getI64IntegerAttr(trace.getWidth())),
        builder.getNamedAttr(
            "form", builder.getStringAttr(stringifyTraceForm(trace.getForm()))),
    }));
  }

  Builder builder;
  SmallVector<Attribute> points;
  llvm::StringMap<int64_t> counts;
};

//===----------------------------------------------------------------------===//
// Schedule
//===----------------------------------------------------------------------===//

/// Executes the tree and writes one entry for each unit it meets.
class ScheduleBuilder {
public:
  ScheduleBuilder(ArrayRef<rt::BodyOp> bodies, TracePoints &trace)
      : bodies(bodies), trace(trace) {}

  LogicalResult build(std::vector<Node> &nodes) {
    if (failed(buildVisits(nodes)))
      return failure();
    visits.push_back(table.size());
    return success();
  }

  void create(OpBuilder &builder, Location loc) {
    auto column = [&](auto member) {
      return llvm::map_to_vector(table,
                                 [&](const Entry &e) { return e.*member; });
    };
    rt::ScheduleOp::create(builder, loc, column(&Entry::body),
                           column(&Entry::layer), column(&Entry::side),
                           column(&Entry::slot), column(&Entry::trace), visits);
  }

  /// The visits that execute `body`: the first, and how many; empty if there is
  /// none, or if others are between them.
  std::optional<VisitSpan> findVisits(int64_t body) const {
    SmallVector<int64_t> found;
    for (size_t visit = 0; visit + 1 < visits.size(); ++visit)
      for (int64_t i = visits[visit]; i < visits[visit + 1]; ++i)
        if (table[i].body == body)
          found.push_back(visit);
    if (found.empty() ||
        found.back() - found.front() + 1 != static_cast<int64_t>(found.size()))
      return std::nullopt;
    return VisitSpan{found.front(), static_cast<int64_t>(found.size())};
  }

private:
  struct Entry {
    int64_t body, layer, side, slot, trace;
  };

  /// A visit is one pass through a block: an iteration of a loop over depth, or
  /// all iterations of a loop over the layers of a block. Where each layer runs
  /// all its visits in turn, the loop over depth is the inner one.
  LogicalResult buildVisits(std::vector<Node> &nodes) {
    for (Node &node : nodes) {
      bool overLayers = node.isLoop() && stepsThroughLayers(node, node.loop);
      if (!node.isLoop() || (overLayers && !hasLoop(node.children))) {
        visits.push_back(table.size());
        if (failed(execute(node)))
          return failure();
        dropEmptyVisit();
        continue;
      }
      for (int64_t i = 0; i < static_cast<int64_t>(node.loop.getCount()); ++i) {
        induction[node.loop.getBody().getArgument(0)] = i;
        if (!overLayers)
          visits.push_back(table.size());
        if (failed(overLayers ? buildVisits(node.children)
                              : executeIteration(node, i)))
          return failure();
      }
    }
    return success();
  }

  static bool hasLoop(const std::vector<Node> &nodes) {
    return llvm::any_of(nodes, [](const Node &node) { return node.isLoop(); });
  }

  /// Whether `loop` takes an execution in `node` from layer to layer.
  static bool stepsThroughLayers(const Node &node, LoopOp loop) {
    if (node.isLoop())
      return llvm::any_of(node.children, [&](const Node &child) {
        return stepsThroughLayers(child, loop);
      });
    ApplyOp apply = node.unit->apply;
    if (!apply)
      return false;
    AffineMap layer = apply.getLayer();
    for (auto [number, index] : llvm::enumerate(apply.getIndices()))
      if (index == loop.getBody().getArgument(0) &&
          layer.isFunctionOfDim(number))
        return true;
    return false;
  }

  /// Prelude and coda are not in the schedule.
  void dropEmptyVisit() {
    if (visits.back() == static_cast<int64_t>(table.size()))
      visits.pop_back();
  }

  LogicalResult execute(Node &node) {
    if (!node.isLoop())
      return executeUnit(*node.unit);
    for (int64_t i = 0; i < static_cast<int64_t>(node.loop.getCount()); ++i)
      if (failed(executeIteration(node, i)))
        return failure();
    return success();
  }

  LogicalResult executeIteration(Node &node, int64_t iteration) {
    induction[node.loop.getBody().getArgument(0)] = iteration;
    for (Node &child : node.children)
      if (failed(execute(child)))
        return failure();
    return success();
  }

  LogicalResult executeUnit(Unit &unit) {
    if (unit.kind != rt::BodyKind::Block)
      return success();
    Entry entry{unit.body, 0, 0, 0, trace.addExecution(bodies[unit.body])};
    if (unit.apply) {
      SmallVector<int64_t> indices;
      for (Value index : unit.apply.getIndices()) {
        auto it = induction.find(index);
        if (it == induction.end())
          return unit.apply.emitOpError("expected indices to be induction "
                                        "values of enclosing loops");
        indices.push_back(it->second);
      }
      entry.layer = unit.apply.getLayer().compose(indices).front();
      entry.side = unit.apply.getSide().compose(indices).front();
      // A body without caches has no slots, whatever its call sites say.
      if (rt::BodyOp(bodies[unit.body]).getCaches())
        entry.slot = unit.apply.getSlot().compose(indices).front();
    }
    table.push_back(entry);
    return success();
  }

  ArrayRef<rt::BodyOp> bodies;
  TracePoints &trace;
  DenseMap<Value, int64_t> induction;
  SmallVector<Entry> table;
  SmallVector<int64_t> visits;
};
} // namespace

//===----------------------------------------------------------------------===//
// Inputs
//===----------------------------------------------------------------------===//

/// {input = #rondo.input, state, width} for each input of `model`.
static ArrayAttr describeInputs(func::FuncOp model, StateMap &states) {
  Builder builder(model.getContext());
  SmallVector<Attribute> inputs;
  for (BlockArgument argument : model.getArguments()) {
    auto input =
        model.getArgAttrOfType<InputAttr>(argument.getArgNumber(), kInputAttr);
    if (!input)
      continue;
    int64_t width = cast<RankedTensorType>(argument.getType()).getDimSize(1);
    inputs.push_back(builder.getDictionaryAttr(
        {builder.getNamedAttr("input", input),
         builder.getNamedAttr(
             "state", builder.getI64IntegerAttr(states.lookup(argument))),
         builder.getNamedAttr("width", builder.getI64IntegerAttr(width))}));
  }
  return builder.getArrayAttr(inputs);
}

//===----------------------------------------------------------------------===//
// What the model returns, and what it computes together
//===----------------------------------------------------------------------===//

/// Names of the results of `model`, by their attributes; one alone without a
/// name is logits. An error if one has no name or that of another.
static FailureOr<ArrayAttr> readOutputs(func::FuncOp model) {
  Builder builder(model.getContext());
  SmallVector<Attribute> outputs;
  llvm::StringSet<> names;
  for (unsigned i = 0; i < model.getNumResults(); ++i) {
    auto output = model.getResultAttrOfType<OutputAttr>(i, kOutputAttr);
    if (!output && model.getNumResults() > 1)
      return model.emitError("expected a name for each of several results, "
                             "give result ")
             << i << " the attribute '" << kOutputAttr << "'";
    StringRef name =
        output ? output.getName().getValue() : StringRef(kLogitsOutput);
    if (!names.insert(name).second)
      return model.emitError("expected results of different names, got '")
             << name << "' twice";
    int64_t width =
        cast<RankedTensorType>(model.getResultTypes()[i]).getDimSize(1);
    outputs.push_back(builder.getDictionaryAttr({
        builder.getNamedAttr("name", builder.getStringAttr(name)),
        builder.getNamedAttr("width", builder.getI64IntegerAttr(width)),
        builder.getNamedAttr("first",
                             builder.getBoolAttr(output && output.getFirst())),
    }));
  }
  return builder.getArrayAttr(outputs);
}

/// The mask that every attention of the model has; an error if they differ: how
/// far a row sees is said once for all of them, in its descriptor.
static FailureOr<std::optional<Mask>> readMask(ModuleOp module) {
  std::optional<Mask> mask;
  WalkResult result = module.walk([&](AttendOp attend) {
    Mask own = attend.getMask();
    if (mask.value_or(own) != own) {
      attend.emitOpError("expected one mask in all of the model, got '")
          << stringifyMask(own) << "' beside '" << stringifyMask(*mask) << "'";
      return WalkResult::interrupt();
    }
    mask = own;
    return WalkResult::advance();
  });
  if (result.wasInterrupted())
    return failure();
  return mask;
}

//===----------------------------------------------------------------------===//
// The conversion
//===----------------------------------------------------------------------===//

/// What ends the visits of rows of `model`, for people; empty if nothing does.
static std::string describeExits(func::FuncOp model) {
  std::string text;
  llvm::raw_string_ostream os(text);
  model->getParentOfType<ModuleOp>().walk([&](RouteOp route) {
    os << (text.empty() ? "" : "; ") << "router "
       << stringifyRouteRule(route.getRule());
    if (auto capacities = route.getCapacities())
      for (double capacity : capacities->getValues<double>())
        os << ' ' << llvm::format("%.3g", capacity);
    os << ", scope " << (route.isCohort() ? "cohort" : "row");
  });
  model.walk([&](ExitOp exit) {
    os << (text.empty() ? "" : "; ") << stringifyExitRule(exit.getRule())
       << " threshold "
       << llvm::format("%g", exit.getThreshold().convertToFloat()) << ", scope "
       << stringifyExitScope(exit.getScope()) << ", after "
       << stringifyKVAfterExit(exit.getAfter());
  });
  return text;
}

/// A module without a model is left alone unless it has parts of one.
static LogicalResult verifyNoParts(ModuleOp module) {
  WalkResult result = module.walk([](Operation *op) {
    bool isPart = isa<BlockOp, LoopOp, ApplyOp>(op);
    return isPart ? WalkResult::interrupt() : WalkResult::advance();
  });
  if (!result.wasInterrupted())
    return success();
  return module.emitError("expected a function '@model' from tokens to logits, "
                          "which says how blocks are executed; found none of "
                          "that name");
}

LogicalResult rondo::convertRondoToRondoRT(ModuleOp module) {
  auto model = module.lookupSymbol<func::FuncOp>("model");
  if (!model)
    return verifyNoParts(module);
  FailureOr<ArrayAttr> outputs = readOutputs(model);
  FailureOr<std::optional<Mask>> mask = readMask(module);
  if (failed(outputs) || failed(mask))
    return failure();
  FailureOr<SelectedRows> selected = SelectedRows::infer(model);
  if (failed(selected))
    return failure();
  FailureOr<PlacedModel> placed = placeStates(model);
  if (failed(placed))
    return failure();
  ModelTree &tree = placed->tree;

  BodyBuilder bodies(module, placed->states, *selected);
  tree.forEachUnit([&](Unit &unit) { bodies.build(unit); });

  TracePoints trace(module.getContext());
  trace.addFixed(bodies.prelude);
  ScheduleBuilder schedule(bodies.bodies, trace);
  if (failed(schedule.build(tree.nodes)))
    return failure();
  trace.addFixed(bodies.coda);
  OpBuilder builder(bodies.prelude);
  schedule.create(builder, module.getLoc());
  module->setAttr("rondo_rt.trace_points", trace.getAttr());
  if (ArrayAttr inputs = describeInputs(model, placed->states); !inputs.empty())
    module->setAttr("rondo_rt.inputs", inputs);

  FailureOr<DictionaryAttr> routing =
      describeRouting(module, bodies.bodies,
                      [&](int64_t body) { return schedule.findVisits(body); });
  if (failed(routing))
    return failure();
  if (*routing)
    module->setAttr("rondo_rt.routing", *routing);
  if (std::string rule = describeExits(model); !rule.empty())
    module->setAttr("rondo_rt.exit_rule", builder.getStringAttr(rule));
  module->setAttr(kOutputsAttr, *outputs);
  module->setAttr(kScopeAttr, builder.getStringAttr(
                                  *mask == Mask::Full ? "cohort" : "row"));

  model.erase();
  for (BlockOp block : llvm::make_early_inc_range(module.getOps<BlockOp>()))
    block.erase();
  return success();
}

namespace {
struct ConvertRondoToRondoRTPass
    : public rondo::impl::ConvertRondoToRondoRTPassBase<
          ConvertRondoToRondoRTPass> {
  void runOnOperation() override {
    if (failed(convertRondoToRondoRT(getOperation())))
      signalPassFailure();
  }
};
} // namespace
