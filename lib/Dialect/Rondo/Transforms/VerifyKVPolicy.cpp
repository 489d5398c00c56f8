//===- VerifyKVPolicy.cpp - the schedule keeps the declared KV policy -----===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A wrong KV slot does not crash, it degrades the text: so the accesses of the
// whole schedule are replayed once, slot by slot, at compile time.
//
//   execution 0: append slot 0, attend slot 0
//   execution 1: append slot 0  <- error under 'per-depth': slot 0 was appended
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/Analysis/KVPolicy.h"
#include "rondo/Dialect/Rondo/Analysis/ScheduleAnalysis.h"
#include "rondo/Dialect/Rondo/IR/DepthMaps.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"
#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/Rondo/Transforms/Remarks.h"
#include "rondo/Dialect/Rondo/Transforms/Transforms.h"

#include "llvm/ADT/DenseSet.h"

#define DEBUG_TYPE "rondo-verify-kv-policy"

using namespace mlir;
using namespace rondo;

namespace rondo {
#define GEN_PASS_DEF_VERIFYKVPOLICYPASS
#include "rondo/Dialect/Rondo/Transforms/Passes.h.inc"
} // namespace rondo

//===----------------------------------------------------------------------===//
// The policy by name
//===----------------------------------------------------------------------===//

/// The policy called `name`; an error at `module` if there is none.
static FailureOr<KVPolicy> getPolicy(ModuleOp module, StringAttr name) {
  llvm::Expected<KVPolicy> policy = KVPolicy::parse(name);
  if (!policy)
    return module.emitOpError(toString(policy.takeError()));
  return *policy;
}

/// Checks that the checkpoint of `module` is trained for `policy`, unless
/// forced.
static LogicalResult verifyTrained(ModuleOp module, StringAttr name,
                                   KVPolicy policy) {
  if (module->hasAttr(kForceKVPolicyAttr))
    return success();
  auto trained = module->getAttrOfType<ArrayAttr>(kTrainedKVAttr);
  for (Attribute other : trained ? trained.getValue() : ArrayRef<Attribute>()) {
    FailureOr<KVPolicy> known = getPolicy(module, cast<StringAttr>(other));
    if (failed(known))
      return failure();
    // Where no row exits early, some names mean the same.
    if (*known == policy)
      return success();
  }
  InFlightDiagnostic diag =
      module.emitOpError("expected a KV policy that the checkpoint is trained "
                         "for, got ")
      << name;
  if (trained)
    diag.attachNote() << "trained for " << trained;
  diag.attachNote() << "set '" << kForceKVPolicyAttr << "' to run it all the "
                    << "same";
  return diag;
}

//===----------------------------------------------------------------------===//
// Replay of the schedule
//===----------------------------------------------------------------------===//

namespace {
/// An `append` or `attend` of a block.
struct CacheAccess {
  Operation *op;
  int64_t cache;
  bool isAppend;
};

/// What the executions of a block have in common.
struct BlockFacts {
  /// In program order; those of a loop inside the block twice.
  SmallVector<CacheAccess> accesses;
  /// Weights of linears, which tell one layer from another.
  SmallVector<ParamOp> weights;
  int64_t caches = 0;
};

/// An entry of a parameter.
using WeightEntry = std::pair<Operation *, int64_t>;

/// Replays one schedule against one policy.
class PolicyVerifier {
public:
  PolicyVerifier(StringAttr name, KVPolicy policy,
                 ArrayRef<Execution> executions);

  /// Replays all executions.
  LogicalResult verify();

  /// Checks that slots 0 to the largest are owned, and that what is appended is
  /// attended: keys and values that nothing reads would cost their projections
  /// and memory at every visit.
  LogicalResult verifySlots(func::FuncOp model);

  int64_t getSlotCount() const { return slotCount; }

private:
  /// A visit of a layer; those of one layer share weights.
  struct Visit {
    int64_t layer;    // numbered by first visits
    int64_t number;   // from 0
    int64_t previous; // execution of the visit before, or -1
  };

