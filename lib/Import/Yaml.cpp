//===- Yaml.cpp - a YAML file as JSON -------------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Yaml.h"
#include "Support.h"

#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/YAMLParser.h"

using namespace llvm;
using namespace rondo;

/// Deepest nesting; the files that are read have four levels.
static constexpr int kMaxDepth = 32;

namespace {
/// Converts nodes; the first fault stays.
class Converter {
public:
  json::Value convert(yaml::Node *node, int depth) {
    if (!node || isa<yaml::NullNode>(node))
      return nullptr;
    if (depth > kMaxDepth)
      return fail("it nests deeper than " + std::to_string(kMaxDepth) +
                  " levels");
    if (auto *scalar = dyn_cast<yaml::ScalarNode>(node))
      return convertScalar(*scalar);
    if (auto *block = dyn_cast<yaml::BlockScalarNode>(node))
      return block->getValue().str();
    if (auto *list = dyn_cast<yaml::SequenceNode>(node)) {
      json::Array array;
      for (yaml::Node &entry : *list)
        array.push_back(convert(&entry, depth + 1));
      return array;
    }
    if (auto *mapping = dyn_cast<yaml::MappingNode>(node))
      return convertMapping(*mapping, depth);
    return fail("it has anchors or aliases");
  }

  std::string fault;

private:
  json::Value fail(std::string text) {
    if (fault.empty())
      fault = std::move(text);
    return nullptr;
  }

  json::Value convertScalar(yaml::ScalarNode &scalar) {
    SmallString<32> storage;
    StringRef text = scalar.getValue(storage);
    if (scalar.getRawValue().starts_with("\"") ||
        scalar.getRawValue().starts_with("'"))
      return text.str();
    if (text.empty() || text == "~" || text == "null")
      return nullptr;
    if (text == "true" || text == "True")
      return true;
    if (text == "false" || text == "False")
      return false;
    int64_t integer;
    if (to_integer(text, integer, 10))
      return integer;
    double number;
    if (!text.getAsDouble(number))
      return number;
    return text.str();
  }

  json::Value convertMapping(yaml::MappingNode &mapping, int depth) {
    json::Object object;
    for (yaml::KeyValueNode &entry : mapping) {
      auto *key = dyn_cast_or_null<yaml::ScalarNode>(entry.getKey());
      if (!key)
        return fail("it has a key that is no text");
      SmallString<32> storage;
      std::string name = key->getValue(storage).str();
      json::Value value = convert(entry.getValue(), depth + 1);
      if (!object.try_emplace(name, std::move(value)).second)
        return fail("it repeats the key '" + name + "'");
    }
    return object;
  }
};
} // namespace

Expected<json::Object> rondo::readYamlFile(StringRef path) {
  Expected<std::unique_ptr<MemoryBuffer>> buffer = mapFile(path);
  if (!buffer)
    return buffer.takeError();
  // Without diagnostics on standard error: the first becomes the message.
  std::string message;
  SourceMgr sources;
  sources.setDiagHandler(
      [](const SMDiagnostic &diagnostic, void *context) {
        auto &text = *static_cast<std::string *>(context);
        if (text.empty())
          text = "line " + std::to_string(diagnostic.getLineNo()) + ": " +
                 diagnostic.getMessage().str();
      },
      &message);
  yaml::Stream stream((*buffer)->getBuffer(), sources, /*ShowColors=*/false);
  Converter converter;
  json::Value value = nullptr;
  yaml::document_iterator document = stream.begin();
  if (document != stream.end())
    value = converter.convert(document->getRoot(), 0);
  if (stream.failed() || !converter.fault.empty())
    return importError(quoted(path) + " is not the YAML of a configuration: " +
                       (message.empty() ? converter.fault : message) +
                       "; take the file that the training wrote");
  if (json::Object *object = value.getAsObject())
    return std::move(*object);
  return importError(quoted(path) + " is not a mapping of sections; take the "
                                    "file that the training wrote");
}
