//===- FuzzReaders.cpp - readers on damaged files -------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Damages a valid checkpoint at random and reads it: the readers may refuse it,
// but must not crash, and what they accept must lie within the file. Buffers
// are exactly as long as the file, so that AddressSanitizer sees every byte too
// far. The seed is printed; the same seed damages in the same way.
//
//===----------------------------------------------------------------------===//
#include "../../lib/Import/Families.h"
#include "../../lib/Import/GGUFTokenizer.h"
#include "../../lib/Import/Json.h"
#include "../../lib/Import/Safetensors.h"

#include "mlir/IR/MLIRContext.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <random>

using namespace llvm;
using namespace rondo;

static cl::opt<std::string> input(cl::Positional, cl::Required,
                                  cl::desc("<folder or .gguf>"));
static cl::opt<unsigned> iterations("iterations", cl::init(1000));
static cl::opt<unsigned> seed("seed", cl::init(1));

namespace {
/// What became of the damaged files.
struct Tally {
  unsigned accepted = 0;
  unsigned refused = 0;

  template <typename T> bool count(Expected<T> &result) {
    if (result) {
      ++accepted;
      return true;
    }
    ++refused;
    // The message itself must be printable, whatever is quoted in it.
    std::string text = toString(result.takeError());
    if (text.empty() || StringRef(text).contains('\n'))
      report_fatal_error("a message that is not one line");
    return false;
  }
};

/// Damages the first `reach` bytes of a file, where its structure is.
class Damager {
public:
  Damager(StringRef file, size_t reach) : file(file), reach(reach) {}

  std::vector<char> damage(std::mt19937_64 &random) const {
    std::vector<char> bytes(file.begin(), file.end());
    for (unsigned i = 0, count = 1 + random() % 3; i < count; ++i)
      damageOnce(bytes, random);
    bytes.shrink_to_fit();
    return bytes;
  }

private:
  void damageOnce(std::vector<char> &bytes, std::mt19937_64 &random) const {
    if (bytes.empty())
      return;
    size_t position = random() % std::min(reach, bytes.size());
    switch (random() % 6) {
    case 0:
      bytes[position] ^= 1 << random() % 8;
      break;
    case 1:
      bytes[position] = static_cast<char>(random());
      break;
    case 2: {
      // Lengths and counts at the edges of their types.
      const uint64_t edges[] = {0,          1,          INT64_MAX,   UINT64_MAX,
                                UINT32_MAX, 1ull << 62, bytes.size()};
      uint64_t value = edges[random() % std::size(edges)];
      size_t size = std::min<size_t>(8, bytes.size() - position);
      memcpy(bytes.data() + position, &value, size);
      break;
    }
    case 3:
      bytes.resize(random() % 2 ? position : random() % bytes.size());
      break;
    case 4:
      bytes.erase(bytes.begin() + position);
      break;
    case 5:
      bytes.insert(bytes.begin() + position, bytes[position]);
      break;
    }
  }

  StringRef file;
  size_t reach;
};
} // namespace

/// Keeps the reads of `touch` from being optimized away.
static volatile uint8_t sink;

/// Reads all bytes of all tensors.
static void touch(const Archive &archive) {
  for (const ArchiveTensor &tensor : archive.getTensors())
    for (char byte : tensor.bytes)
      sink = static_cast<uint8_t>(byte);
}

static std::unique_ptr<MemoryBuffer> wrap(const std::vector<char> &bytes) {
  return MemoryBuffer::getMemBuffer(StringRef(bytes.data(), bytes.size()),
                                    "damaged",
                                    /*RequiresNullTerminator=*/false);
}

static void readGGUF(const std::vector<char> &bytes, Tally &tally,
                     mlir::MLIRContext &context) {
  Expected<GGUFFile> file = openGGUF("damaged", wrap(bytes));
  if (!tally.count(file))
    return;
  touch(*file->archive);
  ImportLog log;
  Expected<std::string> tokenizer = makeGGUFTokenizer(*file, log);
  tally.count(tokenizer);
  getGGUFStopTokens(*file);
  getGGUFChatTemplate(*file);
  TensorTable tensors;
  tensors.add(*file->archive);
  Expected<Decoder> decoder = readGGUFDecoder(*file, tensors, log);
  if (!tally.count(decoder))
    return;
  auto module = buildDecoder(*decoder, tensors, context);
  tally.count(module);
}

static void readWeights(const std::vector<char> &bytes, Tally &tally) {
  Expected<std::unique_ptr<Archive>> archive =
      openSafetensors("damaged", wrap(bytes));
  if (tally.count(archive))
    touch(**archive);
}

static void readConfig(const std::vector<char> &bytes, Tally &tally) {
  Expected<json::Object> object =
      parseJsonObject(StringRef(bytes.data(), bytes.size()), "damaged");
  if (!tally.count(object))
    return;
  for (StringRef name : {"llama", "nanbeige"}) {
    ImportLog log;
    ConfigReader reader(*object, "damaged", log);
    findFamily(name)->read(reader);
    Expected<bool> result = true;
    if (Error error = reader.finish())
      result = std::move(error);
    tally.count(result);
  }
}

static std::unique_ptr<MemoryBuffer> load(const Twine &path) {
  auto buffer = MemoryBuffer::getFile(path, /*IsText=*/false,
                                      /*RequiresNullTerminator=*/false);
  if (!buffer)
    report_fatal_error("cannot read " + path);
  return std::move(*buffer);
}

/// Bytes before the tensors' own.
static size_t getStructureSize(StringRef file, const Archive &archive) {
  return archive.getTensors().front().bytes.data() - file.data();
}

int main(int argc, char **argv) {
  cl::ParseCommandLineOptions(argc, argv, "read damaged checkpoints\n");
  std::mt19937_64 random(seed);
  Tally tally;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  loadImportDialects(context);
  if (sys::fs::is_directory(input)) {
    auto config = load(input + "/config.json");
    auto weights = load(input + "/model.safetensors");
    StringRef file = weights->getBuffer();
    auto archive = cantFail(openArchive(input + "/model.safetensors"));
    size_t header = file.size();
    for (const ArchiveTensor &tensor : archive->getTensors())
      header -= tensor.bytes.size();
    Damager damagedWeights(file, header);
    Damager damagedConfig(config->getBuffer(), config->getBufferSize());
    for (unsigned i = 0; i < iterations; ++i) {
      readWeights(damagedWeights.damage(random), tally);
      readConfig(damagedConfig.damage(random), tally);
    }
  } else {
    auto buffer = load(input);
    StringRef file = buffer->getBuffer();
    GGUFFile valid =
        cantFail(openGGUF(input, MemoryBuffer::getMemBuffer(file, "", false)));
    Damager damaged(file, getStructureSize(file, *valid.archive));
    for (unsigned i = 0; i < iterations; ++i)
      readGGUF(damaged.damage(random), tally, context);
  }
  outs() << "seed " << seed << ": " << tally.accepted << " accepted, "
         << tally.refused << " refused\n";
  return 0;
}
