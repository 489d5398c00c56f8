//===- LayerKeys.cpp - where the tensors of a layer are -------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "LayerKeys.h"
#include "Support.h"

using namespace llvm;
using namespace rondo;

LayerKeys::~LayerKeys() = default;

std::string LayerKeys::makeKey(int64_t layer, StringRef name) const {
  return prefix + std::to_string(layer) + "." + name.str();
}

std::string LayerKeys::getShared(int64_t layer, StringRef name) const {
  return makeKey(layer, name);
}

std::string LayerKeys::getAtDepth(int64_t layer, int64_t depth,
                                  StringRef name) const {
  return makeKey(layer, name);
}

Expected<double> LayerKeys::getScale(int64_t layer, int64_t depth,
                                     StringRef linear, int64_t rank) const {
  return importError("tensor " + quoted(makeKey(layer, linear) + ".lora_A") +
                     " is a low-rank delta, but nothing says how it is scaled; "
                     "give its adapter_config.json with --adapter");
}
