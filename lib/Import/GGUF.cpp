//===- GGUF.cpp - reader of one GGUF file ---------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   "GGUF" u32 version | u64 tensors | u64 values
//   values:  text key | u32 type | value
//   tensors: text key | u32 rank | u64 dims, innermost first | u32 type | u64
//   offset padding to the alignment | data, each tensor padded to the alignment
//
// A text is a u64 length and its bytes. Every read goes through `Cursor`, which
// turns the first read past the end into an error and yields zeros from then
// on.
//
//===----------------------------------------------------------------------===//
#include "GGUF.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"

using namespace llvm;
using namespace rondo;

static constexpr StringLiteral kMagic = "GGUF";
static constexpr uint64_t kDefaultAlignment = 32;
/// The format's own limits.
static constexpr uint32_t kMaxRank = 4;
static constexpr uint64_t kMaxKeyBytes = 65535;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

/// Bytes of a number; 0 for texts, arrays and unknown types.
static uint64_t getNumberBytes(GGUFType type) {
  switch (type) {
  case GGUFType::UInt8:
  case GGUFType::Int8:
  case GGUFType::Bool:
    return 1;
  case GGUFType::UInt16:
  case GGUFType::Int16:
    return 2;
  case GGUFType::UInt32:
  case GGUFType::Int32:
  case GGUFType::Float32:
    return 4;
  case GGUFType::UInt64:
  case GGUFType::Int64:
  case GGUFType::Float64:
    return 8;
  case GGUFType::String:
  case GGUFType::Array:
    return 0;
  }
  return 0;
}

template <typename T> static T readNumber(const char *bytes) {
  return support::endian::read<T, endianness::little>(bytes);
}

static std::optional<int64_t> readInteger(GGUFType type, const char *bytes) {
  switch (type) {
  case GGUFType::UInt8:
    return readNumber<uint8_t>(bytes);
  case GGUFType::Int8:
    return readNumber<int8_t>(bytes);
  case GGUFType::UInt16:
    return readNumber<uint16_t>(bytes);
  case GGUFType::Int16:
    return readNumber<int16_t>(bytes);
  case GGUFType::UInt32:
    return readNumber<uint32_t>(bytes);
  case GGUFType::Int32:
    return readNumber<int32_t>(bytes);
  case GGUFType::Int64:
    return readNumber<int64_t>(bytes);
  case GGUFType::UInt64: {
    uint64_t value = readNumber<uint64_t>(bytes);
    if (value <= INT64_MAX)
      return value;
    return std::nullopt;
  }
  default:
    return std::nullopt;
  }
}

std::optional<StringRef> GGUFValue::getAsString() const {
  return type == GGUFType::String ? std::optional(bytes) : std::nullopt;
}

std::optional<bool> GGUFValue::getAsBool() const {
  return type == GGUFType::Bool ? std::optional(bytes[0] != 0) : std::nullopt;
}

std::optional<int64_t> GGUFValue::getAsInteger() const {
  return readInteger(type, bytes.data());
}

std::optional<double> GGUFValue::getAsNumber() const {
  if (type == GGUFType::Float32)
    return bit_cast<float>(readNumber<uint32_t>(bytes.data()));
  if (type == GGUFType::Float64)
    return bit_cast<double>(readNumber<uint64_t>(bytes.data()));
  return getAsInteger();
}

bool GGUFValue::isIntegerArray() const {
  return type == GGUFType::Array && elementType != GGUFType::Float32 &&
         elementType != GGUFType::Float64 && elementType != GGUFType::Bool &&
         getNumberBytes(elementType) != 0;
}

std::optional<int64_t> GGUFValue::getInteger(uint64_t position) const {
  uint64_t size = getNumberBytes(elementType);
  return readInteger(elementType, bytes.data() + position * size);
}

std::string GGUFValue::format() const {
  if (std::optional<StringRef> text = getAsString())
    return quoted(*text);
  if (std::optional<bool> flag = getAsBool())
    return *flag ? "true" : "false";
  if (std::optional<int64_t> integer = getAsInteger())
    return std::to_string(*integer);
  if (type == GGUFType::Array)
    return "an array of " + std::to_string(count);
  std::optional<double> number = getAsNumber();
  return number ? formatNumber(*number) : "a number past 63 bits";
}

//===----------------------------------------------------------------------===//
// Types of tensors
//===----------------------------------------------------------------------===//

namespace {
/// A tensor type: `blockBytes` bytes hold `blockSize` weights.
struct TensorType {
  uint32_t id;
  const char *name;
  uint64_t blockSize;
  uint64_t blockBytes;
  StorageType type = StorageType::Other;
};
} // namespace

