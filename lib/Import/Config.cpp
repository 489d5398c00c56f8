//===- Config.cpp - closed-world reading of config.json -------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Config.h"
#include "Json.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace llvm;
using namespace rondo;

/// Whether a value switches anything on, as Python sees it.
static bool isTruthy(const json::Value &value) {
  switch (value.kind()) {
  case json::Value::Null:
    return false;
  case json::Value::Boolean:
    return *value.getAsBoolean();
  case json::Value::Number:
    return *value.getAsNumber() != 0;
  case json::Value::String:
    return !value.getAsString()->empty();
  case json::Value::Array:
    return !value.getAsArray()->empty();
  case json::Value::Object:
    return !value.getAsObject()->empty();
  }
  return true;
}

void ConfigReader::fail(const Twine &text) {
  if (!message)
    message = (quoted(where) + ": " + text).str();
}

void ConfigReader::finishNested(ConfigReader &nested) {
  if (llvm::Error error = nested.finish())
    fail(toString(std::move(error)));
}

void ConfigReader::failMissing(StringRef key, StringRef expected) {
  fail("required key " + quoted(key) + " is missing; add " + expected);
}

void ConfigReader::failType(StringRef key, const json::Value &value,
                            const Twine &expected) {
  std::string found = formatJson(value);
  fail("key " + quoted(key) + " has the value " +
       StringRef(found).take_front(80) + ", expected " + expected);
}

const json::Value *ConfigReader::find(StringRef key) {
  known.insert(key);
  const json::Value *value = object.get(key);
  return value && value->kind() != json::Value::Null ? value : nullptr;
}

bool ConfigReader::has(StringRef key) const {
  const json::Value *value = object.get(key);
  return value && value->kind() != json::Value::Null;
}

std::optional<int64_t> ConfigReader::getOptionalCount(StringRef key,
                                                      int64_t limit) {
  return getOptionalInteger(key, 1, limit);
}

std::optional<int64_t> ConfigReader::getOptionalIndex(StringRef key,
                                                      int64_t limit) {
  return getOptionalInteger(key, 0, limit);
}

std::optional<int64_t>
ConfigReader::getOptionalInteger(StringRef key, int64_t least, int64_t most) {
  const json::Value *value = find(key);
  if (!value)
    return std::nullopt;
  std::optional<int64_t> number = value->getAsInteger();
  if (!number || *number < least || *number > most) {
    failType(key, *value,
             "an integer from " + Twine(least) + " to " + Twine(most));
    return std::nullopt;
  }
  log.push_back(where + ": " + key.str() + " = " + std::to_string(*number));
  return number;
}

int64_t ConfigReader::getCount(StringRef key, int64_t limit) {
  if (!has(key))
    failMissing(key, "the model's number");
  return getOptionalCount(key, limit).value_or(1);
}

std::optional<double> ConfigReader::getOptionalPositive(StringRef key) {
  const json::Value *value = find(key);
  if (!value)
    return std::nullopt;
  std::optional<double> number = value->getAsNumber();
  if (!number || !(*number > 0) || !std::isfinite(*number)) {
    failType(key, *value, "a number above 0");
    return std::nullopt;
  }
  log.push_back(where + ": " + key.str() + " = " + formatNumber(*number));
  return number;
}

double ConfigReader::getPositive(StringRef key) {
  if (!has(key))
    failMissing(key, "the model's number");
  return getOptionalPositive(key).value_or(1.0);
}

bool ConfigReader::getOptionalFlag(StringRef key) {
  const json::Value *value = find(key);
  if (!value)
    return false;
  std::optional<bool> flag = value->getAsBoolean();
  if (!flag) {
    failType(key, *value, "true or false");
    return false;
  }
  log.push_back(where + ": " + key.str() + " = " + (*flag ? "true" : "false"));
  return *flag;
}

bool ConfigReader::getFlag(StringRef key) {
  if (!has(key))
    failMissing(key, "true or false");
  return getOptionalFlag(key);
}

std::optional<StringRef> ConfigReader::getOptionalText(StringRef key) {
  const json::Value *value = find(key);
  if (!value)
    return std::nullopt;
  std::optional<StringRef> text = value->getAsString();
  if (!text)
    failType(key, *value, "a text");
  return text;
}

StringRef ConfigReader::getWord(StringRef key, ArrayRef<StringLiteral> words,
                                StringRef absent) {
  StringRef word = getOptionalText(key).value_or(absent);
  if (!is_contained(words, word))
    fail(quoted(key) + " is " + quoted(word) + "; known: " + join(words, ", "));
  return word;
}

const json::Object *ConfigReader::getOptionalObject(StringRef key) {
  const json::Value *value = find(key);
  if (!value)
    return nullptr;
  const json::Object *result = value->getAsObject();
  if (!result)
    failType(key, *value, "an object");
  return result && !result->empty() ? result : nullptr;
}

const json::Array *ConfigReader::getOptionalArray(StringRef key) {
  const json::Value *value = find(key);
  if (!value)
    return nullptr;
  const json::Array *result = value->getAsArray();
  if (!result)
    failType(key, *value, "an array");
  return result;
}

void ConfigReader::ignore(ArrayRef<StringLiteral> keys) {
  for (StringRef key : keys)
    known.insert(key);
}

void ConfigReader::logDecision(const Twine &text) {
  log.push_back((where + ": " + text).str());
}

Error ConfigReader::finish() {
  if (!message) {
    SmallVector<StringRef> keys;
    for (const auto &[key, value] : object)
      if (!known.contains(StringRef(key)) && isTruthy(value))
        keys.push_back(key);
    llvm::sort(keys);
    if (!keys.empty())
      failType(keys.front(), *object.get(keys.front()),
               "it to be absent: no reader of this model family knows the key, "
               "and it may change what the model computes");
  }
  return message ? importError(*message) : Error::success();
}
