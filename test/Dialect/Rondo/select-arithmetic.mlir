// RUN: rondo-opt %s -split-input-file -rondo-select-arithmetic | FileCheck %s

// Tests the fastest mode of each storage type; a mode that is there stays.
// CHECK-LABEL: rondo.block @fast
// CHECK-NEXT: [@f32] arithmetic(exact)
// CHECK-NEXT: [@f16] arithmetic(exact)
// CHECK-NEXT: [@bf16] arithmetic(bf16_dot)
// CHECK-NEXT: [@q8] arithmetic(int8_dynamic)
// CHECK-NEXT: [@f32, @f16] arithmetic(exact)
// CHECK-NEXT: [@bf16] arithmetic(exact)
module attributes {rondo.options = {arithmetic = "fast"}} {
  rondo.param @f32 : tensor<64x64xf32> from ["f32"]
  rondo.param @f16 : tensor<64x64xf16> from ["f16"]
  rondo.param @bf16 : tensor<64x64xbf16> from ["bf16"]
  rondo.param @q8 : tensor<64x64x!rondo.q8_0> from ["q8"]
  rondo.block @fast(%x: tensor<?x64xf32>) {
    %0 = rondo.linear %x, [@f32] : tensor<?x64xf32> -> tensor<?x64xf32>
    %1 = rondo.linear %x, [@f16] : tensor<?x64xf32> -> tensor<?x64xf32>
    %2 = rondo.linear %x, [@bf16] : tensor<?x64xf32> -> tensor<?x64xf32>
    %3 = rondo.linear %x, [@q8] : tensor<?x64xf32> -> tensor<?x64xf32>
    %4:2 = rondo.linear %x, [@f32, @f16] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
    %5 = rondo.linear %x, [@bf16] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x64xf32>
  }
}

// -----

// Tests that fast is the default.
// CHECK-LABEL: rondo.block @default
// CHECK-NEXT: [@w] arithmetic(bf16_dot)
rondo.param @w : tensor<64x64xbf16> from ["w"]
rondo.block @default(%x: tensor<?x64xf32>) {
  %0 = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
}

// -----

// Tests that exact holds for all storage types.
// CHECK-LABEL: rondo.block @exact
// CHECK-NEXT: [@bf16, @q4] arithmetic(exact)
module attributes {rondo.options = {arithmetic = "exact"}} {
  rondo.param @bf16 : tensor<64x64xbf16> from ["bf16"]
  rondo.param @q4 : tensor<64x64x!rondo.q4_1> from ["q4"]
  rondo.block @exact(%x: tensor<?x64xf32>) {
    %0:2 = rondo.linear %x, [@bf16, @q4] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
  }
}