/// From ggml's table; those that no parameter can have are here so that the
/// ranges of all tensors can be checked and messages can name the type.
static const TensorType kTensorTypes[] = {
    {0, "F32", 1, 4, StorageType::F32},
    {1, "F16", 1, 2, StorageType::F16},
    {2, "Q4_0", 32, 18, StorageType::Q4_0},
    {3, "Q4_1", 32, 20, StorageType::Q4_1},
    {6, "Q5_0", 32, 22},
    {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34, StorageType::Q8_0},
    {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144},
    {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2, StorageType::BF16},
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},
};

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

namespace {
/// A position in the file; after the first failure all reads yield zero.
class Cursor {
public:
  explicit Cursor(StringRef file) : file(file) {}

  template <typename T> T read() {
    StringRef bytes = take(sizeof(T));
    return bytes.empty() ? T(0) : readNumber<T>(bytes.data());
  }
  StringRef readText() { return take(read<uint64_t>()); }
  /// `count` bytes, or none if there are fewer.
  StringRef take(uint64_t count) {
    if (count > file.size() - position || failed) {
      failed = true;
      return {};
    }
    StringRef bytes = file.substr(position, count);
    position += count;
    return bytes;
  }
  bool hasFailed() const { return failed; }
  uint64_t getPosition() const { return position; }
  uint64_t getRemaining() const { return file.size() - position; }

private:
  StringRef file;
  uint64_t position = 0;
  bool failed = false;
};

class GGUFReader {
public:
  GGUFReader(StringRef path, StringRef file)
      : path(path), file(file), cursor(file) {}

  MapVector<StringRef, GGUFValue> metadata;
  std::vector<ArchiveTensor> tensors;

  Error read() {
    cursor.take(kMagic.size());
    uint32_t version = cursor.read<uint32_t>();
    uint64_t tensorCount = cursor.read<uint64_t>();
    uint64_t valueCount = cursor.read<uint64_t>();
    if (cursor.hasFailed())
      return fail("is truncated in its header");
    if (version != 2 && version != 3)
      return importError(quoted(path) + " has version " + Twine(version) +
                         ((version & 0xffff) == 0 ? " (big-endian?)" : "") +
                         "; versions 2 and 3, little-endian, can be read");
    for (uint64_t i = 0; i < valueCount; ++i)
      if (Error error = readEntry())
        return error;
    if (Error error = readAlignment())
      return error;
    for (uint64_t i = 0; i < tensorCount; ++i)
      if (Error error = readTensorInfo())
        return error;
    return resolveTensors();
  }

private:
  Error fail(const Twine &message) const {
    return importError(quoted(path) + " " + message +
                       "; download or convert it again");
  }

  Error readEntry() {
    StringRef key = cursor.readText();
    GGUFType type = static_cast<GGUFType>(cursor.read<uint32_t>());
    if (cursor.hasFailed())
      return fail("is truncated in its metadata");
    if (key.empty() || key.size() > kMaxKeyBytes)
      return fail("has a metadata key of " + Twine(key.size()) + " bytes");
    GGUFValue value;
    value.type = type;
    if (Error error = readValue(key, value))
      return error;
    if (!metadata.insert({key, std::move(value)}).second)
      return fail("repeats the metadata key " + quoted(key));
    return Error::success();
  }

  Error readValue(StringRef key, GGUFValue &value) {
    if (value.type == GGUFType::String)
      value.bytes = cursor.readText();
    else if (value.type == GGUFType::Array)
      return readArray(key, value);
    else if (uint64_t size = getNumberBytes(value.type))
      value.bytes = cursor.take(size);
    else
      return fail("has metadata " + quoted(key) + " of unknown type " +
                  Twine(static_cast<uint32_t>(value.type)));
    if (cursor.hasFailed())
      return fail("is truncated in metadata " + quoted(key));
    if (value.type == GGUFType::Bool && uint8_t(value.bytes[0]) > 1)
      return fail("has metadata " + quoted(key) + " with the truth value " +
                  Twine(uint8_t(value.bytes[0])));
    return Error::success();
  }

  Error readArray(StringRef key, GGUFValue &value) {
    value.elementType = static_cast<GGUFType>(cursor.read<uint32_t>());
    value.count = cursor.read<uint64_t>();
    // A text takes at least its length field.
    bool isText = value.elementType == GGUFType::String;
    uint64_t size = isText ? 8 : getNumberBytes(value.elementType);
    if (!cursor.hasFailed() && size == 0)
      return fail("has metadata " + quoted(key) +
                  ", an array of elements of type " +
                  Twine(static_cast<uint32_t>(value.elementType)));
    if (cursor.hasFailed() || value.count > cursor.getRemaining() / size)
      return fail("is truncated in metadata " + quoted(key) + ", an array of " +
                  Twine(value.count));
    if (!isText) {
      value.bytes = cursor.take(value.count * size);
      return Error::success();
    }
    value.strings.reserve(value.count);
    for (uint64_t i = 0; i < value.count && !cursor.hasFailed(); ++i)
      value.strings.push_back(cursor.readText());
    return cursor.hasFailed() ? fail("is truncated in metadata " + quoted(key))
                              : Error::success();
  }

