// RUN: rondo-opt %s -rondo-rt-tile-stages -rondo-rt-plan-buffers | FileCheck %s

// Tests that weights of a layer follow each other, layers at one stride.
// CHECK: rondo_rt.weight_bytes = 65536 : i64
module attributes {
  rondo.options = {context = 256 : i64, rows = 16 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
rondo.param @a layers(2) : tensor<64x64xf32> from ["a.0", "a.1"]
rondo.param @b layers(2) : tensor<64x64xf32> from ["b.0", "b.1"]

// Tests that a residual is added in place: the old value is read lane by lane
// by the tile that writes.
// CHECK-LABEL: rondo_rt.body @residual
rondo_rt.body @residual block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: %[[X:.*]] = rondo_rt.buffer offset(0) : memref<?x64xf32>
  // CHECK: %[[T:.*]] = rondo_rt.buffer offset(4096) : memref<?x64xf32>
  // CHECK: %[[Y:.*]] = rondo_rt.buffer offset(0) : memref<?x64xf32>
  // CHECK: rondo_rt.stage "a"
  // CHECK: rondo_rt.store %{{.*}}, %[[T]]
  // CHECK: rondo_rt.stage "b.add"
  // CHECK: rondo_rt.store %{{.*}}, %[[Y]]
  // CHECK-NOT: rondo_rt.stage "copy"
  %t = rondo_rt.stage "a" -> tensor<?x64xf32> {
    %0 = rondo.linear %x, [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  %y = rondo_rt.stage "b.add" -> tensor<?x64xf32> {
    %0 = rondo.linear %t, [@b] : tensor<?x64xf32> -> tensor<?x64xf32>
    %1 = arith.addf %x, %0 : tensor<?x64xf32>
    rondo_rt.yield %1 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}

// Tests that a matrix of the state itself is not written in place: all lanes of
// the old value are read while the new one is written.
// CHECK-LABEL: rondo_rt.body @through
rondo_rt.body @through block 1 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "a"
  // CHECK: rondo_rt.stage "copy"
  %t = rondo_rt.stage "a" -> tensor<?x64xf32> {
    %0 = rondo.linear %x, [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %t : tensor<?x64xf32>
}

// Tests that a norm of the state is written in place: one thread does the row.
// CHECK-LABEL: rondo_rt.body @norm
rondo_rt.body @norm block 2 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "norm"
  // CHECK-NOT: rondo_rt.stage "copy"
  %t = rondo_rt.stage "norm" -> tensor<?x64xf32> {
    %0 = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %t : tensor<?x64xf32>
}
// CHECK: rondo_rt.packed @packed.a {{.*}} offset(0) stride(32768)
// CHECK: rondo_rt.packed @packed.b {{.*}} offset(16384) stride(32768)
}
