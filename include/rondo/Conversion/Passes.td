//===- Passes.td - conversions between levels ----------------*- tablegen -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_CONVERSION_PASSES
#define RONDO_CONVERSION_PASSES

include "mlir/Pass/PassBase.td"

def ConvertRondoToRondoRTPass : Pass<"convert-rondo-to-rondo-rt", "::mlir::ModuleOp"> {
  let summary = "outline step functions and turn loops into a schedule";
  let description = [{
    Requires: phase `rondo`: one function `@model` from tokens to logits, made of
    plain operations, `rondo.loop` and `rondo.apply`.
    Guarantees: `rondo_rt.body` for each block and for each run of plain
    operations between loops, one `rondo_rt.schedule` that lists every execution,
    and the model's carried values as numbered states. Loops are gone, but no
    code is repeated: a body stands once however often it is executed.
    Does nothing when: the module has no `@model`; if it has a `rondo.block`,
    `rondo.loop` or `rondo.apply` all the same, that is an error.

    Example:
    ```
    %x = rondo.embed %t, @e ...                        rondo_rt.body @prelude ...
    %y = rondo.loop %d to 3 carries(%h = %x) ... {     rondo_rt.body @block ...
      %z = rondo.apply @block(%h) ...             ==>  rondo_rt.body @coda ...
      rondo.yield %z ...                               rondo_rt.schedule bodies [0, 0, 0]
    }                                                    layers [0, 0, 0] ... visits [0, 1, 2, 3]
    %l = rondo.linear %y, [@head] ...
    ```
  }];
  let dependentDialects = ["::rondo::rt::RondoRTDialect"];
}

def ConvertRondoRTToCPUPass : Pass<"convert-rondo-rt-to-cpu", "::mlir::ModuleOp"> {
  let summary = "emit the SPMD functions of a CPU step";
  let description = [{
    Requires: phase `buffers` and a CPU target attribute.
    Guarantees: `rondo_full`, `rondo_prelude`, `rondo_depth_step` and
    `rondo_coda` as functions of a context and a thread number; one function for
    each body; contraction kernels as leaf functions. The loop over visits is
    one loop that reads the schedule; nothing is unrolled over depth.

    Example:
    ```
    rondo_rt.body @layer ... {             func.func @rondo_body_layer(%ctx, %thread, ...) {
      rondo_rt.stage "down.add" {            scf.for %unit = ... {
        %p = rondo_rt.pack ...       ==>       call @rondo_kernel_...
        rondo_rt.tile units(18) ...            ...
      }                                      }
    }                                        barrier
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::func::FuncDialect",
                           "::mlir::LLVM::LLVMDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect"];
}

#endif // RONDO_CONVERSION_PASSES
