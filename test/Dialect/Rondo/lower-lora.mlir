// RUN: rondo-opt %s -rondo-lower-lora | FileCheck %s
// RUN: rondo-opt %s -rondo-lower-lora -rondo-select-arithmetic -rondo-fuse-projections | FileCheck %s --check-prefix=FUSED

rondo.param @q layers(2) : tensor<64x48xf32> from ["q.0", "q.1"]
rondo.param @k layers(2) : tensor<32x48xf32> from ["k.0", "k.1"]
rondo.param @bias : tensor<64xf32> from ["bias"]
rondo.param @q.a layers(2) depths(2) : tensor<8x48xf32> from [unit, "q.a.0.1", unit, "q.a.1.1"]
rondo.param @q.b layers(2) depths(2) : tensor<64x8xf32> from [unit, "q.b.0.1", unit, "q.b.1.1"]
rondo.param @k.a layers(2) depths(2) : tensor<4x48xf32> from ["k.a.0.0", "k.a.0.1", "k.a.1.0", "k.a.1.1"]
rondo.param @k.b layers(2) depths(2) : tensor<32x4xf32> from ["k.b.0.0", "k.b.0.1", "k.b.1.0", "k.b.1.1"]

// Tests that each delta becomes two linears, with a scale where it is not 1,
// and that the As are fused, but not with the matrices.
// CHECK-LABEL: rondo.block @two
// CHECK-SAME: (%[[X:.*]]: tensor
// CHECK: %[[W:.*]]:2 = rondo.linear %[[X]], [@q, @k] bias [@bias, unit] : tensor<?x48xf32>
// CHECK: %[[T:.*]] = rondo.linear %[[X]], [@q.a] : tensor<?x48xf32> -> tensor<?x8xf32>
// CHECK: %[[U:.*]] = rondo.linear %[[T]], [@q.b] : tensor<?x8xf32> -> tensor<?x64xf32>
// CHECK: %[[S:.*]] = rondo.scale %[[U]] by 2.000000e+00
// CHECK: %[[Q:.*]] = arith.addf %[[W]]#0, %[[S]]
// CHECK: %[[V:.*]] = rondo.linear %[[X]], [@k.a]
// CHECK: %[[D:.*]] = rondo.linear %[[V]], [@k.b]
// CHECK-NOT: rondo.scale
// CHECK: %[[K:.*]] = arith.addf %[[W]]#1, %[[D]]
// CHECK: rondo.yield %[[Q]], %[[K]]
// FUSED-LABEL: rondo.block @two
// FUSED: rondo.linear %{{.*}}, [@q, @k] bias [@bias, unit] arithmetic(exact)
// FUSED: rondo.linear %{{.*}}, [@q.a, @k.a] arithmetic(exact)
// FUSED-COUNT-2: rondo.linear %{{.*}}, [@{{[qk]}}.b]
rondo.block @two(%x: tensor<?x48xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %q, %k = rondo.linear %x, [@q, @k] bias [@bias, unit]
    lora [#rondo.lora<@q.a, @q.b, scale = 2.0 : f32>, #rondo.lora<@k.a, @k.b, scale = 1.0 : f32>]
    : tensor<?x48xf32> -> tensor<?x64xf32>, tensor<?x32xf32>
  rondo.yield %q, %k : tensor<?x64xf32>, tensor<?x32xf32>
}

// Tests that a matrix without a delta is left alone.
// CHECK-LABEL: rondo.block @bare
// CHECK: %[[W:.*]]:2 = rondo.linear
// CHECK-NOT: lora
// CHECK-COUNT-2: rondo.linear
// CHECK: %[[S:.*]] = arith.addf %[[W]]#1
// CHECK: rondo.yield %[[W]]#0, %[[S]]
rondo.block @bare(%x: tensor<?x48xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %q, %k = rondo.linear %x, [@q, @k] lora [unit, #rondo.lora<@k.a, @k.b, scale = 1.0 : f32>]
    : tensor<?x48xf32> -> tensor<?x64xf32>, tensor<?x32xf32>
  rondo.yield %q, %k : tensor<?x64xf32>, tensor<?x32xf32>
}

// Tests that matrices with one A have one product with it.
// CHECK-LABEL: rondo.block @shared
// CHECK: %[[T:.*]] = rondo.linear %{{.*}}, [@q.a]
// CHECK-NOT: [@q.a]
// CHECK: rondo.linear %[[T]], [@q.b]
// CHECK-NOT: [@q.a]
// CHECK: rondo.linear %[[T]], [@r.b]
rondo.param @r.b layers(2) depths(2) : tensor<32x8xf32> from ["r.b.0.0", "r.b.0.1", "r.b.1.0", "r.b.1.1"]
rondo.block @shared(%x: tensor<?x48xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %q, %k = rondo.linear %x, [@q, @k]
    lora [#rondo.lora<@q.a, @q.b, scale = 2.0 : f32>, #rondo.lora<@q.a, @r.b, scale = 1.0 : f32>]
    : tensor<?x48xf32> -> tensor<?x64xf32>, tensor<?x32xf32>
  rondo.yield %q, %k : tensor<?x64xf32>, tensor<?x32xf32>
}
