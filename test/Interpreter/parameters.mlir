// Tests storage types and arithmetic modes of parameters against figures computed by hand.

// The rows are unit vectors, so the results are the weights 1 and -0.3 as they are stored.
// RUN: %tensors write %t.weights w=F32[1,32]:1,-0.3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0 \
// RUN:   half=F16[1,32]:1,-0.3,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0 \
// RUN:   brain=BF16[1,1]:16256 large=F32[1,32]:127,127,127,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
// RUN: %tensors write %t.units x=F32[2,32]:1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
// DEFINE: %{entry} =
// DEFINE: %{in} =
// DEFINE: %{run} = rondo-interp %s --archive=%t.weights --inputs=%t.%{in} --outputs=%t.out --entry=%{entry} && %tensors print %t.out

rondo.param @w : tensor<1x32xf32> from ["w"]
rondo.param @half : tensor<1x32xf16> from ["half"]
rondo.param @f16 : tensor<1x32xf32> stored as f16 from ["w"]
rondo.param @bf16 : tensor<1x32xf32> stored as bf16 from ["w"]
rondo.param @q8_0 : tensor<1x32xf32> stored as !rondo.q8_0 from ["w"]
rondo.param @q4_0 : tensor<1x32xf32> stored as !rondo.q4_0 from ["w"]
rondo.param @q4_1 : tensor<1x32xf32> stored as !rondo.q4_1 from ["w"]
rondo.param @brain : tensor<1x1xbf16> from ["brain"]
rondo.param @large : tensor<1x32xf32> stored as !rondo.q8_0 from ["large"]

// Q8_0: codes 127 and -38 of the scale 1/127 in f16. Q4_0: codes -8 and 2 of -1/8. Q4_1: codes 15 and 0 of 1.3/15 in
// f16, with the minimum -0.3 in f16.
// REDEFINE: %{entry} = storage
// REDEFINE: %{in} = units
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=STORAGE
// STORAGE:      0 F64 [2, 1] 1 -0.3
// STORAGE-NEXT: 1 F64 [2, 1] 1 -0.300049
// STORAGE-NEXT: 2 F64 [2, 1] 1 -0.300049
// STORAGE-NEXT: 3 F64 [2, 1] 1 -0.300781
// STORAGE-NEXT: 4 F64 [2, 1] 0.999939 -0.299194
// STORAGE-NEXT: 5 F64 [2, 1] 1 -0.25
// STORAGE-NEXT: 6 F64 [2, 1] 1 -0.300049
!one = tensor<?x1xf32>
func.func @storage(%x: tensor<?x32xf32>) -> (!one, !one, !one, !one, !one, !one, !one) {
  %0:7 = rondo.linear %x, [@w, @half, @f16, @bf16, @q8_0, @q4_0, @q4_1] arithmetic(exact) : tensor<?x32xf32> -> !one, !one, !one, !one, !one, !one, !one
  return %0#0, %0#1, %0#2, %0#3, %0#4, %0#5, %0#6 : !one, !one, !one, !one, !one, !one, !one
}

// A bf16 has 8 significant bits: 1.003 and the tie 1 + 2^-8 go to 1, 1.005 to 1 + 2^-7, the tie 1 + 3 * 2^-8 to
// 1 + 2^-6.
// REDEFINE: %{entry} = bf16_dot
// REDEFINE: %{in} = near
// RUN: %tensors write %t.near x=F64[4,1]:1.003,1.00390625,1.005,1.01171875
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=BF16
// BF16: 0 F64 [4, 1] 1 1 1.00781 1.01562
func.func @bf16_dot(%x: !one) -> !one {
  %y = rondo.linear %x, [@brain] arithmetic(bf16_dot) : !one -> !one
  return %y : !one
}

// 127 and 0.4 have the scale 1 and become 127 and 0; 254 and 0.9 have the scale 2 and become 254 and 0; 254 and 1.1
// become 254 and 2. Magnitudes below 2^-120 become 0.
// REDEFINE: %{entry} = int8_dynamic
// REDEFINE: %{in} = group
// RUN: %tensors write %t.group x=F64[4,32]:127,0.4,0.4,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,254,0.9,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,254,1.1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1e-37,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=INT8
// INT8: 0 F64 [4, 1] 16129 32258 32512 0
func.func @int8_dynamic(%x: tensor<?x32xf32>) -> !one {
  %y = rondo.linear %x, [@large] arithmetic(int8_dynamic) : tensor<?x32xf32> -> !one
  return %y : !one
}
