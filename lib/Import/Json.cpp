//===- Json.cpp - strict JSON ---------------------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A first pass over the brackets and strings finds repeated keys and deep
// nesting without recursion; `llvm::json` then does the real parsing, so this
// pass may be sloppy about anything else.
//
//===----------------------------------------------------------------------===//
#include "Json.h"
#include "Support.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace rondo;

/// Deeper than any config, header or tokenizer.
static constexpr size_t kMaxNesting = 64;

namespace {
/// Walks the text once, one StringSet of keys for each open object.
class StructureScanner {
public:
  StructureScanner(StringRef text, StringRef file) : text(text), file(file) {}

  Error run() {
    while (position < text.size()) {
      char c = text[position];
      if (c == '"') {
        if (Error error = visitString())
          return error;
        continue;
      }
      ++position;
      if (c == '{' || c == '[') {
        if (open.size() == kMaxNesting)
          return importError(quoted(file) + " nests deeper than " +
                             Twine(kMaxNesting) + " levels");
        open.push_back({c == '{', {}});
      } else if ((c == '}' || c == ']') && !open.empty()) {
        open.pop_back();
      }
    }
    return Error::success();
  }

private:
  struct Level {
    bool isObject;
    StringSet<> keys;
  };

  /// Skips a string; in an object, a string before ':' is a key.
  Error visitString() {
    size_t begin = position++;
    while (position < text.size() && text[position] != '"')
      position += text[position] == '\\' ? 2 : 1;
    position = std::min(position + 1, text.size());
    StringRef token = text.slice(begin, position);
    if (open.empty() || !open.back().isObject ||
        !text.substr(position).ltrim(" \t\r\n").starts_with(":"))
      return Error::success();
    std::string key = unescape(token);
    if (!open.back().keys.insert(key).second)
      return importError(quoted(file) + " repeats the key " + quoted(key));
    return Error::success();
  }

  /// The key that a string token spells; malformed ones are left to the parser.
  static std::string unescape(StringRef token) {
    if (!token.contains('\\'))
      return token.drop_front().drop_back().str();
    Expected<json::Value> value = json::parse(token);
    if (!value) {
      consumeError(value.takeError());
      return token.str();
    }
    std::optional<StringRef> key = value->getAsString();
    return key ? key->str() : token.str();
  }

  StringRef text;
  StringRef file;
  size_t position = 0;
  SmallVector<Level, 8> open;
};
} // namespace

Expected<json::Value> rondo::parseJson(StringRef text, StringRef file) {
  if (Error error = StructureScanner(text, file).run())
    return std::move(error);
  Expected<json::Value> value = json::parse(text);
  if (!value)
    return importError(quoted(file) +
                       " is not valid JSON: " + toString(value.takeError()) +
                       "; download or write it again");
  return value;
}

Expected<json::Object> rondo::parseJsonObject(StringRef text, StringRef file) {
  Expected<json::Value> value = parseJson(text, file);
  if (!value)
    return value.takeError();
  json::Object *object = value->getAsObject();
  if (!object)
    return importError(quoted(file) + " does not hold a JSON object");
  return std::move(*object);
}

Expected<json::Object> rondo::readJsonFile(StringRef path) {
  Expected<std::unique_ptr<MemoryBuffer>> buffer = mapFile(path);
  if (!buffer)
    return buffer.takeError();
  return parseJsonObject((*buffer)->getBuffer(), path);
}

std::string rondo::formatJson(const json::Value &value) {
  std::string text;
  raw_string_ostream(text) << value;
  return text;
}
