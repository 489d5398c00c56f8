//===- Model.cpp - a loaded bundle ----------------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The order of the checks matters: frame, manifest, table, hashes, then what
// code and schedule say; each may rely on those before it.
//===----------------------------------------------------------------------===//
#include "Model.h"
#include "Hash.h"
#include "Machine.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <sys/stat.h>
#include <unistd.h>

using namespace rondo_rt;

namespace {
/// Closes a file descriptor.
struct File {
  int descriptor;
  ~File() {
    if (descriptor >= 0)
      close(descriptor);
  }
};
} // namespace

static bool isWeight(const TensorEntry &tensor) {
  return tensor.name.compare(0, sizeof(kWeightPrefix) - 1, kWeightPrefix) == 0;
}

/// What to do about an error that does not say so itself.
static const char *wayOut(const rondo_rt_status &error) {
  bool damaged = error.code == RONDO_RT_STATUS_INVALID_BUNDLE;
  bool said = error.message.find("; ") != std::string::npos;
  return damaged && !said ? "; copy or compile the bundle again" : "";
}

Error Model::load(const char *path, const rondo_rt_model_options &options,
                  std::unique_ptr<Model> &model) {
  File file{open(path, O_RDONLY | O_CLOEXEC)};
  struct stat facts;
  if (file.descriptor < 0 || fstat(file.descriptor, &facts))
    return makeError(RONDO_RT_STATUS_IO, "cannot open '%s': %s", path,
                     std::strerror(errno));
  if (!S_ISREG(facts.st_mode))
    return makeError(RONDO_RT_STATUS_IO,
                     "cannot load '%s': not a file; give the path of a .rondo "
                     "bundle",
                     path);
  if (facts.st_size == 0)
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "cannot load '%s': the file is empty; copy or compile "
                     "the bundle again",
                     path);
  auto fresh = std::make_unique<Model>();
  Error error = Mapping::mapFile(file.descriptor, facts.st_size, fresh->file_);
  if (!error)
    error = fresh->check(file.descriptor, options);
  if (error)
    return makeError(error->code, "cannot load '%s': %s%s", path,
                     error->message.c_str(), wayOut(*error));
  model = std::move(fresh);
  return nullptr;
}

Error Model::check(int file, const rondo_rt_model_options &options) {
  if (options.flags & ~RONDO_RT_MODEL_INSPECT)
    return makeError(RONDO_RT_STATUS_INVALID_ARGUMENT, "unknown flags %x",
                     options.flags);
  if (Error error = readBundleHeader(file_.data(), file_.size(), header_))
    return error;
  if (Error error = parseManifest(header_.manifestText, manifest_))
    return error;
  if (Error error =
          checkTensorTable(file_.data(), file_.size(), header_, manifest_))
    return error;
  // Cheap enough to do at every load; weights are not.
  if (Error error = checkHashes())
    return error;
  if (Error error = checkSchedule())
    return error;
  uint64_t codeBytes = 0;
  const char *code = tensor(kCodeTensor, codeBytes);
  if (Error error = checkCode(code, codeBytes))
    return error;
  bool execute = !(options.flags & RONDO_RT_MODEL_INSPECT);
  if (execute)
    if (Error error = mapCode(file))
      return error;
  if (Error error = placeWeights(options.weightless_seed))
    return error;
  fillInfo();
  return nullptr;
}

Error Model::checkHash(const TensorEntry &tensor) const {
  if (hashBytes(file_.data() + header_.dataStart + tensor.offset,
                tensor.bytes) == tensor.hash)
    return nullptr;
  return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                   "tensor '%s' does not match its hash; copy or compile the "
                   "bundle again",
                   tensor.name.c_str());
}

Error Model::checkHashes() const {
  for (const TensorEntry &tensor : manifest_.tensors)
    if (!isWeight(tensor))
      if (Error error = checkHash(tensor))
        return error;
  return nullptr;
}

Error Model::verify() const {
  for (const TensorEntry &tensor : manifest_.tensors)
    if (isWeight(tensor))
      if (Error error = checkHash(tensor))
        return error;
  return nullptr;
}

