//===- FormStages.cpp - cut a body into stages --------------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A barrier costs, so as much as possible goes between two of them. Linears,
// attention and embeddings are *roots*. Linears that do not need each other
// share a stage, and so do embeddings; attention has one of its own. What
// follows a linear lane by lane joins its stage as an epilogue. Everything else
// *floats*: it is cloned into the prologue of every linear that reads it, or
// gets a stage of its own when something needs it in memory. So does the inner
// matrix of a low-rank product, if it is small: then every thread computes it
// for itself, which costs less than a barrier.
//
//   %n = norm %x                stage "norm.gate.up.silu.mul" {
//   %g, %u = linear %n            %n = norm %x; %g, %u = linear %n
//   %s = activation silu %g  ==>  %s = activation silu %g; %a = mulf %s, %u
//   %a = mulf %s, %u              yield %a }
//   %d = linear %a              stage "down.add" { ... }
//   %y = addf %x, %d
//
//===----------------------------------------------------------------------===//
#include "rondo/Dialect/RondoRT/Transforms/Passes.h"

#include "rondo/Dialect/Rondo/Transforms/Remarks.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"

#define DEBUG_TYPE "rondo-rt-form-stages"

using namespace mlir;
using namespace rondo;
using namespace rondo::rt;

namespace rondo::rt {
#define GEN_PASS_DEF_FORMSTAGESPASS
#include "rondo/Dialect/RondoRT/Transforms/Passes.h.inc"
} // namespace rondo::rt

namespace {
/// Operations of one stage, each in the order of the body.
struct StagePlan {
  SmallVector<Operation *> roots;        // several linears, or one, or none
  llvm::SetVector<Operation *> prologue; // clones, shared with other stages
  SmallVector<Operation *> epilogue;     // placed here and nowhere else

  /// All of them; every operand comes before its readers.
  SmallVector<Operation *> getOps() const {
    SmallVector<Operation *> ops(prologue.begin(), prologue.end());
    ops.append(roots);
    ops.append(epilogue);
    return ops;
  }
};

/// Most bytes of weights that every thread reads for itself. Side parameters
/// come from memory; a core reads so many in about the time of a barrier.
constexpr int64_t kMaxPrivateBytes = 40 << 10;

/// Whether every thread may compute `op` for itself.
bool isPrivate(Operation *op) {
  auto linear = dyn_cast<rondo::LinearOp>(op);
  if (!linear || !linear.feedsLinears() || linear.getBiases())
    return false;
  int64_t bytes = 0;
  for (auto weight : linear.getWeights().getAsRange<FlatSymbolRefAttr>()) {
    auto param = SymbolTable::lookupNearestSymbolFrom<ParamOp>(op, weight);
    RankedTensorType type = param.getTensorType();
    bytes += type.getDimSize(0) *
             getStorageBytes(param.getStoredType(), type.getDimSize(1));
  }
  return bytes <= kMaxPrivateBytes;
}

bool isRoot(Operation *op) {
  return isa<rondo::LinearOp, rondo::AttendOp, rondo::EmbedOp>(op) &&
         !isPrivate(op);
}

/// Whether `op` needs a whole row at once.
bool isRowNorm(Operation *op) {
  auto norm = dyn_cast<rondo::NormOp>(op);
  return norm && !norm.getHeads();
}

/// Whether `op` has a stage of its own, between values in memory.
bool standsAlone(Operation *op) {
  return isa<rt::CopyOp, rondo::FillOp, rondo::ExitOp, rondo::RouteOp,
             rondo::SelectRowsOp, rondo::MergeRowsOp>(op);
}

/// Whether `op` cannot be computed from flat chunks of its operands alone, so
/// that it cannot be part of a prologue.
bool needsPlace(Operation *op) {
  auto norm = dyn_cast<rondo::NormOp>(op);
  return isa<rondo::RopeOp, rondo::AppendOp, rondo::TraceOp>(op) ||
         standsAlone(op) || (norm && norm.getHeads());
}

/// Decides the stage of each operation.
class StagePlanner {
public:
  explicit StagePlanner(BodyOp body) : body(body) {}

  void plan() {
    for (Operation &op : body.getBody().front())
      place(&op);
  }

  SmallVector<StagePlan> stages;
  /// Stage that computes the results of an operation; absent: it floats.
  DenseMap<Operation *, int64_t> stageOf;

private:
  void place(Operation *op) {
    if (isRoot(op)) {
      if (isa<rondo::EmbedOp>(op))
        placeEmbed(op);
      else if (!isa<rondo::LinearOp>(op))
        startStageOnRows(op);
      else if (!joinAsRoot(op))
        startStage(op);
    } else if (isa<ReturnOp>(op)) {
      for (Value value : op->getOperands())
        materialize(value);
    } else if (int64_t stage = findEpilogue(op); stage >= 0) {
      join(op, stage);
    } else if (needsPlace(op)) {
      startStageOnRows(op);
    }
  }

