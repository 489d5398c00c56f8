//===- RondoRTDialect.cpp - the rondo_rt dialect, its types and layouts ---*-
// C++ -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace rondo::rt;

#include "rondo/Dialect/RondoRT/IR/RondoRTOpsDialect.cpp.inc"
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsEnums.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsAttributes.cpp.inc"

void RondoRTDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "rondo/Dialect/RondoRT/IR/RondoRTOpsAttributes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "rondo/Dialect/RondoRT/IR/RondoRTOps.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Sizes of packed forms
//===----------------------------------------------------------------------===//

int64_t rondo::rt::getLineInputs(PanelFormat format) {
  switch (format) {
  case PanelFormat::F32:
  case PanelFormat::F16:
    return 1;
  case PanelFormat::BF16Pair:
    return 2;
  case PanelFormat::Q8_0:
  case PanelFormat::Q4_0:
  case PanelFormat::Q4_1:
    return 32;
  }
  llvm_unreachable("unknown panel format");
}

int64_t rondo::rt::getPanelBytes(PanelFormat format, int64_t k) {
  switch (format) {
  case PanelFormat::F32:
    return k * kLanes * 4;
  case PanelFormat::F16:
  case PanelFormat::BF16Pair:
    return k * kLanes * 2;
  case PanelFormat::Q8_0:
    return k / 32 * 1088;
  case PanelFormat::Q4_0:
    return k / 32 * 576;
  case PanelFormat::Q4_1:
    return k / 32 * 640;
  }
  llvm_unreachable("unknown panel format");
}

int64_t rondo::rt::getRowBytes(RowFormat format, int64_t k) {
  switch (format) {
  case RowFormat::F32:
  case RowFormat::BF16AsF32:
    return k * 4;
  case RowFormat::BF16Pair:
    return k * 2;
  case RowFormat::Int8Group:
    return k / 32 * 64;
  }
  llvm_unreachable("unknown row format");
}

//===----------------------------------------------------------------------===//
// LayoutAttr
//===----------------------------------------------------------------------===//

/// Chunks that the rotated pairs of one head fill, 16 pairs each.
static int64_t getRotaryChunks(LayoutAttr layout) {
  return (layout.getRotary() + 15) / 16;
}

int64_t LayoutAttr::getHeadLanes() const {
  int64_t width = getWidth() / getHeads();
  if (getKind() != LayoutKind::RopeHalf &&
      getKind() != LayoutKind::RopeInterleaved)
    return padToLanes(width);
  return getRotaryChunks(*this) * kLanes + padToLanes(width - 2 * getRotary());
}

int64_t LayoutAttr::getLanes() const { return getHeadLanes() * getHeads(); }

SmallVector<int32_t> LayoutAttr::getLaneMap() const {
  int64_t width = getWidth() / getHeads();
  SmallVector<int32_t> head(getHeadLanes(), -1);
  bool half = getKind() == LayoutKind::RopeHalf;
  int64_t pairs = 0;
  if (half || getKind() == LayoutKind::RopeInterleaved)
    pairs = getRotary();
  for (int64_t pair = 0; pair < pairs; ++pair) {
    int64_t lane = pair / 16 * kLanes + pair % 16;
    head[lane] = half ? pair : 2 * pair;
    head[lane + 16] = half ? pair + pairs : 2 * pair + 1;
  }
  int64_t rest = pairs ? getRotaryChunks(*this) * kLanes : 0;
  for (int64_t i = 2 * pairs; i < width; ++i)
    head[rest + i - 2 * pairs] = i;

  SmallVector<int32_t> map;
  for (int64_t h = 0; h < getHeads(); ++h)
    for (int32_t element : head)
      map.push_back(element < 0 ? -1 : h * width + element);
  return map;
}

int64_t rondo::rt::getLogitsLanes(ModuleOp module) {
  int64_t lanes = 0;
  module.walk([&](BufferOp buffer) {
    if (!buffer.getLogits())
      return;
    int64_t first = static_cast<int64_t>(buffer.getOffset()) / 4;
    lanes = std::max(lanes,
                     first + cast<MemRefType>(buffer.getType()).getDimSize(1));
  });
  return lanes;
}
