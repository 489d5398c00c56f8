//===- Json.h - strict reading of JSON --------------------------*- C++ -*-===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A bundle's JSON comes from a file that may be damaged or hostile: duplicate
// keys, deep nesting, missing and unknown keys and numbers out of range are all
// errors that name the place.
//===----------------------------------------------------------------------===//
#ifndef RONDO_RT_JSON_H
#define RONDO_RT_JSON_H

#include "Status.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

namespace rondo_rt {

using Json = nlohmann::json;

/// Parses `text`, which `what` names in messages. Duplicate keys and nesting
/// deeper than the format needs are errors.
Error parseJson(std::string_view text, const char *what, Json &value);

/// Reads the members of one object, each exactly once. The first fault is kept
/// and returned by finish(); until then faulty members read as zero or empty.
class ObjectReader {
public:
  /// `where` names the object in messages, such as "manifest.kv".
  ObjectReader(const Json &object, std::string where);

  /// An integer in [min, max].
  uint64_t integer(const char *key, uint64_t min, uint64_t max);
  /// The same, where -1 is allowed too.
  int64_t integerOrMinusOne(const char *key, uint64_t max);
  /// A finite number that is not negative.
  double number(const char *key);
  bool boolean(const char *key);
  std::string text(const char *key);
  /// One of some words: its number among them.
  size_t word(const char *key, std::initializer_list<const char *> words);
  /// An array; an empty one on a fault.
  const Json &array(const char *key);
  /// An object; an empty one on a fault.
  const Json &object(const char *key);
  /// An array of strings.
  std::vector<std::string> texts(const char *key);

  const std::string &where() const { return where_; }
  /// The first fault, or that of a member nobody asked for.
  Error finish();

private:
  const Json *find(const char *key, const char *expected,
                   bool (*matches)(const Json &));
  void fault(const char *key, const std::string &rule);

  const Json &object_;
  std::string where_;
  std::set<std::string> seen_;
  Error error_;
};

} // namespace rondo_rt

#endif // RONDO_RT_JSON_H
