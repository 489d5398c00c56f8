//===- Kernels.h - Contraction kernels of compiled CPU code -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Emits the leaf functions that all compiled CPU code calls: a few activation
// rows times one packed panel of 32 outputs. The numeric definition of a kernel
// depends on its formats only, never on its number of rows or on the machine:
// the same bits come out everywhere, if the thread flushes denormals (FTZ+DAZ).
// The second half holds vector math in the same spirit (explicit fma, no libm).
//
//===----------------------------------------------------------------------===//

#ifndef RONDO_TARGET_CPU_KERNELS_H
#define RONDO_TARGET_CPU_KERNELS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

#include <cstdint>
#include <string>

namespace rondo::cpu {

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

/// Outputs of one panel.
inline constexpr int64_t kPanelWidth = 32;

/// Elements along K that share one scale, in weights and in quantised rows.
inline constexpr int64_t kGroupSize = 32;

/// How a panel of 32 outputs is stored. A *line* is the smallest unit along K.
enum class PanelFormat {
  F32,      ///< line of 1 k: f32[32]
  F16,      ///< line of 1 k: f16[32]
  BF16,     ///< line of 1 k: bf16[32] (KV caches)
  BF16Pair, ///< line of 2 k: bf16[32][2] (weights)
  Q8_0,     ///< line of 32 k: f16 scale[32]; s8 q[8][32][4]
  Q4_0,     ///< line of 32 k: f16 scale[32]; u8 q[4][32][4]; low nibbles are
            ///< k quad 2l, high nibbles quad 2l+1; value (n - 8) * scale
  Q4_1,     ///< line of 32 k: f16 scale[32]; f16 min[32]; u8 q[4][32][4];
            ///< value n * scale + min
};

/// How an activation row is stored.
enum class RowFormat {
  F32,       ///< f32[K]
  BF16AsF32, ///< f32[K], each value rounded to bf16: `bf16-dot` without
             ///< AVX512-BF16
  BF16Pair,  ///< bf16[K]: `bf16-dot` with AVX512-BF16
  Int8Group, ///< Int8Group[K / 32]: `int8-dynamic`
};

/// Layout of one quantised group of a row: one cache line, in bytes.
struct Int8GroupLayout {
  static constexpr int64_t kQuants = 0; ///< s8 q[32]
  static constexpr int64_t kScale = 32; ///< f32 scale
  static constexpr int64_t kSum = 36;   ///< s32 sum of q
  static constexpr int64_t kBytes = 64;
};

/// Elements along K in one line of a panel: 1, 2 or 32.
int64_t lineElements(PanelFormat format);

/// Bytes of one line of a densely packed panel; the usual `wStride`.
int64_t lineBytes(PanelFormat format);

/// Bytes of a densely packed panel of `k` elements along K.
int64_t panelBytes(PanelFormat format, int64_t k);

/// Bytes of a row of `k` elements.
int64_t rowBytes(RowFormat format, int64_t k);

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

/// What the target machine has above the floor, x86-64-v3.
struct MachineFeatures {
  bool avx512 = false;     ///< F, BW, DQ, VL (x86-64-v4)
  bool avx512bf16 = false; ///< vdpbf16ps
  bool avx512vnni = false; ///< vpdpbusd
};

/// One kernel: its formats and how many rows it takes.
struct KernelSpec {
  PanelFormat panel;
  RowFormat row;
  int rows;       ///< 1..maxRows
  int panels = 1; ///< taken in turns: 1, or panelsInTurn for 1 row
};

/// The largest number of rows one kernel takes (its register tile), 0 if the
/// machine has no kernel for the two formats:
///
///   row        | panels
///   F32        | all
///   BF16AsF32  | BF16Pair
///   BF16Pair   | BF16Pair, if avx512bf16
///   Int8Group  | Q8_0, Q4_0, Q4_1
int maxRows(PanelFormat panel, RowFormat row, const MachineFeatures &features);

/// How many panels a kernel of one row had best take in turns, a piece of each
/// after the other; 1 if one alone is as fast. Two-level prefetchers of 256-bit
/// machines follow several streams better than one (Zen 3: one reaches about
/// 0.8 of the bandwidth of four); those of Zen 4 do not.
int panelsInTurn(PanelFormat panel, RowFormat row,
                 const MachineFeatures &features);

/// The symbol of a kernel, e.g. `rondo_kernel_q4_0_int8_r4`.
std::string kernelName(const KernelSpec &spec);

/// Returns the kernel of `spec` in `module`, defining it at its end if it is
/// not there yet. Requires `1 <= spec.rows <= maxRows(...)`. The result is a
/// private function with internal linkage that is never inlined:
///
///   name(x: ptr, xStride: i64, w: ptr, wStride: i64, k: i64,
///        y: ptr, yStride: i64)
///
///   y[m][0..31] = contraction of row m with the panel, over k elements
///
/// Strides are in bytes: row m is at `x + m * xStride` and goes to
/// `y + m * yStride` (f32[32]); line l of the panel is at `w + l * wStride`.
/// With several panels they follow each other in memory (panel p starts at
/// `w + p * k / lineElements * wStride`), and panel p goes to `y + p *
/// yStride`. `k` is a multiple of lineElements; 0 gives zeros. `y` overlaps
/// neither `x` nor `w` (it may hold partial sums). No alignment is required. A
/// kernel may prefetch, but never reads, up to 64 lines past its panel.
///
/// One chain per output, k ascending, starting from +0:
///
///   F32 rows     acc = fma(widen(w[k]), x[k], acc); widen gives
///                Q8_0: f32(q) * f32(scale), Q4_0: f32(n - 8) * f32(scale),
///                Q4_1: fma(f32(n), f32(scale), f32(min))
///   bf16 rows    for pairs: acc = fma(w_odd, x_odd, acc), then even
///   Int8Group    for groups: acc = fma(f32(isum), wscale * xscale, acc), isum
///                exact, of q (Q8_0), n - 8 (Q4_0) or n (Q4_1); Q4_1 then
///                acc = fma(min, xscale * f32(xsum), acc)
///
/// The body uses arith, scf, vector and llvm operations on 1-D vectors and
/// `!llvm.ptr`; needed after it: convert-vector-to-llvm, convert-scf-to-cf,
/// convert-arith-to-llvm, convert-func-to-llvm, convert-cf-to-llvm,
/// reconcile-unrealized-casts.
mlir::func::FuncOp getOrCreateKernel(mlir::ModuleOp module,
                                     const KernelSpec &spec,
                                     const MachineFeatures &features);

//===----------------------------------------------------------------------===//
// Vector math. Operands and results are f32 or vector<N x f32>, any N.
//===----------------------------------------------------------------------===//

/// e^x: at most 2 ulp off on [-87, 88]; 0 below about -104, infinity above 89.
mlir::Value emitExp(mlir::OpBuilder &builder, mlir::Location loc,
                    mlir::Value x);

/// tanh(x), absolute error at most 1e-6.
mlir::Value emitTanh(mlir::OpBuilder &builder, mlir::Location loc,
                     mlir::Value x);

/// erf(x), absolute error at most 1e-6.
mlir::Value emitErf(mlir::OpBuilder &builder, mlir::Location loc,
                    mlir::Value x);

/// 1 / (1 + e^-x).
mlir::Value emitSigmoid(mlir::OpBuilder &builder, mlir::Location loc,
                        mlir::Value x);

/// x / (1 + e^-x).
mlir::Value emitSilu(mlir::OpBuilder &builder, mlir::Location loc,
                     mlir::Value x);

//===----------------------------------------------------------------------===//
// Rows and panels
//===----------------------------------------------------------------------===//

/// `x` rounded to bf16 (nearest even, NaN stays NaN, denormals kept), as f32:
/// what a BF16AsF32 row holds.
mlir::Value emitRoundToBF16(mlir::OpBuilder &builder, mlir::Location loc,
                            mlir::Value x);

/// The same rounding as bf16 elements: what a BF16Pair row holds.
mlir::Value emitTruncateToBF16(mlir::OpBuilder &builder, mlir::Location loc,
                               mlir::Value x);

/// Quantises `chunk` (vector<32xf32>) and stores it as one Int8Group at `dst`:
/// scale = amax / 127, q = rint(x * (127 / amax)), sum. All q are 0 where amax
/// is below 2^-120 (the quotient would overflow).
void emitQuantizeGroup(mlir::OpBuilder &builder, mlir::Location loc,
                       mlir::Value chunk, mlir::Value dst);

/// Writes the `k` (i64) widened weights of output `lane` (i64) of a densely
/// packed panel to `dst` (f32[k]): an embedding lookup in a tied head.
void emitGatherLane(mlir::OpBuilder &builder, mlir::Location loc,
                    PanelFormat format, mlir::Value panel, mlir::Value lane,
                    mlir::Value k, mlir::Value dst);

} // namespace rondo::cpu

#endif // RONDO_TARGET_CPU_KERNELS_H
