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
#include <set>
#include <sstream>

using namespace rondo_run;
using Json = nlohmann::json;

/// Keys that describe a case and feed nothing.
static const char *const kIgnoredKeys[] = {
    "layer_order_in_a_loop", "outer_loops", "thresholds", "variants"};

/// The key that says that a file of tensors belongs to the case.
static const char kTensors[] = "initial_state";

/// The key of the depths to run.
static const char kDepths[] = "num_steps";

/// Keys that feed models of kinds this runtime does not execute.
static const char *const kModelKeys[] = {"token_type_ids", "prefix_lengths",
                                         "puzzle_identifiers"};

static constexpr char kTokenTypes[] = "token_type_ids";

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

static void checkKeys(const Json &json, const std::string &path,
                      const rondo_rt_model_info &info, bool hasTensors) {
  for (const auto &member : json.items()) {
    const std::string &key = member.key();
    if (key == "sequences" || key == kDepths || contains(kIgnoredKeys, key) ||
        (key == kTokenTypes && info.token_types))
      continue;
    if (key == kTensors && hasTensors)
      continue;
    if (key == kTensors)
      throw InputFailure("'" + path + "': '" + key +
                         "' is a tensor; give the safetensors file that has it "
                         "by --inputs=FILE");
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

/// Ascending, each once.
static std::vector<uint32_t> readDepths(const Json &json,
                                        const std::string &path) {
  std::set<uint32_t> depths;
  for (const Json &depth : json.is_array() ? json : Json::array({json})) {
    if (!depth.is_number_unsigned() || depth.get<uint64_t>() == 0 ||
        depth.get<uint64_t>() >= RONDO_RT_NONE)
      throw InputFailure("'" + path +
                         "': num_steps must be numbers of visits "
                         "of at least 1, got " +
                         describe(depth));
    depths.insert(depth.get<uint32_t>());
  }
  return std::vector<uint32_t>(depths.begin(), depths.end());
}

/// The object of a tokens file.
static Json parseTokensFile(const std::string &path) {
  try {
    return Json::parse(readFile(path));
  } catch (const Json::exception &error) {
    throw InputFailure("'" + path + "' is not valid JSON: " + describe(error));
  }
}

/// The arrays of ids under `key`.
static std::vector<Prompt> readSequences(const Json &json,
                                         const std::string &path,
                                         const std::string &key) {
  std::vector<Prompt> sequences;
  for (const Json &sequence : json[key])
    sequences.push_back(
        readSequence(sequence, "'" + path + "': " + key + "[" +
                                   std::to_string(sequences.size()) + "]"));
  return sequences;
}

/// The token types of a tokens file, one for each token of `prompts`; empty if
/// it has none.
static std::vector<Prompt> readTokenTypes(const Json &json,
                                          const std::string &path,
                                          const rondo_rt_model_info &info,
                                          const std::vector<Prompt> &prompts) {
  if (!json.contains(kTokenTypes))
    return {};
  std::string where = "'" + path + "': " + kTokenTypes;
  if (!json[kTokenTypes].is_array() ||
      json[kTokenTypes].size() != prompts.size())
    throw InputFailure(where + " must be an array of " +
                       std::to_string(prompts.size()) +
                       " arrays, one for each sequence");
  std::vector<Prompt> types = readSequences(json, path, kTokenTypes);
  for (size_t s = 0; s < types.size(); ++s) {
    std::string which = where + "[" + std::to_string(s) + "]";
    if (types[s].size() != prompts[s].size())
      throw InputFailure(which + " has " + std::to_string(types[s].size()) +
                         " types for " + std::to_string(prompts[s].size()) +
                         " tokens; give one for each");
    for (uint32_t type : types[s])
      if (type >= info.token_types)
        throw InputFailure(which + " has type " + std::to_string(type) +
                           ", the model knows types below " +
                           std::to_string(info.token_types));
  }
  return types;
}

static Prompts readTokensFile(const std::string &path,
                              const rondo_rt_model_info &info,
                              bool hasTensors) {
  Json json = parseTokensFile(path);
  if (!json.is_object() || !json.contains("sequences") ||
      !json["sequences"].is_array() || json["sequences"].empty())
    throw InputFailure("'" + path +
                       "' must be {\"sequences\": [[...], ...]} with at least "
                       "one sequence");
  checkKeys(json, path, info, hasTensors);
  Prompts prompts;
  prompts.sequences = readSequences(json, path, "sequences");
  prompts.tokenTypes = readTokenTypes(json, path, info, prompts.sequences);
  if (json.contains(kDepths))
    prompts.depths = readDepths(json[kDepths], path);
  return prompts;
}

Prompts rondo_run::readPrompts(const InputOptions &options,
                               const rondo_rt_model_info &info) {
  Prompts result = options.tokensFile.empty()
                       ? Prompts{{options.tokens}, {}, {}}
                       : readTokensFile(options.tokensFile, info,
                                        !options.inputsFile.empty());
  const std::vector<Prompt> &prompts = result.sequences;
  for (size_t s = 0; s < prompts.size(); ++s) {
    std::string where = "sequence " + std::to_string(s);
    if (prompts[s].empty())
      throw InputFailure(where + " has no tokens; a prompt needs at least one");
    for (size_t i = 0; i < prompts[s].size(); ++i)
      if (prompts[s][i] >= info.vocabulary)
        throw InputFailure(where + ": token " + std::to_string(prompts[s][i]) +
                           " at position " + std::to_string(i) +
                           " is outside the vocabulary of " +
                           std::to_string(info.vocabulary) +
                           "; use the tokenizer of this bundle's model");
  }
  return result;
}
