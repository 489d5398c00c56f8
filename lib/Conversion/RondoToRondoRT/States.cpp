//===- States.cpp - places of the model's values ---------------*- C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "States.h"

#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "llvm/ADT/MapVector.h"

using namespace mlir;
using namespace rondo;

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

static void replaceByCopy(OpOperand &use) {
  OpBuilder builder(use.getOwner());
  auto copy = rt::CopyOp::create(builder, use.getOwner()->getLoc(),
                                 use.get().getType(), use.get());
  use.set(copy.getResult());
}

/// Whether something else than a copy reads the value of `use`. A copy is made
/// before the loop starts, so it does not mind.
static bool isReadElsewhere(OpOperand &use) {
  return llvm::any_of(use.get().getUses(), [&](OpOperand &other) {
    return &other != &use && !isa<rt::CopyOp>(other.getOwner());
  });
}

/// Whether `value` is computed by an operation of `block`, not carried into it.
static bool isComputedIn(mlir::Block *block, Value value) {
  Operation *def = value.getDefiningOp();
  return def && def->getBlock() == block;
}

/// Results of the model are values of its coda: copies of those that are
/// computed before or returned twice.
static void copyResults(func::FuncOp model) {
  mlir::Block &block = model.getBody().front();
  Operation *last = nullptr; // what the coda comes after
  for (Operation &op : block)
    if (isa<LoopOp, ApplyOp, EmbedOp>(op))
      last = &op;
  Operation *end = block.getTerminator();
  for (OpOperand &operand : end->getOpOperands()) {
    Operation *def = operand.get().getDefiningOp();
    bool isLate = def && last && last->isBeforeInBlock(def);
    if (!isLate || llvm::count(end->getOperands(), operand.get()) > 1)
      replaceByCopy(operand);
  }
}

/// Copies where two carried values start from one value or a yielded value is
/// not computed by the iteration itself.
static void insertStateCopies(func::FuncOp model) {
  copyResults(model);
  model.walk([](LoopOp loop) {
    for (OpOperand &init : loop.getInitsMutable())
      if (isReadElsewhere(init))
        replaceByCopy(init);
    mlir::Block &body = loop.getBody().front();
    Operation *yield = body.getTerminator();
    for (auto [index, operand] : llvm::enumerate(yield->getOpOperands())) {
      bool carriedThrough = operand.get() == body.getArgument(index + 1);
      bool repeated = llvm::count(yield->getOperands(), operand.get()) > 1;
      if (!carriedThrough && (repeated || !isComputedIn(&body, operand.get())))
        replaceByCopy(operand);
    }
  });
}

//===----------------------------------------------------------------------===//
// Classes
//===----------------------------------------------------------------------===//

namespace {
/// Values that share a state.
class StateClasses {
public:
  explicit StateClasses(ModelTree &tree) {
    joinLoops(tree.nodes);
    tree.forEachUnit([&](Unit &unit) { joinCallSites(unit); });
  }

  /// A number for the class of `value`.
  int64_t getState(Value value) {
    Value leader = classes.getOrInsertLeaderValue(value);
    return numbers.try_emplace(leader, numbers.size()).first->second;
  }

private:
  /// Union-find over values.
  struct Classes {
    DenseMap<Value, Value> parent;

    Value getOrInsertLeaderValue(Value value) {
      Value at = parent.try_emplace(value, value).first->second;
      while (at != value) {
        value = at;
        at = parent.try_emplace(value, value).first->second;
      }
      return at;
    }
    void unionSets(Value a, Value b) {
      parent[getOrInsertLeaderValue(b)] = getOrInsertLeaderValue(a);
    }
  };

  void joinLoops(std::vector<Node> &nodes) {
    for (Node &node : nodes) {
      if (!node.isLoop())
        continue;
      mlir::Block &body = node.loop.getBody().front();
      for (unsigned i = 0; i < node.loop.getNumResults(); ++i) {
        Value argument = body.getArgument(i + 1);
        classes.unionSets(argument, node.loop.getInits()[i]);
        classes.unionSets(argument, body.getTerminator()->getOperand(i));
        classes.unionSets(argument, node.loop.getResult(i));
      }
      joinLoops(node.children);
    }
  }

  /// All applies of one block read and write the states of the first one.
  void joinCallSites(Unit &unit) {
    if (!unit.apply)
      return;
    Unit *&first = firstCallSite[unit.apply.getBlockAttr()];
    if (!first) {
      first = &unit;
      return;
    }
    for (auto [a, b] : llvm::zip(first->inputs, unit.inputs))
      classes.unionSets(a, b);
    for (auto [a, b] : llvm::zip(first->outputs, unit.outputs))
      classes.unionSets(a, b);
  }

  Classes classes;
  DenseMap<Value, int64_t> numbers;
  DenseMap<Attribute, Unit *> firstCallSite;
};

//===----------------------------------------------------------------------===//
// Symbolic execution
//===----------------------------------------------------------------------===//

/// A unit that would read a state which holds something else by then.
struct LostRead {
  Unit *unit;
  Value value;
};

/// Executes the model with versions instead of numbers. Two iterations of a
/// loop show everything that its later ones do.
class StateCheck {
public:
  explicit StateCheck(StateClasses &classes) : classes(classes) {}

  /// Puts a value of its own into the state of `input`.
  void fill(Value input) {
    content[classes.getState(input)] = version[input] = ++next;
  }

