//===- ModelTree.cpp - the model function as units and loops ---*- C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "ModelTree.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace rondo;

static void visitUnits(std::vector<Node> &nodes,
                       llvm::function_ref<void(Unit &)> fn) {
  for (Node &node : nodes) {
    if (node.isLoop())
      visitUnits(node.children, fn);
    else
      fn(*node.unit);
  }
}

void ModelTree::forEachUnit(llvm::function_ref<void(Unit &)> fn) {
  visitUnits(nodes, fn);
}

/// Ids of rows are no state: whoever looks them up finds them in the
/// descriptors.
static bool isIds(Value value) {
  return isa<IntegerType>(getElementTypeOrSelf(value.getType()));
}

/// Sets what the run of `unit` reads from and leaves for the rest of the model.
static void inferRunValues(Unit &unit) {
  llvm::SmallPtrSet<Operation *, 8> inside(unit.run.begin(), unit.run.end());
  llvm::SetVector<Value> inputs, outputs;
  for (Operation *op : unit.run) {
    for (Value operand : op->getOperands())
      if (!inside.contains(operand.getDefiningOp()) && !isIds(operand))
        inputs.insert(operand);
    for (Value result : op->getResults())
      if (!isIds(result) &&
          llvm::any_of(result.getUsers(),
                       [&](Operation *user) { return !inside.contains(user); }))
        outputs.insert(result);
  }
  unit.inputs = inputs.takeVector();
  unit.outputs = outputs.takeVector();
}

/// Appends the pending run, if there is one, to `nodes`.
static void closeRun(SmallVector<Operation *> &run, std::vector<Node> &nodes) {
  if (run.empty())
    return;
  Node node;
  node.unit = std::make_unique<Unit>();
  node.unit->run = std::move(run);
  run.clear();
  inferRunValues(*node.unit);
  nodes.push_back(std::move(node));
}

static std::vector<Node> readBlock(mlir::Block &block) {
  std::vector<Node> nodes;
  SmallVector<Operation *> run;
  for (Operation &op : block) {
    if (op.hasTrait<OpTrait::IsTerminator>())
      break;
    auto loop = dyn_cast<LoopOp>(op);
    auto apply = dyn_cast<ApplyOp>(op);
    if (!loop && !apply) {
      run.push_back(&op);
      continue;
    }
    closeRun(run, nodes);
    Node node;
    if (loop) {
      node.loop = loop;
      node.children = readBlock(loop.getBody().front());
    } else {
      node.unit = std::make_unique<Unit>();
      node.unit->apply = apply;
      node.unit->inputs.assign(apply.getInputs().begin(),
                               apply.getInputs().end());
      node.unit->outputs.assign(apply.getOutputs().begin(),
                                apply.getOutputs().end());
    }
    nodes.push_back(std::move(node));
  }
  closeRun(run, nodes);
  return nodes;
}

/// Splits a model without loops after its last embedding, so that it has a
/// prelude and a coda.
static void splitOnlyRun(std::vector<Node> &nodes) {
  SmallVector<Operation *> all = std::move(nodes.front().unit->run);
  nodes.clear();
  auto last = llvm::find_if(llvm::reverse(all), llvm::IsaPred<EmbedOp>);
  size_t count = last == llvm::reverse(all).end()
                     ? 0
                     : std::distance(last, llvm::reverse(all).end());
  SmallVector<Operation *> head(all.begin(), all.begin() + count);
  SmallVector<Operation *> tail(all.begin() + count, all.end());
  closeRun(head, nodes);
  closeRun(tail, nodes);
}

/// Whether `op` reads rows that the caller of `model` gives.
static bool readsInput(func::FuncOp model, Operation *op) {
  return llvm::any_of(op->getOperands(), [&](Value operand) {
    return isRowsType(operand.getType()) &&
           llvm::is_contained(model.getArguments(), operand);
  });
}

/// The prelude starts from tokens alone: what reads an input comes behind it.
static void splitPrelude(func::FuncOp model, std::vector<Node> &nodes) {
  if (nodes.empty() || nodes.front().isLoop())
    return;
  SmallVector<Operation *> run = nodes.front().unit->run;
  auto first =
      llvm::find_if(run, [&](Operation *op) { return readsInput(model, op); });
  if (first == run.end())
    return;
  SmallVector<Operation *> head(run.begin(), first), tail(first, run.end());
  std::vector<Node> parts;
  closeRun(head, parts);
  closeRun(tail, parts);
  nodes.erase(nodes.begin());
  nodes.insert(nodes.begin(), std::make_move_iterator(parts.begin()),
               std::make_move_iterator(parts.end()));
}

/// Whether `node` is a run with an embedding.
static bool isPrelude(const Node &node) {
  return !node.isLoop() && llvm::any_of(node.unit->run, llvm::IsaPred<EmbedOp>);
}

/// Only the prelude has ids.
static LogicalResult verifyEmbeddings(ModelTree &tree) {
  LogicalResult result = success();
  tree.forEachUnit([&](Unit &unit) {
    if (unit.kind == rt::BodyKind::Prelude || failed(result))
      return;
    for (Operation *op : unit.run)
      if (isa<EmbedOp>(op)) {
        result = op->emitOpError("expected to stand in front of the first "
                                 "loop or 'rondo.apply' of the model");
        return;
      }
  });
  return result;
}

FailureOr<ModelTree> rondo::buildModelTree(func::FuncOp model) {
  ModelTree tree;
  tree.nodes = readBlock(model.getBody().front());
  if (tree.nodes.size() == 1 && !tree.nodes.front().isLoop())
    splitOnlyRun(tree.nodes);
  splitPrelude(model, tree.nodes);

  if (tree.nodes.empty() || !isPrelude(tree.nodes.front()))
    return model.emitError("expected the model to start with a 'rondo.embed' "
                           "of its tokens");
  if (model.getNumArguments() == 0 || !isIds(model.getArgument(0)))
    return model.emitError("expected the model's first argument to be its "
                           "tokens");
  tree.nodes.front().unit->kind = rt::BodyKind::Prelude;

  if (failed(verifyEmbeddings(tree)))
    return failure();

  // Copies of results that are computed before stand behind the last loop.
  Operation *end = model.getBody().front().getTerminator();
  Node &last = tree.nodes.back();
  if (end->getNumOperands() == 0 || tree.nodes.size() == 1)
    return model.emitError("expected the model to return at least one value");
  last.unit->kind = rt::BodyKind::Coda;
  last.unit->outputs.assign(end->operand_begin(), end->operand_end());
  return tree;
}
