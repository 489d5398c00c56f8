// RUN: rondo-opt %s -split-input-file -rondo-merge-lora -remarks-filter=rondo-merge-lora -verify-diagnostics | FileCheck %s

// Tests that auto merges a delta that is the same at all depths, once for all
// linears that use it, and drops the bare matrix.

// CHECK-LABEL: rondo.param @a :
// CHECK-NOT: rondo.param @q :
// CHECK: rondo.param @q.merged : tensor<64x64xf32> from ["q"] plus <@a, @b, scale = 2.000000e+00 : f32>
// CHECK-NOT: rondo.param
// CHECK-LABEL: func.func @f
// CHECK: rondo.linear %{{.*}}, [@q.merged] :
// CHECK: rondo.linear %{{.*}}, [@q.merged] :
rondo.param @a : tensor<8x64xf32> from ["a"]
rondo.param @b : tensor<64x8xf32> from ["b"]
rondo.param @q : tensor<64x64xf32> from ["q"]
func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @below {{merged the delta of @q, 1 entries of 16384 bytes}}
  %y = rondo.linear %x, [@q] lora [#rondo.lora<@a, @b, scale = 2.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>
  // expected-remark @below {{merged the delta of @q, 1 entries of 16384 bytes}}
  %z = rondo.linear %y, [@q] lora [#rondo.lora<@a, @b, scale = 2.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}

// -----

// Tests that auto leaves apart what would read a matrix of each depth, and what
// would be rounded again.

// CHECK-LABEL: rondo.param @a depths(2)
// CHECK-NOT: plus
// CHECK: rondo.linear %{{.*}}, [@q, @v] lora [#rondo.lora<@a, @b, scale = 1.000000e+00 : f32>, #rondo.lora<@c, @b0, scale = 1.000000e+00 : f32>]
rondo.param @a depths(2) : tensor<8x64xf32> from [unit, "a"]
rondo.param @b depths(2) : tensor<64x8xf32> from [unit, "b"]
rondo.param @b0 : tensor<64x8xf32> from ["b0"]
rondo.param @c : tensor<8x64xf32> from ["c"]
rondo.param @q : tensor<64x64xf32> from ["q"]
rondo.param @v : tensor<64x64x!rondo.q8_0> from ["v"]
rondo.block @g(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @below {{the delta of @q stays apart: it varies by depth, so each depth would read a matrix of its own}}
  // expected-remark @below {{the delta of @v stays apart: the matrix is stored in blocks, which would round it again}}
  %y, %z = rondo.linear %x, [@q, @v] lora [#rondo.lora<@a, @b, scale = 1.0 : f32>, #rondo.lora<@c, @b0, scale = 1.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  rondo.yield %z : tensor<?x64xf32>
}

// -----

// Tests that merge gives each layer and depth an entry, and keeps a matrix that
// something else reads.

// CHECK-LABEL: rondo.param @a layers(2) depths(2)
// CHECK: rondo.param @q layers(2) : tensor<64x64xbf16> from ["q.0", "q.1"]
// CHECK: rondo.param @q.merged layers(2) depths(2) : tensor<64x64xbf16> from ["q.0", "q.0", "q.1", "q.1"] plus <@a, @b, scale = 1.000000e+00 : f32>
// CHECK: rondo.linear %{{.*}}, [@q.merged, @v] lora [unit, #rondo.lora<@a, @b, scale = 1.000000e+00 : f32>]
// CHECK: rondo.linear %{{.*}}, [@q] :
module attributes {rondo.options = {lora = "merge"}} {
  rondo.param @a layers(2) depths(2) : tensor<8x64xf32> from ["a.0.0", "a.0.1", "a.1.0", "a.1.1"]
  rondo.param @b depths(2) : tensor<64x8xf32> from ["b.0", "b.1"]
  rondo.param @q layers(2) : tensor<64x64xbf16> from ["q.0", "q.1"]
  rondo.param @v depths(2) : tensor<64x64xbf16> from [unit, "v"]
  rondo.block @g(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    // expected-remark @below {{merged the delta of @q, 4 entries of 8192 bytes}}
    // expected-remark @below {{the delta of @v stays apart: the matrix is absent at some depths}}
    %y, %z = rondo.linear %x, [@q, @v] lora [#rondo.lora<@a, @b, scale = 1.0 : f32>, #rondo.lora<@a, @b, scale = 1.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
    %w = rondo.linear %z, [@q] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.yield %w : tensor<?x64xf32>
  }
}

// -----

// Tests that separate merges nothing.

// CHECK-LABEL: rondo.param @a :
// CHECK-NOT: plus
// CHECK: rondo.linear %{{.*}}, [@q] lora
module attributes {rondo.options = {lora = "separate"}} {
  rondo.param @a : tensor<8x64xf32> from ["a"]
  rondo.param @b : tensor<64x8xf32> from ["b"]
  rondo.param @q : tensor<64x64xf32> from ["q"]
  func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.linear %x, [@q] lora [#rondo.lora<@a, @b, scale = 2.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}
