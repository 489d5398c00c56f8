//===- Yaml.h - a YAML file as JSON -----------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_YAML_H
#define RONDO_LIB_IMPORT_YAML_H

#include "llvm/Support/JSON.h"

namespace rondo {

/// Reads a file whose top is a mapping. Plain scalars become null, booleans and
/// numbers as the core schema of YAML 1.2 says. Anchors and tags are an error.
llvm::Expected<llvm::json::Object> readYamlFile(llvm::StringRef path);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_YAML_H
