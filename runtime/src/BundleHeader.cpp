//===- BundleHeader.cpp - the safetensors frame of a bundle ---------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A bundle is read by any safetensors reader, but the runtime accepts only the
// one header that its manifest implies: then no byte of the header is left
// unchecked.
//===----------------------------------------------------------------------===//
#include "Hash.h"
#include "Json.h"
#include "Model.h"

#include <cstring>

using namespace rondo_rt;

/// Longest header, as in the safetensors library.
static constexpr uint64_t kMaxHeaderBytes = 100000000;
static constexpr char kMetadata[] = "__metadata__";

/// A malformed bundle is never executed, so every message ends the same way.
#define RONDO_RT_DAMAGED "; copy or compile the bundle again"

static Error damaged(const std::string &what) {
  return makeError(RONDO_RT_STATUS_INVALID_BUNDLE, "%s" RONDO_RT_DAMAGED,
                   what.c_str());
}

/// A file of another kind, which nothing will repair.
static Error foreign(const std::string &what) {
  return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                   "%s; compile a checkpoint with rondoc and give its bundle",
                   what.c_str());
}

static bool isGGUF(const char *file, uint64_t fileBytes) {
  static constexpr char kMagic[] = {'G', 'G', 'U', 'F'};
  return fileBytes >= sizeof(kMagic) &&
         std::memcmp(file, kMagic, sizeof(kMagic)) == 0;
}

/// Length of the JSON without the spaces behind it.
static uint64_t jsonLength(const char *text, uint64_t length) {
  while (length && text[length - 1] == ' ')
    --length;
  return length;
}

/// Finds the header's JSON in the file.
static Error locateHeader(const char *file, uint64_t fileBytes,
                          std::string_view &text, uint64_t &dataStart) {
  uint64_t length = 0;
  if (isGGUF(file, fileBytes))
    return foreign("this is a GGUF checkpoint");
  if (fileBytes < sizeof(length))
    return damaged("file has " + std::to_string(fileBytes) +
                   " bytes, too short for a bundle");
  std::memcpy(&length, file, sizeof(length));
  bool tooLong =
      length > kMaxHeaderBytes || length > fileBytes - sizeof(length);
  if (tooLong && fileBytes > sizeof(length) && file[sizeof(length)] != '{')
    return foreign("the file does not begin as a bundle does");
  if (tooLong)
    return damaged("header length " + std::to_string(length) +
                   " is beyond the file's " + std::to_string(fileBytes) +
                   " bytes");
  dataStart = sizeof(length) + length;
  if (dataStart % kPageBytes)
    return foreign("data starts at byte " + std::to_string(dataStart) +
                   ", not at a multiple of " + std::to_string(kPageBytes) +
                   ", so this is no bundle");
  const char *json = file + sizeof(length);
  text = std::string_view(json, jsonLength(json, length));
  if (text.empty() || text.front() != '{' || text.back() != '}')
    return damaged("header is not a JSON object padded with spaces");
  return nullptr;
}

Error rondo_rt::readBundleHeader(const char *file, uint64_t fileBytes,
                                 BundleHeader &header) {
  std::string_view text;
  if (Error error = locateHeader(file, fileBytes, text, header.dataStart))
    return error;
  Json json;
  if (Error error = parseJson(text, "bundle header", json))
    return error;
  auto metadata = json.find(kMetadata);
  if (metadata == json.end())
    return foreign("header has no '__metadata__', so this is no bundle");
  ObjectReader reader(*metadata, kMetadata);
  header.manifestText = reader.text("rondo.manifest");
  std::string hash = reader.text("rondo.manifest_hash");
  if (Error error = reader.finish())
    return error;
  if (hash != hashBytes(header.manifestText.data(), header.manifestText.size()))
    return damaged("manifest does not match its hash");
  return nullptr;
}

/// Alignment a tensor must have in the file.
static uint64_t alignmentOf(const TensorEntry &tensor, bool firstWeight) {
  if (tensor.name == kCodeTensor)
    return kPageBytes;
  if (firstWeight)
    return kHugePageBytes;
  return tensor.name.compare(0, 4, "pad.") ? RONDO_RT_ALIGNMENT : 1;
}

