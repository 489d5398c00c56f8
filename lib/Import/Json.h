//===- Json.h - strict JSON -------------------------------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_JSON_H
#define RONDO_LIB_IMPORT_JSON_H

#include "llvm/Support/JSON.h"

namespace rondo {

/// Parses `text` of `file`. Two things that `llvm::json` lets pass are errors
/// here: a key that an object repeats (it would keep the last one), and nesting
/// deeper than any checkpoint has (it would recurse without bound).
llvm::Expected<llvm::json::Value> parseJson(llvm::StringRef text,
                                            llvm::StringRef file);

/// The same for a text that is an object.
llvm::Expected<llvm::json::Object> parseJsonObject(llvm::StringRef text,
                                                   llvm::StringRef file);

/// Reads and parses a file that holds an object.
llvm::Expected<llvm::json::Object> readJsonFile(llvm::StringRef path);

/// `value` on one line, for messages.
std::string formatJson(const llvm::json::Value &value);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_JSON_H
