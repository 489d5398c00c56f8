// RUN: rondo-opt %s -split-input-file -rondo-reroll-layers | FileCheck %s

// Tests that repeated keys become entries of their own once, and that visits of
// the same layers become the outer loop.
// CHECK: rondo.param @w layers(2) : tensor<64x64xf32> from ["0", "1"]
// CHECK-LABEL: func.func @model
// CHECK-SAME: (%[[X:.*]]: tensor
// CHECK: %[[R:.*]] = rondo.loop %[[I:.*]] to 3 carries(%[[H:.*]] = %[[X]]) : tensor<?x64xf32> {
// CHECK-NEXT: %[[L:.*]] = rondo.loop %[[J:.*]] to 2 carries(%[[G:.*]] = %[[H]]) : tensor<?x64xf32> {
// CHECK-NEXT: %[[Y:.*]] = rondo.apply @b(%[[G]]) at(%[[I]], %[[J]]) layer(d1) side(d0) slot(d0 * 2 + d1)
// CHECK-NEXT: rondo.yield %[[Y]]
// CHECK: rondo.yield %[[L]]
// CHECK: return %[[R]]
rondo.param @w layers(6) : tensor<64x64xf32> from ["0", "1", "0", "1", "0", "1"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.append %y, %y cache(0) heads(2) : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = rondo.apply @b(%0) layer(1) side(0) slot(1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %2 = rondo.apply @b(%1) layer(2) side(1) slot(2) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %3 = rondo.apply @b(%2) layer(3) side(1) slot(3) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %4 = rondo.apply @b(%3) layer(4) side(2) slot(4) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %5 = rondo.apply @b(%4) layer(5) side(2) slot(5) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %5 : tensor<?x64xf32>
}

// -----

// Tests that unshared layers around the repeated ones stay outside, and that
// operations between visits are part of the window.
// CHECK-LABEL: func.func @model
// CHECK-SAME: (%[[X:.*]]: tensor
// CHECK-NEXT: %[[P:.*]] = rondo.apply @b(%[[X]]) layer(0)
// CHECK-NEXT: %[[R:.*]] = rondo.loop %[[I:.*]] to 2 carries(%[[H:.*]] = %[[P]])
// CHECK-NEXT: %[[A:.*]] = rondo.apply @b(%[[H]]) at(%[[I]]) layer(1) side(0) slot(d0 + 1)
// CHECK-NEXT: %[[N:.*]] = rondo.norm rms %[[A]]
// CHECK-NEXT: %[[S:.*]] = arith.addf %[[N]], %[[X]]
// CHECK-NEXT: rondo.yield %[[S]]
// CHECK: rondo.apply @b(%[[R]]) layer(2)
rondo.param @w layers(3) : tensor<64x64xf32> from ["0", "1", "2"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = rondo.apply @b(%0) layer(1) side(0) slot(1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %2 = rondo.norm rms %1 eps 1.0e-5 : tensor<?x64xf32>
  %3 = arith.addf %2, %x : tensor<?x64xf32>
  %4 = rondo.apply @b(%3) layer(1) side(0) slot(2) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %5 = rondo.norm rms %4 eps 1.0e-5 : tensor<?x64xf32>
  %6 = arith.addf %5, %x : tensor<?x64xf32>
  %7 = rondo.apply @b(%6) layer(2) side(0) slot(3) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %7 : tensor<?x64xf32>
}

// -----

// Tests that two carried values, one read after the loop alone, are carried.
// CHECK-LABEL: func.func @model
// CHECK: %[[R:.*]]:2 = rondo.loop %{{.*}} to 2 carries(%[[A:.*]] = %{{.*}}, %[[B:.*]] = %{{.*}}) : tensor<?x64xf32>, tensor<?x64xf32> {
// CHECK-NEXT: %[[Z:.*]]:2 = rondo.apply @b(%[[A]], %[[B]])
// CHECK-NEXT: rondo.yield %[[Z]]#1, %[[Z]]#0
// CHECK: return %[[R]]#1, %[[R]]#0
rondo.block @b(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  rondo.yield %x, %y : tensor<?x64xf32>, tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %0:2 = rondo.apply @b(%x, %y) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  %1:2 = rondo.apply @b(%0#1, %0#0) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  return %1#0, %1#1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Tests that layers repeated in place become an inner loop.
// CHECK: rondo.param @w layers(2) : tensor<64x64xf32> from ["0", "1"]
// CHECK-LABEL: func.func @model
// CHECK: rondo.loop %[[I:.*]] to 2 carries
// CHECK-NEXT: %{{.*}} = rondo.loop %[[J:.*]] to 2 carries(%[[H:.*]] = %{{.*}})
// CHECK-NEXT: %{{.*}} = rondo.apply @b(%[[H]]) at(%[[I]], %[[J]]) layer(d0) side(0) slot(d0 * 2 + d1)
rondo.param @w layers(4) : tensor<64x64xf32> from ["0", "0", "1", "1"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = rondo.apply @b(%0) layer(1) side(0) slot(1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %2 = rondo.apply @b(%1) layer(2) side(0) slot(2) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %3 = rondo.apply @b(%2) layer(3) side(0) slot(3) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %3 : tensor<?x64xf32>
}

// -----

// Tests that the layer map of an existing loop is composed with the entry map.
// CHECK: rondo.param @w layers(2) : tensor<64x64xf32> from ["0", "1"]
// CHECK: rondo.apply @b(%{{.*}}) at(%{{.*}}) layer(d0 mod 2) side(0) slot(d0)
rondo.param @w layers(4) : tensor<64x64xf32> from ["0", "1", "0", "1"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %r = rondo.loop %d to 4 carries(%h = %x) : tensor<?x64xf32> {
    %0 = rondo.apply @b(%h) at(%d) layer(d0) side(0) slot(d0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    rondo.yield %0 : tensor<?x64xf32>
  }
  return %r : tensor<?x64xf32>
}
