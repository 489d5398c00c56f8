//===- ModuleText.cpp - the text of a module that is to be parsed ---------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// MLIR's parser recurses without a limit and its bytecode reader trusts what it
// reads, so damaged files could end the program: both are refused beforehand.
//
//===----------------------------------------------------------------------===//
#include "rondo/Import/ModuleText.h"
#include "Support.h"

#include "llvm/Support/Endian.h"

using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

/// Deepest nesting of brackets; dumps of any phase stay below 32.
static constexpr unsigned kMaxNesting = 256;

/// First bytes of MLIR bytecode.
static constexpr char kBytecodeMagic[] = "ML\xefR";

/// A bundle's manifest is this key of its header.
static constexpr char kManifestKey[] = "\"rondo.manifest\"";

static Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

/// Whether the character at `at` is an angle bracket, not part of an arrow or a
/// comparison.
static bool isAngle(StringRef text, size_t at) {
  bool comparison = text.substr(at + 1).starts_with("=");
  bool arrow = text[at] == '>' && at && StringRef("-=").contains(text[at - 1]);
  return !comparison && !arrow;
}

/// Index behind the string literal or comment that starts at `at`; `at` itself
/// if there is none. Neither goes beyond a line.
static size_t skipQuoted(StringRef text, size_t at) {
  if (text.substr(at).starts_with("//"))
    return std::min(text.find('\n', at), text.size());
  if (text[at] != '"')
    return at;
  size_t end = at + 1;
  while (end < text.size() && text[end] != '"' && text[end] != '\n')
    end += text[end] == '\\' ? 2 : 1;
  return std::min(end + 1, text.size());
}

/// Where brackets first nest too deeply; npos if nowhere.
static size_t findDeepNesting(StringRef text) {
  unsigned depth = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    if (size_t end = skipQuoted(text, at); end != at) {
      at = end - 1;
      continue;
    }
    char c = text[at];
    bool angle = (c == '<' || c == '>') && isAngle(text, at);
    if (StringRef("([{").contains(c) || (c == '<' && angle))
      ++depth;
    else if (depth && (StringRef(")]}").contains(c) || (c == '>' && angle)))
      --depth;
    if (depth > kMaxNesting)
      return at;
  }
  return StringRef::npos;
}

/// The header of a safetensors file, as much as there is; empty if `content` is
/// none. The length in front of it has bytes that no text has.
static StringRef getTensorHeader(StringRef content) {
  if (content.size() <= sizeof(uint64_t) || content[sizeof(uint64_t)] != '{')
    return "";
  uint64_t length = llvm::support::endian::read64le(content.data());
  return length > UINT32_MAX
             ? ""
             : content.drop_front(sizeof(uint64_t)).take_front(length);
}

bool rondo::isBundle(StringRef content) {
  return getTensorHeader(content).contains(kManifestKey);
}

Expected<std::unique_ptr<llvm::MemoryBuffer>>
rondo::openModuleText(StringRef path) {
  auto buffer = llvm::MemoryBuffer::getFileOrSTDIN(path, /*IsText=*/true);
  if (!buffer)
    return makeError("cannot read '" + path +
                     "': " + buffer.getError().message());
  StringRef text = (*buffer)->getBuffer();
  if (text.starts_with(kBytecodeMagic))
    return makeError("'" + path +
                     "' is MLIR bytecode; give a module as text, as "
                     "--compile-to writes it");
  if (isBundle(text))
    return bundleError(path);
  if (!getTensorHeader(text).empty())
    return makeError("'" + path +
                     "' is a safetensors file; give the folder that holds it "
                     "and config.json");
  if (text.ltrim().starts_with("{"))
    return makeError("'" + path +
                     "' is JSON; give the folder that holds config.json and "
                     "the weights, a .gguf file or a module");
  size_t deep = findDeepNesting(text);
  if (deep != StringRef::npos)
    return makeError("'" + path + "' nests deeper than " +
                     llvm::Twine(kMaxNesting) + " levels in line " +
                     llvm::Twine(text.take_front(deep).count('\n') + 1) +
                     ", which no model does; give a module that --compile-to "
                     "wrote");
  return std::move(*buffer);
}
