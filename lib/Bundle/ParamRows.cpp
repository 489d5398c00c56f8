//===- ParamRows.cpp - rows of a parameter in a stored tensor -------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/ParamRows.h"

#include "rondo/Bundle/Storage.h"

#include "llvm/ADT/STLExtras.h"

#include <cstring>

using namespace mlir;
using namespace rondo;

ParamRows::ParamRows(ParamOp param)
    : part(param.getPart().value_or(PartAttr())),
      isMatrix(param.getTensorType().getRank() == 2) {
  llvm::ArrayRef<int64_t> shape = param.getTensorType().getShape();
  width = shape.back();
  count = isMatrix ? shape.front() : 1;
}

const char *ParamRows::get(const ArchiveTensor &tensor, int64_t row,
                           std::vector<char> &scratch) const {
  const char *data = tensor.bytes.data();
  if (!part)
    return data + row * getByteSize(tensor.type, width);
  if (isMatrix)
    return data +
           part.getSourceRow(row) *
               getByteSize(tensor.type, part.getOf().back()) +
           getByteSize(tensor.type, part.getColumn());
  // A vector is never of a block type: its elements are its own rows.
  int64_t size = getByteSize(tensor.type, 1);
  scratch.resize(width * size);
  for (int64_t i = 0; i < width; ++i)
    std::memcpy(scratch.data() + i * size, data + part.getSourceRow(i) * size,
                size);
  return scratch.data();
}

llvm::Expected<std::vector<const ArchiveTensor *>>
rondo::findTensors(ParamOp param, const ArchiveSet &archives) {
  StorageType type = getStorageType(param.getTensorType().getElementType());
  std::vector<const ArchiveTensor *> tensors;
  for (Attribute attribute : param.getKeys()) {
    auto text = dyn_cast<StringAttr>(attribute);
    if (!text) {
      tensors.push_back(nullptr);
      continue;
    }
    StringRef key = text.getValue();
    const ArchiveTensor *tensor = archives.lookup(key);
    if (!tensor)
      return llvm::createStringError(
          llvm::inconvertibleErrorCode(),
          "no archive has tensor '" + key + "' of parameter '" +
              param.getSymName() + "'; name the file with --archive=PATH");
    if (tensor->type != type ||
        !llvm::equal(tensor->shape, param.getSourceShape()))
      return llvm::createStringError(
          llvm::inconvertibleErrorCode(),
          "tensor '" + key + "' is not what parameter '" + param.getSymName() +
              "' says: another type or shape");
    tensors.push_back(tensor);
  }
  return tensors;
}