  Error readAlignment() {
    auto it = metadata.find("general.alignment");
    if (it == metadata.end())
      return Error::success();
    std::optional<int64_t> value = it->second.getAsInteger();
    if (!value || *value < 1 || *value > (1 << 20) || !isPowerOf2_64(*value))
      return fail("has 'general.alignment' " + it->second.format() +
                  ", expected a power of two up to 1048576");
    alignment = *value;
    return Error::success();
  }

  Error readTensorInfo() {
    ArchiveTensor tensor;
    tensor.key = cursor.readText().str();
    uint32_t rank = cursor.read<uint32_t>();
    if (!cursor.hasFailed() && (rank == 0 || rank > kMaxRank))
      return fail("has tensor " + quoted(tensor.key) + " of rank " +
                  Twine(rank));
    for (uint32_t i = 0; i < rank && !cursor.hasFailed(); ++i) {
      uint64_t size = cursor.read<uint64_t>();
      if (size > INT64_MAX)
        return fail("has tensor " + quoted(tensor.key) + " of dimension " +
                    Twine(size));
      tensor.shape.insert(tensor.shape.begin(), size);
    }
    uint32_t type = cursor.read<uint32_t>();
    uint64_t offset = cursor.read<uint64_t>();
    if (cursor.hasFailed())
      return fail("is truncated in its tensor table");
    if (!tensorKeys.insert(tensor.key).second)
      return fail("repeats the tensor " + quoted(tensor.key));
    if (Error error = addTensor(tensor, type, offset))
      return error;
    tensors.push_back(std::move(tensor));
    return Error::success();
  }

  /// Checks type, size and offset of a tensor and appends its range.
  Error addTensor(ArchiveTensor &tensor, uint32_t typeId, uint64_t offset) {
    const TensorType *type = llvm::find_if(
        kTensorTypes, [&](const TensorType &t) { return t.id == typeId; });
    if (type == std::end(kTensorTypes))
      return fail("has tensor " + quoted(tensor.key) + " of unknown type " +
                  Twine(typeId));
    tensor.type = type->type;
    tensor.typeName = type->name;
    uint64_t count = 0;
    if (!checkedProduct(tensor.shape, count) ||
        count > INT64_MAX / type->blockBytes)
      return fail("has tensor " + quoted(tensor.key) + " of shape " +
                  formatShape(tensor.shape) + ", which overflows");
    if (tensor.shape.back() % type->blockSize != 0)
      return fail("has tensor " + quoted(tensor.key) + " of shape " +
                  formatShape(tensor.shape) + ", whose rows are not whole " +
                  type->name + " blocks of " + Twine(type->blockSize));
    if (offset != dataBytes)
      return fail("has tensor " + quoted(tensor.key) + " at byte " +
                  Twine(offset) + " of the data, expected " + Twine(dataBytes));
    uint64_t bytes = count / type->blockSize * type->blockBytes;
    if (bytes > file.size() || dataBytes > file.size())
      return fail("is truncated: tensor " + quoted(tensor.key) + " ends past " +
                  "the " + Twine(file.size()) + " bytes of the file");
    sizes.push_back(bytes);
    dataBytes = alignTo(dataBytes + bytes, alignment);
    return Error::success();
  }

  /// Points the tensors at their bytes, now that the data's begin is known.
  Error resolveTensors() {
    uint64_t position = alignTo(cursor.getPosition(), alignment);
    for (auto [tensor, bytes] : llvm::zip(tensors, sizes)) {
      if (position > file.size() || bytes > file.size() - position)
        return fail("is truncated: tensor " + quoted(tensor.key) +
                    " ends past the " + Twine(file.size()) +
                    " bytes of the file");
      tensor.bytes = ArrayRef<char>(file.data() + position, bytes);
      position = alignTo(position + bytes, alignment);
    }
    return Error::success();
  }

  StringRef path;
  StringRef file;
  Cursor cursor;
  uint64_t alignment = kDefaultAlignment;
  /// Bytes of the data section that the tensors so far take.
  uint64_t dataBytes = 0;
  std::vector<uint64_t> sizes;
  StringSet<> tensorKeys;
};
} // namespace

bool rondo::isGGUF(StringRef file) { return file.starts_with(kMagic); }

Expected<GGUFFile> rondo::openGGUF(StringRef path,
                                   std::unique_ptr<MemoryBuffer> buffer) {
  GGUFReader reader(path, buffer->getBuffer());
  if (Error error = reader.read())
    return std::move(error);
  GGUFFile result;
  result.metadata = std::move(reader.metadata);
  result.archive = std::make_unique<Archive>(path.str(), std::move(buffer),
                                             std::move(reader.tensors));
  return result;
}
