//===- InputTensors.cpp - tensors that a model takes ----------------------===//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
// The file may be damaged, so the header is not believed.
//===----------------------------------------------------------------------===//
#include "InputTensors.h"
#include "Inputs.h"

#include <nlohmann/json.hpp>

#include <cstring>

using namespace rondo_run;
using Json = nlohmann::json;

[[noreturn]] static void fail(const std::string &path,
                              const std::string &reason) {
  throw InputFailure("--inputs: '" + path + "' " + reason);
}

/// The header's JSON text and where the data starts.
static std::pair<std::string, size_t> readHeader(const std::string &file,
                                                 const std::string &path) {
  uint64_t length = 0;
  if (file.size() >= sizeof(length))
    std::memcpy(&length, file.data(), sizeof(length));
  if (length == 0 || length > file.size() - sizeof(length))
    fail(path, "is not a safetensors file; write one, for example with "
               "safetensors.numpy.save_file");
  return {file.substr(sizeof(length), length), sizeof(length) + length};
}

static uint64_t readSize(const Json &json, uint64_t most) {
  if (!json.is_number_unsigned() || json.get<uint64_t>() > most)
    throw std::out_of_range("size");
  return json.get<uint64_t>();
}

/// Gives one tensor; an entry that is not of the form expected throws one of
/// the exceptions of the JSON library or of the standard library.
static void give(rondo_rt_session *session, const std::string &path,
                 const std::string &name, const Json &entry,
                 const std::string &file, size_t dataStart) {
  const Json &shape = entry.at("shape");
  if (entry.at("dtype") != "F32" || shape.size() != 2)
    fail(path, "has a tensor '" + name + "' of type " +
                   entry.at("dtype").dump() + " and shape " + shape.dump() +
                   "; inputs are F32 [positions, width]");
  uint32_t rows = readSize(shape.at(0), UINT32_MAX);
  uint32_t width = readSize(shape.at(1), UINT32_MAX);
  uint64_t bytes = file.size() - dataStart;
  uint64_t begin = readSize(entry.at("data_offsets").at(0), bytes);
  uint64_t end = readSize(entry.at("data_offsets").at(1), bytes);
  uint64_t count = static_cast<uint64_t>(rows) * width;
  if (begin > end || count > bytes || end - begin != count * sizeof(float))
    throw std::out_of_range("offsets");
  std::vector<float> values(count); // the file's bytes need not be aligned
  std::memcpy(values.data(), file.data() + dataStart + begin, end - begin);
  check(rondo_rt_session_set_input(session, name.c_str(), values.data(), rows,
                                   width),
        "--inputs: '" + path + "': ");
}

void rondo_run::giveInputs(rondo_rt_session *session, const std::string &path) {
  std::string file = readFile(path);
  auto [header, dataStart] = readHeader(file, path);
  try {
    Json json = Json::parse(header);
    for (const auto &member : json.items())
      if (member.key() != "__metadata__")
        give(session, path, member.key(), member.value(), file, dataStart);
  } catch (const Json::exception &) {
    fail(path, "has a damaged header; write it again");
  } catch (const std::out_of_range &) {
    fail(path, "has a tensor that does not lie inside of the file as its shape "
               "says; write it again");
  }
}
