//===- Panel.cpp - the order of weights inside a panel --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Bundle/Panel.h"

#include "rondo/Bundle/Storage.h"

#include "llvm/Support/ErrorHandling.h"

#include <algorithm>
#include <cassert>
#include <cstring>

using namespace rondo;

int64_t rondo::getPanelByteSize(StorageType type, int64_t k) {
  // A panel holds what its rows hold, in another order.
  return kPanelRows * getByteSize(type, k);
}

/// Element k of row n goes to [k / group][n][k % group].
template <int bytes, int group>
static void packElements(llvm::ArrayRef<const char *> rows, int64_t k,
                         char *panel) {
  // Slices of 32 inputs, so that what is written stays in the first cache.
  for (int64_t begin = 0; begin < k; begin += kBlockSize) {
    int64_t end = std::min(k, begin + kBlockSize);
    for (int64_t n = 0; n < kPanelRows; ++n) {
      const char *row = rows[n];
      for (int64_t i = begin; row && i < end; ++i)
        std::memcpy(panel + ((i / group * kPanelRows + n) * group + i % group) *
                                bytes,
                    row + i * bytes, bytes);
    }
  }
}

/// Codes of eight bits: quad l of row n goes to [l][n].
static void packCodes8(const char *codes, int64_t n, char *target) {
  for (int64_t l = 0; l < kBlockSize / 4; ++l)
    std::memcpy(target + (l * kPanelRows + n) * 4, codes + 4 * l, 4);
}

/// Code k of a GGUF block of four-bit codes.
static int getCode4(const char *codes, int64_t k) {
  int byte = static_cast<uint8_t>(codes[k % 16]);
  return k < 16 ? byte & 15 : byte >> 4;
}

/// Codes of four bits: quads 2 l and 2 l + 1 of row n share [l][n].
static void packCodes4(const char *codes, int64_t n, char *target) {
  for (int64_t l = 0; l < kBlockSize / 8; ++l)
    for (int64_t i = 0; i < 4; ++i)
      target[(l * kPanelRows + n) * 4 + i] =
          getCode4(codes, 8 * l + i) | getCode4(codes, 8 * l + 4 + i) << 4;
}

/// Blocks of `halves` 16-bit numbers (scale, minimum) and codes.
template <int halves>
static void
packBlocks(llvm::ArrayRef<const char *> rows, int64_t k, int64_t blockBytes,
           void (*packCodes)(const char *, int64_t, char *), char *panel) {
  for (int64_t group = 0; group < k / kBlockSize; ++group) {
    char *line = panel + group * blockBytes * kPanelRows;
    for (int64_t n = 0; n < kPanelRows; ++n) {
      if (!rows[n])
        continue;
      const char *block = rows[n] + group * blockBytes;
      for (int64_t i = 0; i < halves; ++i)
        std::memcpy(line + (i * kPanelRows + n) * 2, block + 2 * i, 2);
      packCodes(block + 2 * halves, n, line + halves * kPanelRows * 2);
    }
  }
}

void rondo::packPanel(StorageType type, llvm::ArrayRef<const char *> rows,
                      int64_t k, int64_t paddedK, char *panel) {
  assert(rows.size() == kPanelRows && "a panel has 32 rows");
  std::memset(panel, 0, getPanelByteSize(type, paddedK));
  int64_t blockBytes = getByteSize(type, kBlockSize);
  switch (type) {
  case StorageType::F32:
    return packElements<4, 1>(rows, k, panel);
  case StorageType::F16:
    return packElements<2, 1>(rows, k, panel);
  case StorageType::BF16:
    return packElements<2, 2>(rows, k, panel);
  case StorageType::Q8_0:
    return packBlocks<1>(rows, k, blockBytes, packCodes8, panel);
  case StorageType::Q4_0:
    return packBlocks<1>(rows, k, blockBytes, packCodes4, panel);
  case StorageType::Q4_1:
    return packBlocks<2>(rows, k, blockBytes, packCodes4, panel);
  case StorageType::Other:
    break;
  }
  llvm_unreachable("a type that no parameter can have");
}
