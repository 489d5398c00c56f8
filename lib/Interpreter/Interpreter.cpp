//===- Interpreter.cpp - the steps of a run -------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Interpreter/Interpreter.h"

#include "Inputs.h"
#include "Operations.h"
#include "rondo/Dialect/Rondo/IR/RondoModuleAttrs.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace mlir;
using namespace rondo;
using namespace rondo::interpreter;

//===----------------------------------------------------------------------===//
// The entry
//===----------------------------------------------------------------------===//

/// A module says its phase, or is typed by hand.
static LogicalResult checkPhase(ModuleOp module) {
  auto phase = module->getAttrOfType<StringAttr>(kPhaseAttr);
  if (!phase || phase == "input" || phase == "rondo")
    return success();
  return module.emitError("module is at phase '")
         << phase.getValue()
         << "'; only 'input' and 'rondo' are interpreted: write one of them "
            "with rondoc --compile-to";
}

/// The function to execute.
static FailureOr<func::FuncOp> findEntry(ModuleOp module, StringRef name) {
  auto function = module.lookupSymbol<func::FuncOp>(name);
  if (function && !function.isExternal())
    return function;
  if (function)
    return function.emitError("function '@")
           << name << "' has no body; name another one with --entry";
  auto known = llvm::map_to_vector(
      module.getOps<func::FuncOp>(),
      [](func::FuncOp other) { return "'@" + other.getName().str() + "'"; });
  return module.emitError("there is no function '@")
         << name << "'; name one with --entry, known: "
         << (known.empty() ? "none" : llvm::join(known, ", "));
}

//===----------------------------------------------------------------------===//
// The run
//===----------------------------------------------------------------------===//

namespace {
/// Executes a function step by step and gathers what the steps give.
class Run {
public:
  Run(func::FuncOp entry, Inputs inputs, Machine &machine)
      : entry(entry), inputs(std::move(inputs)), machine(machine) {}

  FailureOr<TensorMap> execute();

private:
  LogicalResult checkSteps();
  LogicalResult executeStep(ArrayRef<int64_t> rows);
  std::string getResultName(size_t number);
  void keep(const std::string &name, ArrayRef<int64_t> rows,
            const Tensor &tensor);

  func::FuncOp entry;
  Inputs inputs;
  Machine &machine;
  TensorMap outputs;
};
} // namespace

/// A value without rows would be another one in every step.
LogicalResult Run::checkSteps() {
  if (inputs.steps.size() == 1 || llvm::all_of(entry.getResultTypes(), hasRows))
    return success();
  return entry.emitError("has a result without rows, which ")
         << inputs.steps.size()
         << " steps give several times; leave 'steps' out";
}

std::string Run::getResultName(size_t number) {
  if (auto output = entry.getResultAttrOfType<OutputAttr>(number, kOutputAttr))
    return output.getName().str();
  if (entry.getName() == InterpreterOptions().entry &&
      entry.getNumResults() == 1)
    return kLogitsOutput.str();
  return std::to_string(number);
}

/// Puts the rows of a step where they stand among all rows.
void Run::keep(const std::string &name, ArrayRef<int64_t> rows,
               const Tensor &tensor) {
  SmallVector<int64_t, 2> shape(tensor.shape);
  shape.front() = static_cast<int64_t>(inputs.rows.size());
  outputs.try_emplace(name, Tensor::zeros(shape, tensor.kind))
      .first->second.putRows(rows, tensor);
}

/// What a trace keeps of `tensor`.
static Tensor takeForm(TraceOp trace, const Tensor &tensor) {
  if (trace.getForm() == TraceForm::Rows)
    return tensor;
  int64_t rows = tensor.shape.front(), number = trace.getColumn();
  bool isInteger = trace.getForm() == TraceForm::Integers;
  Tensor column = Tensor::zeros({rows}, isInteger ? NumberKind::Integer
                                                  : NumberKind::Float);
  for (int64_t row = 0; row < rows; ++row) {
    double value = tensor.at(row, number);
    column.values[row] = isInteger ? std::nearbyint(value) : value;
  }
  return column;
}

/// Those of `rows`, the rows of the step, that `tensor` has.
static SmallVector<int64_t> getTracedRows(ArrayRef<int64_t> rows,
                                          const Tensor &tensor) {
  if (!tensor.selection)
    return SmallVector<int64_t>(rows);
  return llvm::map_to_vector(tensor.selection->numbers,
                             [&](int64_t number) { return rows[number]; });
}

LogicalResult Run::executeStep(ArrayRef<int64_t> rows) {
  machine.traces.clear();
  machine.rows.clear();
  for (int64_t row : rows)
    machine.rows.push_back(inputs.rows[row]);
  Frame frame(machine, ExecutionPoint());
  for (auto [argument, tensor] :
       llvm::zip(entry.getArguments(), inputs.arguments))
    frame.set(argument,
              hasRows(argument.getType()) ? tensor.takeRows(rows) : tensor);
  FailureOr<SmallVector<Tensor>> results =
      executeBlock(entry.getBody().front(), frame);
  if (failed(results))
    return failure();
  for (auto [i, result] : llvm::enumerate(*results)) {
    if (hasRows(entry.getResultTypes()[i]))
      keep(getResultName(i), rows, result);
    else
      outputs[getResultName(i)] = std::move(result);
  }
  std::map<std::string, int64_t> counts; // executions by name
  for (const auto &[trace, tensor] : machine.traces) {
    std::string name = TraceOp(trace).getName().str();
    if (!TraceOp(trace).getSingle())
      name += "." + std::to_string(counts[name]++);
    keep(name, getTracedRows(rows, tensor), takeForm(trace, tensor));
  }
  return success();
}

FailureOr<TensorMap> Run::execute() {
  if (failed(checkSteps()))
    return failure();
  for (const std::vector<int64_t> &rows : inputs.steps)
    if (failed(executeStep(rows)))
      return failure();
  return std::move(outputs);
}

FailureOr<TensorMap> rondo::interpret(const Program &program,
                                      const ArchiveSet &archives,
                                      const TensorMap &inputs,
                                      const InterpreterOptions &options) {
  ModuleOp module = *program.module;
  if (failed(checkPhase(module)))
    return failure();
  FailureOr<func::FuncOp> entry = findEntry(module, options.entry);
  if (failed(entry))
    return failure();
  FailureOr<Inputs> bound =
      bindInputs(*entry, program.argumentNames.lookup(options.entry), inputs);
  if (failed(bound))
    return failure();
  Machine machine(archives, options.precision);
  return Run(*entry, std::move(*bound), machine).execute();
}
