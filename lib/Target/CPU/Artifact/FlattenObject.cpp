//===- FlattenObject.cpp - an ELF object as a flat image ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The part of a linker that a code image needs, and nothing else:
//
//   header | .text* | .rodata*      relative relocations applied
//
// All that cannot be applied without an address (absolute relocations, a GOT,
// symbols of others, writable data) is refused by name, so that an image that
// exists can be mapped anywhere as it is.
//
//===----------------------------------------------------------------------===//
#include "rondo/Target/CPU/Blob.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/BinaryFormat/ELF.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <cstring>
#include <tuple>

using namespace rondo;
using namespace rondo::cpu;
using namespace llvm::object;

using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

namespace {

/// Least alignment of a section in the image: that of an entry point.
constexpr uint64_t kSectionAlignment = 16;

/// Lays one object out. Sections keep the object's order within text and
/// read-only data, so that the same object gives the same image.
class Flattener {
public:
  explicit Flattener(const ELF64LEObjectFile &object) : object(object) {}

  Expected<Blob> run(uint64_t features);

private:
  Error placeSections();
  Error place(const SectionRef &section);
  Error relocate();
  Error apply(const SectionRef &target, const RelocationRef &relocation);
  Expected<uint64_t> getSymbolOffset(const SymbolRef &symbol);
  Error collectSymbols();
  void writeHeader(uint64_t features);

  const ELF64LEObjectFile &object;
  Blob blob;
  /// Offset in the image of each placed section, by its index.
  llvm::DenseMap<uint64_t, uint64_t> offsets;
};

} // namespace

static Error makeError(const llvm::Twine &message) {
  return llvm::createStringError(llvm::inconvertibleErrorCode(), message);
}

/// Name of a symbol or section for messages and comparisons.
template <typename Ref> static std::string getNameOf(const Ref &ref) {
  Expected<StringRef> name = ref.getName();
  if (name)
    return name->str();
  llvm::consumeError(name.takeError());
  return "";
}

/// What an image has room for, in order.
enum class Place { Text, ReadOnly, Ignored, Refused };

static Place classify(const ELFSectionRef &section, StringRef name) {
  uint64_t flags = section.getFlags();
  if (!(flags & llvm::ELF::SHF_ALLOC) || name.starts_with(".eh_frame"))
    return Place::Ignored;
  if (section.getSize() == 0)
    return Place::Ignored;
  if (flags & (llvm::ELF::SHF_WRITE | llvm::ELF::SHF_TLS))
    return Place::Refused;
  if (flags & llvm::ELF::SHF_EXECINSTR)
    return Place::Text;
  return name.starts_with(".rodata") ? Place::ReadOnly : Place::Refused;
}

//===----------------------------------------------------------------------===//
// Sections
//===----------------------------------------------------------------------===//

Error Flattener::place(const SectionRef &section) {
  Expected<StringRef> contents = section.getContents();
  if (!contents)
    return contents.takeError();
  uint64_t alignment =
      std::max(section.getAlignment().value(), kSectionAlignment);
  uint64_t offset = llvm::alignTo(blob.image.size(), alignment);
  blob.image.resize(offset);
  blob.image.insert(blob.image.end(), contents->bytes_begin(),
                    contents->bytes_end());
  offsets[section.getIndex()] = offset;
  return Error::success();
}

/// A symbol that lives in `section`, to name who needs it.
static std::string findSymbolIn(const ELF64LEObjectFile &object,
                                const SectionRef &section) {
  for (const ELFSymbolRef &symbol : object.symbols()) {
    Expected<section_iterator> home = symbol.getSection();
    if (!home) {
      llvm::consumeError(home.takeError());
      continue;
    }
    if (*home == section && symbol.getELFType() != llvm::ELF::STT_SECTION)
      return getNameOf<SymbolRef>(symbol);
  }
  return "";
}

