//===- RondoDialect.cpp - registration and storage types ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Registers the dialect's operations, types and attributes, and answers what
// a storage type costs.
//
//===----------------------------------------------------------------------===//

#include "rondo/Dialect/Rondo/IR/Rondo.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace rondo;

#include "rondo/Dialect/Rondo/IR/RondoOpsDialect.cpp.inc"

#include "rondo/Dialect/Rondo/IR/RondoOpsEnums.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "rondo/Dialect/Rondo/IR/RondoOpsTypes.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "rondo/Dialect/Rondo/IR/RondoOpsAttributes.cpp.inc"

void RondoDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "rondo/Dialect/Rondo/IR/RondoOps.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "rondo/Dialect/Rondo/IR/RondoOpsTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "rondo/Dialect/Rondo/IR/RondoOpsAttributes.cpp.inc"
      >();
}

LogicalResult OutputAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 StringAttr name, bool) {
  // output_c1
  if (!name.empty())
    return success();
  return emitError() << "expected a name that is not empty";
}

LogicalResult PartAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               ArrayRef<int64_t> of, int64_t first, int64_t run,
                               int64_t step, int64_t column) {
  // part_c1
  constexpr int64_t kMaxElements = int64_t(1) << 62;
  int64_t room = kMaxElements - 1;
  for (int64_t size : of)
    room = size < 1 ? 0 : room / size;
  if (of.empty() || of.size() > 4 || room == 0)
    return emitError() << "expected 1 to 4 dimensions of at least 1 and less "
                          "than 2^62 elements";
  // part_c2
  for (auto [name, value, least] :
       {std::tuple("first", first, 0), std::tuple("run", run, 1),
        std::tuple("step", step, 1), std::tuple("column", column, 0)})
    if (value < least || value > INT32_MAX)
      return emitError() << "expected '" << name << "' of at least " << least
                         << " and below 2^31, got " << value;
  return success();
}

int64_t PartAttr::getElementCount() const {
  int64_t count = 1;
  for (int64_t size : getOf())
    count *= size;
  return count;
}

bool rondo::isRowsType(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() == 2 && tensor.isDynamicDim(0) &&
         !tensor.isDynamicDim(1) && tensor.getElementType().isF32();
}

bool rondo::isStorageType(Type type) {
  return type.isF32() || type.isBF16() || type.isF16() ||
         isBlockQuantized(type);
}

bool rondo::isBlockQuantized(Type type) {
  return isa<Q8_0Type, Q4_0Type, Q4_1Type>(type);
}

int64_t rondo::getStorageBytes(Type type, int64_t count) {
  // Weights of one group, and bytes of its scale (and minimum) in f16.
  constexpr int64_t kGroup = 32, kHalf = 2;
  assert(isStorageType(type) && "not a storage type");
  assert((!isBlockQuantized(type) || count % kGroup == 0) && "partial group");
  return TypeSwitch<Type, int64_t>(type)
      .Case<Q8_0Type>([&](Type) { return count / kGroup * (kHalf + kGroup); })
      .Case<Q4_0Type>(
          [&](Type) { return count / kGroup * (kHalf + kGroup / 2); })
      .Case<Q4_1Type>(
          [&](Type) { return count / kGroup * (2 * kHalf + kGroup / 2); })
      .Default([&](Type) { return count * type.getIntOrFloatBitWidth() / 8; });
}
