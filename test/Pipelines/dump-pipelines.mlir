// RUN: rondo-opt %s -rondo-rondo-pipeline -dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=RONDO
// RUN: rondo-opt %s -rondo-step-pipeline -dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=STEP
// RUN: rondo-opt %s -rondo-tiled-pipeline -dump-pass-pipeline 2>&1 | FileCheck %s --check-prefix=TILED

// Tests what the phases are made of.
// RONDO: builtin.module(
// RONDO-NEXT: rondo-verify-kv-policy
// RONDO-NEXT: rondo-strip-trace
// RONDO-NEXT: rondo-reroll-layers
// RONDO-NEXT: rondo-hoist-depth-invariants
// RONDO-NEXT: rondo-merge-lora
// RONDO-NEXT: rondo-lower-lora
// RONDO-NEXT: rondo-select-arithmetic
// RONDO-NEXT: rondo-fuse-projections
// RONDO-NEXT: rondo-verify-phase{phase=rondo}
// STEP: builtin.module(
// STEP-NEXT: convert-rondo-to-rondo-rt
// STEP-NEXT: rondo_rt.body(
// STEP-NEXT: rondo-rt-form-stages
// STEP-NEXT: )
// STEP-NEXT: rondo-verify-phase{phase=step}
// TILED: builtin.module(
// TILED-NEXT: rondo-rt-tile-stages
// TILED-NEXT: cse
// TILED-NEXT: rondo-verify-phase{phase=tiled}
module attributes {
  rondo.options = {context = 256 : i64, sequences = 4 : i64, rows = 16 : i64, kv = f32, arithmetic = "exact", trace = false},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]},
  rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
}