  /// A stage around `op` whose prologue computes the floating operands.
  void startStage(Operation *op) {
    StagePlan plan;
    for (Value operand : op->getOperands())
      collectFloating(operand, plan.prologue);
    if (isRoot(op))
      plan.roots.push_back(op);
    else
      plan.epilogue.push_back(op);
    stageOf[op] = stages.size();
    stages.push_back(std::move(plan));
  }

  /// Embeddings that follow each other are one stage: a thread looks up the
  /// same rows in all tables. The ids come along.
  void placeEmbed(Operation *op) {
    if (stages.empty() || stages.back().roots.empty() ||
        !isa<rondo::EmbedOp>(stages.back().roots.front())) {
      startStage(op);
      return;
    }
    collectFloating(op->getOperand(0), stages.back().prologue);
    stages.back().roots.push_back(op);
    stageOf[op] = stages.size() - 1;
  }

  bool hasLinear(int64_t stage) {
    const StagePlan &plan = stages[stage];
    return !plan.roots.empty() && isa<rondo::LinearOp>(plan.roots.front());
  }

  /// Whether `value` is computed by stage `stage`.
  bool isComputedBy(Value value, int64_t stage) {
    Operation *def = value.getDefiningOp();
    auto it = stageOf.find(def);
    return def && it != stageOf.end() && it->second == stage;
  }

  /// Adds the linear `op` to the last stage, if that has linears and computes
  /// nothing that `op` reads.
  bool joinAsRoot(Operation *op) {
    int64_t last = static_cast<int64_t>(stages.size()) - 1;
    if (last < 0 || !hasLinear(last))
      return false;
    llvm::SetVector<Operation *> needed;
    for (Value operand : op->getOperands())
      collectFloating(operand, needed);
    needed.insert(op);
    for (Operation *reader : needed)
      for (Value operand : reader->getOperands())
        if (isComputedBy(operand, last))
          return false;
    needed.remove(op);
    stages[last].prologue.insert_range(needed);
    stages[last].roots.push_back(op);
    stageOf[op] = last;
    return true;
  }

  /// As startStage, but operands are in memory before.
  void startStageOnRows(Operation *op) {
    for (Value operand : op->getOperands())
      materialize(operand);
    startStage(op);
  }

  /// Gives a floating value a stage.
  void materialize(Value value) {
    Operation *def = value.getDefiningOp();
    if (def && !stageOf.contains(def))
      startStage(def);
  }

  /// Adds `value`'s definition and what it needs, operands first.
  void collectFloating(Value value, llvm::SetVector<Operation *> &ops) {
    Operation *def = value.getDefiningOp();
    if (!def || stageOf.contains(def))
      return;
    for (Value operand : def->getOperands())
      collectFloating(operand, ops);
    ops.insert(def);
  }

  /// The stage whose epilogue can compute `op`, or -1: the latest stage among
  /// its operands, if that has a linear and all floating operands can be
  /// computed from chunks there.
  int64_t findEpilogue(Operation *op) {
    if (isRowNorm(op) || isPrivate(op) || standsAlone(op))
      return -1;
    int64_t latest = -1;
    llvm::SetVector<Operation *> floating;
    for (Value operand : op->getOperands()) {
      Operation *def = operand.getDefiningOp();
      if (def && stageOf.contains(def))
        latest = std::max(latest, stageOf.lookup(def));
      else
        collectFloating(operand, floating);
    }
    if (latest < 0 || !hasLinear(latest))
      return -1;
    for (Operation *needed : floating) {
      if (isRowNorm(needed))
        return -1;
      for (Value operand : needed->getOperands())
        if (Operation *def = operand.getDefiningOp())
          if (stageOf.contains(def) && stageOf.lookup(def) >= latest)
            return -1;
    }
    if (isa<rondo::AppendOp>(op) && !computesAll(latest, op))
      return -1;
    return latest;
  }

  /// Whether every operand of `op` is computed by `stage`.
  bool computesAll(int64_t stage, Operation *op) {
    return llvm::all_of(op->getOperands(), [&](Value operand) {
      return isComputedBy(operand, stage);
    });
  }

  void join(Operation *op, int64_t stage) {
    for (Value operand : op->getOperands()) {
      llvm::SetVector<Operation *> floating;
      collectFloating(operand, floating);
      for (Operation *needed : floating)
        if (!llvm::is_contained(stages[stage].epilogue, needed))
          stages[stage].epilogue.push_back(needed);
    }
    stages[stage].epilogue.push_back(op);
    stageOf[op] = stage;
  }

