//===- Huginn.h - a recurrent core between prelude and coda -----*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
//   e = prelude(embedding[tokens] * scale)
//   s = initial state
//   R times:  s = core(A_s s + A_e e)
//   logits = head(norm(coda(norm(s))))                 twice the same norm
//
// A layer norms its sums (arXiv 2502.05171, figure 2):
//
//   x = norm2(o(attend(rope(q(a) + bq), rope(k(a) + bk), v(a))) + x)
//   x = norm4(down(silu(gate(m)) * up(m)) + x)
//                                      a = norm1(x), m = norm3(x)
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_LIB_IMPORT_HUGINN_H
#define RONDO_LIB_IMPORT_HUGINN_H

#include "Families.h"

namespace rondo {

/// A model of the family; all numbers come from its configuration.
struct Huginn {
  /// Sizes, eps, rope and the scale of embeddings; no keys and no schedule.
  Decoder shape;
  /// Stored layers of each part; none is zero.
  int64_t prelude = 0, core = 0, coda = 0;
  /// How often the core runs.
  int64_t visits = 0;
  /// Of the core: a policy of one range of visits.
  KVPolicy kv = KVPolicy::getPerDepth();
  /// q and k have biases.
  bool qkBias = true;
  /// Standard deviation of the initial state.
  double deviation = 0;
};

/// Makes the module, taking its tensors. An error if a tensor is missing, left
/// over or of another shape or type than its neighbours.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>>
buildHuginn(const Huginn &model, TensorTable &tensors,
            mlir::MLIRContext &context);

} // namespace rondo

#endif // RONDO_LIB_IMPORT_HUGINN_H