/// Compiled code indexes with what stands in the table, so all of it is
/// checked.
Error Model::checkSchedule() const {
  uint64_t bytes = 0;
  const char *table = tensor(kScheduleTensor, bytes);
  if (!table || bytes != sizeof(rondo_rt_execution) * manifest_.executions)
    return makeError(
        RONDO_RT_STATUS_INVALID_BUNDLE,
        "tensor '%s' has %llu bytes, %u executions need %llu", kScheduleTensor,
        (unsigned long long)bytes, manifest_.executions,
        (unsigned long long)sizeof(rondo_rt_execution) * manifest_.executions);
  auto *executions = reinterpret_cast<const rondo_rt_execution *>(table);
  for (uint32_t i = 0; i < manifest_.executions; ++i) {
    const rondo_rt_execution &execution = executions[i];
    bool tracePoint = execution.trace == RONDO_RT_NONE ||
                      execution.trace < manifest_.trace.size();
    bool slot = execution.slot < manifest_.kv.slots || !manifest_.kv.slots;
    if (execution.body >= manifest_.bodies.size() || !tracePoint || !slot ||
        execution.reserved)
      return makeError(
          RONDO_RT_STATUS_INVALID_BUNDLE,
          "execution %u of the schedule names body %u, slot %u and "
          "trace point %u, which the manifest lacks",
          i, execution.body, execution.slot, execution.trace);
  }
  return nullptr;
}

/// Whether the manifest's entries are those of the image and lie inside of it.
static bool entriesAgree(const rondo_rt_code_header &header,
                         const Manifest &manifest) {
  for (unsigned i = 0; i < RONDO_RT_ENTRY_COUNT; ++i) {
    uint64_t entry = header.entries[i];
    if (entry != manifest.entries[i] || entry < sizeof(header) ||
        entry >= header.image_size || entry % 16)
      return false;
  }
  return true;
}

/// The image itself is not looked into: its hash says it is what was compiled.
Error Model::checkCode(const char *code, uint64_t bytes) const {
  rondo_rt_code_header header;
  if (!code || bytes < sizeof(header))
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "code image is missing or shorter than its header");
  std::memcpy(&header, code, sizeof(header));
  if (header.magic != RONDO_RT_CODE_MAGIC || header.image_size != bytes)
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "code image has magic %08x and %llu bytes, expected %08x "
                     "and %llu",
                     header.magic, (unsigned long long)header.image_size,
                     RONDO_RT_CODE_MAGIC, (unsigned long long)bytes);
  if (header.abi_version != RONDO_RT_ABI_VERSION ||
      header.context_size != sizeof(rondo_rt_context) ||
      header.entry_count != RONDO_RT_ENTRY_COUNT)
    return makeError(
        RONDO_RT_STATUS_UNSUPPORTED,
        "code image has ABI %u with a context of %u bytes and %u "
        "entries, this runtime has ABI %u with %zu and %u; compile "
        "the model again with this version",
        header.abi_version, header.context_size, header.entry_count,
        RONDO_RT_ABI_VERSION, sizeof(rondo_rt_context),
        static_cast<unsigned>(RONDO_RT_ENTRY_COUNT));
  if (!entriesAgree(header, manifest_))
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                     "entry points of the code image are outside of it or not "
                     "those of the manifest");
  return nullptr;
}

/// Only now does the CPU matter: a bundle for another one can still be
/// described.
Error Model::mapCode(int file) {
  const TensorEntry &tensor = *manifest_.findTensor(kCodeTensor);
  rondo_rt_code_header header;
  std::memcpy(&header, file_.data() + header_.dataStart + tensor.offset,
              sizeof(header));
  uint64_t missing = header.features & ~machineFeatures();
  if (missing)
    return makeError(
        RONDO_RT_STATUS_UNSUPPORTED,
        "bundle needs a CPU with %s, which this one lacks; compile "
        "with --target=cpu:native on this machine",
        featureNames(missing).c_str());
  if (Error error = Mapping::mapCode(file, header_.dataStart + tensor.offset,
                                     tensor.bytes, code_))
    return error;
  // What will run is another mapping, or a copy, of what was hashed.
  if (hashBytes(code_.data(), code_.size()) != tensor.hash)
    return makeError(RONDO_RT_STATUS_IO,
                     "bundle changed while it was being loaded; load it again");
  return nullptr;
}

/// The packed weights must lie where the code looks for them.
static Error checkPacking(const Manifest &manifest, uint64_t regionStart) {
  uint64_t end = 0;
  for (const Packing &packing : manifest.packing) {
    if (packing.offset < end)
      return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                       "packed weight '%s' overlaps the one before it",
                       packing.name.c_str());
    end = packing.offset + packing.bytes;
    if (manifest.weightless)
      continue;
    const TensorEntry *tensor = manifest.findTensor(packing.name);
    if (!tensor || tensor->offset != regionStart + packing.offset ||
        tensor->bytes != packing.bytes)
      return makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                       "packed weight '%s' is not the tensor of that name",
                       packing.name.c_str());
  }
  return nullptr;
}