Error Flattener::placeSections() {
  for (Place wanted : {Place::Text, Place::ReadOnly}) {
    for (const SectionRef &section : object.sections()) {
      std::string name = getNameOf(section);
      Place place = classify(section, name);
      if (place == Place::Refused)
        return makeError("compiled code needs section '" + name +
                         "' for symbol '" + findSymbolIn(object, section) +
                         "', but a code image has text and read-only data "
                         "only");
      if (place == wanted)
        if (Error error = this->place(section))
          return error;
    }
  }
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Symbols and relocations
//===----------------------------------------------------------------------===//

Expected<uint64_t> Flattener::getSymbolOffset(const SymbolRef &symbol) {
  Expected<section_iterator> section = symbol.getSection();
  if (!section)
    return section.takeError();
  if (*section == object.section_end())
    return makeError("compiled code uses external symbol '" +
                     getNameOf(symbol) +
                     "', but a code image can call nothing outside of it");
  auto offset = offsets.find((*section)->getIndex());
  if (offset == offsets.end())
    return makeError("compiled code refers to symbol '" + getNameOf(symbol) +
                     "' in section '" + getNameOf(**section) +
                     "', which is not part of a code image");
  Expected<uint64_t> value = symbol.getValue();
  if (!value)
    return value.takeError();
  return offset->second + *value;
}

Error Flattener::apply(const SectionRef &target,
                       const RelocationRef &relocation) {
  llvm::SmallString<32> typeName;
  relocation.getTypeName(typeName);
  symbol_iterator symbol = relocation.getSymbol();
  if (symbol == object.symbol_end())
    return makeError("compiled code has relocation " + typeName +
                     " without a symbol");
  Expected<uint64_t> symbolOffset = getSymbolOffset(*symbol);
  if (!symbolOffset)
    return symbolOffset.takeError();
  Expected<int64_t> addend = ELFRelocationRef(relocation).getAddend();
  if (!addend)
    return addend.takeError();

  uint64_t place = offsets.lookup(target.getIndex()) + relocation.getOffset();
  int64_t value = static_cast<int64_t>(*symbolOffset) + *addend -
                  static_cast<int64_t>(place);
  uint64_t type = relocation.getType();
  bool wide = type == llvm::ELF::R_X86_64_PC64;
  bool narrow =
      type == llvm::ELF::R_X86_64_PC32 || type == llvm::ELF::R_X86_64_PLT32;
  if (!wide && !narrow)
    return makeError("compiled code has relocation " + typeName +
                     " against symbol '" + getNameOf(*symbol) +
                     "', but a code image has no fixed address and no GOT");
  if (place + (wide ? 8 : 4) > blob.image.size() ||
      (narrow && !llvm::isInt<32>(value)))
    return makeError("relocation " + typeName + " against symbol '" +
                     getNameOf(*symbol) + "' is out of range");
  if (wide)
    llvm::support::endian::write64le(&blob.image[place], value);
  else
    llvm::support::endian::write32le(&blob.image[place],
                                     static_cast<uint32_t>(value));
  return Error::success();
}

Error Flattener::relocate() {
  for (const SectionRef &section : object.sections()) {
    Expected<section_iterator> target = section.getRelocatedSection();
    if (!target)
      return target.takeError();
    if (*target == object.section_end() ||
        !offsets.count((*target)->getIndex()))
      continue;
    for (const RelocationRef &relocation : section.relocations())
      if (Error error = apply(**target, relocation))
        return error;
  }
  return Error::success();
}

Error Flattener::collectSymbols() {
  for (const ELFSymbolRef &symbol : object.symbols()) {
    if (symbol.getELFType() != llvm::ELF::STT_FUNC)
      continue;
    Expected<uint64_t> offset = getSymbolOffset(symbol);
    if (!offset)
      return offset.takeError();
    std::string name = getNameOf<SymbolRef>(symbol);
    for (unsigned i = 0; i < RONDO_RT_ENTRY_COUNT; ++i) {
      if (name != kEntrySymbols[i])
        continue;
      if (*offset % 16)
        return makeError("entry point '" + name +
                         "' is not at a multiple of 16 bytes");
      blob.entries[i] = *offset;
    }
    blob.symbols.push_back({std::move(name), *offset, symbol.getSize()});
  }
  llvm::sort(blob.symbols, [](const BlobSymbol &a, const BlobSymbol &b) {
    return std::tie(a.offset, a.name) < std::tie(b.offset, b.name);
  });
  return Error::success();
}

void Flattener::writeHeader(uint64_t features) {
  rondo_rt_code_header header = {};
  header.magic = RONDO_RT_CODE_MAGIC;
  header.abi_version = RONDO_RT_ABI_VERSION;
  header.features = features;
  header.image_size = blob.image.size();
  header.context_size = sizeof(rondo_rt_context);
  header.entry_count = RONDO_RT_ENTRY_COUNT;
  std::copy(std::begin(blob.entries), std::end(blob.entries), header.entries);
  std::memcpy(blob.image.data(), &header, sizeof(header));
}

Expected<Blob> Flattener::run(uint64_t features) {
  blob.image.resize(sizeof(rondo_rt_code_header));
  if (Error error = placeSections())
    return std::move(error);
  if (Error error = relocate())
    return std::move(error);
  if (Error error = collectSymbols())
    return std::move(error);
  writeHeader(features);
  return std::move(blob);
}

//===----------------------------------------------------------------------===//
// Interface
//===----------------------------------------------------------------------===//

Expected<Blob> rondo::cpu::flattenObject(llvm::ArrayRef<uint8_t> object,
                                         uint64_t features) {
  llvm::MemoryBufferRef buffer(llvm::toStringRef(object), "object");
  Expected<std::unique_ptr<ObjectFile>> file =
      ObjectFile::createELFObjectFile(buffer);
  if (!file)
    return file.takeError();
  auto *elf = llvm::dyn_cast<ELF64LEObjectFile>(file->get());
  if (!elf || elf->getArch() != llvm::Triple::x86_64)
    return makeError("compiled object is not ELF for x86-64");
  return Flattener(*elf).run(features);
}

std::string rondo::cpu::formatPerfMap(const Blob &blob) {
  std::string text;
  llvm::raw_string_ostream os(text);
  for (const BlobSymbol &symbol : blob.symbols)
    os << llvm::formatv("{0:x-} {1:x-} {2}\n", symbol.offset, symbol.size,
                        symbol.name);
  return text;
}
