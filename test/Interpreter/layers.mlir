// Tests the operations of layers against figures computed by hand.

// RUN: %tensors write %t.weights table=F32[3,2]:1,2,3,4,5,6 w=F32[2,3]:1,2,3,-1,0,1 b=F32[2]:10,20 v=F32[1,3]:2,2,2 \
// RUN:   scale=F32[2]:2,10 gain=F32[2]:3,6 shift=F32[2]:1,1 \
// RUN:   a=F32[1,3]:1,0,2 down=F32[2,1]:1,-1
// RUN: %tensors write %t.tokens tokens=I32[2]:2,0
// RUN: %tensors write %t.x2 x=F32[2,2]:3,4,1,5
// RUN: %tensors write %t.x3 x=F32[2,3]:1,1,1,0,2,0.5
// RUN: %tensors write %t.x4 x=F32[1,4]:3,4,-4,3
// RUN: %tensors write %t.x6 x=F32[2,6]:1,2,3,4,5,6,1,2,3,4,5,6
// RUN: %tensors write %t.x8 x=F32[1,8]:1,2,3,4,5,6,7,8 positions=I32[1]:1

// DEFINE: %{entry} =
// DEFINE: %{in} =
// DEFINE: %{run} = rondo-interp %s --archive=%t.weights --inputs=%t.%{in} --outputs=%t.out --entry=%{entry} && %tensors print %t.out

rondo.param @table : tensor<3x2xf32> from ["table"]
rondo.param @w : tensor<2x3xf32> from ["w"]
rondo.param @b : tensor<2xf32> from ["b"]
rondo.param @v : tensor<1x3xf32> from ["v"]
rondo.param @scale : tensor<2xf32> from ["scale"]
rondo.param @gain : tensor<2xf32> from ["gain"]
rondo.param @shift : tensor<2xf32> from ["shift"]
rondo.param @a : tensor<1x3xf32> from ["a"]
rondo.param @down : tensor<2x1xf32> from ["down"]

