//===- GGUFDecoder.cpp - metadata of GGUF models of Llama's kind ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The converters to this format permute the rows of q and k, so that rope turns
// neighbouring dimensions of a head; the rows stay as they are and the ops say
// `interleaved`. Tied heads and biases are not in the metadata but follow from
// the tensors that are stored.
//
//===----------------------------------------------------------------------===//
#include "Families.h"
#include "Rope.h"
#include "Support.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/Endian.h"
#include <cmath>

using namespace llvm;
using namespace rondo;

namespace {
/// Closed-world reading of the keys `<architecture>.*`; the same contract as
/// ConfigReader's.
class MetadataReader {
public:
  MetadataReader(const GGUFFile &file, StringRef architecture, ImportLog &log)
      : file(file), prefix(architecture.str() + "."), log(log) {}

  std::optional<int64_t> getOptionalCount(StringRef name,
                                          int64_t limit = INT32_MAX) {
    const GGUFValue *value = find(name);
    if (!value)
      return std::nullopt;
    std::optional<int64_t> number = getUniform(*value);
    if (!number || *number < 1 || *number > limit) {
      failType(name, *value, "an integer from 1 to " + Twine(limit));
      return std::nullopt;
    }
    logValue(name, std::to_string(*number));
    return number;
  }
  int64_t getCount(StringRef name, int64_t limit = INT32_MAX) {
    require(name);
    return getOptionalCount(name, limit).value_or(1);
  }

  std::optional<double> getOptionalPositive(StringRef name) {
    const GGUFValue *value = find(name);
    if (!value)
      return std::nullopt;
    std::optional<double> number = value->getAsNumber();
    if (!number || !(*number > 0) || !std::isfinite(*number)) {
      failType(name, *value, "a number above 0");
      return std::nullopt;
    }
    logValue(name, formatNumber(*number));
    return number;
  }
  double getPositive(StringRef name) {
    require(name);
    return getOptionalPositive(name).value_or(1.0);
  }

  std::optional<bool> getOptionalFlag(StringRef name) {
    const GGUFValue *value = find(name);
    if (!value)
      return std::nullopt;
    std::optional<bool> flag = value->getAsBool();
    if (!flag)
      failType(name, *value, "a truth value");
    else
      logValue(name, *flag ? "true" : "false");
    return flag;
  }

  std::optional<StringRef> getOptionalText(StringRef name) {
    const GGUFValue *value = find(name);
    if (!value)
      return std::nullopt;
    std::optional<StringRef> text = value->getAsString();
    if (!text)
      failType(name, *value, "a text");
    else
      logValue(name, *text);
    return text;
  }

  void ignore(StringRef name) { known.insert(prefix + name.str()); }
  void logValue(StringRef name, const Twine &text) {
    log.push_back((prefix + name + " = " + text).str());
  }
  void fail(const Twine &text) {
    if (!message)
      message = (quoted(file.archive->getPath()) + ": " + text).str();
  }

  Error finish() {
    for (const auto &[key, value] : file.metadata)
      if (!message && key.starts_with(prefix) && !known.contains(key) &&
          isTruthy(value))
        fail("metadata " + quoted(key) + " has the value " + value.format() +
             ", expected it to be absent: no reader of this model family " +
             "knows the key, and it may change what the model computes");
    return message ? importError(*message) : Error::success();
  }

private:
  static bool isTruthy(const GGUFValue &value) {
    if (value.type == GGUFType::Array)
      return value.count != 0;
    if (std::optional<StringRef> text = value.getAsString())
      return !text->empty();
    if (std::optional<bool> flag = value.getAsBool())
      return *flag;
    return value.getAsNumber() != 0.0;
  }

  /// An integer, or the one that all elements of an array are (some converters
  /// write one for each layer).
  static std::optional<int64_t> getUniform(const GGUFValue &value) {
    if (!value.isIntegerArray() || value.count == 0)
      return value.getAsInteger();
    std::optional<int64_t> first = value.getInteger(0);
    for (uint64_t i = 1; i < value.count; ++i)
      if (value.getInteger(i) != first)
        return std::nullopt;
    return first;
  }

  const GGUFValue *find(StringRef name) {
    std::string key = prefix + name.str();
    known.insert(key);
    return file.lookup(key);
  }
  void require(StringRef name) {
    if (!find(name))
      fail("required metadata " + quoted(prefix + name.str()) +
           " is missing; add the model's number");
  }
  void failType(StringRef name, const GGUFValue &value, const Twine &expected) {
    fail("metadata " + quoted(prefix + name.str()) + " has the value " +
         value.format() + ", expected " + expected);
  }

  const GGUFFile &file;
  std::string prefix;
  ImportLog &log;
  StringSet<> known;
  std::optional<std::string> message;
};
} // namespace