  const BlockFacts &getFacts(ApplyOp op) const {
    return facts.find(op.getBlockAttr())->second;
  }
  /// The weights that execution `number` uses.
  DenseSet<WeightEntry> getWeights(int64_t number);
  void findVisits();

  LogicalResult verifyExecution(int64_t number);
  LogicalResult verifyAppend(const CacheAccess &access, int64_t number);
  LogicalResult verifyAttend(const CacheAccess &access, int64_t number);
  /// Policy `none`: `writer` appended last to what is read.
  LogicalResult verifyOwnAttend(const CacheAccess &access, int64_t number,
                                int64_t writer);
  /// "expected KV policy "name" to" at `access`.
  InFlightDiagnostic report(const CacheAccess &access, int64_t number);

  int64_t getSlot(const CacheAccess &access, int64_t number) const {
    return executions[number].slot + access.cache;
  }
  int64_t getVersion(int64_t number) const {
    return policy.getVersion(visits[number].number);
  }
  bool appends(int64_t number) const {
    return policy.appends(visits[number].number);
  }

  StringAttr name;
  KVPolicy policy;
  ArrayRef<Execution> executions;
  DenseMap<Attribute, BlockFacts> facts;
  /// The visit that each execution is.
  std::vector<Visit> visits;
  /// The execution that appended a slot last.
  DenseMap<int64_t, int64_t> writers;
  /// The slot of a version (layer, version, cache).
  DenseMap<std::tuple<int64_t, int64_t, int64_t>, int64_t> slots;
  /// Slots that an execution owns, used or not; and that one attends.
  DenseSet<int64_t> owned, attended;
  int64_t slotCount = 0;
};
} // namespace

/// Whether `op` runs more than once in one execution of its block.
static bool isRepeated(Operation *op) {
  for (auto loop = op->getParentOfType<LoopOp>(); loop;
       loop = loop->getParentOfType<LoopOp>())
    if (loop.getCount() > 1)
      return true;
  return false;
}

static SmallVector<CacheAccess> collectAccesses(BlockOp block) {
  SmallVector<CacheAccess> accesses;
  block.walk([&](Operation *op) {
    std::optional<CacheAccess> access;
    if (auto append = dyn_cast<AppendOp>(op))
      access = CacheAccess{op, int64_t(append.getCache()), /*isAppend=*/true};
    else if (auto attend = dyn_cast<AttendOp>(op))
      access = CacheAccess{op, int64_t(attend.getCache()), /*isAppend=*/false};
    if (access)
      accesses.append(isRepeated(op) ? 2 : 1, *access);
  });
  return accesses;
}

static BlockFacts collectFacts(BlockOp block, SymbolTableCollection &symbols) {
  BlockFacts facts;
  facts.accesses = collectAccesses(block);
  facts.caches = block.getCaches();
  block.walk([&](LinearOp linear) {
    for (auto weight : linear.getWeights().getAsRange<FlatSymbolRefAttr>())
      facts.weights.push_back(
          symbols.lookupNearestSymbolFrom<ParamOp>(linear, weight));
  });
  return facts;
}

PolicyVerifier::PolicyVerifier(StringAttr name, KVPolicy policy,
                               ArrayRef<Execution> executions)
    : name(name), policy(policy), executions(executions) {
  SymbolTableCollection symbols;
  for (Execution execution : executions) {
    FlatSymbolRefAttr block = execution.op.getBlockAttr();
    if (!facts.contains(block))
      facts[block] = collectFacts(
          symbols.lookupNearestSymbolFrom<BlockOp>(execution.op, block),
          symbols);
  }
  findVisits();
}

DenseSet<WeightEntry> PolicyVerifier::getWeights(int64_t number) {
  Execution execution = executions[number];
  DenseSet<WeightEntry> entries;
  for (ParamOp param : getFacts(execution.op).weights)
    entries.insert({param, param.getLayers() ? execution.layer : 0});
  return entries;
}

