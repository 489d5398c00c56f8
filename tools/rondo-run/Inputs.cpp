//===- Inputs.cpp - prompts from the command line or a file ---------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// A key that is not understood might change what the model computes, so it is
// an error unless it is known to feed nothing.
//===----------------------------------------------------------------------===//
#include "Inputs.h"
#include "Handles.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

using namespace rondo_run;
using Json = nlohmann::json;

/// Keys that describe a case and feed nothing.
static const char *const kIgnoredKeys[] = {
    "outer_loops", "layer_order_in_a_loop", "thresholds", "variants"};

/// Keys that feed models of kinds this runtime does not execute.
static const char *const kModelKeys[] = {"token_type_ids", "prefix_lengths",
                                         "puzzle_identifiers", "num_steps",
                                         "initial_state"};

template <size_t N>
static bool contains(const char *const (&keys)[N], const std::string &key) {
  for (const char *known : keys)
    if (key == known)
      return true;
  return false;
}

std::string rondo_run::readFile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf()))
    throw InputFailure("cannot read '" + path + "': " + std::strerror(errno) +
                       "; give a readable file");
  return text.str();
}

static void checkKeys(const Json &json, const std::string &path) {
  for (const auto &member : json.items()) {
    const std::string &key = member.key();
    if (key == "sequences" || contains(kIgnoredKeys, key))
      continue;
    if (contains(kModelKeys, key))
      throw InputFailure(
          "'" + path + "' gives '" + key +
          "', which this bundle's model does not take; remove it "
          "or use a bundle of the model it is for");
    throw InputFailure("'" + path + "' has an unknown key '" + key +
                       "'; only 'sequences' is needed");
  }
}

/// What stands in place of a token. Containers are only named: their text may
/// be long, and nested too deeply to be written.
static std::string describe(const Json &json) {
  return json.is_structured() ? "an " + std::string(json.type_name())
                              : json.dump();
}

static Prompt readSequence(const Json &json, const std::string &where) {
  if (!json.is_array())
    throw InputFailure(where + " must be an array of token ids, got " +
                       describe(json));
  Prompt prompt;
  for (const Json &token : json) {
    if (!token.is_number_unsigned() || token.get<uint64_t>() >= RONDO_RT_NONE)
      throw InputFailure(where + "[" + std::to_string(prompt.size()) +
                         "] must be a token id, got " + describe(token));
    prompt.push_back(token.get<uint32_t>());
  }
  return prompt;
}

/// Without the parser's name, and without what it read: that may be long, and
/// no text at all.
static std::string describe(const Json::exception &error) {
  std::string text = error.what();
  text.erase(0, text.find("] ") + 2);
  return text.substr(0, text.find(';'));
}

static std::vector<Prompt> readTokensFile(const std::string &path) {
  Json json;
  try {
    json = Json::parse(readFile(path));
  } catch (const Json::exception &error) {
    throw InputFailure("'" + path + "' is not valid JSON: " + describe(error));
  }
  if (!json.is_object() || !json.contains("sequences") ||
      !json["sequences"].is_array() || json["sequences"].empty())
    throw InputFailure("'" + path +
                       "' must be {\"sequences\": [[...], ...]} with at least "
                       "one sequence");
  checkKeys(json, path);
  std::vector<Prompt> prompts;
  for (const Json &sequence : json["sequences"])
    prompts.push_back(
        readSequence(sequence, "'" + path + "': sequences[" +
                                   std::to_string(prompts.size()) + "]"));
  return prompts;
}

std::vector<Prompt> rondo_run::readPrompts(const InputOptions &options,
                                           uint32_t vocabulary) {
  if (!options.inputsFile.empty())
    throw InputFailure("--inputs: this bundle's model takes nothing beside "
                       "tokens; leave the option out");
  std::vector<Prompt> prompts = options.tokensFile.empty()
                                    ? std::vector<Prompt>{options.tokens}
                                    : readTokensFile(options.tokensFile);
  for (size_t s = 0; s < prompts.size(); ++s) {
    std::string where = "sequence " + std::to_string(s);
    if (prompts[s].empty())
      throw InputFailure(where + " has no tokens; a prompt needs at least one");
    for (size_t i = 0; i < prompts[s].size(); ++i)
      if (prompts[s][i] >= vocabulary)
        throw InputFailure(where + ": token " + std::to_string(prompts[s][i]) +
                           " at position " + std::to_string(i) +
                           " is outside the vocabulary of " +
                           std::to_string(vocabulary) +
                           "; use the tokenizer of this bundle's model");
  }
  return prompts;
}
