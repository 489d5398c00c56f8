//===- BufferPlan.cpp - places of rows in the arena ----------------*- C++ -*
//-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "BufferPlan.h"

#include "rondo_rt/abi.h"

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace rondo::rt;

static int64_t getLanesOf(Value value) {
  return cast<RankedTensorType>(value.getType()).getDimSize(1);
}

int64_t ArenaPlan::getRowsBytes(int64_t lanes) const {
  return llvm::alignTo(rows * lanes * 4, RONDO_RT_ALIGNMENT);
}

void rondo::rt::planStates(ModuleOp module, ArenaPlan &plan) {
  auto place = [&](ArrayRef<int64_t> numbers, ValueRange values) {
    for (auto [number, value] : llvm::zip(numbers, values)) {
      auto [it, isNew] = plan.states.try_emplace(number, plan.statesEnd);
      if (isNew)
        plan.statesEnd += plan.getRowsBytes(getLanesOf(value));
    }
  };
  for (BodyOp body : module.getOps<BodyOp>()) {
    if (body.getKind() != BodyKind::Prelude)
      place(body.getInputs(), body.getBody().getArguments());
    if (body.getKind() != BodyKind::Coda)
      place(body.getOutputs(),
            body.getBody().front().getTerminator()->getOperands());
  }
  bool selects =
      module.walk([](rt::SelectRowsOp) { return WalkResult::interrupt(); })
          .wasInterrupted();
  if (selects) {
    plan.selection = plan.statesEnd;
    plan.statesEnd += SelectionLayout(plan.rows).getBytes();
  }
  plan.arenaBytes = plan.statesEnd;
}

int64_t rondo::rt::getSharedBytes(Operation *op, const ArenaPlan &plan,
                                  int64_t valueLanes) {
  if (auto pack = dyn_cast<PackOp>(op))
    return llvm::alignTo(
        plan.rows * getRowBytes(pack.getFormat(), pack.getLayout().getLanes()),
        RONDO_RT_ALIGNMENT);
  if (isa<RouteOp>(op)) // a gate of each row
    return llvm::alignTo(plan.rows * 4, RONDO_RT_ALIGNMENT);
  // Partial results of few rows: maximum, sum and outputs for each head and
  // page.
  auto attend = cast<AttendOp>(op);
  int64_t pages = llvm::divideCeil(plan.context, RONDO_RT_PAGE_POSITIONS);
  return kFewRows * attend.getHeads() * pages * getPartialBytes(valueLanes);
}

namespace {
/// A value or shared area and the stages that it lives in.
struct Interval {
  int64_t first, last; // stage numbers, inclusive
  int64_t bytes;
  int64_t offset = -1;
};

class BodyPlanner {
public:
  BodyPlanner(BodyOp body, ArenaPlan &plan) : body(body), plan(plan) {
    for (StageOp stage : body.getOps<StageOp>()) {
      numberOf[stage] = stages.size();
      stages.push_back(stage);
    }
  }

  FailureOr<BodyBuffers> run() {
    placeArguments();
    placeResults();
    placeShared();
    if (failed(checkCopies()))
      return failure();
    return std::move(buffers);
  }

private:
  Operation *getEnd() { return body.getBody().front().getTerminator(); }

  /// The stage around `op`.
  StageOp getStage(Operation *op) {
    auto stage = dyn_cast<StageOp>(op);
    return stage ? stage : op->getParentOfType<StageOp>();
  }

  void placeArguments() {
    if (body.getKind() == BodyKind::Prelude)
      return;
    for (auto [number, argument] :
         llvm::zip(body.getInputs(), body.getBody().getArguments()))
      buffers.offsets[argument] = plan.states.lookup(number);
  }

  int64_t getLastUse(Value value) {
    int64_t last = 0;
    for (Operation *user : value.getUsers()) {
      StageOp stage = getStage(user);
      last = std::max(last, stage ? numberOf.lookup(stage)
                                  : static_cast<int64_t>(stages.size()));
    }
    return last;
  }

