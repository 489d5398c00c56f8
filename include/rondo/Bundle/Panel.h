//===- Panel.h - the order of weights inside a panel ------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A panel holds 32 outputs of a matrix, its K inputs in lines that kernels read
// one after the other:
//
//   f32, f16   [K][32]
//   bf16       [K/2][32][2]
//   q8_0       [K/32] { f16 scale[32]; s8 q[8][32][4] }
//   q4_0       [K/32] { f16 scale[32]; u8 q[4][32][4] }
//   q4_1       [K/32] { f16 scale[32]; f16 minimum[32]; u8 q[4][32][4] }
//
// Four-bit codes: in byte (l, n, i) the low half is k = 8 l + i, the high half
// k = 8 l + 4 + i of the group. The values are those of the rows, bit for bit.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_BUNDLE_PANEL_H
#define RONDO_BUNDLE_PANEL_H

#include "rondo/Import/Archive.h"

#include "llvm/ADT/ArrayRef.h"

#include <cstdint>

namespace rondo {

/// Outputs of one panel.
inline constexpr int64_t kPanelRows = 32;

/// Bytes of a panel of `k` inputs, a multiple of 32.
int64_t getPanelByteSize(StorageType type, int64_t k);

/// Writes one panel. `rows` are 32 rows of `k` weights of storage type `type`;
/// null stands for a row of zeros. `paddedK` is `k` rounded up to a multiple of
/// 32; inputs from `k` on are zeros. For block types `k` is such a multiple.
void packPanel(StorageType type, llvm::ArrayRef<const char *> rows, int64_t k,
               int64_t paddedK, char *panel);

} // namespace rondo

#endif // RONDO_BUNDLE_PANEL_H
