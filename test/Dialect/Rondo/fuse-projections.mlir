// RUN: rondo-opt %s -split-input-file -rondo-fuse-projections -remarks-filter=rondo-fuse-projections -verify-diagnostics | FileCheck %s

// Tests that linears of the same rows merge at the place of the first, in order,
// with `unit` for the bias of those that have none.
// CHECK-LABEL: rondo.block @qkv
// CHECK-NEXT: %[[QKV:.*]]:3 = rondo.linear %{{.*}}, [@q, @k, @v] bias [unit, @b, unit] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
// CHECK-NEXT: rondo.activation silu %[[QKV]]#0
// CHECK-NEXT: rondo.append %[[QKV]]#1, %[[QKV]]#2
rondo.param @q : tensor<64x64xbf16> from ["q"]
rondo.param @k : tensor<32x64xbf16> from ["k"]
rondo.param @v : tensor<32x64xbf16> from ["v"]
rondo.param @b : tensor<32xf32> from ["b"]
rondo.block @qkv(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  %q = rondo.linear %x, [@q] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>
  %a = rondo.activation silu %q : tensor<?x64xf32>
  %k = rondo.linear %x, [@k] bias [@b] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x32xf32>
  %v = rondo.linear %x, [@v] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x32xf32>
  rondo.append %k, %v cache(0) heads(2) : tensor<?x32xf32>
  rondo.yield %a : tensor<?x64xf32>
}

// -----

// Tests that linears without biases merge without.
// CHECK-LABEL: rondo.block @gate_up
// CHECK-NEXT: rondo.linear %{{.*}}, [@g, @u] : tensor
rondo.param @g : tensor<64x64xf32> from ["g"]
rondo.param @u : tensor<64x64xf32> from ["u"]
rondo.block @gate_up(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %g = rondo.linear %x, [@g] : tensor<?x64xf32> -> tensor<?x64xf32>
  %u = rondo.linear %x, [@u] : tensor<?x64xf32> -> tensor<?x64xf32>
  %y = arith.mulf %g, %u : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}

// -----

// Tests that arithmetic modes keep linears apart.
// CHECK-LABEL: rondo.block @modes
// CHECK-NEXT: rondo.linear %{{.*}}, [@g] arithmetic(bf16_dot)
// CHECK-NEXT: rondo.linear %{{.*}}, [@u] arithmetic(exact)
rondo.param @g : tensor<64x64xbf16> from ["g"]
rondo.param @u : tensor<64x64xbf16> from ["u"]
rondo.block @modes(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %g = rondo.linear %x, [@g] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>
  // expected-remark @below {{stays apart from another linear of the same rows: arithmetic modes differ}}
  %u = rondo.linear %x, [@u] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x64xf32>
  %y = arith.mulf %g, %u : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}

// -----

// Tests that storage types keep linears apart, and that a linear of several types
// stays alone.
// CHECK-LABEL: rondo.block @storage
// CHECK-NEXT: rondo.linear %{{.*}}, [@f] arithmetic(exact)
// CHECK-NEXT: rondo.linear %{{.*}}, [@h] arithmetic(exact)
// CHECK-NEXT: rondo.linear %{{.*}}, [@f, @h] arithmetic(exact)
// CHECK-NEXT: rondo.linear %{{.*}}, [@f, @h] arithmetic(exact)
rondo.param @f : tensor<64x64xf32> from ["f"]
rondo.param @h : tensor<64x64xf16> from ["h"]
rondo.block @storage(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %f = rondo.linear %x, [@f] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x64xf32>
  // expected-remark @below {{stays apart from another linear of the same rows: storage types differ}}
  %h = rondo.linear %x, [@h] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x64xf32>
  // expected-remark @below {{storage types differ}}
  %a, %b = rondo.linear %x, [@f, @h] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  // expected-remark @below {{storage types differ}}
  %c, %d = rondo.linear %x, [@f, @h] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  %y = arith.mulf %f, %h : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}

// -----

// Tests that linears of other rows, or in another region, stay.
// CHECK-LABEL: rondo.block @rows
// CHECK-NEXT: %[[G:.*]] = rondo.linear %{{.*}}, [@g] :
// CHECK-NEXT: rondo.linear %[[G]], [@g] :
// CHECK-NEXT: rondo.loop
// CHECK-NEXT: rondo.linear %{{.*}}, [@g] :
rondo.param @g : tensor<64x64xf32> from ["g"]
rondo.block @rows(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %g = rondo.linear %x, [@g] : tensor<?x64xf32> -> tensor<?x64xf32>
  %u = rondo.linear %g, [@g] : tensor<?x64xf32> -> tensor<?x64xf32>
  %l = rondo.loop %d to 2 carries(%h = %u) : tensor<?x64xf32> {
    %n = rondo.linear %x, [@g] : tensor<?x64xf32> -> tensor<?x64xf32>
    %s = arith.addf %n, %h : tensor<?x64xf32>
    rondo.yield %s : tensor<?x64xf32>
  }
  rondo.yield %l : tensor<?x64xf32>
}