/// An execution visits the layer whose weights, or some of them, it uses.
void PolicyVerifier::findVisits() {
  DenseMap<WeightEntry, int64_t> lastUser;
  for (int64_t number = 0, e = executions.size(); number < e; ++number) {
    DenseSet<WeightEntry> weights = getWeights(number);
    int64_t previous = -1;
    for (const WeightEntry &entry : weights) {
      auto user = lastUser.find(entry);
      if (user != lastUser.end())
        previous = std::max(previous, user->second);
    }
    for (const WeightEntry &entry : weights)
      lastUser[entry] = number;
    if (previous < 0)
      visits.push_back({/*layer=*/number, /*number=*/0, previous});
    else
      visits.push_back(
          {visits[previous].layer, visits[previous].number + 1, previous});
  }
}

InFlightDiagnostic PolicyVerifier::report(const CacheAccess &access,
                                          int64_t number) {
  Execution execution = executions[number];
  InFlightDiagnostic diag = access.op->emitOpError("expected KV policy ")
                            << name << " to ";
  diag.attachNote(execution.op.getLoc()) << "executed here";
  return diag;
}

LogicalResult PolicyVerifier::verifyAppend(const CacheAccess &access,
                                           int64_t number) {
  if (!appends(number))
    return report(access, number)
           << "append at the first visit of a layer only, got execution "
           << number << " after execution " << visits[number].previous;
  int64_t slot = getSlot(access, number);
  if (policy == KVPolicy::getNone()) {
    writers[slot] = number;
    return success();
  }
  // There the first visit appends the versions of later ones, too, cache by
  // cache.
  bool isHybrid = policy == KVPolicy::getHybrid();
  int64_t version = getVersion(number) + (isHybrid ? access.cache : 0);
  auto writer = writers.find(slot);
  bool overwrites =
      writer != writers.end() && writer->second != number &&
      visits[writer->second].layer == visits[number].layer &&
      (isHybrid || getVersion(writer->second) == getVersion(number));
  if (writer != writers.end() && !overwrites)
    return report(access, number)
           << "append a slot once, got slot " << slot << " in execution "
           << number << " after execution " << writer->second;
  auto [own, isNew] = slots.try_emplace(
      {visits[number].layer, version, isHybrid ? 0 : access.cache}, slot);
  if (own->second != slot)
    return report(access, number)
           << "append version " << version << " to slot " << own->second
           << ", as visits of the layer before, got slot " << slot
           << " in execution " << number;
  writers[slot] = number;
  return success();
}

LogicalResult PolicyVerifier::verifyAttend(const CacheAccess &access,
                                           int64_t number) {
  int64_t slot = getSlot(access, number);
  attended.insert(slot);
  auto writer = writers.find(slot);
  Execution execution = executions[number];
  if (writer == writers.end()) {
    InFlightDiagnostic diag =
        access.op->emitOpError("expected a slot that the same or an earlier "
                               "execution appended, got slot ")
        << slot << " in execution " << number;
    diag.attachNote(execution.op.getLoc()) << "executed here";
    return diag;
  }
  if (policy == KVPolicy::getNone())
    return verifyOwnAttend(access, number, writer->second);
  if (policy == KVPolicy::getFirstStep() || writer->second == number ||
      visits[writer->second].layer != visits[number].layer)
    return success();
  InFlightDiagnostic diag = report(access, number);
  diag << "read the version of its own depth, got slot " << slot
       << " of execution " << writer->second << " in execution " << number;
  diag.attachNote() << "KV policy 'first-step' lets later visits of a layer "
                    << "read the first";
  return diag;
}

