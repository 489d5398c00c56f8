//===- RondoRTModuleOps.cpp - schedule, bodies, packed weights ------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include <limits>

using namespace mlir;
using namespace rondo::rt;

//===----------------------------------------------------------------------===//
// ScheduleOp
//===----------------------------------------------------------------------===//

LogicalResult ScheduleOp::verify() {
  size_t count = getBodies().size();
  for (ArrayRef<int64_t> column :
       {getLayers(), getSides(), getSlots(), getTraces()})
    if (column.size() != count) // schedule_c1
      return emitOpError("expected ")
             << count << " entries in every array, got " << column.size();

  ArrayRef<int64_t> visits = getVisits();
  bool ascends = llvm::is_sorted(visits);
  if (visits.empty() || visits.front() != 0 || !ascends ||
      visits.back() != static_cast<int64_t>(count)) // schedule_c2
    return emitOpError("expected visits to ascend from 0 to ") << count;

  constexpr int64_t kMax16 = std::numeric_limits<uint16_t>::max();
  for (ArrayRef<int64_t> column :
       {getBodies(), getLayers(), getSides(), getSlots()})
    for (int64_t value : column)
      if (value < 0 || value > kMax16) // schedule_c3
        return emitOpError("expected entries from 0 to ")
               << kMax16 << ", got " << value;
  return success();
}

//===----------------------------------------------------------------------===//
// BodyOp
//===----------------------------------------------------------------------===//

LogicalResult BodyOp::verify() {
  size_t arguments = getKind() == BodyKind::Prelude ? 1 : getInputs().size();
  // From phase `buffers` on states stand in buffers: no arguments.
  size_t given = getBody().getNumArguments();
  if (given != 0 && given != arguments) // body_c2
    return emitOpError("expected ") << arguments << " arguments, got " << given;
  // Nothing is returned either.
  size_t returned = getBody().front().getTerminator()->getNumOperands();
  bool isCoda = getKind() == BodyKind::Coda;
  if (isCoda && given != 0 && returned == 0) // body_c2
    return emitOpError("expected at least one returned value");
  size_t expected = isCoda ? returned : getOutputs().size();
  if (returned != 0 && returned != expected) // body_c2
    return emitOpError("expected ")
           << expected << " returned values, got " << returned;
  return success();
}

//===----------------------------------------------------------------------===//
// PackedOp
//===----------------------------------------------------------------------===//

LogicalResult PackedOp::verify() {
  if (getRows().size() != getParams().size()) // packed_c1
    return emitOpError("expected ")
           << getParams().size() << " layouts, got " << getRows().size();
  for (Attribute layout : getRows())
    if (!isa<LayoutAttr>(layout)) // packed_c1
      return emitOpError("expected layouts in 'rows', got ") << layout;
  for (unsigned i = 1; i < getParams().size(); ++i)
    if (getPanels(i) != getPanels(0)) // packed_c2
      return emitOpError("expected ")
             << getPanels(0) << " panels in every parameter, got "
             << getPanels(i);
  int64_t line = getLineInputs(getFormat());
  if (int64_t(getK()) < 1 || getK() % line != 0) // packed_c3
    return emitOpError("expected 'k' to be a multiple of ")
           << line << ", got " << int64_t(getK());
  return success();
}

int64_t PackedOp::getPanels(unsigned index) {
  return cast<LayoutAttr>(getRows()[index]).getLanes() / kLanes;
}

int64_t PackedOp::getTotalPanels() {
  int64_t total = 0;
  for (unsigned i = 0; i < getParams().size(); ++i)
    total += getPanels(i);
  return total;
}

int64_t PackedOp::getPanelBytes() {
  return rt::getPanelBytes(getFormat(), getK());
}
