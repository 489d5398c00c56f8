// RUN: rondo-opt %s -split-input-file -rondo-hoist-depth-invariants -remarks-filter=rondo-hoist-depth-invariants -verify-diagnostics | FileCheck %s

// Tests that a carried value that is passed on is dropped, and that what reads it
// leaves the loop.
// CHECK-LABEL: func.func @injection
// CHECK-SAME: (%[[X:.*]]: tensor
// CHECK-NEXT: %[[N:.*]] = rondo.norm rms %[[X]]
// CHECK-NEXT: %[[Y:.*]] = rondo.loop %{{.*}} to 4 carries(%[[H:.*]] = %[[X]]) : tensor<?x64xf32> attributes {note = "kept"} {
// CHECK-NEXT: %[[S:.*]] = arith.addf %[[H]], %[[N]]
// CHECK-NEXT: rondo.yield %[[S]]
// CHECK: return %[[Y]], %[[X]]
func.func @injection(%x: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  // expected-remark @below {{hoisted 1 operations and dropped 1 carried values that do not change with depth}}
  %y:2 = rondo.loop %d to 4 carries(%h = %x, %e = %x) : tensor<?x64xf32>, tensor<?x64xf32> attributes {note = "kept"} {
    %n = rondo.norm rms %e eps 1.0e-5 : tensor<?x64xf32>
    %s = arith.addf %h, %n : tensor<?x64xf32>
    rondo.yield %s, %e : tensor<?x64xf32>, tensor<?x64xf32>
  }
  return %y#0, %y#1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Tests that what leaves an inner loop leaves the outer one as well.
// CHECK-LABEL: func.func @nested
// CHECK-SAME: (%[[X:.*]]: tensor
// CHECK-NEXT: %[[N:.*]] = rondo.norm rms %[[X]]
// CHECK-NEXT: %[[A:.*]] = rondo.activation silu %[[N]]
// CHECK-NEXT: rondo.loop
// CHECK-NEXT: rondo.loop
// CHECK-NEXT: arith.mulf %{{.*}}, %[[A]]
func.func @nested(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @below {{hoisted 2 operations and dropped 0 carried values}}
  %y = rondo.loop %d to 4 carries(%h = %x) : tensor<?x64xf32> {
    // expected-remark @below {{hoisted 2 operations and dropped 0 carried values}}
    %z = rondo.loop %l to 2 carries(%g = %h) : tensor<?x64xf32> {
      %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
      %a = rondo.activation silu %n : tensor<?x64xf32>
      %s = arith.mulf %g, %a : tensor<?x64xf32>
      rondo.yield %s : tensor<?x64xf32>
    }
    rondo.yield %z : tensor<?x64xf32>
  }
  return %y : tensor<?x64xf32>
}

// -----

// Tests that a loop over invariant values inside a block is treated alike.
// CHECK-LABEL: rondo.block @b
// CHECK-NEXT: rondo.norm
// CHECK-NEXT: rondo.loop
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-remark @below {{hoisted 1 operations}}
  %y = rondo.loop %d to 4 carries(%h = %x) : tensor<?x64xf32> {
    %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
    %s = arith.mulf %h, %n : tensor<?x64xf32>
    rondo.yield %s : tensor<?x64xf32>
  }
  rondo.yield %y : tensor<?x64xf32>
}

// -----

// Tests that operations that read state or have effects stay, as do carried
// values that trade places.
// CHECK-LABEL: func.func @stays
// CHECK-NEXT: %{{.*}}:2 = rondo.loop %{{.*}} to 4 carries(%[[A:.*]] = %{{.*}}, %[[B:.*]] = %{{.*}})
// CHECK-NEXT: rondo.trace
// CHECK-NEXT: rondo.apply
// CHECK-NEXT: rondo.norm rms %[[A]]
// CHECK-NEXT: rondo.yield %[[B]], %[[A]]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @stays(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y:2 = rondo.loop %d to 4 carries(%a = %x, %b = %x) : tensor<?x64xf32>, tensor<?x64xf32> {
    rondo.trace "x" %x : tensor<?x64xf32>
    %z = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %n = rondo.norm rms %a eps 1.0e-5 : tensor<?x64xf32>
    rondo.yield %b, %a : tensor<?x64xf32>, tensor<?x64xf32>
  }
  return %y#0 : tensor<?x64xf32>
}