/// The region is the span of the weight tensors, or made up for a weightless
/// bundle.
Error Model::placeWeights(uint64_t seed) {
  const TensorEntry *first = nullptr, *last = nullptr;
  for (const TensorEntry &tensor : manifest_.tensors)
    if (isWeight(tensor)) {
      first = first ? first : &tensor;
      last = &tensor;
    }
  uint64_t start = first ? first->offset : 0;
  uint64_t bytes = last ? last->offset + last->bytes - start : 0;
  if (manifest_.weightless ? bytes != 0 : bytes != manifest_.weightBytes)
    return makeError(
        RONDO_RT_STATUS_INVALID_BUNDLE,
        "bundle holds %llu bytes of weights, its manifest says %llu",
        (unsigned long long)bytes, (unsigned long long)manifest_.weightBytes);
  if (Error error = checkPacking(manifest_, start))
    return error;
  if (!manifest_.weightless) {
    weights_ = file_.data() + header_.dataStart + start;
    return nullptr;
  }
  if (code_.data() == nullptr) // inspection needs no weights
    return nullptr;
  if (Error error = Mapping::allocate(manifest_.weightBytes, "the weights",
                                      generatedWeights_))
    return error;
  for (const Packing &packing : manifest_.packing)
    fillWeights(generatedWeights_.data() + packing.offset, packing.bytes,
                packing.type, seed + packing.offset);
  weights_ = generatedWeights_.data();
  return nullptr;
}

/// Classes are numbered in the order of their first visits.
void Model::classifyVisits() {
  std::map<std::vector<std::pair<uint16_t, uint16_t>>, uint32_t> classes;
  for (size_t visit = 0; visit + 1 < manifest_.visitBegin.size(); ++visit) {
    std::vector<std::pair<uint16_t, uint16_t>> work;
    for (uint32_t i = manifest_.visitBegin[visit];
         i < manifest_.visitBegin[visit + 1]; ++i)
      work.emplace_back(executions_[i].body, executions_[i].layer);
    uint32_t next = classes.size();
    visitClasses_.push_back(
        classes.try_emplace(std::move(work), next).first->second);
  }
}

void Model::fillInfo() {
  uint64_t bytes = 0;
  executions_ = reinterpret_cast<const rondo_rt_execution *>(
      tensor(kScheduleTensor, bytes));
  classifyVisits();
  info_.vocabulary = manifest_.vocabulary;
  info_.context = manifest_.context;
  info_.sequences = manifest_.sequences;
  info_.rows = manifest_.rows;
  info_.depth = manifest_.depth;
  info_.trace_point_count = manifest_.trace.size();
  info_.logits_stride = manifest_.logitsStride;
  info_.weight_bytes = manifest_.weightBytes;
  info_.kv_page_bytes = manifest_.kv.pageBytes;
  info_.stop_tokens = manifest_.stopTokens.data();
  info_.stop_token_count = manifest_.stopTokens.size();
  info_.execution_count = manifest_.executions;
  info_.executions = executions_;
  info_.visit_count = visitClasses_.size();
  info_.visit_classes = visitClasses_.data();
  info_.rows_in_flight = manifest_.rowsInFlight();
  info_.token_types = manifest_.tokenTypes;
  info_.cohort = manifest_.cohort;
  for (const Output &output : manifest_.outputs)
    outputs_.push_back(
        {output.name.c_str(), output.offset, output.width, output.first});
  info_.outputs = outputs_.data();
  info_.output_count = outputs_.size();
}

rondo_rt_entry_fn Model::entry(rondo_rt_entry which) const {
  if (!code_.data())
    return nullptr;
  return reinterpret_cast<rondo_rt_entry_fn>(code_.data() +
                                             manifest_.entries[which]);
}

const char *Model::tensor(std::string_view name, uint64_t &bytes) const {
  const TensorEntry *found = manifest_.findTensor(name);
  if (!found)
    return nullptr;
  bytes = found->bytes;
  return file_.data() + header_.dataStart + found->offset;
}

void Model::populateWeights() const {
  if (!manifest_.weightless && weights_) {
    uint64_t start = weights_ - file_.data();
    file_.populate(start, start + manifest_.weightBytes);
  }
}
