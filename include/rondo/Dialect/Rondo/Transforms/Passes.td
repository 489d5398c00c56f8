//===- Passes.td - passes on the rondo dialect ----------------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_TRANSFORMS_PASSES
#define RONDO_DIALECT_RONDO_TRANSFORMS_PASSES

include "mlir/Pass/PassBase.td"

// Examples show the operations that matter; `...` stands for the rest.

def VerifyKVPolicyPass : Pass<"rondo-verify-kv-policy", "::mlir::ModuleOp"> {
  let summary = "check the schedule's use of KV slots against the declared policy";
  let description = [{
    Which execution writes and reads which KV slot is a trained property of a
    checkpoint. This pass flattens the schedule of `@model` and compares it with
    `rondo.kv_policy`:

    - a slot is appended before it is read, and only by visits of one layer that
      share a version: with `per-depth`, and `last-exited`, which equals it where
      the depth is fixed, each visit has a version of its own; with `modulo:S` visit
      d has version d mod S, with `final-shared` version 0, with
      `first-then-shared:S` version min(d, S - 1);
    - `none`: keys and values live as long as an execution. Every `rondo.attend` has
      mask `full` and reads what its own execution appended; executions may share
      slots;
    - all visits of a version append to the same slot, before they attend to it
      (reading another layer's version is cross-layer sharing, and legal);
    - `first-step`: only the first visit of a layer appends, later visits read it;
    - every slot up to the largest has an owner, and one that is appended is attended:
      a shared version leaves no dead keys and values behind, whose projections and
      memory would be paid at every visit.

    Executions that share weights of linears are visits of one layer.

    The policy is one of `rondo.trained_kv`, unless `rondo.force_kv_policy` is set.

    Requires: phase `rondo`.
    Guarantees: read-only; emits an error for the first rule that is broken.
    Does nothing when: there is no `@model`, or no execution owns a slot.

    Example:
    ```
    module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
      ...
      %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
        %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(0) ...

    error: 'rondo.append' op expected KV policy 'per-depth' to append a slot once,
           got slot 0 in execution 1 after execution 0
    ```
  }];
}

def RerollLayersPass : Pass<"rondo-reroll-layers", "::mlir::ModuleOp"> {
  let summary = "turn repeated executions back into loops over shared weights";
  let description = [{
    An unrolled checkpoint lists the same tensors several times, and its model
    function spells out every visit. Two steps make the recurrence visible:

    1. Stacked parameters that list keys more than once keep each entry once; the
       `layer` maps of executions are composed with the map from old to new
       entries. All stacked parameters of a block have to repeat alike.
    2. Windows of operations of a function that repeat, but for layers, side
       indices and slots that grow by a constant, become a `rondo.loop`. Windows
       that revisit the same layers come first and form the outer loops (the
       recurrence); then windows over neighbouring layers form inner loops.

    Requires: phase `rondo`.
    Guarantees: the same schedule of weights, and the same slots.
    Does nothing when: no window repeats, or values flow between windows in a way
    that carried values cannot express; parameters that repeat unlike each other
    stay, with a remark.

    Example:
    ```
    rondo.param @w layers(4) : ... from ["0", "1", "0", "1"]
    %a = rondo.apply @b(%x) layer(0) side(0) slot(0) ...
    %b = rondo.apply @b(%a) layer(1) side(0) slot(1) ...
    %c = rondo.apply @b(%b) layer(2) side(0) slot(2) ...
    %d = rondo.apply @b(%c) layer(3) side(0) slot(3) ...
    ==>
    rondo.param @w layers(2) : ... from ["0", "1"]
    %d = rondo.loop %i to 2 carries(%h = %x) ... {
      %e = rondo.loop %j to 2 carries(%g = %h) ... {
        %f = rondo.apply @b(%g) at(%i, %j) layer(d1) side(0) slot(d0 * 2 + d1) ...
    ```
  }];
  let dependentDialects = ["::rondo::RondoDialect"];
  let statistics = [
    Statistic<"numEntries", "num-entries", "repeated entries of parameters removed">,
    Statistic<"numLoops", "num-loops", "loops formed">];
}

def HoistDepthInvariantsPass : Pass<"rondo-hoist-depth-invariants", "::mlir::ModuleOp"> {
  let summary = "move work that does not change with depth out of loops";
  let description = [{
    What a model injects at every step (an embedding, a projection of the prompt)
    often does not depend on the step. A carried value that every iteration
    passes on unchanged is no state either: its readers take the initial value,
    which can make more operations invariant.

    Requires: phase `rondo`.
    Guarantees: the same values; an operation that has effects stays.
    Does nothing when: every operation of a loop reads carried values or the
    induction value, or has effects.

    Example:
    ```
    %y:2 = rondo.loop %d to 4 carries(%h = %x, %e = %x) ... {
      %n = rondo.norm rms %e, @w eps 1.0e-5 ...
      ...
      rondo.yield %z, %e ...
    }
    ==>
    %n = rondo.norm rms %x, @w eps 1.0e-5 ...
    %y = rondo.loop %d to 4 carries(%h = %x) ... {
      ...
      rondo.yield %z ...
    }
    ```
  }];
  let statistics = [
    Statistic<"numHoisted", "num-hoisted", "operations moved out of a loop">,
    Statistic<"numElided", "num-elided", "carried values that were not state">];
}

def MergeLoraPass : Pass<"rondo-merge-lora", "::mlir::ModuleOp"> {
  let summary = "add low-rank deltas to their matrices when those are packed";
  let description = [{
    A matrix with `lora` becomes a parameter with `plus`, which has an entry for each
    depth at which the delta differs. What `lora` of `rondo.options` says is done:

    - `auto`, the default: a delta is merged where that costs nothing: it is the same at
      all depths, and the matrix is not stored in blocks, which would round it again;
    - `merge`: all are. A delta that varies by depth makes a matrix of every depth, so the
      shared block no longer stays in cache between visits;
    - `separate`: none is.

    Merging rounds the sum to the stored type; products are then no longer those of
    `W x + s B (A x)` to the last bit.

    Requires: phase `rondo`, before `rondo-lower-lora`.
    Guarantees: under `merge` no `rondo.linear` has `lora`, but of matrices that are absent
    at some depths.
    Declines, with a remark: what `auto` leaves apart, and those.

    Example:
    ```
    rondo.param @q layers(2) : tensor<64x64xf32> from ["q.0", "q.1"]
    %q = rondo.linear %x, [@q] lora [#rondo.lora<@a, @b, scale = 2.0 : f32>] ...
    ==>
    rondo.param @q.merged layers(2) : tensor<64x64xf32> from ["q.0", "q.1"]
      plus <@a, @b, scale = 2.0 : f32>
    %q = rondo.linear %x, [@q.merged] ...
    ```
  }];
  let statistics = [Statistic<"numMerged", "num-merged", "deltas merged">,
                    Statistic<"numSeparate", "num-separate", "deltas left apart">];
}

def LowerLoraPass : Pass<"rondo-lower-lora", "::mlir::ModuleOp"> {
  let summary = "turn low-rank deltas into linears of their own";
  let description = [{
    A matrix with `lora` becomes the bare matrix, a linear with A on the same rows
    and one with B on its result. Stage formation puts a small A into the prologue
    of B, which shares a stage with the matrix; a large one shares the stage of the
    matrix itself. The order of the sums is `W x + b`, then `scale * B (A x)`.

    Requires: phase `rondo`, before `rondo-select-arithmetic`: A and B have a
    storage type, and with it an arithmetic mode, of their own.
    Guarantees: no `rondo.linear` has `lora`.
    Does nothing when: there are no deltas.

    Example:
    ```
    %q = rondo.linear %x, [@q] lora [#rondo.lora<@q.a, @q.b, scale = 2.0 : f32>] ...
    ==>
    %w = rondo.linear %x, [@q] ...
    %t = rondo.linear %x, [@q.a] ...
    %u = rondo.linear %t, [@q.b] ...
    %d = rondo.scale %u by 2.0 ...
    %q = arith.addf %w, %d ...
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
  let statistics = [Statistic<"numLowered", "num-lowered", "deltas lowered">];
}

def SelectArithmeticPass : Pass<"rondo-select-arithmetic", "::mlir::ModuleOp"> {
  let summary = "decide how the products of each linear are formed";
  let description = [{
    Writes `arithmetic` on every `rondo.linear` that lacks it, from `arithmetic`
    of `rondo.options`: `exact` gives `exact`; `fast`, the default, gives
    `bf16_dot` for bf16 weights, `int8_dynamic` for block types and `exact` for
    f32 and f16.

    Requires: phase `rondo`, before `rondo-fuse-projections`: the weights of one
    linear share a mode, so those of unlike storage in one linear are an error
    under `fast`.
    Guarantees: every `rondo.linear` has a mode.
    Does nothing when: a mode is there.

    Example:
    ```
    %g = rondo.linear %x, [@g] ...  ==>  %g = rondo.linear %x, [@g] arithmetic(bf16_dot) ...
    ```
  }];
}

def FuseProjectionsPass : Pass<"rondo-fuse-projections", "::mlir::ModuleOp"> {
  let summary = "merge linears of the same rows into one pass over them";
  let description = [{
    Projections of the same rows (query, key, value; gate, up) become one
    `rondo.linear` of several weights, in program order, at the place of the
    first. Those that only linears read (A of low-rank products) are fused with
    their like, since stages place them otherwise.

    Requires: phase `rondo`, after `rondo-select-arithmetic`.
    Guarantees: the same values; weights of one linear have one arithmetic mode
    and one storage type.
    Does nothing when: linears differ in mode or storage type, with a remark, or
    stand in different blocks of code.

    Example:
    ```
    %q = rondo.linear %x, [@q] ...  ==>  %q, %k = rondo.linear %x, [@q, @k] ...
    %k = rondo.linear %x, [@k] ...
    ```
  }];
  let statistics = [Statistic<"numFused", "num-fused", "linears merged into another">];
}

def StripTracePass : Pass<"rondo-strip-trace", "::mlir::ModuleOp"> {
  let summary = "remove trace points";
  let description = [{
    Requires: phase `rondo`.
    Guarantees: no `rondo.trace` is left, nor what was computed for them alone; the
    values of the model do not change.
    Does nothing when: `trace` of `rondo.options` is true.

    Example:
    ```
    rondo.trace "hidden" %x ...  ==>
    ```
  }];
  let statistics = [Statistic<"numStripped", "num-stripped", "trace points removed">];
}

#endif // RONDO_DIALECT_RONDO_TRANSFORMS_PASSES
