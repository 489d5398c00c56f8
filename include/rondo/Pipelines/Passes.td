//===- Passes.td - checks of the phases -------------------------*- tablegen -* -===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_PIPELINES_PASSES
#define RONDO_PIPELINES_PASSES

include "mlir/Pass/PassBase.td"

def VerifyPhasePass : Pass<"rondo-verify-phase", "::mlir::ModuleOp"> {
  let summary = "check that a module keeps the contract of its phase";
  let description = [{
    Read-only. Fails at the first operation that the phase does not know, and
    says which phase was to remove it. The contracts are told in
    docs/Architecture/Phases.md.
  }];
  let options = [Option<"phase", "phase", "std::string", /*default=*/"\"rondo\"",
                        "name of the phase: input, rondo, step, tiled, buffers or target">];
}

#endif // RONDO_PIPELINES_PASSES
