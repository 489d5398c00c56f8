// RUN: rondo-opt %s -canonicalize -cse | FileCheck %s

// Tests that operations whose results nobody reads go if they are pure, and that
// those with effects stay.
// CHECK-LABEL: rondo.block @b
// CHECK-NOT: rondo.linear
// CHECK-NOT: rondo.attend
// CHECK: rondo.append
// CHECK-NEXT: rondo.trace
// CHECK-NEXT: rondo.yield
rondo.param @w : tensor<64x64xf32> from ["w"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  %z = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  rondo.trace "hidden" %x : tensor<?x64xf32>
  rondo.yield %x : tensor<?x64xf32>
}

// Tests that an attend is not shared across an append, a norm is.
// CHECK-LABEL: rondo.block @ordered
// CHECK: rondo.norm
// CHECK-NOT: rondo.norm
// CHECK: rondo.attend
// CHECK-NEXT: rondo.append
// CHECK-NEXT: rondo.attend
rondo.block @ordered(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  %m = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  %y = rondo.attend %m cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  rondo.append %n, %n cache(0) heads(2) : tensor<?x64xf32>
  %z = rondo.attend %n cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  %s = arith.addf %y, %z : tensor<?x64xf32>
  rondo.yield %s : tensor<?x64xf32>
}

// Tests that an execution stays, even if nobody reads its result, and that a loop
// of pure operations goes.
// CHECK-LABEL: func.func @model
// CHECK-NEXT: rondo.apply @b
// CHECK-NEXT: return
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %z = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    %n = rondo.norm rms %h eps 1.0e-5 : tensor<?x64xf32>
    rondo.yield %n : tensor<?x64xf32>
  }
  return %x : tensor<?x64xf32>
}
