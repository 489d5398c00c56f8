// RUN: rondo-opt %s -split-input-file -rondo-reroll-layers -remarks-filter=rondo-reroll-layers -verify-diagnostics | FileCheck %s

// Tests that executions of unlike blocks stay apart.
// CHECK-LABEL: func.func @blocks
// CHECK-NOT: rondo.loop
// CHECK: return
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.yield %x : tensor<?x64xf32>
}
rondo.block @c(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.yield %x : tensor<?x64xf32>
}
// expected-remark @below {{no window of executions repeats with layers, side indices and slots that grow by a constant}}
func.func @blocks(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = rondo.apply @c(%0) layer(0) side(0) slot(1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %1 : tensor<?x64xf32>
}

// -----

// Tests that a result that is read later, but not by the next window, keeps
// executions apart.
// CHECK-LABEL: func.func @read_later
// CHECK-NOT: rondo.loop
// CHECK: return
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
// expected-remark @below {{no window of executions repeats}}
func.func @read_later(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = rondo.apply @b(%0) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %2 = arith.addf %0, %1 : tensor<?x64xf32>
  return %2 : tensor<?x64xf32>
}

// -----

// Tests that the attributes of operations between executions are compared.
// CHECK-LABEL: func.func @attributes
// CHECK-NOT: rondo.loop
// CHECK: return
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
// expected-remark @below {{no window of executions repeats}}
func.func @attributes(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %1 = rondo.norm rms %0 eps 1.0e-5 : tensor<?x64xf32>
  %2 = rondo.apply @b(%1) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %3 = rondo.norm rms %2 eps 1.0e-6 : tensor<?x64xf32>
  return %3 : tensor<?x64xf32>
}

// -----

// Tests that parameters of one block that repeat unlike each other stay.
// CHECK: rondo.param @v layers(2) : tensor<64x64xf32> from ["0", "0"]
// expected-remark @below {{repeated entries of '@v' stay: '@w' repeats otherwise}}
rondo.param @v layers(2) : tensor<64x64xf32> from ["0", "0"]
rondo.param @w layers(2) : tensor<64x64xf32> from ["0", "1"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %v, %w = rondo.linear %x, [@v, @w] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  rondo.yield %w : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = rondo.apply @b(%x) layer(1) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Tests that entries stay where no affine map takes old layers to new ones.
// CHECK: layer(d0)
// expected-remark @below {{repeated entries of '@w' stay: no affine map takes old layers to new ones}}
rondo.param @w layers(4) : tensor<64x64xf32> from ["0", "1", "1", "0"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %w = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.yield %w : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %r = rondo.loop %d to 4 carries(%h = %x) : tensor<?x64xf32> {
    %0 = rondo.apply @b(%h) at(%d) layer(d0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    rondo.yield %0 : tensor<?x64xf32>
  }
  return %r : tensor<?x64xf32>
}
