//===- Safetensors.cpp - reader of one safetensors file -------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   u64 header length | header: {"key": {"dtype", "shape", "data_offsets"}} |
//   data
//
//===----------------------------------------------------------------------===//
#include "Safetensors.h"
#include "Json.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"

using namespace llvm;
using namespace rondo;

/// The format's own limit on the header, bytes.
static constexpr uint64_t kMaxHeader = 100'000'000;

namespace {
/// A dtype of the format: its size, and the storage type if a parameter may
/// have it.
struct DType {
  uint64_t bytes;
  StorageType type;
};

/// One tensor of the header with its range, to be sorted and joined.
struct Entry {
  ArchiveTensor tensor;
  uint64_t begin;
  uint64_t end;
};

class Reader {
public:
  Reader(StringRef path, StringRef file) : path(path), file(file) {}

  Expected<std::vector<ArchiveTensor>> read() {
    Expected<StringRef> header = readHeader();
    if (!header)
      return header.takeError();
    Expected<json::Object> object = parseJsonObject(*header, path);
    if (!object)
      return object.takeError();
    std::vector<Entry> entries;
    for (const auto &[key, value] : *object) {
      StringRef name = key;
      if (name == "__metadata__") {
        if (Error error = checkMetadata(value))
          return std::move(error);
        continue;
      }
      Expected<Entry> entry = readEntry(name, value);
      if (!entry)
        return entry.takeError();
      entries.push_back(std::move(*entry));
    }
    return join(std::move(entries));
  }

private:
  Error fail(const Twine &message) const {
    return importError(quoted(path) + " " + message +
                       "; download or convert it again");
  }
  Error failTensor(StringRef key, const Twine &message) const {
    return fail("has a malformed tensor " + quoted(key) + ": " + message);
  }

  /// The header's text; leaves the rest in `data`.
  Expected<StringRef> readHeader() {
    if (file.size() < 8)
      return fail("is not a safetensors file: " + Twine(file.size()) +
                  " bytes, less than the length field");
    uint64_t length = support::endian::read64le(file.data());
    if (length > kMaxHeader || length > file.size() - 8)
      return fail("is truncated or not a safetensors file: a header of " +
                  Twine(length) + " bytes in a file of " + Twine(file.size()));
    data = file.substr(8 + length);
    return file.substr(8, length);
  }

  /// `__metadata__` maps strings to strings.
  Error checkMetadata(const json::Value &value) const {
    const json::Object *object = value.getAsObject();
    if (!object)
      return fail("has '__metadata__' that is not an object");
    for (const auto &[key, text] : *object)
      if (!text.getAsString())
        return fail("has a '__metadata__' entry " + quoted(key) +
                    " that is not a string");
    return Error::success();
  }

  Expected<Entry> readEntry(StringRef key, const json::Value &value) const {
    const json::Object *object = value.getAsObject();
    if (!object)
      return failTensor(key, "expected an object");
    std::optional<StringRef> dtypeName = object->getString("dtype");
    const json::Array *shape = object->getArray("shape");
    const json::Array *offsets = object->getArray("data_offsets");
    if (!dtypeName || !shape || !offsets || object->size() != 3)
      return failTensor(key, "expected 'dtype', 'shape' and 'data_offsets'");
    DType dtype = getDType(*dtypeName);
    if (dtype.bytes == 0)
      return failTensor(key, "unknown dtype " + quoted(*dtypeName));

    Entry entry;
    entry.tensor.key = key.str();
    entry.tensor.type = dtype.type;
    entry.tensor.typeName = dtypeName->str();
    for (const json::Value &dim : *shape) {
      std::optional<uint64_t> size = dim.getAsUINT64();
      if (!size || *size > INT64_MAX)
        return failTensor(key, "dimension " + formatJson(dim));
      entry.tensor.shape.push_back(*size);
    }
    std::optional<uint64_t> range[2];
    if (offsets->size() == 2)
      for (int i : {0, 1})
        range[i] = (*offsets)[i].getAsUINT64();
    if (!range[0] || !range[1])
      return failTensor(key, "'data_offsets' are not two numbers");
    entry.begin = *range[0];
    entry.end = *range[1];
    if (Error error = checkRange(entry, dtype.bytes))
      return std::move(error);
    return entry;
  }

  /// The range lies in the data and is as long as the shape asks for.
  Error checkRange(Entry &entry, uint64_t elementBytes) const {
    StringRef key = entry.tensor.key;
    if (entry.begin > entry.end || entry.end > data.size())
      return failTensor(key, "range " + Twine(entry.begin) + " to " +
                                 Twine(entry.end) + " is not within the " +
                                 Twine(data.size()) + " bytes of data");
    uint64_t count = 0;
    if (!checkedProduct(entry.tensor.shape, count) ||
        count > INT64_MAX / elementBytes)
      return failTensor(key, "shape " + formatShape(entry.tensor.shape) +
                                 " overflows");
    if (count * elementBytes != entry.end - entry.begin)
      return failTensor(key, "shape " + formatShape(entry.tensor.shape) +
                                 " takes " + Twine(count * elementBytes) +
                                 " bytes, its range has " +
                                 Twine(entry.end - entry.begin));
    entry.tensor.bytes =
        ArrayRef<char>(data.data() + entry.begin, data.data() + entry.end);
    return Error::success();
  }

  /// Tensors in file order, after a check that they cover the data once.
  Expected<std::vector<ArchiveTensor>> join(std::vector<Entry> entries) const {
    llvm::sort(entries, [](const Entry &a, const Entry &b) {
      return std::tie(a.begin, a.end, a.tensor.key) <
             std::tie(b.begin, b.end, b.tensor.key);
    });
    std::vector<ArchiveTensor> tensors;
    uint64_t position = 0;
    for (Entry &entry : entries) {
      if (entry.begin != position)
        return failTensor(entry.tensor.key,
                          "begins at byte " + Twine(entry.begin) + ", " +
                              (entry.begin < position ? "inside another tensor"
                                                      : "after a hole") +
                              " that ends at " + Twine(position));
      position = entry.end;
      tensors.push_back(std::move(entry.tensor));
    }
    if (position != data.size())
      return fail("has " + Twine(data.size() - position) +
                  " bytes after the last tensor");
    return tensors;
  }

  static DType getDType(StringRef name) {
    constexpr StorageType kOther = StorageType::Other;
    return StringSwitch<DType>(name)
        .Case("F32", {4, StorageType::F32})
        .Case("F16", {2, StorageType::F16})
        .Case("BF16", {2, StorageType::BF16})
        .Cases({"F64", "I64", "U64", "C64"}, {8, kOther})
        .Cases({"I32", "U32"}, {4, kOther})
        .Cases({"I16", "U16"}, {2, kOther})
        .Cases({"BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"},
               {1, kOther})
        .Default({0, kOther});
  }

  StringRef path;
  StringRef file;
  StringRef data;
};
} // namespace

Expected<std::unique_ptr<Archive>>
rondo::openSafetensors(StringRef path, std::unique_ptr<MemoryBuffer> buffer) {
  Expected<std::vector<ArchiveTensor>> tensors =
      Reader(path, buffer->getBuffer()).read();
  if (!tensors)
    return tensors.takeError();
  return std::make_unique<Archive>(path.str(), std::move(buffer),
                                   std::move(*tensors));
}
