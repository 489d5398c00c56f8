//===- Passes.td - passes inside the execution level -----------*- tablegen -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDORT_TRANSFORMS_PASSES
#define RONDO_DIALECT_RONDORT_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

def FormStagesPass : Pass<"rondo-rt-form-stages", "::rondo::rt::BodyOp"> {
  let summary = "cut a body into stages between barriers";
  let description = [{
    Requires: phase `step`, operations directly in the body.
    Guarantees: every operation stands in a `rondo_rt.stage`. A linear takes the
    norms and elementwise operations before it as its prologue (recomputed by
    every reader instead of costing a barrier) and those after it that need only
    its own outputs as its epilogue. Attention and embedding stand alone.
    Does nothing when: the body already has stages.

    Example:
    ```
    %n = rondo.norm rms %x, @w ...         %y = rondo_rt.stage "norm.g.silu" {
    %g = rondo.linear %n, [@g]      ==>      %n = rondo.norm ...
    %y = rondo.activation silu %g            ... rondo_rt.yield %y
                                           }
    ```
  }];
  let dependentDialects = ["::rondo::rt::RondoRTDialect"];
  let statistics = [Statistic<"numStages", "num-stages", "stages formed">];
}

def TileStagesPass : Pass<"rondo-rt-tile-stages", "::mlir::ModuleOp"> {
  let summary = "write each stage for one row, in chunks of 32 lanes";
  let description = [{
    Requires: phase `step` with stages, `rondo.options` and `rondo.target`.
    Guarantees: stages hold `rondo_rt` operations on vectors of 32 lanes; the
    weights of each stage are one `rondo_rt.packed` in reading order; layouts of
    heads and rotary pairs are decided; `rondo_rt.kv` of the module has the
    geometry of a KV slot.

    Example:
    ```
    rondo_rt.stage "norm.o" {          rondo_rt.stage "norm.o" {
      %n = rondo.norm rms %x, @w         %s = rondo_rt.reduce ...
      %y = rondo.linear %n, [@o]   ==>   %p = rondo_rt.pack ...
    }                                    rondo_rt.tile units(18) panels(1) ...
    ```
  }];
  let dependentDialects = ["::rondo::rt::RondoRTDialect", "::mlir::arith::ArithDialect",
                           "::mlir::math::MathDialect", "::mlir::vector::VectorDialect"];
}

def PlanBuffersPass : Pass<"rondo-rt-plan-buffers", "::mlir::ModuleOp"> {
  let summary = "give every row, packed weight and scratch area its place";
  let description = [{
    Requires: phase `tiled`.
    Guarantees: no tensors are left; states and stage results are
    `rondo_rt.buffer`s of one arena (results share bytes when they do not live
    at once; a result takes its state's buffer in place where no chunk is read
    after it is written); weights have offsets in the weight region. The module
    has `rondo_rt.arena_bytes`, `rondo_rt.scratch_bytes`, `rondo_rt.weight_bytes`.

    Example:
    ```
    %y = rondo_rt.stage ... -> tensor<?x64xf32>     %b = rondo_rt.buffer offset(0)
                                              ==>   rondo_rt.stage ... { rondo_rt.store %v, %b[%u] }
    ```
  }];
  let dependentDialects = ["::rondo::rt::RondoRTDialect", "::mlir::memref::MemRefDialect"];
}

#endif // RONDO_DIALECT_RONDORT_TRANSFORMS_PASSES
