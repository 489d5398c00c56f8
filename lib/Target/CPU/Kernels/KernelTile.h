//===- KernelTile.h - The register tile of a kernel -------------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A kernel walks its panel in passes. One pass computes `rows` rows times
// `parts` vectors of `lanes` outputs; a full panel is `passes` such tiles.
// With more than one pass the K loop is cut into blocks that stay in L1, and
// partial sums rest in `y` between blocks: the chain of every output, and so
// its bits, is the same as without blocks.
//
//===----------------------------------------------------------------------===//

#ifndef RONDO_LIB_TARGET_CPU_KERNELS_KERNELTILE_H
#define RONDO_LIB_TARGET_CPU_KERNELS_KERNELTILE_H

#include "KernelBuilder.h"
#include "rondo/Target/CPU/Kernels.h"

namespace rondo::cpu {

/// Four bytes of each output: a row of the quants in a group, or a line of f32
/// or pairs. Two cache lines.
inline constexpr int64_t kColumnBytes = 4 * kPanelWidth;

/// The shape of a kernel's code; a function of its spec and the machine.
struct KernelPlan {
  int lanes;          ///< f32 per vector: 8 or 16
  int parts;          ///< vectors per tile and row
  int unroll;         ///< panel lines per iteration of the K loop
  int64_t blockLines; ///< lines per block; 0: no blocks, one pass
  bool sumsInMemory;  ///< partial sums rest in y after every line
  int64_t prefetch;   ///< lines that weights are prefetched ahead, 0: never

  int passes() const { return kPanelWidth / (lanes * parts); }
};

/// The state that a line emitter works on: one tile at one line of the panel.
struct Tile {
  KernelSpec spec;
  KernelPlan plan;
  MachineFeatures features;

  mlir::Value pass; ///< i64 index of the tile in the panel, null if only one
  llvm::SmallVector<mlir::Value> outputs; ///< per row: this tile in y
  llvm::SmallVector<mlir::Value> rows;    ///< per row: x at this line
  mlir::Value line;                       ///< start of the panel line
  mlir::Value ahead; ///< start of the line to prefetch, null if none
  llvm::SmallVector<mlir::Value> sums; ///< [rows][parts], unless in memory

  mlir::VectorType floats(KernelBuilder &b) const {
    return b.vec(plan.lanes, b.getF32Type());
  }
  mlir::VectorType ints(KernelBuilder &b) const {
    return b.vec(plan.lanes, b.getI32Type());
  }

  /// Where vector `part` of this tile lies in a field of the line that starts
  /// at byte `base` and holds `bytesPerOutput` for each of the 32 outputs.
  mlir::Value field(KernelBuilder &b, int64_t base, int64_t bytesPerOutput,
                    int part) const;

  /// Prefetches this tile's share of the 128-byte column (4 bytes of each
  /// output) at `offset` of the line `ahead`; nothing if that is null.
  void prefetchColumn(KernelBuilder &b, mlir::LLVM::GEPArg offset) const;

  /// Partial sum of a row and part, from register or memory.
  mlir::Value sum(KernelBuilder &b, int row, int part) const;
  void setSum(KernelBuilder &b, int row, int part, mlir::Value value);
};

/// Adds one line of the panel to the tile's sums: F32 and bf16 rows.
void emitFloatLine(KernelBuilder &b, Tile &tile);

/// The same for Int8Group rows.
void emitInt8Line(KernelBuilder &b, Tile &tile);

} // namespace rondo::cpu

#endif // RONDO_LIB_TARGET_CPU_KERNELS_KERNELTILE_H
