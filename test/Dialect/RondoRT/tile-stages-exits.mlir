// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages))' | FileCheck %s --check-prefix=STAGES
// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages),rondo-rt-tile-stages)' | FileCheck %s --check-prefix=TILED
// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages),rondo-rt-tile-stages,rondo-rt-plan-buffers)' | FileCheck %s --check-prefix=BUFFERS

module attributes {
  rondo.options = {context = 256 : i64, sequences = 4 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {

rondo_rt.schedule bodies [0] layers [0] sides [0] slots [0] traces [0] visits [0, 1]
rondo.param @gate : tensor<1x64xf32> from ["gate"]

// Tests that an exit is a stage of its own behind the gate: scalars of the row
// first, from the gate and the old record, then a choice by chunk; and that
// chosen rows and record stay where they are.
// STAGES: rondo_rt.stage "norm.gate"
// STAGES: rondo_rt.stage "norm" ->
// STAGES: rondo_rt.stage "exit"
// STAGES-NEXT: rondo.exit
// STAGES-NEXT: rondo_rt.yield
// TILED: rondo_rt.stage "exit"
// TILED: %[[G:.*]] = rondo_rt.load %{{.*}}[%{{.*}}] : tensor<?x32xf32>
// TILED: %[[R:.*]] = rondo_rt.load %{{.*}}[%{{.*}}] : tensor<?x32xf32>
// TILED: %[[S:.*]] = vector.extract %[[R]][2]
// TILED: %[[T:.*]] = arith.cmpf ult
// TILED: %[[A:.*]] = rondo_rt.activate sigmoid %[[G]]
// TILED: %[[P:.*]] = vector.extract %[[A]][0]
// TILED: arith.mulf %[[P]], %[[S]] : f32
// TILED: rondo_rt.tile units(2) panels(1) -> tensor<?x64xf32>
// TILED: arith.select %[[T]], %{{.*}}, %{{.*}} : vector<32xf32>
// TILED: rondo_rt.tile units(1) panels(1) -> tensor<?x32xf32>
// TILED: vector.insert
// BUFFERS: rondo_rt.body @exit
// BUFFERS-NOT: rondo_rt.stage "copy"
rondo_rt.body @exit block 0 caches(0) inputs [0, 1, 2] outputs [0, 1, 2] {
^bb0(%x: tensor<?x64xf32>, %chosen: tensor<?x64xf32>, %record: tensor<?x3xf32>):
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  %g = rondo.linear %n, [@gate] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x1xf32>
  %c, %r = rondo.exit cumulative %n, %g, %chosen, %record threshold 0.5 scope(row) after(ghost) : tensor<?x64xf32>, tensor<?x1xf32>, tensor<?x3xf32>
  rondo_rt.return %n, %c, %r : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x3xf32>
}
}