  /// The first read that finds its state overwritten.
  std::optional<LostRead> findLostRead(std::vector<Node> &nodes) {
    for (Node &node : nodes)
      if (auto lost = node.isLoop() ? runLoop(node) : runUnit(*node.unit))
        return lost;
    return std::nullopt;
  }

private:
  std::optional<LostRead> runUnit(Unit &unit) {
    for (Value input : unit.inputs)
      if (content[classes.getState(input)] != version.lookup(input))
        return LostRead{&unit, input};
    for (Value output : unit.outputs)
      content[classes.getState(output)] = version[output] = ++next;
    return std::nullopt;
  }

  std::optional<LostRead> runLoop(Node &node) {
    mlir::Block &body = node.loop.getBody().front();
    SmallVector<int64_t> carried;
    for (Value init : node.loop.getInits())
      carried.push_back(version.lookup(init));
    int64_t trips = std::min<int64_t>(node.loop.getCount(), 2);
    for (int64_t trip = 0; trip < trips; ++trip) {
      for (auto [i, value] : llvm::enumerate(carried))
        version[body.getArgument(i + 1)] = value;
      if (std::optional<LostRead> lost = findLostRead(node.children))
        return lost;
      for (auto [i, value] :
           llvm::enumerate(body.getTerminator()->getOperands()))
        carried[i] = version.lookup(value);
    }
    for (auto [i, value] : llvm::enumerate(carried)) {
      version[node.loop.getResult(i)] = value;
      content[classes.getState(node.loop.getResult(i))] = value;
    }
    return std::nullopt;
  }

  StateClasses &classes;
  DenseMap<Value, int64_t> version;   // of each value, 0: not computed
  DenseMap<int64_t, int64_t> content; // version that each state holds
  int64_t next = 0;
};
} // namespace

//===----------------------------------------------------------------------===//
// Repair
//===----------------------------------------------------------------------===//

namespace {
/// Inserts copies until every read finds what it asks for.
class Repair {
public:
  explicit Repair(func::FuncOp model) : model(model) {}

  /// Gives the reader of `lost` a copy that nothing overwrites. If that was in
  /// vain, blocks share too many states: then they get states of their own.
  void apply(LostRead lost) {
    if (kept.insert(lost.value).second)
      return keepFor(lost);
    // States are then shared inside loops alone, position by position.
    if (isIsolated)
      llvm::report_fatal_error("a copied state is overwritten");
    isIsolated = true;
    model.walk(isolate);
  }

private:
  /// Where `value` can be copied. Inputs are there before the prelude, which is
  /// no place to read them.
  static void setInsertionPointBehind(OpBuilder &builder, Value value) {
    builder.setInsertionPointAfterValue(value);
    auto argument = dyn_cast<BlockArgument>(value);
    if (!argument || !isa<func::FuncOp>(argument.getOwner()->getParentOp()))
      return;
    for (EmbedOp embed : argument.getOwner()->getOps<EmbedOp>())
      builder.setInsertionPointAfter(embed);
  }

  /// Copies the value where it is defined. A block reads the states of its
  /// first call site, so the copy is copied there in front of it.
  static void keepFor(LostRead lost) {
    OpBuilder builder(lost.value.getContext());
    setInsertionPointBehind(builder, lost.value);
    Value copy = rt::CopyOp::create(builder, lost.value.getLoc(),
                                    lost.value.getType(), lost.value);
    for (Operation *op : lost.unit->run)
      op->replaceUsesOfWith(lost.value, copy);
    if (!lost.unit->apply)
      return;
    for (OpOperand &operand : lost.unit->apply.getInputsMutable())
      if (operand.get() == lost.value) {
        operand.set(copy);
        replaceByCopy(operand);
      }
  }

  /// Copies in front of and behind a call site, so that nothing else shares the
  /// states of its arguments and results.
  static void isolate(ApplyOp site) {
    for (OpOperand &operand : site.getInputsMutable())
      replaceByCopy(operand);
    OpBuilder builder(site.getContext());
    builder.setInsertionPointAfter(site);
    for (Value result : site.getOutputs()) {
      auto copy =
          rt::CopyOp::create(builder, site.getLoc(), result.getType(), result);
      result.replaceAllUsesExcept(copy, copy);
    }
  }

  func::FuncOp model;
  DenseSet<Value> kept;
  bool isIsolated = false;
};
} // namespace

/// Inputs are the only rows that no operation computes.
static LogicalResult verifyInputs(func::FuncOp model) {
  for (BlockArgument argument : model.getArguments()) {
    unsigned number = argument.getArgNumber();
    if (!isRowsType(argument.getType()))
      continue;
    auto input = model.getArgAttrOfType<InputAttr>(number, kInputAttr);
    if (!input)
      return model.emitError("argument ")
             << number << " expected '" << kInputAttr
             << "', which says how its rows come about";
    if (argument.use_empty())
      return model.emitError("input '")
             << input.getName() << "' is not read; remove the argument";
  }
  return success();
}

FailureOr<PlacedModel> rondo::placeStates(func::FuncOp model) {
  insertStateCopies(model);
  Repair repair(model);
  while (true) {
    FailureOr<ModelTree> tree = buildModelTree(model);
    if (failed(tree) || failed(verifyInputs(model)))
      return failure();
    StateClasses classes(*tree);
    StateCheck check(classes);
    for (BlockArgument argument : model.getArguments())
      if (isRowsType(argument.getType()))
        check.fill(argument);
    if (auto lost = check.findLostRead(tree->nodes)) {
      repair.apply(*lost);
      continue;
    }
    PlacedModel placed;
    tree->forEachUnit([&](Unit &unit) {
      for (Value value : llvm::concat<Value>(unit.inputs, unit.outputs))
        placed.states[value] = classes.getState(value);
    });
    placed.tree = std::move(*tree);
    return placed;
  }
}
