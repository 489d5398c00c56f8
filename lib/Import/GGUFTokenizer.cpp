//===- GGUFTokenizer.cpp - tokenizer.json from GGUF metadata --------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// GGUF stores the vocabulary and merges of a byte-level BPE but only the *name*
// of the rule that splits text before it (`tokenizer.ggml.pre`). Splitting as
// llama.cpp does for a name is what makes the two agree.
//
//===----------------------------------------------------------------------===//
#include "GGUFTokenizer.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace rondo;

/// GPT-2's split: contractions, words, numbers, signs, spaces.
static constexpr StringLiteral kGPT2Split =
    R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";

namespace {
/// Rules of splitting before BPE.
enum class Split {
  /// GPT-2's.
  GPT2,
  /// Digits one by one, then GPT-2's.
  SmolLM,
  /// Runs of signs, then GPT-2's, then numbers in groups of three digits.
  Default,
};

/// `tokenizer.ggml.token_type`.
enum class TokenType : int64_t {
  Unknown = 2,
  Control = 3,
  UserDefined = 4,
};

/// Reads the metadata, checks it, and writes the JSON.
class TokenizerWriter {
public:
  TokenizerWriter(const GGUFFile &file) : file(file), out(text) {}

  Expected<std::string> write(Split split) {
    if (Error error = readTokens())
      return std::move(error);
    if (Error error = readMerges())
      return std::move(error);
    if (Error error = readEnds())
      return std::move(error);
    json::OStream j(out);
    j.object([&] {
      j.attribute("version", "1.0");
      j.attribute("truncation", nullptr);
      j.attribute("padding", nullptr);
      j.attributeArray("added_tokens", [&] { writeAddedTokens(j); });
      j.attribute("normalizer", nullptr);
      j.attribute("pre_tokenizer", makePreTokenizer(split));
      j.attribute("post_processor", makePostProcessor());
      j.attribute("decoder", makeByteLevel(/*useRegex=*/true));
      j.attributeObject("model", [&] { writeModel(j); });
    });
    return std::move(text);
  }

private:
  Error fail(const Twine &message) const {
    return importError(quoted(file.archive->getPath()) + ": " + message);
  }

  Error readTokens() {
    const GGUFValue *value = file.lookup("tokenizer.ggml.tokens");
    if (!value || !value->isStringArray())
      return fail("'tokenizer.ggml.tokens' must be an array of texts");
    for (auto [id, token] : enumerate(value->strings)) {
      if (!json::isUTF8(token))
        return fail("token " + Twine(id) + " is not UTF-8");
      // As llama.cpp calls tokens without a text.
      tokens.push_back(token.empty() ? "[EMPTY_" + std::to_string(id) + "]"
                                     : token.str());
      if (!ids.try_emplace(tokens.back(), id).second)
        return fail("tokens " + Twine(ids.lookup(tokens.back())) + " and " +
                    Twine(id) + " are both " + quoted(tokens.back()));
    }
    types = file.lookup("tokenizer.ggml.token_type");
    if (types && (!types->isIntegerArray() || types->count != tokens.size()))
      return fail("'tokenizer.ggml.token_type' must be one integer for each " +
                  Twine(tokens.size()) + " tokens, got " + types->format());
    return Error::success();
  }

  Error readMerges() {
    merges = file.lookup("tokenizer.ggml.merges");
    if (!merges || !merges->isStringArray())
      return fail("'tokenizer.ggml.merges' must be an array of texts");
    for (StringRef merge : merges->strings) {
      auto [left, right] = merge.split(' ');
      if (left.empty() || right.empty() || right.contains(' ') ||
          !ids.contains(left) || !ids.contains(right) ||
          !ids.contains((left + right).str()))
        return fail("merge " + quoted(merge) +
                    " of 'tokenizer.ggml.merges' is not of two tokens to one");
    }
    return Error::success();
  }

  /// Tokens that are put around a text.
  Error readEnds() {
    for (auto [flag, key, end] :
         {std::tuple("tokenizer.ggml.add_bos_token",
                     "tokenizer.ggml.bos_token_id", &begin),
          std::tuple("tokenizer.ggml.add_eos_token",
                     "tokenizer.ggml.eos_token_id", &this->end)}) {
      const GGUFValue *wanted = file.lookup(flag);
      if (!wanted || !wanted->getAsBool().value_or(false))
        continue;
      const GGUFValue *id = file.lookup(key);
      std::optional<int64_t> number = id ? id->getAsInteger() : std::nullopt;
      if (!number || *number < 0 || *number >= int64_t(tokens.size()))
        return fail(Twine("'") + flag + "' is set, but '" + key +
                    "' names no token");
      *end = *number;
    }
    return Error::success();
  }

  std::optional<TokenType> getType(size_t id) const {
    if (!types)
      return std::nullopt;
    int64_t type = types->getInteger(id).value_or(0);
    if (type < int64_t(TokenType::Unknown) ||
        type > int64_t(TokenType::UserDefined))
      return std::nullopt;
    return static_cast<TokenType>(type);
  }

  /// Tokens that are found in a text before it is split.
  void writeAddedTokens(json::OStream &j) const {
    for (size_t id = 0; id < tokens.size(); ++id) {
      std::optional<TokenType> type = getType(id);
      if (!type)
        continue;
      j.object([&] {
        j.attribute("id", static_cast<int64_t>(id));
        j.attribute("content", tokens[id]);
        for (const char *flag :
             {"single_word", "lstrip", "rstrip", "normalized"})
          j.attribute(flag, false);
        j.attribute("special", *type != TokenType::UserDefined);
      });
    }
  }

