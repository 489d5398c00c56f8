// Tests routing against figures computed by hand.

// RUN: %tensors write %t.weights bias=F32[3]:0,0,0.5

// Blocks that change nothing and a router that says 0: three visits with a gate of 0.1 * sigmoid(0) make 1.05^3 x of a row
// that all of them take. Of six positions the visits take 6, 4 and 2: of equal gates the lower positions.
// RUN: %tensors write %t.in x=F32[6,1]:1,2,3,4,5,6 s=F32[6,1]:0,0,0,0,0,0
// RUN: rondo-interp %s --archive=%t.weights --inputs=%t.in --outputs=%t.out --entry=equal && %tensors print %t.out | FileCheck %s --check-prefix=EQUAL
// EQUAL: 0 F64 [6, 1] 1.15762 2.31525 3.3075 4.41 5.25 6.3
// EQUAL: depth I64 [6] 2 2 1 1 0 0

// The largest scores of each sequence: of four positions 4, 2 and 1, and a sequence of one always goes on. The record
// shows who was a candidate.
// RUN: %tensors write %t.in x=F32[5,1]:1,1,1,1,1 s=F32[5,1]:-1,3,1,2,-5 sequences=I64[5]:0,0,0,0,1
// RUN: rondo-interp %s --archive=%t.weights --inputs=%t.in --outputs=%t.out --entry=equal && %tensors print %t.out | FileCheck %s --check-prefix=LARGEST
// LARGEST: depth I64 [5] 0 2 0 1 2
// LARGEST: score.0 F64 [5] -1 3 1 2 -5
// LARGEST: score.1 F64 [5] -1 3 1 2 -5
// LARGEST: score.2 F64 [5] nan 3 nan 2 -5
// LARGEST: taken.2 F64 [5] 0 1 0 0 1

// A threshold lets a row by itself: all rows run the first visit, those whose score is not negative all three.
// RUN: %tensors write %t.in x=F32[3,1]:1,1,1 s=F32[3,1]:-1,0,2
// RUN: rondo-interp %s --archive=%t.weights --inputs=%t.in --outputs=%t.out --entry=threshold && %tensors print %t.out | FileCheck %s --check-prefix=THRESHOLD
// THRESHOLD: depth I64 [3] 0 2 2

// Equal scores for three depths choose the first, whose weight is a third: x + x / 3. A bias decides, but is no part of
// the weight. With a larger score for the second depth that is chosen.
// RUN: %tensors write %t.in x=F32[2,1]:3,3 s=F32[2,3]:0,0,0,0,1,0
// RUN: rondo-interp %s --archive=%t.weights --inputs=%t.in --outputs=%t.out --entry=choice && %tensors print %t.out | FileCheck %s --check-prefix=CHOICE
// CHOICE: 0 F64 [2, 1] 4 4.72{{[0-9]*}}
// CHOICE: biased F64 [2, 4] 2 0.33{{[0-9]*}} 0 1 2 0.21{{[0-9]*}} 0 1
// CHOICE: depth I64 [2] 0 1

// Selected rows attend to those of their visit alone, at their own positions: of three positions the second visit has
// the first and the last, so that the last one sees two keys, not three.
// RUN: %tensors write %t.in x=F32[3,2]:0,1,0,10,0,100 s=F32[3,1]:1,-1,1
// RUN: rondo-interp %s --archive=%t.weights --inputs=%t.in --outputs=%t.out --entry=attended && %tensors print %t.out | FileCheck %s --check-prefix=ATTENDED
// ATTENDED: 0 F64 [3, 2] 0 1 0 5.5 0 {{19.0|19|18.9}}

rondo.param @bias : tensor<3xf32> from ["bias"]

rondo.block @enter(%x: tensor<?x1xf32>, %s: tensor<?x1xf32>, %r: tensor<?x4xf32>) -> (tensor<?x1xf32>, tensor<?x4xf32>) {
  %n = rondo.route top_k %s, %r sigmoid alpha 0.1 capacities [1.0, 0.66666666666666663, 0.33333333333333331] : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.trace "score" %n as present column(2) : tensor<?x4xf32>
  rondo.trace "taken" %n as positions column(3) : tensor<?x4xf32>
  %y = rondo.select_rows %x by %n places dense : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.yield %y, %n : tensor<?x1xf32>, tensor<?x4xf32>
}
rondo.block @pass(%s: tensor<?x1xf32>, %x: tensor<?x1xf32>, %r: tensor<?x4xf32>) -> (tensor<?x1xf32>, tensor<?x4xf32>) {
  %n = rondo.route threshold %s, %r sigmoid alpha 0.1 additive threshold 0.0 : tensor<?x1xf32>, tensor<?x4xf32>
  %y = rondo.select_rows %x by %n places kept : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.yield %y, %n : tensor<?x1xf32>, tensor<?x4xf32>
}
rondo.block @leave(%y: tensor<?x1xf32>, %x: tensor<?x1xf32>, %r: tensor<?x4xf32>) -> tensor<?x1xf32> {
  %z = rondo.merge_rows add %y into %x by %r : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.yield %z : tensor<?x1xf32>
}

