//===- Albert.cpp - config.json of ALBERT ---------------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The classes' defaults are those of the largest model, so nothing but eps,
// which released files leave out, has one here (transformers,
// models/albert/configuration_albert.py).
//
//===----------------------------------------------------------------------===//
#include "Albert.h"
#include "Support.h"

using namespace llvm;
using namespace rondo;

/// Bookkeeping, training, and what the authors' code never read.
static constexpr StringLiteral kInertKeys[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "classifier_dropout_prob",
    "down_scale_factor",
    "dtype",
    "eos_token_id",
    "gap_size",
    "hidden_dropout_prob",
    "initializer_range",
    "model_type",
    "net_structure_type",
    "num_memory_blocks",
    "pad_token_id",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
};

/// What `hidden_act` may name.
static constexpr std::pair<StringLiteral, ActivationKind> kActivations[] = {
    {"gelu", ActivationKind::GeLU},
    {"gelu_new", ActivationKind::GeLUTanh},
    {"gelu_pytorch_tanh", ActivationKind::GeLUTanh},
    {"relu", ActivationKind::ReLU},
};

/// What the first layers and the head must be for this reader.
static void checkKind(ConfigReader &config) {
  StringRef kind =
      config.getOptionalText("position_embedding_type").value_or("absolute");
  if (kind != "absolute")
    config.fail("'position_embedding_type' is " + quoted(kind) +
                ", only 'absolute' is supported");
  if (config.has("tie_word_embeddings") &&
      !config.getFlag("tie_word_embeddings"))
    config.fail("'tie_word_embeddings' is false, but the head of ALBERT is its "
                "table of words; set it to true if that is so");
}

/// Which of the two classes the checkpoint is of.
static std::optional<bool> readHasHead(ConfigReader &config) {
  const json::Array *classes = config.getOptionalArray("architectures");
  if (!classes || classes->empty())
    return std::nullopt;
  return any_of(*classes, [](const json::Value &name) {
    return name.getAsString() == StringRef("AlbertForMaskedLM");
  });
}

static Albert readAlbert(ConfigReader &config) {
  config.ignore(kInertKeys);
  Albert model;
  model.vocabulary = config.getCount("vocab_size");
  model.positions = config.getCount("max_position_embeddings");
  model.tokenTypes = config.getCount("type_vocab_size");
  model.embedding = config.getCount("embedding_size");
  model.hidden = config.getCount("hidden_size");
  model.intermediate = config.getCount("intermediate_size");
  model.heads = config.getCount("num_attention_heads", UINT16_MAX);
  model.visits = config.getCount("num_hidden_layers", UINT16_MAX);
  model.groups = config.getCount("num_hidden_groups", UINT16_MAX);
  model.groupLayers = config.getCount("inner_group_num", UINT16_MAX);
  model.activation = readHiddenAct(
      config, kActivations, "the model's activation, such as 'gelu_new'");
  model.hasHead = readHasHead(config);
  checkKind(config);
  model.eps = 1e-12f;
  if (config.has("layer_norm_eps"))
    model.eps = static_cast<float>(config.getPositive("layer_norm_eps"));
  else
    config.logDecision("layer_norm_eps = 1e-12 (absent: the class's default)");
  if (model.hidden % model.heads != 0)
    config.fail("'hidden_size' is " + Twine(model.hidden) +
                ", expected a multiple of 'num_attention_heads' " +
                Twine(model.heads));
  if (model.groups > model.visits)
    config.fail("'num_hidden_groups' is " + Twine(model.groups) +
                ", expected at most 'num_hidden_layers' " +
                Twine(model.visits));
  return model;
}

/// Options that change what a decoder keeps or in which order it runs.
static Error checkOptions(const ImportOptions &options) {
  if (!options.loops.empty())
    return importError("--loop: the loops of ALBERT are those of its "
                       "configuration; leave the option out");
  if (!options.kvPolicy.empty() && options.kvPolicy != "none")
    return importError("--kv-policy=" + options.kvPolicy +
                       ": ALBERT keeps no keys and values from one execution "
                       "to another; leave the option out");
  return Error::success();
}

/// "1 layer", "2 layers".
static std::string countOf(int64_t number, StringRef what) {
  return (Twine(number) + " " + what + (number == 1 ? "" : "s")).str();
}

ModelBuilder rondo::openAlbert(ConfigReader &config) {
  Albert model = readAlbert(config);
  return [model](TensorTable &tensors, const ImportOptions &options,
                 ImportLog &log,
                 mlir::MLIRContext &context) -> Expected<BuiltModel> {
    if (Error error = checkOptions(options))
      return std::move(error);
    log.push_back("schedule: " + countOf(model.visits, "visit") + " of " +
                  countOf(model.groups, "group") + " of " +
                  countOf(model.groupLayers, "layer"));
    log.push_back("KV policy: none (all positions see each other)");
    Expected<mlir::OwningOpRef<mlir::ModuleOp>> module =
        buildAlbert(model, tensors, log, context);
    if (!module)
      return module.takeError();
    BuiltModel built;
    built.module = std::move(*module);
    built.architecture = "albert";
    built.vocabulary = model.vocabulary;
    built.context = model.positions;
    built.kvPolicy = built.trainedKV = "none";
    return std::move(built);
  };
}