/// Divisors of the frequencies, stored as a tensor.
static void readDivisors(MetadataReader &metadata, TensorTable &tensors,
                         int64_t count, RopeScaling &scaling) {
  if (!tensors.contains("rope_freqs.weight"))
    return;
  const ArchiveTensor *tensor = tensors.take("rope_freqs.weight", {count});
  if (!tensor)
    return;
  if (tensor->type != StorageType::F32 ||
      scaling.kind != RopeScaling::Kind::Default)
    return metadata.fail("tensor 'rope_freqs.weight' of type " +
                         tensor->typeName +
                         " is expected to be F32 and the only scaling of rope");
  scaling.kind = RopeScaling::Kind::Divisors;
  for (int64_t i = 0; i < count; ++i) {
    float divisor = bit_cast<float>(
        support::endian::read32le(tensor->bytes.data() + 4 * i));
    if (!(divisor > 0) || !std::isfinite(divisor))
      return metadata.fail("tensor 'rope_freqs.weight' has the divisor " +
                           formatNumber(divisor));
    scaling.divisors.push_back(divisor);
  }
  metadata.logValue("rope", "divisors of 'rope_freqs.weight'");
}

static RopeScaling readScaling(MetadataReader &metadata) {
  RopeScaling scaling;
  StringRef kind =
      metadata.getOptionalText("rope.scaling.type").value_or("none");
  std::optional<double> factor =
      metadata.getOptionalPositive("rope.scaling.factor");
  std::optional<double> oldFactor =
      metadata.getOptionalPositive("rope.scale_linear");
  metadata.ignore("rope.scaling.finetuned");
  metadata.ignore("rope.scaling.original_context_length");
  if (factor && oldFactor && *factor != *oldFactor)
    metadata.fail("'rope.scaling.factor' is " + formatNumber(*factor) +
                  ", 'rope.scale_linear' is " + formatNumber(*oldFactor) +
                  "; remove the wrong one");
  double value = factor.value_or(oldFactor.value_or(1.0));
  if (kind == "linear" || (kind == "none" && oldFactor)) {
    scaling.kind = RopeScaling::Kind::Linear;
    scaling.factor = value;
  } else if (kind != "none") {
    metadata.fail("rope scaling " + quoted(kind) +
                  " is not supported; known: none, linear");
  } else if (value != 1.0) {
    metadata.fail("'rope.scaling.factor' is " + formatNumber(value) +
                  " without a 'rope.scaling.type'");
  }
  return scaling;
}

static void readRope(MetadataReader &metadata, TensorTable &tensors,
                     Decoder &decoder, bool thetaRequired) {
  decoder.ropePairs = RopePairs::Interleaved;
  if (std::optional<int64_t> turned =
          metadata.getOptionalCount("rope.dimension_count"))
    if (*turned != decoder.headDim)
      metadata.fail("'rope.dimension_count' is " + Twine(*turned) +
                    ", but this family turns whole heads of " +
                    Twine(decoder.headDim));
  double theta = 10000;
  if (thetaRequired) {
    theta = metadata.getPositive("rope.freq_base");
  } else if (std::optional<double> stated =
                 metadata.getOptionalPositive("rope.freq_base")) {
    theta = *stated;
  } else {
    metadata.logValue("rope.freq_base", "10000 (absent: the format's default)");
  }
  RopeScaling scaling = readScaling(metadata);
  readDivisors(metadata, tensors, decoder.headDim / 2, scaling);
  if (scaling.kind == RopeScaling::Kind::Divisors &&
      static_cast<int64_t>(scaling.divisors.size()) != decoder.headDim / 2)
    return;
  decoder.frequencies = computeRopeFrequencies(theta, decoder.headDim, scaling);
}

static void readHeads(MetadataReader &metadata, Decoder &decoder) {
  decoder.heads = metadata.getCount("attention.head_count", UINT16_MAX);
  decoder.kvHeads =
      metadata.getOptionalCount("attention.head_count_kv", UINT16_MAX)
          .value_or(decoder.heads);
  if (decoder.heads % decoder.kvHeads != 0)
    metadata.fail("'attention.head_count' is " + Twine(decoder.heads) +
                  ", expected a multiple of 'attention.head_count_kv' " +
                  Twine(decoder.kvHeads));
  std::optional<int64_t> key =
      metadata.getOptionalCount("attention.key_length");
  std::optional<int64_t> value =
      metadata.getOptionalCount("attention.value_length");
  if (key && value && *key != *value)
    metadata.fail("'attention.key_length' is " + Twine(*key) +
                  ", 'attention.value_length' is " + Twine(*value) +
                  ", expected equal numbers");
  if (!key && !value && decoder.hidden % decoder.heads != 0)
    metadata.fail("'embedding_length' is " + Twine(decoder.hidden) +
                  ", expected a multiple of " + Twine(decoder.heads) +
                  " heads where 'attention.key_length' is absent");
  decoder.headDim = key.value_or(
      value.value_or(std::max<int64_t>(1, decoder.hidden / decoder.heads)));
  if (decoder.headDim % 2 != 0)
    metadata.fail("heads are " + Twine(decoder.headDim) +
                  " wide, but rope needs an even number");
  if (!key && !value)
    metadata.logValue("attention.key_length",
                      Twine(decoder.headDim) +
                          " (absent: embedding_length / attention.head_count)");
}

