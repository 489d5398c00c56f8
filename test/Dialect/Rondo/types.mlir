// RUN: rondo-opt %s -verify-roundtrip | FileCheck %s

// Tests that the block types are element types of parameters.

// CHECK: rondo.param @a : tensor<8x64x!rondo.q8_0> from ["a"]
rondo.param @a : tensor<8x64x!rondo.q8_0> from ["a"]
// CHECK: rondo.param @b : tensor<8x64x!rondo.q4_0> from ["b"]
rondo.param @b : tensor<8x64x!rondo.q4_0> from ["b"]
// CHECK: rondo.param @c : tensor<8x64x!rondo.q4_1> from ["c"]
rondo.param @c : tensor<8x64x!rondo.q4_1> from ["c"]

// Tests that enum attributes print as attributes elsewhere.
// CHECK: #rondo<arithmetic int8_dynamic>
module attributes {test.mode = #rondo<arithmetic int8_dynamic>} {}
