//===- Bundle.cpp - writing MODEL.rondo -----------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The header comes first in the file but holds the hashes of all that follows.
// Since hashes have a fixed length, its size is known before: the data section
// is placed, streamed and hashed behind room for the header, which is written
// last.
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Bundle.h"

#include "Manifest.h"
#include "rondo/Bundle/Hash.h"
#include "rondo/Bundle/OutputFile.h"

#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace mlir;
using namespace rondo;
using llvm::Error;
using llvm::Expected;

/// Alignments in the file, see docs/Bundle.md.
static constexpr uint64_t kPageBytes = 4096;
static constexpr uint64_t kHugePageBytes = 2 << 20;

static Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

namespace {

/// Writes one bundle.
class BundleWriter {
public:
  BundleWriter(ModuleOp module, const BundleParts &parts)
      : module(module), parts(parts) {}

  Expected<BundleSizes> write(StringRef path);

private:
  /// Writes the bytes of a tensor through a sink.
  using Producer = std::function<Error(ByteSink)>;
  struct Part {
    FileTensor tensor;
    uint64_t alignment;
    Producer produce;
  };

  LogicalResult collect();
  void addBytes(StringRef name, StringRef bytes, uint64_t alignment);
  void addWeights();
  void place();
  std::vector<FileTensor> getTensors() const;
  std::string makeHeader() const;
  Error stream(OutputFile &file);

  ModuleOp module;
  const BundleParts &parts;
  Plan plan;
  rondo_rt_code_header code = {};
  std::vector<rondo_rt_execution> executions;
  std::vector<WeightTensor> weights;
  std::vector<Part> contents;
  uint64_t dataStart = kPageBytes;
};

} // namespace

//===----------------------------------------------------------------------===//
// Contents
//===----------------------------------------------------------------------===//

void BundleWriter::addBytes(StringRef name, StringRef bytes,
                            uint64_t alignment) {
  if (bytes.empty())
    return;
  Part part;
  part.tensor.name = name.str();
  part.tensor.bytes = bytes.size();
  part.alignment = alignment;
  part.produce = [bytes](ByteSink sink) {
    return sink(llvm::ArrayRef(bytes.data(), bytes.size()));
  };
  contents.push_back(std::move(part));
}

void BundleWriter::addWeights() {
  uint64_t alignment = kHugePageBytes;
  for (const WeightTensor &weight : weights) {
    Part part;
    part.tensor.name = weight.name;
    part.tensor.bytes = weight.bytes;
    part.alignment = alignment;
    part.produce = [this, &weight](ByteSink sink) {
      return packTensor(weight, *parts.archives, parts.threads, sink);
    };
    contents.push_back(std::move(part));
    alignment = RONDO_RT_ALIGNMENT;
  }
}

/// Reads everything that the bundle needs from the module.
LogicalResult BundleWriter::collect() {
  FailureOr<Plan> foundPlan = getPlan(module);
  if (failed(foundPlan))
    return failure();
  plan = std::move(*foundPlan);
  auto foundExecutions = getExecutions(module);
  auto foundWeights = getWeightTensors(module);
  if (failed(foundExecutions) || failed(foundWeights))
    return failure();
  executions = std::move(*foundExecutions);
  weights = std::move(*foundWeights);
  if (parts.code.size() < sizeof(code))
    return module.emitError("code image is shorter than its header");
  std::memcpy(&code, parts.code.data(), sizeof(code));

  addBytes("code.cpu", llvm::toStringRef(parts.code), kPageBytes);
  addBytes("schedule.executions",
           StringRef(reinterpret_cast<const char *>(executions.data()),
                     executions.size() * sizeof(rondo_rt_execution)),
           RONDO_RT_ALIGNMENT);
  addBytes("tokenizer.json", parts.tokenizer, RONDO_RT_ALIGNMENT);
  addBytes("chat_template.jinja", parts.chatTemplate, RONDO_RT_ALIGNMENT);
  if (parts.archives)
    addWeights();
  return success();
}

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

std::vector<FileTensor> BundleWriter::getTensors() const {
  std::vector<FileTensor> tensors;
  for (const Part &part : contents)
    tensors.push_back(part.tensor);
  return tensors;
}

