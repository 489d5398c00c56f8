//===- Families.cpp - model families that can be imported -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace rondo;

static const Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", readLlama, /*open=*/nullptr, kRoutedClass},
    {"nanbeige", "NanbeigeForCausalLM", readNanbeige},
    {"gemma", "GemmaForCausalLM", readGemma},
    {"gpt_neox", "GPTNeoXForCausalLM", readGPTNeoX},
    {"ouro", "OuroForCausalLM", readOuro},
    {"albert", "AlbertForMaskedLM", /*read=*/nullptr, openAlbert,
     "AlbertModel"},
    {"recursive_llama", "RecursiveLlamaForCausalLM", readRecursiveLlama},
    {"recursive_gemma", "RecursiveGemmaForCausalLM", readRecursiveGemma},
    {"recursive_gpt_neox", "RecursiveGPTNeoXForCausalLM", readRecursiveGPTNeoX},
    {"huginn_raven", "RavenForCausalLM", /*read=*/nullptr, openHuginn},
};

const Family *rondo::findFamily(StringRef modelType) {
  const Family *family = find_if(kFamilies, [&](const Family &candidate) {
    return candidate.modelType == modelType;
  });
  return family == std::end(kFamilies) ? nullptr : family;
}

std::string rondo::listFamilies() {
  std::string text;
  raw_string_ostream os(text);
  interleaveComma(kFamilies, os,
                  [&](const Family &family) { os << family.modelType; });
  return text;
}

ActivationKind
rondo::readHiddenAct(ConfigReader &config,
                     ArrayRef<std::pair<StringLiteral, ActivationKind>> known,
                     StringRef advice) {
  StringRef name = config.getOptionalText("hidden_act").value_or("");
  for (const auto &[candidate, kind] : known)
    if (name == candidate)
      return kind;
  std::string names;
  raw_string_ostream os(names);
  interleaveComma(known, os, [&](const auto &entry) { os << entry.first; });
  config.fail(name.empty()
                  ? "required key 'hidden_act' is missing; add " + advice
                  : "activation " + quoted(name) +
                        " of 'hidden_act' is not supported; known: " + names);
  return known.front().second;
}