/// Place of a tensor's kind in the order of the file; -1 for an unknown name.
static int rankOf(const std::string &name) {
  static const char *const kOrder[] = {kCodeTensor, kScheduleTensor,
                                       "tokenizer.json", "chat_template.jinja"};
  for (int rank = 0; rank < 4; ++rank)
    if (name == kOrder[rank])
      return rank;
  return name.compare(0, sizeof(kWeightPrefix) - 1, kWeightPrefix) ? -1 : 4;
}

/// Order and alignment of the tensors, and that weights follow one another.
static Error checkOrder(const Manifest &manifest, uint64_t dataStart) {
  int lastRank = -1;
  uint64_t end = 0;
  for (const TensorEntry &tensor : manifest.tensors) {
    int rank = rankOf(tensor.name);
    bool pad = tensor.name.compare(0, 4, "pad.") == 0;
    if (rank < 0 && !pad)
      return damaged("manifest lists unknown tensor '" +
                     tensor.name.substr(0, 60) + "'");
    bool firstWeight = rank == 4 && lastRank != 4;
    if (!pad && (rank < lastRank || (rank == lastRank && rank != 4)))
      return damaged("tensor '" + tensor.name + "' is out of order");
    if (tensor.offset < end)
      return damaged("tensor '" + tensor.name + "' overlaps the one before it");
    if (tensor.bytes == 0)
      return damaged("tensor '" + tensor.name + "' is empty");
    if ((dataStart + tensor.offset) % alignmentOf(tensor, firstWeight))
      return damaged("tensor '" + tensor.name + "' is misaligned");
    end = tensor.offset + tensor.bytes;
    lastRank = pad ? lastRank : rank;
  }
  return nullptr;
}

/// Compares one entry of the header's table.
static Error checkEntry(const Json &json, const std::string &name,
                        uint64_t offset, uint64_t bytes) {
  Json expected = {{"dtype", "U8"},
                   {"shape", {bytes}},
                   {"data_offsets", {offset, offset + bytes}}};
  auto it = json.find(name);
  if (it == json.end())
    return damaged("header lacks tensor '" + name + "' of the manifest");
  // Equal numbers of another JSON type would compare equal, their text would
  // not.
  if (it->dump(-1, ' ', true, Json::error_handler_t::replace) !=
      expected.dump())
    return damaged("header and manifest disagree on tensor '" + name + "'");
  return nullptr;
}

/// A gap is a tensor of zeros that the manifest implies.
static Error checkGap(const Json &json, const char *data, unsigned number,
                      uint64_t begin, uint64_t end) {
  std::string name = "pad." + std::to_string(number);
  if (Error error = checkEntry(json, name, begin, end - begin))
    return error;
  // Each byte equals the one after it, and the first is zero.
  bool zero = data[begin] == 0 &&
              std::memcmp(data + begin, data + begin + 1, end - begin - 1) == 0;
  if (!zero)
    return damaged("padding '" + name + "' holds something");
  return nullptr;
}

Error rondo_rt::checkTensorTable(const char *file, uint64_t fileBytes,
                                 const BundleHeader &header,
                                 const Manifest &manifest) {
  if (Error error = checkOrder(manifest, header.dataStart))
    return error;
  uint64_t dataBytes = fileBytes - header.dataStart;
  uint64_t needed =
      manifest.tensors.empty()
          ? 0
          : manifest.tensors.back().offset + manifest.tensors.back().bytes;
  if (needed != dataBytes)
    return damaged("file has " + std::to_string(fileBytes) +
                   " bytes, the manifest needs " +
                   std::to_string(header.dataStart + needed));
  std::string_view text;
  uint64_t dataStart = 0;
  if (Error error = locateHeader(file, fileBytes, text, dataStart))
    return error;
  Json json;
  if (Error error = parseJson(text, "bundle header", json))
    return error;
  uint64_t end = 0;
  unsigned gaps = 0;
  for (const TensorEntry &tensor : manifest.tensors) {
    if (tensor.offset > end)
      if (Error error =
              checkGap(json, file + dataStart, gaps++, end, tensor.offset))
        return error;
    if (Error error =
            checkEntry(json, tensor.name, tensor.offset, tensor.bytes))
      return error;
    end = tensor.offset + tensor.bytes;
  }
  // One more for the metadata.
  if (json.size() != manifest.tensors.size() + gaps + 1)
    return damaged("header lists " + std::to_string(json.size() - 1) +
                   " tensors, the manifest implies " +
                   std::to_string(manifest.tensors.size() + gaps));
  return nullptr;
}
