//===- KernelReference.h - Scalar definition of the kernels -----*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The numeric definitions of Kernels.h, one output at a time, on the packed
// bytes. Requires FTZ+DAZ (see flushDenormals) and no contraction of a * b + c
// by the C++ compiler.
//
//===----------------------------------------------------------------------===//

#ifndef RONDO_UNITTESTS_KERNELS_KERNELREFERENCE_H
#define RONDO_UNITTESTS_KERNELS_KERNELREFERENCE_H

#include "rondo/Target/CPU/Kernels.h"

#include <cstdint>
#include <vector>

namespace rondo::cpu {

using Bytes = std::vector<uint8_t>;

/// Makes this thread flush denormals to zero, inputs and results.
void flushDenormals();

/// A small generator with fixed results on every machine.
class Random {
public:
  explicit Random(uint64_t seed) : state(seed * 2 + 1) {}
  uint32_t next();
  int below(int n) { return static_cast<int>(next() % n); }
  float uniform(); ///< in [-1, 1)

private:
  uint64_t state;
};

/// What random numbers look like.
enum class DataKind {
  Normal,  ///< of similar size
  Extreme, ///< zeros, denormals, largest integers, wide exponents
};

/// Random bytes of a panel of `lines` lines.
Bytes makePanel(PanelFormat format, int64_t lines, DataKind kind, Random &rng);

/// Random bytes of a row of `k` elements.
Bytes makeRow(RowFormat format, int64_t k, DataKind kind, Random &rng);

/// The widened weight `index` (within its line) of output `lane`.
float widenWeight(PanelFormat format, const uint8_t *line, int index, int lane);

/// Output `lane` of one row times a panel.
float contract(const KernelSpec &spec, const uint8_t *row, const uint8_t *panel,
               int64_t wStride, int64_t k, int lane);

} // namespace rondo::cpu

#endif // RONDO_UNITTESTS_KERNELS_KERNELREFERENCE_H
