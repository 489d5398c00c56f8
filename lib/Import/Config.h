//===- Config.h - closed-world reading of config.json -----------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A key that nobody reads may change what the model computes, so a reader
// counts what was asked for and refuses the rest. The first error is kept until
// `finish`; until then getters return harmless values, so that a family reads
// as the list of its keys.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_CONFIG_H
#define RONDO_LIB_IMPORT_CONFIG_H

#include "llvm/ADT/StringSet.h"
#include "llvm/Support/JSON.h"
#include <string>
#include <vector>

namespace rondo {

using ImportLog = std::vector<std::string>;

/// Reads an object of a configuration file.
class ConfigReader {
public:
  /// `where` begins messages and log lines ("config.json").
  ConfigReader(const llvm::json::Object &object, std::string where,
               ImportLog &log)
      : object(object), where(std::move(where)), log(log) {}

  /// An integer of 1 .. `limit`. Without `getOptional...` the key is required.
  int64_t getCount(llvm::StringRef key, int64_t limit = INT32_MAX);
  std::optional<int64_t> getOptionalCount(llvm::StringRef key,
                                          int64_t limit = INT32_MAX);
  /// An integer of 0 .. `limit`.
  std::optional<int64_t> getOptionalIndex(llvm::StringRef key, int64_t limit);
  /// A finite number above zero.
  double getPositive(llvm::StringRef key);
  std::optional<double> getOptionalPositive(llvm::StringRef key);
  bool getFlag(llvm::StringRef key);
  /// An absent or null flag is false.
  bool getOptionalFlag(llvm::StringRef key);
  std::optional<llvm::StringRef> getOptionalText(llvm::StringRef key);
  /// One of `words`; a key that is absent or null says `absent`, which need not
  /// be one.
  llvm::StringRef getWord(llvm::StringRef key,
                          llvm::ArrayRef<llvm::StringLiteral> words,
                          llvm::StringRef absent = "");
  /// Null if the key is absent, null or an empty object.
  const llvm::json::Object *getOptionalObject(llvm::StringRef key);
  /// Null if the key is absent or null.
  const llvm::json::Array *getOptionalArray(llvm::StringRef key);
  /// Present and not null.
  bool has(llvm::StringRef key) const;

  /// Keys that do not change what the model computes.
  void ignore(llvm::ArrayRef<llvm::StringLiteral> keys);
  /// Adds a log line: what was decided for a key that the file does not say.
  void logDecision(const llvm::Twine &text);
  /// Keeps an error, if it is the first.
  void fail(const llvm::Twine &message);
  bool hasFailed() const { return static_cast<bool>(message); }
  /// Name of a nested object for its own reader.
  std::string nest(llvm::StringRef key) const {
    return where + ": " + key.str();
  }
  ImportLog &getLog() { return log; }
  /// Finishes the reader of a nested object; its error, if any, becomes this
  /// one's.
  void finishNested(ConfigReader &nested);

  /// The first error, or one for each set key that was not asked for.
  llvm::Error finish();

private:
  /// The value of a key, counted as read; null if absent or null.
  const llvm::json::Value *find(llvm::StringRef key);
  std::optional<int64_t> getOptionalInteger(llvm::StringRef key, int64_t least,
                                            int64_t most);
  void failMissing(llvm::StringRef key, llvm::StringRef expected);
  void failType(llvm::StringRef key, const llvm::json::Value &value,
                const llvm::Twine &expected);

  const llvm::json::Object &object;
  std::string where;
  ImportLog &log;
  llvm::StringSet<> known;
  std::optional<std::string> message;
};

} // namespace rondo

#endif // RONDO_LIB_IMPORT_CONFIG_H
