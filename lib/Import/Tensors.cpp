//===- Tensors.cpp - account of a checkpoint's tensors --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Tensors.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace rondo;

/// Left-over keys that a message names; the others are counted.
static constexpr size_t kMaxNamed = 4;

static bool areEqual(const ArchiveTensor &a, const ArchiveTensor &b) {
  return a.type == b.type && a.shape == b.shape && a.bytes == b.bytes;
}

void TensorTable::add(const Archive &archive, Rename rename) {
  for (const ArchiveTensor &tensor : archive.getTensors())
    if (!index(tensor, archive, rename))
      return fail("tensors " + quoted(lookup(rename(strip(tensor.key)))->key) +
                  " and " + quoted(tensor.key) + " in " +
                  quoted(archive.getPath()) + " are the same parameter; " +
                  "remove one");
}

size_t TensorTable::addBeside(const Archive &archive, Rename rename) {
  size_t added = 0;
  for (const ArchiveTensor &tensor : archive.getTensors()) {
    if (index(tensor, archive, rename)) {
      ++added;
      continue;
    }
    const ArchiveTensor *present = lookup(rename(strip(tensor.key)));
    if (!areEqual(*present, tensor))
      fail("tensor " + quoted(tensor.key) + " in " + quoted(archive.getPath()) +
           " differs from " + quoted(present->key) +
           " of the model; remove one");
  }
  return added;
}

StringRef TensorTable::strip(StringRef key) {
  while (key.consume_front("_orig_mod.") || key.consume_front("module.")) {
  }
  return key;
}

bool TensorTable::index(const ArchiveTensor &tensor, const Archive &archive,
                        Rename rename) {
  std::string key = rename(strip(tensor.key));
  if (!tensors.try_emplace(key, Entry{&tensor, &archive}).second)
    return false;
  order.push_back(std::move(key));
  return true;
}

void TensorTable::fail(const Twine &text) {
  if (!message)
    message = text.str();
}

TensorTable::Entry *TensorTable::find(StringRef key) {
  auto it = tensors.find(key);
  return it == tensors.end() ? nullptr : &it->second;
}

const ArchiveTensor *TensorTable::lookup(StringRef key) const {
  auto it = tensors.find(key);
  return it == tensors.end() ? nullptr : it->second.tensor;
}

const ArchiveTensor *TensorTable::take(StringRef key, ArrayRef<int64_t> shape) {
  Entry *entry = find(key);
  if (!entry) {
    fail("tensor " + quoted(key) + " of shape " + formatShape(shape) +
         " is missing: the configuration asks for it, the checkpoint's files "
         "do not have it");
    return nullptr;
  }
  const ArchiveTensor &tensor = *entry->tensor;
  std::string name = "tensor " + quoted(tensor.key) + " in " +
                     quoted(entry->archive->getPath());
  if (ArrayRef<int64_t>(tensor.shape) != shape) {
    fail(name + " has shape " + formatShape(tensor.shape) +
         ", the configuration asks for " + formatShape(shape));
    return nullptr;
  }
  bool isVector = shape.size() == 1;
  bool isFloat = is_contained(
      {StorageType::F32, StorageType::F16, StorageType::BF16}, tensor.type);
  if (tensor.type == StorageType::Other || (isVector && !isFloat)) {
    fail(name + " has type " + tensor.typeName + ", which " +
         (isVector ? "a vector" : "a matrix") + " cannot have; known: F32, " +
         "F16, BF16" + (isVector ? "" : ", Q8_0, Q4_0, Q4_1") +
         "; convert the checkpoint to one of them");
    return nullptr;
  }
  if (entry->taken) {
    fail(name + " is used twice");
    return nullptr;
  }
  entry->taken = true;
  ++takenCount;
  uint64_t weights = 0;
  checkedProduct(tensor.shape, weights);
  takenWeights += weights;
  takenBytes += tensor.bytes.size();
  return &tensor;
}

SmallVector<const ArchiveTensor *>
TensorTable::takeStack(ArrayRef<std::string> keys, ArrayRef<int64_t> shape) {
  SmallVector<const ArchiveTensor *> stack;
  for (const std::string &key : keys)
    stack.push_back(take(key, shape));
  if (hasFailed())
    return {};
  const ArchiveTensor &first = *stack.front();
  for (const ArchiveTensor *tensor : stack)
    if (tensor->type != first.type)
      fail("tensors " + quoted(first.key) + " (" + first.typeName + ") and " +
           quoted(tensor->key) + " (" + tensor->typeName +
           ") are of layers that share their code and must have one type; "
           "convert the checkpoint so");
  if (hasFailed())
    return {};
  return stack;
}

bool TensorTable::areCopies(StringRef key, StringRef other) const {
  const ArchiveTensor *one = lookup(key), *two = lookup(other);
  return one && two && areEqual(*one, *two);
}

void TensorTable::takeCopy(StringRef key, StringRef original,
                           StringRef reason) {
  Entry *copy = find(key);
  Entry *source = find(original);
  if (!copy || !source)
    return;
  if (!areEqual(*copy->tensor, *source->tensor))
    return fail("tensor " + quoted(copy->tensor->key) + " in " +
                quoted(copy->archive->getPath()) + " differs from " +
                quoted(source->tensor->key) + ", but " + reason);
  copy->taken = true;
}

void TensorTable::ignoreSuffix(StringRef suffix) {
  for (auto &entry : tensors)
    if (entry.getKey().ends_with(suffix))
      entry.second.taken = true;
}

Error TensorTable::finish() {
  if (message)
    return importError(*message);
  SmallVector<StringRef> left;
  for (StringRef key : order)
    if (!tensors.find(key)->second.taken)
      left.push_back(key);
  if (left.empty())
    return Error::success();
  std::string text;
  raw_string_ostream os(text);
  os << "the configuration has no place for " << left.size()
     << (left.size() == 1 ? " tensor" : " tensors") << " of the checkpoint: ";
  interleaveComma(ArrayRef(left).take_front(kMaxNamed), os,
                  [&](StringRef key) { os << quoted(key); });
  if (left.size() > kMaxNamed)
    os << ", ...";
  os << "; correct the configuration or remove what does not belong";
  return importError(text);
}
