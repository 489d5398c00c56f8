//===- Tensor.cpp - values of the interpreter, and their files ------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Interpreter/Tensor.h"

#include "rondo/Bundle/Storage.h"
#include "rondo/Import/Archive.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <functional>
#include <numeric>

using namespace rondo;
using llvm::ArrayRef;
namespace endian = llvm::support::endian;

/// Readers like the data aligned; the header is padded with spaces to this.
static constexpr size_t kDataAlignment = 64; // bytes

static int64_t getProduct(ArrayRef<int64_t> dimensions) {
  return std::accumulate(dimensions.begin(), dimensions.end(), int64_t(1),
                         std::multiplies<>());
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Tensor Tensor::zeros(ArrayRef<int64_t> shape, NumberKind kind) {
  Tensor tensor;
  tensor.kind = kind;
  tensor.shape.assign(shape.begin(), shape.end());
  tensor.values.resize(getProduct(shape));
  return tensor;
}

Tensor Tensor::integer(int64_t value) {
  Tensor tensor = zeros({}, NumberKind::Integer);
  tensor.values.front() = static_cast<double>(value);
  return tensor;
}

int64_t Tensor::getWidth() const {
  return getProduct(ArrayRef(shape).drop_front());
}

Tensor Tensor::takeRows(ArrayRef<int64_t> rows) const {
  Tensor taken;
  taken.kind = kind;
  taken.shape = shape;
  taken.shape.front() = static_cast<int64_t>(rows.size());
  for (int64_t row : rows)
    llvm::append_range(taken.values, getRow(row));
  return taken;
}

void Tensor::putRows(ArrayRef<int64_t> rows, const Tensor &source) {
  for (auto [from, to] : llvm::enumerate(rows))
    llvm::copy(source.getRow(from), values.begin() + to * getWidth());
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

/// Numbers of type `T` as they stand in a file.
template <typename T>
static void readNumbers(const char *bytes, std::vector<double> &values) {
  for (double &value : values) {
    value =
        static_cast<double>(endian::read<T>(bytes, llvm::endianness::little));
    bytes += sizeof(T);
  }
}

/// A float type that archives of weights have, too.
static void readFloats(const ArchiveTensor &tensor,
                       std::vector<double> &values) {
  std::vector<float> floats(values.size());
  widenRow(tensor.type, tensor.bytes.data(), floats.data(),
           static_cast<int64_t>(floats.size()));
  llvm::copy(floats, values.begin());
}

static llvm::Expected<Tensor> readTensor(const ArchiveTensor &tensor,
                                         llvm::StringRef path) {
  Tensor result = Tensor::zeros(tensor.shape);
  const char *bytes = tensor.bytes.data();
  if (tensor.typeName == "I32" || tensor.typeName == "I64")
    result.kind = NumberKind::Integer;
  if (tensor.typeName == "I32")
    readNumbers<int32_t>(bytes, result.values);
  else if (tensor.typeName == "I64")
    readNumbers<int64_t>(bytes, result.values);
  else if (tensor.typeName == "F64")
    readNumbers<double>(bytes, result.values);
  else if (llvm::is_contained(
               {StorageType::F32, StorageType::F16, StorageType::BF16},
               tensor.type))
    readFloats(tensor, result.values);
  else
    return llvm::createStringError(
        llvm::inconvertibleErrorCode(),
        "tensor '" + tensor.key + "' in '" + path + "' has type " +
            tensor.typeName +
            "; known: F64, F32, F16, BF16, I64, I32; convert it to one of "
            "them");
  return result;
}

llvm::Expected<TensorMap> rondo::readTensors(llvm::StringRef path) {
  llvm::Expected<std::unique_ptr<Archive>> archive = openArchive(path);
  if (!archive)
    return archive.takeError();
  TensorMap tensors;
  for (const ArchiveTensor &tensor : (*archive)->getTensors()) {
    llvm::Expected<Tensor> read = readTensor(tensor, path);
    if (!read)
      return read.takeError();
    tensors.emplace(tensor.key, std::move(*read));
  }
  return tensors;
}

//===----------------------------------------------------------------------===//
// Writing
//===----------------------------------------------------------------------===//

namespace {
/// How a tensor stands in a file.
struct FileType {
  const char *name;
  size_t bytes; // of an element
};
} // namespace

static FileType getFileType(const Tensor &tensor, bool single) {
  if (tensor.kind == NumberKind::Integer)
    return {"I64", 8};
  return single ? FileType{"F32", 4} : FileType{"F64", 8};
}

/// JSON that says where each tensor is in the data.
static std::string formatHeader(const TensorMap &tensors, bool single) {
  llvm::json::Object header;
  int64_t offset = 0;
  for (const auto &[name, tensor] : tensors) {
    FileType type = getFileType(tensor, single);
    int64_t end =
        offset + static_cast<int64_t>(tensor.values.size() * type.bytes);
    header[name] =
        llvm::json::Object{{"dtype", type.name},
                           {"shape", llvm::json::Array(tensor.shape)},
                           {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(header));
  while ((sizeof(uint64_t) + text.size()) % kDataAlignment)
    text += ' ';
  return text;
}

template <typename T> static void append(std::string &bytes, T value) {
  char buffer[sizeof(T)];
  endian::write(buffer, value, llvm::endianness::little);
  bytes.append(buffer, sizeof(T));
}

static void appendTensor(std::string &bytes, const Tensor &tensor,
                         bool single) {
  for (double value : tensor.values) {
    if (tensor.kind == NumberKind::Integer)
      append(bytes, static_cast<int64_t>(value));
    else if (single)
      append(bytes, static_cast<float>(value));
    else
      append(bytes, value);
  }
}

std::string rondo::formatTensors(const TensorMap &tensors, bool single) {
  std::string header = formatHeader(tensors, single), bytes;
  append(bytes, static_cast<uint64_t>(header.size()));
  bytes += header;
  for (const auto &entry : tensors)
    appendTensor(bytes, entry.second, single);
  return bytes;
}
