//===- Json.cpp - strict reading of JSON ----------------------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// Duplicate keys are caught by the parser's callback: afterwards only the last
// of them would be left.
//===----------------------------------------------------------------------===//
#include "Json.h"

#include <cmath>

using namespace rondo_rt;

/// Deepest nesting a bundle's JSON may have; the manifest needs four levels.
static constexpr int kMaxDepth = 16;

/// Without the parser's name, and without what it read: that may be long, and
/// no text at all.
static std::string describe(const Json::exception &exception) {
  std::string text = exception.what();
  text.erase(0, text.find("] ") + 2);
  return text.substr(0, text.find(';'));
}

Error rondo_rt::parseJson(std::string_view text, const char *what,
                          Json &value) {
  std::vector<std::set<std::string>> scopes;
  std::string fault;
  auto callback = [&](int depth, Json::parse_event_t event, Json &parsed) {
    if (depth > kMaxDepth && fault.empty())
      fault = "nested deeper than " + std::to_string(kMaxDepth) + " levels";
    if (event == Json::parse_event_t::object_start)
      scopes.emplace_back();
    else if (event == Json::parse_event_t::object_end)
      scopes.pop_back();
    else if (event == Json::parse_event_t::key &&
             !scopes.back().insert(parsed.get<std::string>()).second &&
             fault.empty())
      fault = "duplicate key '" + parsed.get<std::string>() + "'";
    return true;
  };
  try {
    value = Json::parse(text.begin(), text.end(), callback);
  } catch (const Json::exception &exception) {
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE, "%s is not valid JSON: %s",
                     what, describe(exception).c_str());
  }
  if (!fault.empty())
    return makeError(RONDO_RT_STATUS_INVALID_BUNDLE, "%s is malformed: %s",
                     what, fault.c_str());
  return nullptr;
}

ObjectReader::ObjectReader(const Json &object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object())
    error_ = makeError(RONDO_RT_STATUS_INVALID_BUNDLE,
                       "'%s' is malformed: expected an object, got %s",
                       where_.c_str(), object.type_name());
}

void ObjectReader::fault(const char *key, const std::string &rule) {
  if (!error_)
    error_ = makeError(RONDO_RT_STATUS_INVALID_BUNDLE, "'%s.%s' %s",
                       where_.c_str(), key, rule.c_str());
}

const Json *ObjectReader::find(const char *key, const char *expected,
                               bool (*matches)(const Json &)) {
  seen_.insert(key);
  if (error_)
    return nullptr;
  auto it = object_.find(key);
  if (it == object_.end()) {
    fault(key, "is missing");
    return nullptr;
  }
  if (!matches(*it)) {
    fault(key, std::string("must be ") + expected + ", got " +
                   it->dump(-1, ' ', true, Json::error_handler_t::replace)
                       .substr(0, 40));
    return nullptr;
  }
  return &*it;
}

uint64_t ObjectReader::integer(const char *key, uint64_t min, uint64_t max) {
  const Json *found = find(key, "an integer, not negative", [](const Json &j) {
    return j.is_number_unsigned();
  });
  if (!found)
    return 0;
  uint64_t value = found->get<uint64_t>();
  if (value >= min && value <= max)
    return value;
  fault(key, "must be in [" + std::to_string(min) + ", " + std::to_string(max) +
                 "], got " + std::to_string(value));
  return 0;
}

int64_t ObjectReader::integerOrMinusOne(const char *key, uint64_t max) {
  auto it = object_.is_object() ? object_.find(key) : object_.end();
  if (object_.is_object() && it != object_.end() && it->is_number_integer() &&
      !it->is_number_unsigned() && it->get<int64_t>() == -1) {
    seen_.insert(key);
    return -1;
  }
  return static_cast<int64_t>(integer(key, 0, max));
}

double ObjectReader::number(const char *key) {
  const Json *found =
      find(key, "a finite number of at least 0", [](const Json &j) {
        return j.is_number() && std::isfinite(j.get<double>()) &&
               j.get<double>() >= 0;
      });
  return found ? found->get<double>() : 0;
}

bool ObjectReader::boolean(const char *key) {
  const Json *found =
      find(key, "true or false", [](const Json &j) { return j.is_boolean(); });
  return found && found->get<bool>();
}

std::string ObjectReader::text(const char *key) {
  const Json *found =
      find(key, "a string", [](const Json &j) { return j.is_string(); });
  return found ? found->get<std::string>() : std::string();
}

size_t ObjectReader::word(const char *key,
                          std::initializer_list<const char *> words) {
  std::string value = text(key), known;
  for (auto word = words.begin(); word != words.end(); ++word) {
    if (value == *word)
      return word - words.begin();
    known += std::string(known.empty() ? "" : ", ") + *word;
  }
  fault(key, "is '" + value.substr(0, 40) + "', expected one of " + known);
  return 0;
}

const Json &ObjectReader::array(const char *key) {
  static const Json kEmpty = Json::array();
  const Json *found =
      find(key, "an array", [](const Json &j) { return j.is_array(); });
  return found ? *found : kEmpty;
}

const Json &ObjectReader::object(const char *key) {
  static const Json kEmpty = Json::object();
  const Json *found =
      find(key, "an object", [](const Json &j) { return j.is_object(); });
  return found ? *found : kEmpty;
}

std::vector<std::string> ObjectReader::texts(const char *key) {
  std::vector<std::string> values;
  for (const Json &element : array(key)) {
    if (!element.is_string()) {
      fault(key, "must hold strings only");
      return {};
    }
    values.push_back(element.get<std::string>());
  }
  return values;
}

Error ObjectReader::finish() {
  if (error_)
    return std::move(error_);
  for (const auto &member : object_.items())
    if (!seen_.count(member.key()))
      return makeError(
          RONDO_RT_STATUS_INVALID_BUNDLE,
          "'%s' has an unknown key '%.60s'; the bundle may be newer "
          "than this runtime",
          where_.c_str(), member.key().c_str());
  return nullptr;
}