  BodyOp body;
};

//===----------------------------------------------------------------------===//
// Names
//===----------------------------------------------------------------------===//

/// What `op` adds to the name of its stage.
std::string getNamePart(Operation *op) {
  if (auto linear = dyn_cast<rondo::LinearOp>(op)) {
    std::string name;
    for (Attribute weight : linear.getWeights()) {
      StringRef symbol = cast<FlatSymbolRefAttr>(weight).getValue();
      name += (name.empty() ? "" : ".") + symbol.rsplit('.').second.str();
      if (!symbol.contains('.'))
        name += symbol.str();
    }
    return name;
  }
  if (auto activation = dyn_cast<rondo::ActivationOp>(op))
    return stringifyActivationKind(activation.getKind()).str();
  StringRef name = op->getName().stripDialect();
  if (name.size() == 4 && name.back() == 'f') // addf, mulf
    name = name.drop_back();
  return name.str();
}

/// For example "norm.gate.up.silu.mul".
std::string getStageName(const StagePlan &plan) {
  std::string name, last;
  for (Operation *op : plan.getOps()) {
    if (isa<rondo::RowIdsOp>(op)) // no work
      continue;
    std::string part = getNamePart(op);
    if (part != last)
      name += (name.empty() ? "" : ".") + part;
    last = part;
  }
  return name;
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

/// Writes the planned stages in place of the body's operations.
class StageBuilder {
public:
  StageBuilder(BodyOp body, StagePlanner &planner)
      : planner(planner), block(body.getBody().front()),
        builder(&block, block.end()) {}

  void build() {
    SmallVector<Operation *> old =
        llvm::to_vector(llvm::make_pointer_range(block.getOperations()));
    for (auto [index, plan] : llvm::enumerate(planner.stages))
      buildStage(index, plan);
    auto ret = cast<ReturnOp>(old.back());
    auto values = llvm::map_to_vector(ret.getValues(), [&](Value value) {
      return results.lookupOrDefault(value);
    });
    ReturnOp::create(builder, ret.getLoc(), values);
    for (Operation *op : llvm::reverse(old))
      op->erase();
  }

private:
  void buildStage(int64_t index, StagePlan &plan) {
    SmallVector<Operation *> ops = plan.getOps();
    SmallVector<Value> escaping;
    for (Operation *op : ops)
      for (Value result : op->getResults())
        if (isComputedIn(op, index) && escapes(result, index))
          escaping.push_back(result);

    auto stage = StageOp::create(builder, ops.front()->getLoc(),
                                 TypeRange(ValueRange(escaping)),
                                 builder.getStringAttr(getStageName(plan)));
    OpBuilder inside = OpBuilder::atBlockBegin(&stage.getBody().emplaceBlock());
    IRMapping mapping = results;
    for (Operation *op : ops)
      inside.clone(*op, mapping);
    auto yielded = llvm::map_to_vector(
        escaping, [&](Value value) { return mapping.lookup(value); });
    rt::YieldOp::create(inside, stage.getLoc(), yielded);
    for (auto [value, result] : llvm::zip(escaping, stage.getResults()))
      results.map(value, result);
  }

  bool isComputedIn(Operation *op, int64_t stage) {
    auto it = planner.stageOf.find(op);
    return it != planner.stageOf.end() && it->second == stage;
  }

  /// Whether something outside of `stage` reads `value`; a floating reader may
  /// have been cloned anywhere.
  bool escapes(Value value, int64_t stage) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) {
      return !isComputedIn(user, stage);
    });
  }

  StagePlanner &planner;
  mlir::Block &block;
  OpBuilder builder;
  IRMapping results; // value of the body -> result of a stage
};
} // namespace

FailureOr<int64_t> rondo::rt::formStages(BodyOp body) {
  if (!body.getOps<StageOp>().empty())
    return 0;
  StagePlanner planner(body);
  planner.plan();
  StageBuilder(body, planner).build();
  return planner.stages.size();
}

/// Says what `body` was cut into.
static void remarkStages(BodyOp body) {
  auto names = llvm::map_range(body.getOps<StageOp>(),
                               [](StageOp stage) { return stage.getName(); });
  remarkApplied(body, DEBUG_TYPE, "stages of '{0}' ({1}): {2}",
                body.getSymName(), llvm::range_size(names),
                llvm::join(names, ", "));
}

namespace {
struct FormStagesPass
    : public rondo::rt::impl::FormStagesPassBase<FormStagesPass> {
  void runOnOperation() override {
    FailureOr<int64_t> count = formStages(getOperation());
    if (failed(count))
      return signalPassFailure();
    numStages += *count;
    if (*count != 0)
      remarkStages(getOperation());
  }
};
} // namespace