// 0.5 * (5, 6) and 0.5 * (1, 2).
// REDEFINE: %{entry} = embed
// REDEFINE: %{in} = tokens
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=EMBED
// EMBED: 0 F64 [2, 2] 2.5 3 0.5 1
func.func @embed(%t: tensor<?xi32>) -> tensor<?x2xf32> {
  %y = rondo.embed %t, @table scale 0.5 : tensor<?xi32> -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// Two matrices, the first with a bias.
// REDEFINE: %{entry} = linear
// REDEFINE: %{in} = x3
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=LINEAR
// LINEAR: 0 F64 [2, 2] 16 20 15.5 20.5
// LINEAR: 1 F64 [2, 1] 6 5
func.func @linear(%x: tensor<?x3xf32>) -> (tensor<?x2xf32>, tensor<?x1xf32>) {
  %y, %z = rondo.linear %x, [@w, @v] bias [@b, unit] : tensor<?x3xf32> -> tensor<?x2xf32>, tensor<?x1xf32>
  return %y, %z : tensor<?x2xf32>, tensor<?x1xf32>
}

// The same with a low-rank delta of the first: 0.5 * (3, 1) times (1, -1).
// REDEFINE: %{entry} = lora
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=LORA
// LORA: 0 F64 [2, 2] 17.5 18.5 16 20
// LORA: 1 F64 [2, 1] 6 5
func.func @lora(%x: tensor<?x3xf32>) -> (tensor<?x2xf32>, tensor<?x1xf32>) {
  %y, %z = rondo.linear %x, [@w, @v] bias [@b, unit] lora [#rondo.lora<@a, @down, scale = 0.5 : f32>, unit]
    : tensor<?x3xf32> -> tensor<?x2xf32>, tensor<?x1xf32>
  return %y, %z : tensor<?x2xf32>, tensor<?x1xf32>
}

// REDEFINE: %{entry} = scales
// REDEFINE: %{in} = x2
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=SCALE
// SCALE: 0 F64 [2, 2] 3 20 1 25
// SCALE: 1 F64 [2, 2] 6 40 2 50
// SCALE: 2 F64 [2, 2] 1.5 2 0.5 2.5
func.func @scales(%x: tensor<?x2xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>) {
  %0 = rondo.scale %x, @scale by 0.5 : tensor<?x2xf32>
  %1 = rondo.scale %x, @scale : tensor<?x2xf32>
  %2 = rondo.scale %x by 0.5 : tensor<?x2xf32>
  return %0, %1, %2 : tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x2xf32>
}

// sqrt((9 + 16) / 2 + 3.5) = 4; the second row is divided by sqrt(13 + 3.5).
// REDEFINE: %{entry} = rms
// REDEFINE: %{in} = x2
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=RMS
// RMS: 0 F64 [2, 2] 1.5 10 0.492366 12.3091
func.func @rms(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %y = rondo.norm rms %x, @scale eps 3.5 : tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// Without a weight, each head by itself: (3, 4) / 4 and (-4, 3) / 4.
// REDEFINE: %{entry} = heads
// REDEFINE: %{in} = x4
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=HEADS
// HEADS: 0 F64 [1, 4] 0.75 1 -1 0.75
func.func @heads(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %y = rondo.norm rms %x eps 3.5 heads(2) : tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// (3, 4) becomes (-0.5, 0.5) / sqrt(0.25 + 5) * (3, 6) + 1, and (1, 5) becomes (-2, 2) / sqrt(4 + 5) * (3, 6) + 1.
// REDEFINE: %{entry} = layer
// REDEFINE: %{in} = x2
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=LAYER
// LAYER: 0 F64 [2, 2] 0.345346 2.30931 -1 5
func.func @layer(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %y = rondo.norm layer %x, @gain bias @shift eps 5.0 : tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// REDEFINE: %{entry} = activation
// REDEFINE: %{in} = x
// RUN: %tensors write %t.x x=F32[1,3]:0,1,-2
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=ACTIVATION
// ACTIVATION: 0 F64 [1, 3] 0 0.731059 -0.238406
// ACTIVATION: 1 F64 [1, 3] 0.5 0.731059 0.119203
// ACTIVATION: 2 F64 [1, 3] 0 0.841345 -0.0455
// ACTIVATION: 3 F64 [1, 3] 0 0.841192 -0.045402
// ACTIVATION: 4 F64 [1, 3] 0 1 0
// ACTIVATION: 5 F64 [1, 3] 0 0.761594 -0.964028
func.func @activation(%x: tensor<?x3xf32>) -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>) {
  %0 = rondo.activation silu %x : tensor<?x3xf32>
  %1 = rondo.activation sigmoid %x : tensor<?x3xf32>
  %2 = rondo.activation gelu %x : tensor<?x3xf32>
  %3 = rondo.activation gelu_tanh %x : tensor<?x3xf32>
  %4 = rondo.activation relu %x : tensor<?x3xf32>
  %5 = rondo.activation tanh %x : tensor<?x3xf32>
  return %0, %1, %2, %3, %4, %5 : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>
}

// Position 1 turns the pairs (1, 3) and (5, 7) by a quarter, (2, 4) and (6, 8) by a half.
// REDEFINE: %{entry} = rope_half
// REDEFINE: %{in} = x8
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=HALF
// HALF: 0 F64 [1, 8] -3 -2 1 -4 -7 -6 5 -8
func.func @rope_half(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = rondo.rope half %x heads(2) frequencies [1.5707963267948966, 3.1415926535897932] : tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// Position 0 turns nothing; what is behind the pairs passes through.
// REDEFINE: %{entry} = rope_interleaved
// REDEFINE: %{in} = x6
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=INTERLEAVED
// INTERLEAVED: 0 F64 [2, 6] 1 2 3 4 5 6 -2 1 -3 -4 5 6
func.func @rope_interleaved(%x: tensor<?x6xf32>) -> tensor<?x6xf32> {
  %y = rondo.rope interleaved %x heads(1) frequencies [1.5707963267948966, 3.1415926535897932] : tensor<?x6xf32>
  return %y : tensor<?x6xf32>
}