/// Lists one tensor of the header.
static void writeEntry(llvm::json::OStream &json, StringRef name,
                       uint64_t begin, uint64_t end) {
  json.attributeObject(name, [&] {
    json.attribute("dtype", "U8");
    json.attributeArray("shape", [&] { json.value(end - begin); });
    json.attributeArray("data_offsets", [&] {
      json.value(begin);
      json.value(end);
    });
  });
}

/// The safetensors header: metadata, then all tensors and the gaps between
/// them.
std::string BundleWriter::makeHeader() const {
  std::vector<FileTensor> tensors = getTensors();
  std::string manifest =
      writeManifest({module, plan, weights, code, !parts.tokenizer.empty(),
                     !parts.chatTemplate.empty()},
                    tensors);
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::json::OStream json(os);
  json.object([&] {
    json.attributeObject("__metadata__", [&] {
      json.attribute("rondo.manifest", manifest);
      json.attribute("rondo.manifest_hash", hashBytes(manifest));
    });
    uint64_t end = 0;
    unsigned gaps = 0;
    for (const FileTensor &tensor : tensors) {
      if (tensor.offset > end)
        writeEntry(json, "pad." + std::to_string(gaps++), end, tensor.offset);
      end = tensor.offset + tensor.bytes;
      writeEntry(json, tensor.name, tensor.offset, end);
    }
  });
  return text;
}

/// Gives every tensor its offset and finds where the data section starts. The
/// two depend on each other through the length of the header; the start only
/// ever grows, so this ends.
void BundleWriter::place() {
  for (Part &part : contents)
    part.tensor.hash = std::string(32, '0');
  for (;;) {
    uint64_t end = dataStart;
    uint64_t regionStart = 0;
    size_t weight = 0;
    for (Part &part : contents) {
      uint64_t begin = llvm::alignTo(end, part.alignment);
      // Weights stand where code looks for them.
      if (part.alignment == kHugePageBytes)
        regionStart = begin - weights.front().offset;
      if (regionStart)
        begin = regionStart + weights[weight++].offset;
      part.tensor.offset = begin - dataStart;
      end = begin + part.tensor.bytes;
    }
    uint64_t needed =
        llvm::alignTo(sizeof(uint64_t) + makeHeader().size(), kPageBytes);
    if (needed <= dataStart)
      return;
    dataStart = needed;
  }
}

//===----------------------------------------------------------------------===//
// The file
//===----------------------------------------------------------------------===//

/// Writes the data section and takes the hash of each tensor.
Error BundleWriter::stream(OutputFile &file) {
  uint64_t done = 0, all = 0;
  for (const WeightTensor &weight : weights)
    all += weight.bytes;
  for (Part &part : contents) {
    file.skipTo(dataStart + part.tensor.offset);
    bool isWeight = StringRef(part.tensor.name).starts_with("weight.");
    Hasher hasher;
    uint64_t written = 0;
    auto sink = [&](llvm::ArrayRef<char> bytes) {
      hasher.update(bytes);
      written += bytes.size();
      if (parts.progress && isWeight)
        parts.progress(done + written, all);
      return file.write(bytes);
    };
    if (Error error = part.produce(sink))
      return error;
    if (written != part.tensor.bytes)
      return makeError("tensor '" + part.tensor.name + "' was packed to " +
                       llvm::Twine(written) + " bytes, planned were " +
                       llvm::Twine(part.tensor.bytes));
    part.tensor.hash = hasher.digest();
    done += isWeight ? written : 0;
  }
  return Error::success();
}

Expected<BundleSizes> BundleWriter::write(StringRef path) {
  if (failed(collect()))
    return makeError("module cannot be written as a bundle");
  place();
  Expected<OutputFile> file = OutputFile::create(path);
  if (!file)
    return file.takeError();
  if (Error error = stream(*file))
    return std::move(error);

  std::string header(sizeof(uint64_t), '\0');
  llvm::support::endian::write64le(header.data(), dataStart - sizeof(uint64_t));
  header += makeHeader();
  header.resize(dataStart, ' ');
  uint64_t bytes = file->getPosition();
  if (Error error = file->finish(header))
    return std::move(error);
  BundleSizes sizes;
  sizes.file = bytes;
  sizes.code = parts.code.size();
  if (!weights.empty())
    sizes.weights = weights.back().offset + weights.back().bytes;
  return sizes;
}

Expected<BundleSizes>
rondo::writeBundle(ModuleOp module, const BundleParts &parts, StringRef path) {
  return BundleWriter(module, parts).write(path);
}
