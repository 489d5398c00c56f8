//===- GGUFTokenizer.h - tokenizer.json from GGUF metadata ------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_GGUFTOKENIZER_H
#define RONDO_LIB_IMPORT_GGUFTOKENIZER_H

#include "Config.h"
#include "GGUF.h"

namespace rondo {

/// The text of a tokenizer.json that tokenizes as the file's metadata says.
/// Empty, with a warning in the log, for kinds of tokenizer that cannot be
/// expressed; an error for metadata that contradicts itself.
llvm::Expected<std::string> makeGGUFTokenizer(const GGUFFile &file,
                                              ImportLog &log);

/// The chat template, empty if there is none.
std::string getGGUFChatTemplate(const GGUFFile &file);

/// Ids of the tokens that end a sequence.
std::vector<int64_t> getGGUFStopTokens(const GGUFFile &file);

/// The same from a path.
llvm::Expected<std::string> readGGUFTokenizer(llvm::StringRef path);
llvm::Expected<std::string> readGGUFChatTemplate(llvm::StringRef path);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_GGUFTOKENIZER_H
