//===- Model.h - a loaded bundle --------------------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Opens a bundle and checks everything that can be checked before any byte of
// it runs. A Model that exists has passed; one loaded for inspection has no
// code.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_MODEL_H
#define RONDO_RT_MODEL_H

#include "Manifest.h"
#include "Memory.h"

namespace rondo_rt {

/// What the file's own header says, before the manifest is understood.
struct BundleHeader {
  std::string manifestText;
  uint64_t dataStart = 0; // bytes from the start of the file
};

/// Reads the safetensors header of a file that lies at `file`. Checks its form
/// and the manifest's hash.
Error readBundleHeader(const char *file, uint64_t fileBytes,
                       BundleHeader &header);

/// Checks order, alignment and bounds of the manifest's tensors and that the
/// header's tensor table says the same.
Error checkTensorTable(const char *file, uint64_t fileBytes,
                       const BundleHeader &header, const Manifest &manifest);

/// Fills `bytes` bytes of weights with small finite numbers, whatever the
/// storage type; the same seed gives the same bytes.
void fillWeights(char *weights, uint64_t bytes, const std::string &type,
                 uint64_t seed);

/// See rondo_rt_model.
class Model {
public:
  static Error load(const char *path, const rondo_rt_model_options &options,
                    std::unique_ptr<Model> &model);

  /// Compares the hash of every weight tensor.
  Error verify() const;

  /// The entry point, or null in a model loaded for inspection.
  rondo_rt_entry_fn entry(rondo_rt_entry which) const;
  /// The tensor's bytes; null if there is none of that name.
  const char *tensor(std::string_view name, uint64_t &bytes) const;
  /// Reads the weights in ahead of the first step.
  void populateWeights() const;

  const Manifest &manifest() const { return manifest_; }
  const std::string &manifestText() const { return header_.manifestText; }
  const char *weights() const { return weights_; }
  const rondo_rt_execution *executions() const { return executions_; }
  uint32_t visitCount() const { return visitClasses_.size(); }
  /// Number of the class of a visit: visits of one class execute the same
  /// bodies with the same layers, so their rows can share a step.
  uint32_t visitClass(uint32_t visit) const { return visitClasses_[visit]; }
  const rondo_rt_model_info &info() const { return info_; }

private:
  Error check(int file, const rondo_rt_model_options &options);
  Error checkHashes() const;
  Error checkHash(const TensorEntry &tensor) const;
  Error checkSchedule() const;
  Error checkCode(const char *code, uint64_t bytes) const;
  Error mapCode(int file);
  Error placeWeights(uint64_t seed);
  void classifyVisits();
  void fillInfo();

  Mapping file_;
  Mapping code_;
  Mapping generatedWeights_; // of a weightless bundle
  BundleHeader header_;
  Manifest manifest_;
  const char *weights_ = nullptr;
  const rondo_rt_execution *executions_ = nullptr;
  std::vector<uint32_t> visitClasses_; // [visits]
  rondo_rt_model_info info_ = {};
  std::vector<rondo_rt_output> outputs_; // of the manifest, as C sees them
};

} // namespace rondo_rt

/// The public handle is the model itself.
struct rondo_rt_model {
  std::unique_ptr<rondo_rt::Model> model;
};

#endif // RONDO_RT_MODEL_H
