//===- DemoBundle.h - bundles of the hand-written image ---------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Builds valid bundles, and invalid ones by changing the parts before they are
// put together: offsets and hashes are filled in last, so a test breaks one
// thing only.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_DEMOBUNDLE_H
#define RONDO_RT_DEMOBUNDLE_H

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace rondo_rt_demo {

using Json = nlohmann::ordered_json;

/// Sizes of the toy model; abi_by_hand.c has the same.
inline constexpr uint32_t kHidden = 8;
inline constexpr uint32_t kVocabulary = 40;
inline constexpr uint32_t kContext = 300;
inline constexpr uint32_t kSequences = 4;
inline constexpr uint32_t kRows = 16;
inline constexpr uint32_t kVisits = 2;

/// A bundle before it becomes bytes.
struct Parts {
  /// Tensors in file order, by name; `manifest.tensors` is made from them.
  std::vector<std::pair<std::string, std::string>> tensors;
  /// The manifest without `tensors`.
  Json manifest;
  /// Called with the complete manifest, to break it.
  std::function<void(Json &)> changeManifest;
  /// Called with the manifest's text before it is hashed, to break it.
  std::function<void(std::string &)> changeText;
  /// Called with the complete header, to break it.
  std::function<void(Json &)> changeHeader;

  /// The bytes of tensor `name`.
  std::string &tensor(const std::string &name);
};

struct DemoOptions {
  bool tracePoints = false;
  bool weightless = false;
  bool tokenizer = false;
};

/// The image the build made of abi_by_hand.c.
std::string readDemoImage();

/// The parts of a valid bundle.
Parts makeParts(const DemoOptions &options = {});

/// Puts a bundle together.
std::string assemble(const Parts &parts);

/// The weights of the toy model: step[2][8], then head[40], floats.
std::vector<float> demoWeights();

} // namespace rondo_rt_demo

#endif // RONDO_RT_DEMOBUNDLE_H