  /// Whether `result` may overwrite the state that `old` stands in: `old` is
  /// not read after this stage, and in it only chunk by chunk by the tile that
  /// computes the result. In a stage without contractions one thread does a row
  /// from its statistics to its last chunk, so these may read it too.
  bool canReplace(Value old, OpResult result) {
    int64_t number = numberOf.lookup(result.getOwner());
    auto owner = cast<StageOp>(result.getOwner());
    Operation *yield = owner.getBody().front().getTerminator();
    Operation *tile =
        yield->getOperand(result.getResultNumber()).getDefiningOp();
    bool rowByRow = owner.getBody().getOps<PackOp>().empty();
    return llvm::all_of(old.getUsers(), [&](Operation *user) {
      StageOp stage = getStage(user);
      if (!stage || numberOf.lookup(stage) > number)
        return false;
      Operation *parent = user->getParentOp();
      if (isa<LoadSelectedOp>(user)) // of another row
        return false;
      return numberOf.lookup(stage) < number || parent == tile ||
             (rowByRow && (isa<ReduceOp>(parent) || isa<LoadOp>(user)));
    });
  }

  /// The argument that stands in state `number`, if there is one.
  Value getArgumentIn(int64_t number) {
    for (auto [state, argument] :
         llvm::zip(body.getInputs(), body.getBody().getArguments()))
      if (state == number)
        return argument;
    return nullptr;
  }

  /// Places a returned value in its state, or notes the copy to it.
  void placeReturned(Value value, int64_t number) {
    int64_t target = plan.states.lookup(number);
    Value old = getArgumentIn(number);
    if (old == value)
      return;
    auto result = dyn_cast<OpResult>(value);
    bool free = result && !buffers.offsets.contains(value) &&
                (!old || canReplace(old, result));
    if (free)
      buffers.offsets[value] = target;
    else
      buffers.copies.emplace_back(value, target);
  }

  /// The model's results stand one after another in each row of the logits.
  void placeLogits() {
    int64_t offset = 0;
    for (Value value : getEnd()->getOperands()) {
      buffers.logits[value] = offset;
      offset += getLanesOf(value) * 4;
    }
  }

  void placeResults() {
    if (body.getKind() != BodyKind::Coda)
      for (auto [number, value] :
           llvm::zip(body.getOutputs(), getEnd()->getOperands()))
        placeReturned(value, number);
    else
      placeLogits();
    for (StageOp stage : stages)
      for (Value result : stage.getResults()) {
        if (buffers.logits.contains(result) || buffers.offsets.contains(result))
          continue;
        buffers.offsets[result] =
            allocate(numberOf.lookup(stage), getLastUse(result),
                     plan.getRowsBytes(getLanesOf(result)));
      }
  }

  void placeShared() {
    auto kv = body->getParentOfType<ModuleOp>()->getAttrOfType<DictionaryAttr>(
        "rondo_rt.kv");
    int64_t valueLanes = cast<IntegerAttr>(kv.get("value_lanes")).getInt();
    for (StageOp stage : stages)
      for (Operation &op : stage.getBody().front())
        if (isa<PackOp, AttendOp, RouteOp>(op)) {
          int64_t number = numberOf.lookup(stage);
          buffers.shared[&op] =
              allocate(number, number, getSharedBytes(&op, plan, valueLanes));
        }
  }

  /// First gap between the intervals that live at the same time.
  int64_t allocate(int64_t first, int64_t last, int64_t bytes) {
    SmallVector<Interval> live;
    for (const Interval &other : intervals)
      if (other.first <= last && first <= other.last)
        live.push_back(other);
    llvm::sort(live, [](const Interval &a, const Interval &b) {
      return a.offset < b.offset;
    });
    int64_t offset = plan.statesEnd;
    for (const Interval &other : live) {
      if (offset + bytes <= other.offset)
        break;
      offset = std::max(offset, other.offset + other.bytes);
    }
    intervals.push_back({first, last, bytes, offset});
    plan.arenaBytes = std::max(plan.arenaBytes, offset + bytes);
    return offset;
  }

  /// A copy must not read a state that another copy writes.
  LogicalResult checkCopies() {
    for (auto [value, target] : buffers.copies)
      for (auto [other, otherTarget] : buffers.copies)
        if (value != other && buffers.offsets.lookup(value) == otherTarget)
          return body.emitOpError(
              "permutes its states; compute at least one of "
              "them in the block");
    return success();
  }

  BodyOp body;
  ArenaPlan &plan;
  SmallVector<StageOp> stages;
  DenseMap<Operation *, int64_t> numberOf;
  SmallVector<Interval> intervals;
  BodyBuffers buffers;
};
} // namespace

FailureOr<BodyBuffers> rondo::rt::planBody(BodyOp body, ArenaPlan &plan) {
  return BodyPlanner(body, plan).run();
}
