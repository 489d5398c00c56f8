//===- Archive.cpp - opened weight files ----------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Import/Archive.h"
#include "GGUF.h"
#include "Safetensors.h"
#include "Support.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/Path.h"

// Two to three times as fast as LLVM's own, which counts for gigabytes.
#define XXH_INLINE_ALL
#include <xxhash.h>

using namespace llvm;
using namespace rondo;

StringRef rondo::stringify(StorageType type) {
  switch (type) {
  case StorageType::F32:
    return "F32";
  case StorageType::F16:
    return "F16";
  case StorageType::BF16:
    return "BF16";
  case StorageType::Q8_0:
    return "Q8_0";
  case StorageType::Q4_0:
    return "Q4_0";
  case StorageType::Q4_1:
    return "Q4_1";
  case StorageType::Other:
    return "other";
  }
  llvm_unreachable("covered switch");
}

uint64_t rondo::getByteSize(StorageType type, uint64_t count) {
  switch (type) {
  case StorageType::F32:
    return count * 4;
  case StorageType::F16:
  case StorageType::BF16:
    return count * 2;
  // Groups of 32: an f16 scale (and minimum), then the codes.
  case StorageType::Q8_0:
    return count / 32 * (2 + 32);
  case StorageType::Q4_0:
    return count / 32 * (2 + 16);
  case StorageType::Q4_1:
    return count / 32 * (2 + 2 + 16);
  case StorageType::Other:
    break;
  }
  llvm_unreachable("a type without a known size");
}

std::string rondo::hashBytes(StringRef bytes) {
  XXH128_canonical_t digest;
  XXH128_canonicalFromHash(&digest, XXH3_128bits(bytes.data(), bytes.size()));
  return toHex(digest.digest, /*LowerCase=*/true);
}

Archive::Archive(std::string path, std::unique_ptr<MemoryBuffer> buffer,
                 std::vector<ArchiveTensor> tensors)
    : path(std::move(path)), buffer(std::move(buffer)),
      tensors(std::move(tensors)), hash(hashBytes(this->buffer->getBuffer())) {
  for (auto [position, tensor] : enumerate(this->tensors))
    index[tensor.key] = position;
}

StringRef Archive::getName() const { return sys::path::filename(path); }

const ArchiveTensor *Archive::lookup(StringRef key) const {
  auto it = index.find(key);
  return it == index.end() ? nullptr : &tensors[it->second];
}

Error ArchiveSet::add(std::unique_ptr<Archive> archive) {
  for (const std::unique_ptr<Archive> &other : archives) {
    if (other->getName() == archive->getName())
      return importError("two archives are called " +
                         quoted(archive->getName()) + ": " +
                         quoted(other->getPath()) + " and " +
                         quoted(archive->getPath()) + "; give one of them");
    for (const ArchiveTensor &tensor : archive->getTensors())
      if (other->lookup(tensor.key))
        return importError("tensor " + quoted(tensor.key) + " is in both " +
                           quoted(other->getPath()) + " and " +
                           quoted(archive->getPath()));
  }
  archives.push_back(std::move(archive));
  return Error::success();
}

const Archive *ArchiveSet::findArchive(StringRef name) const {
  for (const std::unique_ptr<Archive> &archive : archives)
    if (archive->getName() == name)
      return archive.get();
  return nullptr;
}

const ArchiveTensor *ArchiveSet::lookup(StringRef key) const {
  for (const std::unique_ptr<Archive> &archive : archives)
    if (const ArchiveTensor *tensor = archive->lookup(key))
      return tensor;
  return nullptr;
}

Expected<std::unique_ptr<Archive>> rondo::openArchive(StringRef path) {
  Expected<std::unique_ptr<MemoryBuffer>> buffer = mapFile(path);
  if (!buffer)
    return buffer.takeError();
  if (!isGGUF((*buffer)->getBuffer()))
    return openSafetensors(path, std::move(*buffer));
  Expected<GGUFFile> file = openGGUF(path, std::move(*buffer));
  if (!file)
    return file.takeError();
  return std::move(file->archive);
}