  static json::Object makeByteLevel(bool useRegex) {
    return json::Object{{"type", "ByteLevel"},
                        {"add_prefix_space", false},
                        {"trim_offsets", true},
                        {"use_regex", useRegex}};
  }

  static json::Object makeSplit(StringRef regex) {
    return json::Object{{"type", "Split"},
                        {"pattern", json::Object{{"Regex", regex}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
  }

  static json::Object makePreTokenizer(Split split) {
    json::Array steps;
    switch (split) {
    case Split::GPT2:
      steps.push_back(makeByteLevel(/*useRegex=*/true));
      break;
    case Split::SmolLM:
      steps.push_back(makeSplit(R"re(\p{N})re"));
      steps.push_back(makeByteLevel(/*useRegex=*/true));
      break;
    case Split::Default:
      for (StringRef regex :
           {StringRef(R"re([\p{P}\$\+<=>\^~\|]+)re"), StringRef(kGPT2Split),
            StringRef(R"re(\p{N}+)re"), StringRef("[0-9][0-9][0-9]")})
        steps.push_back(makeSplit(regex));
      steps.push_back(makeByteLevel(/*useRegex=*/false));
      break;
    }
    return json::Object{{"type", "Sequence"},
                        {"pretokenizers", std::move(steps)}};
  }

  json::Object makePostProcessor() const {
    if (!begin && !end)
      return makeByteLevel(/*useRegex=*/true);
    json::Object special;
    auto addToken = [&](json::Array &parts, std::optional<size_t> id) {
      if (!id)
        return;
      const std::string &token = tokens[*id];
      parts.push_back(json::Object{
          {"SpecialToken", json::Object{{"id", token}, {"type_id", 0}}}});
      special[token] =
          json::Object{{"id", token},
                       {"ids", json::Array{static_cast<int64_t>(*id)}},
                       {"tokens", json::Array{token}}};
    };
    auto addText = [&](json::Array &parts, StringRef name) {
      addToken(parts, begin);
      parts.push_back(json::Object{
          {"Sequence", json::Object{{"id", name}, {"type_id", 0}}}});
      addToken(parts, end);
    };
    json::Array single, pair;
    addText(single, "A");
    addText(pair, "A");
    addText(pair, "B");
    return json::Object{{"type", "TemplateProcessing"},
                        {"single", std::move(single)},
                        {"pair", std::move(pair)},
                        {"special_tokens", std::move(special)}};
  }

  void writeModel(json::OStream &j) const {
    j.attribute("type", "BPE");
    for (const char *key : {"dropout", "unk_token", "continuing_subword_prefix",
                            "end_of_word_suffix"})
      j.attribute(key, nullptr);
    for (const char *key : {"fuse_unk", "byte_fallback", "ignore_merges"})
      j.attribute(key, false);
    j.attributeObject("vocab", [&] {
      for (auto [id, token] : enumerate(tokens))
        j.attribute(token, static_cast<int64_t>(id));
    });
    j.attributeArray("merges", [&] {
      for (StringRef merge : merges->strings)
        j.value(merge);
    });
  }

  const GGUFFile &file;
  std::vector<std::string> tokens;
  StringMap<size_t> ids;
  const GGUFValue *types = nullptr;
  const GGUFValue *merges = nullptr;
  std::optional<size_t> begin, end;
  std::string text;
  raw_string_ostream out;
};
} // namespace

Expected<std::string> rondo::makeGGUFTokenizer(const GGUFFile &file,
                                               ImportLog &log) {
  StringRef kind = file.getText("tokenizer.ggml.model").value_or("");
  StringRef rule = file.getText("tokenizer.ggml.pre").value_or("");
  std::optional<Split> split = StringSwitch<std::optional<Split>>(rule)
                                   .Cases({"", "default"}, Split::Default)
                                   .Case("gpt-2", Split::GPT2)
                                   .Case("smollm", Split::SmolLM)
                                   .Default(std::nullopt);
  if (kind.empty()) {
    log.push_back("warning: the file has no tokenizer, the model takes token "
                  "ids only");
    return std::string();
  }
  if (kind != "gpt2" || !split) {
    log.push_back("warning: tokenizer " + quoted(kind) + " with the split " +
                  quoted(rule) +
                  " cannot be read (known: gpt2 with default, gpt-2, smollm), "
                  "the model takes token ids only");
    return std::string();
  }
  log.push_back("tokenizer: byte-level BPE, split " +
                (rule.empty() ? "default" : rule.str()));
  return TokenizerWriter(file).write(*split);
}

std::string rondo::getGGUFChatTemplate(const GGUFFile &file) {
  StringRef text = file.getText("tokenizer.chat_template").value_or("");
  return json::isUTF8(text) ? text.str() : json::fixUTF8(text);
}

std::vector<int64_t> rondo::getGGUFStopTokens(const GGUFFile &file) {
  std::vector<int64_t> result;
  auto add = [&](int64_t id) {
    if (!is_contained(result, id))
      result.push_back(id);
  };
  for (StringRef key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.eom_token_id"})
    if (const GGUFValue *value = file.lookup(key))
      if (std::optional<int64_t> id = value->getAsInteger())
        add(*id);
  // Files from before the key for the end of a turn have only the token.
  const GGUFValue *tokens = file.lookup("tokenizer.ggml.tokens");
  const GGUFValue *types = file.lookup("tokenizer.ggml.token_type");
  if (file.lookup("tokenizer.ggml.eot_token_id") || !tokens || !types ||
      !types->isIntegerArray() || types->count != tokens->strings.size())
    return result;
  for (auto [id, token] : enumerate(tokens->strings))
    if (types->getInteger(id) == int64_t(TokenType::Control) &&
        is_contained({"<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"},
                     token))
      add(id);
  return result;
}