func.func @equal(%x: tensor<?x1xf32>, %s: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %r0 = rondo.fill [-1.0, 0.0, 0.0, 0.0] like %x : tensor<?x1xf32> -> tensor<?x4xf32>
  %l:2 = rondo.loop %d to 3 carries(%h = %x, %r = %r0) : tensor<?x1xf32>, tensor<?x4xf32> {
    %y:2 = rondo.apply @enter(%h, %s, %r) at(%d) layer(0) side(d0) slot(0) : (tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x4xf32>) -> (tensor<?x1xf32>, tensor<?x4xf32>)
    %z = rondo.apply @leave(%y#0, %h, %y#1) layer(0) side(0) slot(0) : (tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x4xf32>) -> tensor<?x1xf32>
    rondo.yield %z, %y#1 : tensor<?x1xf32>, tensor<?x4xf32>
  }
  rondo.trace single "depth" %l#1 as integers : tensor<?x4xf32>
  return %l#0 : tensor<?x1xf32>
}

func.func @threshold(%x: tensor<?x1xf32>, %s: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %r0 = rondo.fill [-1.0, 0.0, 0.0, 0.0] like %x : tensor<?x1xf32> -> tensor<?x4xf32>
  %l:2 = rondo.loop %d to 3 carries(%h = %x, %r = %r0) : tensor<?x1xf32>, tensor<?x4xf32> {
    %y:2 = rondo.apply @pass(%s, %h, %r) at(%d) layer(0) side(d0) slot(0) : (tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x4xf32>) -> (tensor<?x1xf32>, tensor<?x4xf32>)
    %z = rondo.apply @leave(%y#0, %h, %y#1) layer(0) side(0) slot(0) : (tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x4xf32>) -> tensor<?x1xf32>
    rondo.yield %z, %y#1 : tensor<?x1xf32>, tensor<?x4xf32>
  }
  rondo.trace single "depth" %l#1 as integers : tensor<?x4xf32>
  return %l#0 : tensor<?x1xf32>
}

rondo.block @choose(%s: tensor<?x3xf32>, %r: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %n = rondo.route choice %s, %r softmax alpha 1.0 : tensor<?x3xf32>, tensor<?x4xf32>
  %b = rondo.route choice %s, %r softmax alpha 1.0 biases @bias : tensor<?x3xf32>, tensor<?x4xf32>
  rondo.yield %n, %b : tensor<?x4xf32>, tensor<?x4xf32>
}
func.func @choice(%x: tensor<?x1xf32>, %s: tensor<?x3xf32>) -> tensor<?x1xf32> {
  %r0 = rondo.fill [-1.0, 0.0, 0.0, 0.0] like %x : tensor<?x1xf32> -> tensor<?x4xf32>
  %r:2 = rondo.apply @choose(%s, %r0) layer(0) side(0) slot(0) : (tensor<?x3xf32>, tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>)
  rondo.trace single "biased" %r#1 : tensor<?x4xf32>
  rondo.trace single "depth" %r#0 as integers : tensor<?x4xf32>
  %y = rondo.merge_rows add %x into %x by %r#0 : tensor<?x1xf32>, tensor<?x4xf32>
  return %y : tensor<?x1xf32>
}

rondo.block @go(%x: tensor<?x2xf32>, %s: tensor<?x1xf32>, %r: tensor<?x4xf32>) -> (tensor<?x2xf32>, tensor<?x4xf32>) {
  %n = rondo.route threshold %s, %r identity alpha 1.0 additive threshold 0.0 : tensor<?x1xf32>, tensor<?x4xf32>
  %y = rondo.select_rows %x by %n places dense : tensor<?x2xf32>, tensor<?x4xf32>
  rondo.yield %y, %n : tensor<?x2xf32>, tensor<?x4xf32>
}
rondo.block @layer(%x: tensor<?x2xf32>) -> tensor<?x2xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(1) : tensor<?x2xf32>
  %zero = arith.subf %x, %x : tensor<?x2xf32>
  %y = rondo.attend %zero cache(0) heads(1) kv_heads(1) scale 1.0 causal : tensor<?x2xf32>
  rondo.yield %y : tensor<?x2xf32>
}
rondo.block @put(%y: tensor<?x2xf32>, %x: tensor<?x2xf32>, %r: tensor<?x4xf32>) -> tensor<?x2xf32> {
  %z = rondo.merge_rows replace %y into %x by %r : tensor<?x2xf32>, tensor<?x4xf32>
  rondo.yield %z : tensor<?x2xf32>
}
func.func @attended(%x: tensor<?x2xf32>, %s: tensor<?x1xf32>) -> tensor<?x2xf32> {
  %r0 = rondo.fill [-1.0, 0.0, 0.0, 0.0] like %x : tensor<?x2xf32> -> tensor<?x4xf32>
  %l:2 = rondo.loop %d to 2 carries(%h = %x, %r = %r0) : tensor<?x2xf32>, tensor<?x4xf32> {
    %y:2 = rondo.apply @go(%h, %s, %r) at(%d) layer(0) side(d0) slot(0) : (tensor<?x2xf32>, tensor<?x1xf32>, tensor<?x4xf32>) -> (tensor<?x2xf32>, tensor<?x4xf32>)
    %z = rondo.apply @layer(%y#0) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x2xf32>) -> tensor<?x2xf32>
    %p = rondo.apply @put(%z, %h, %y#1) layer(0) side(0) slot(0) : (tensor<?x2xf32>, tensor<?x2xf32>, tensor<?x4xf32>) -> tensor<?x2xf32>
    rondo.yield %p, %y#1 : tensor<?x2xf32>, tensor<?x4xf32>
  }
  return %l#0 : tensor<?x2xf32>
}