LogicalResult PolicyVerifier::verifyOwnAttend(const CacheAccess &access,
                                              int64_t number, int64_t writer) {
  auto attend = cast<AttendOp>(access.op);
  if (attend.getMask() == Mask::Full && writer == number)
    return success();
  InFlightDiagnostic diag =
      access.op->emitOpError("expected KV policy ")
      << name << " to see whole sequences and what the execution wrote itself";
  if (writer == number)
    diag << ", got mask '" << stringifyMask(attend.getMask()) << "'";
  else
    diag << ", got slot " << getSlot(access, number) << " of execution "
         << writer << " in execution " << number;
  Execution execution = executions[number];
  diag.attachNote(execution.op.getLoc()) << "executed here";
  return diag;
}

LogicalResult PolicyVerifier::verifyExecution(int64_t number) {
  Execution execution = executions[number];
  const BlockFacts &block = getFacts(execution.op);
  for (int64_t cache = 0; cache < block.caches; ++cache)
    owned.insert(execution.slot + cache);
  slotCount = std::max(slotCount,
                       block.caches == 0 ? 0 : execution.slot + block.caches);
  for (const CacheAccess &access : block.accesses)
    if (failed(access.isAppend ? verifyAppend(access, number)
                               : verifyAttend(access, number)))
      return failure();
  return success();
}

LogicalResult PolicyVerifier::verify() {
  for (int64_t number = 0, e = executions.size(); number < e; ++number)
    if (failed(verifyExecution(number)))
      return failure();
  return success();
}

LogicalResult PolicyVerifier::verifySlots(func::FuncOp model) {
  for (int64_t slot = 0; slot < slotCount; ++slot) {
    if (!owned.contains(slot))
      return model.emitOpError("expected an execution to own each of ")
             << slotCount << " slots, got none for slot " << slot;
    auto writer = writers.find(slot);
    if (writer == writers.end() || attended.contains(slot))
      continue;
    Execution execution = executions[writer->second];
    return execution.op.emitOpError("expected an execution to attend slot ")
           << slot << ", which execution " << writer->second
           << " appends; leave its keys and values out, or attend them";
  }
  return success();
}

//===----------------------------------------------------------------------===//
// The transform and its pass
//===----------------------------------------------------------------------===//

/// Whether an execution of `executions` owns a slot.
static bool ownsSlots(ArrayRef<Execution> executions,
                      SymbolTableCollection &symbols) {
  return llvm::any_of(executions, [&](Execution execution) {
    return symbols
               .lookupNearestSymbolFrom<BlockOp>(execution.op,
                                                 execution.op.getBlockAttr())
               .getCaches() != 0;
  });
}

LogicalResult rondo::verifyKVPolicy(func::FuncOp model) {
  FailureOr<SmallVector<Execution>> executions = flattenSchedule(model);
  if (failed(executions))
    return failure();
  SymbolTableCollection symbols;
  if (!ownsSlots(*executions, symbols))
    return success();

  auto module = model->getParentOfType<ModuleOp>();
  auto name = module->getAttrOfType<StringAttr>(kKVPolicyAttr);
  if (!name)
    return module.emitOpError("expected attribute '")
           << kKVPolicyAttr << "' of a model with KV slots";
  FailureOr<KVPolicy> policy = getPolicy(module, name);
  if (failed(policy))
    return failure();
  PolicyVerifier verifier(name, *policy, *executions);
  if (failed(verifyTrained(module, name, *policy)) ||
      failed(verifier.verify()) || failed(verifier.verifySlots(model)))
    return failure();
  remarkFound(model, DEBUG_TYPE,
              "KV policy '{0}' holds for {1} executions on {2} slots",
              name.getValue(), executions->size(), verifier.getSlotCount());
  return success();
}

namespace {
struct VerifyKVPolicyPass
    : rondo::impl::VerifyKVPolicyPassBase<VerifyKVPolicyPass> {
  void runOnOperation() override {
    auto model = getOperation().lookupSymbol<func::FuncOp>("model");
    if (model && failed(verifyKVPolicy(model)))
      signalPassFailure();
    markAllAnalysesPreserved();
  }
};
} // namespace