/// The number of tokens: the embedding's rows, the key, and the tokenizer's.
static void readVocabulary(MetadataReader &metadata, const GGUFFile &file,
                           const TensorTable &tensors, Decoder &decoder) {
  const ArchiveTensor *table = tensors.lookup(kGGUFKeys.embedding);
  std::optional<int64_t> stated = metadata.getOptionalCount("vocab_size");
  decoder.vocabulary =
      table && table->shape.size() == 2 ? table->shape[0] : stated.value_or(1);
  if (stated && *stated != decoder.vocabulary)
    metadata.fail("'vocab_size' is " + Twine(*stated) + ", but the embedding " +
                  "has " + Twine(decoder.vocabulary) + " rows");
  const GGUFValue *tokens = file.lookup("tokenizer.ggml.tokens");
  if (tokens && static_cast<int64_t>(tokens->count) != decoder.vocabulary)
    metadata.fail("'tokenizer.ggml.tokens' is " + tokens->format() +
                  ", but the embedding has " + Twine(decoder.vocabulary) +
                  " rows");
  if (!stated)
    metadata.logValue("vocab_size", Twine(decoder.vocabulary) +
                                        " (absent: rows of the embedding)");
}

static Schedule readSchedule(MetadataReader &metadata, const Decoder &decoder) {
  if (decoder.architecture == "llama")
    return makePlainSchedule(decoder.layers);
  Segment segment{/*first=*/0, decoder.layers,
                  metadata.getCount("num_loops", UINT16_MAX), /*looped=*/true};
  std::optional<bool> skip = metadata.getOptionalFlag("skip_loop_final_norm");
  if (!skip)
    metadata.logValue("skip_loop_final_norm", "false (absent)");
  segment.normAfterVisit = !skip.value_or(false);
  return Schedule{{segment}, /*finalNorm=*/skip.value_or(false)};
}

/// What the stored tensors say.
static void readTensors(const TensorTable &tensors, Decoder &decoder) {
  auto layerHas = [&](StringRef name) {
    return tensors.contains(
        (decoder.keys->layerPrefix + Twine(0) + "." + name + ".bias").str());
  };
  decoder.tied = !tensors.contains(decoder.keys->head);
  decoder.attentionBias = layerHas(decoder.keys->q);
  decoder.outputBias = layerHas(decoder.keys->o);
  decoder.mlpBias = layerHas(decoder.keys->gate);
}

Expected<Decoder> rondo::readGGUFDecoder(const GGUFFile &file,
                                         TensorTable &tensors, ImportLog &log) {
  const GGUFValue *name = file.lookup("general.architecture");
  StringRef architecture =
      name ? name->getAsString().value_or("") : StringRef("");
  if (architecture != "llama" && architecture != "nanbeige")
    return importError(quoted(file.archive->getPath()) +
                       " has the architecture " +
                       (name ? name->format() : "'' (none stated)") +
                       " in 'general.architecture'; known: llama, nanbeige");
  MetadataReader metadata(file, architecture, log);
  Decoder decoder;
  decoder.architecture = architecture.str();
  decoder.keys = &kGGUFKeys;
  decoder.hidden = metadata.getCount("embedding_length");
  decoder.intermediate = metadata.getCount("feed_forward_length");
  decoder.layers = metadata.getCount("block_count", UINT16_MAX);
  decoder.context = metadata.getCount("context_length");
  decoder.eps = static_cast<float>(
      metadata.getPositive("attention.layer_norm_rms_epsilon"));
  readHeads(metadata, decoder);
  readVocabulary(metadata, file, tensors, decoder);
  readRope(metadata, tensors, decoder,
           /*thetaRequired=*/architecture == "nanbeige");
  decoder.schedule = readSchedule(metadata, decoder);
  decoder.traceLayers = architecture == "llama";
  readTensors(tensors, decoder);
  log.push_back(decoder.tied ? "head: the embedding (no tensor 'output.weight')"
                             : "head: 'output.weight'");
  if (Error error = metadata.finish())
    return std::move(error);
  return decoder;
}
