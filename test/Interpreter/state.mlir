// Tests loops, applies, KV caches and traces against figures computed by hand.

// RUN: %tensors write %t.weights w0=F32[1,1]:2 w1=F32[1,1]:3 b0=F32[1]:1 b1=F32[1]:10 s00=F32[1]:2 s10=F32[1]:1 s11=F32[1]:0.5

// DEFINE: %{entry} =
// DEFINE: %{in} =
// DEFINE: %{run} = rondo-interp %s --archive=%t.weights --inputs=%t.%{in} --outputs=%t.out --entry=%{entry} && %tensors print %t.out

rondo.param @w layers(2) : tensor<1x1xf32> from ["w0", "w1"]
rondo.param @b layers(2) : tensor<1xf32> from ["b0", "b1"]

rondo.block @affine(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %y = rondo.linear %x, [@w] bias [@b] : tensor<?x1xf32> -> tensor<?x1xf32>
  rondo.trace "inside" %y : tensor<?x1xf32>
  rondo.yield %y : tensor<?x1xf32>
}

// Layers 0, 1 of a loop, then the loop backwards: 1 -> 3 -> 19 -> 67 -> 135. Traces count by name.
// REDEFINE: %{entry} = layers
// REDEFINE: %{in} = one
// RUN: %tensors write %t.one x=F32[1,1]:1
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=LAYERS
// LAYERS: 0 F64 [1, 1] 135
// LAYERS-DAG: inside.0 F64 [1, 1] 3
// LAYERS-DAG: inside.1 F64 [1, 1] 19
// LAYERS-DAG: inside.2 F64 [1, 1] 67
// LAYERS-DAG: inside.3 F64 [1, 1] 135
// LAYERS-DAG: only F64 [1, 1] 135
// LAYERS-DAG: outside.0 F64 [1, 1] 19
// LAYERS-DAG: outside.1 F64 [1, 1] 135
func.func @layers(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x1xf32> {
    %z = rondo.apply @affine(%h) at(%d) layer(d0) side(0) slot(0) : (tensor<?x1xf32>) -> tensor<?x1xf32>
    rondo.yield %z : tensor<?x1xf32>
  }
  rondo.trace "outside" %y : tensor<?x1xf32>
  %r = rondo.loop %d to 2 carries(%h = %y) : tensor<?x1xf32> {
    %z = rondo.apply @affine(%h) at(%d) layer(d0 * -1 + 1) side(0) slot(0) : (tensor<?x1xf32>) -> tensor<?x1xf32>
    rondo.yield %z : tensor<?x1xf32>
  }
  rondo.trace "outside" %r : tensor<?x1xf32>
  rondo.trace single "only" %r : tensor<?x1xf32>
  return %r : tensor<?x1xf32>
}

rondo.param @s layers(2) depths(2) : tensor<1xf32> from ["s00", unit, "s10", "s11"]
rondo.block @scaled(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %y = rondo.scale %x, @s : tensor<?x1xf32>
  %z = arith.addf %x, %y : tensor<?x1xf32>
  rondo.yield %z : tensor<?x1xf32>
}

// By layer and depth x grows by 2x, 1x; then by nothing, for want of a tensor, and 0.5x: 1 -> 3 -> 6 -> 6 -> 9.
// REDEFINE: %{entry} = depths
// REDEFINE: %{in} = one
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=DEPTHS
// DEPTHS: 0 F64 [1, 1] 9
func.func @depths(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %y = rondo.loop %d to 2 carries(%g = %x) : tensor<?x1xf32> {
    %z = rondo.loop %l to 2 carries(%h = %g) : tensor<?x1xf32> {
      %w = rondo.apply @scaled(%h) at(%d, %l) layer(d1) side(d0) slot(0) : (tensor<?x1xf32>) -> tensor<?x1xf32>
      rondo.yield %w : tensor<?x1xf32>
    }
    rondo.yield %z : tensor<?x1xf32>
  }
  return %y : tensor<?x1xf32>
}

// A nest of loops swaps its two carried values 2 * 3 times, and adds 1 to one of them each time.
// REDEFINE: %{entry} = nest
// REDEFINE: %{in} = two
// RUN: %tensors write %t.two a=F32[1,1]:1 b=F32[1,1]:10
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=NEST
// NEST: 0 F64 [1, 1] 4
// NEST: 1 F64 [1, 1] 13
func.func @nest(%a: tensor<?x1xf32>, %b: tensor<?x1xf32>) -> (tensor<?x1xf32>, tensor<?x1xf32>) {
  %r:2 = rondo.loop %i to 2 carries(%c = %a, %d = %b) : tensor<?x1xf32>, tensor<?x1xf32> {
    %s:2 = rondo.loop %j to 3 carries(%e = %c, %f = %d) : tensor<?x1xf32>, tensor<?x1xf32> {
      %zero = arith.subf %e, %e : tensor<?x1xf32>
      %ones = math.exp %zero : tensor<?x1xf32>
      %g = arith.addf %e, %ones : tensor<?x1xf32>
      rondo.yield %f, %g : tensor<?x1xf32>, tensor<?x1xf32>
    }
    rondo.yield %s#0, %s#1 : tensor<?x1xf32>, tensor<?x1xf32>
  }
  return %r#0, %r#1 : tensor<?x1xf32>, tensor<?x1xf32>
}

rondo.block @attention(%q: tensor<?x2xf32>, %k: tensor<?x1xf32>, %v: tensor<?x1xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) caches(1) {
  rondo.append %k, %v cache(0) heads(1) : tensor<?x1xf32>
  %all = rondo.attend %q cache(0) heads(2) kv_heads(1) scale 0.5 causal : tensor<?x2xf32>
  %near = rondo.attend %q cache(0) heads(2) kv_heads(1) scale 0.5 causal window(2) : tensor<?x2xf32>
  rondo.yield %all, %near : tensor<?x2xf32>, tensor<?x2xf32>
}

// Rows of two sequences take turns. Head 0 asks for nothing, so it gets means; head 1 weighs a key of 1 three times as
// much as a key of 0: 0.5 * q k = ln 3. The values of sequence 0 are 1, 2, 6, its keys 0, 1, 0.
// REDEFINE: %{entry} = attend
// REDEFINE: %{in} = qkv
// RUN: %tensors write %t.qkv q=F64[5,2]:0,2.1972245773362196,0,2.1972245773362196,0,2.1972245773362196,0,2.1972245773362196,0,2.1972245773362196 \
// RUN:   k=F32[5,1]:0,0,1,1,0 v=F32[5,1]:1,10,2,20,6 sequences=I32[5]:0,4,0,4,0
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=ATTEND
// ATTEND: 0 F64 [5, 2] 1 1 10 10 1.5 1.75 15 17.5 3 2.6
// ATTEND: 1 F64 [5, 2] 1 1 10 10 1.5 1.75 15 17.5 4 3

// The same in three steps, the last row first in the file: caches live on, rows come out as they went in.
// REDEFINE: %{in} = steps
// RUN: %tensors write %t.steps q=F64[5,2]:0,2.1972245773362196,0,2.1972245773362196,0,2.1972245773362196,0,2.1972245773362196,0,2.1972245773362196 \
// RUN:   k=F32[5,1]:0,0,0,1,1 v=F32[5,1]:6,1,10,2,20 sequences=I64[5]:0,0,4,0,4 steps=I32[5]:8,-1,-1,3,3
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=STEPS
// STEPS: 0 F64 [5, 2] 3 2.6 1 1 10 10 1.5 1.75 15 17.5
// STEPS: 1 F64 [5, 2] 4 3 1 1 10 10 1.5 1.75 15 17.5

// And with positions that are told: the order of rows does not matter.
// REDEFINE: %{in} = positions
// RUN: %tensors write %t.positions q=F64[3,2]:0,2.1972245773362196,0,2.1972245773362196,0,2.1972245773362196 \
// RUN:   k=F32[3,1]:0,1,0 v=F32[3,1]:6,2,1 positions=I32[3]:2,1,0
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=POSITIONS
// POSITIONS: 0 F64 [3, 2] 3 2.6 1.5 1.75 1 1
func.func @attend(%q: tensor<?x2xf32>, %k: tensor<?x1xf32>, %v: tensor<?x1xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>) {
  %r:2 = rondo.apply @attention(%q, %k, %v) layer(0) side(0) slot(0) : (tensor<?x2xf32>, tensor<?x1xf32>, tensor<?x1xf32>) -> (tensor<?x2xf32>, tensor<?x2xf32>)
  return %r#0, %r#1 : tensor<?x2xf32>, tensor<?x2xf32>
}

rondo.block @write(%x: tensor<?x2xf32>) -> tensor<?x2xf32> caches(2) {
  %twice = arith.addf %x, %x : tensor<?x2xf32>
  rondo.append %x, %x cache(0) heads(2) : tensor<?x2xf32>
  rondo.append %x, %twice cache(1) heads(2) : tensor<?x2xf32>
  rondo.yield %twice : tensor<?x2xf32>
}
rondo.block @read(%q: tensor<?x4xf32>) -> tensor<?x4xf32> caches(1) {
  %y = rondo.attend %q cache(0) heads(4) kv_heads(2) scale 1.0 causal : tensor<?x4xf32>
  rondo.yield %y : tensor<?x4xf32>
}

// Executions own slots (0, 1) and (2, 3) and write (x, 2x) and (2x, 4x); query heads 0, 1 read KV head 0.
// REDEFINE: %{entry} = slots
// REDEFINE: %{in} = heads
// RUN: %tensors write %t.heads x=F32[1,2]:1,100 q=F32[1,4]:0,1,2,3
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=SLOTS
// SLOTS: 0 F64 [1, 4] 1 1 100 100
// SLOTS: 1 F64 [1, 4] 4 4 400 400
func.func @slots(%x: tensor<?x2xf32>, %q: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %end = rondo.loop %d to 2 carries(%h = %x) : tensor<?x2xf32> {
    %z = rondo.apply @write(%h) at(%d) layer(0) side(d0) slot(d0 * 2) : (tensor<?x2xf32>) -> tensor<?x2xf32>
    rondo.yield %z : tensor<?x2xf32>
  }
  %three = arith.constant 3 : index
  %a = rondo.apply @read(%q) layer(0) side(0) slot(0) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %b = rondo.apply @read(%q) at(%three) layer(0) side(0) slot(d0) : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %a, %b : tensor<?x4xf32>, tensor<?x4xf32>
}

// Tests that with a full mask every row sees all rows of its own sequence: values 1, 3 of sequence 0 and 10 of
// sequence 1, scores all 0. Position and type of each row are ids.
// REDEFINE: %{entry} = full
// REDEFINE: %{in} = full
// RUN: %tensors write %t.full x=F32[3,1]:1,10,3 sequences=I64[3]:0,1,0 token_types=I64[3]:1,0,2
// RUN: %{run} | FileCheck --match-full-lines %s --check-prefix=FULL
// FULL-DAG: mean F64 [3, 1] 2 10 2
// FULL-DAG: 1 I64 [3] 0 0 1
// FULL-DAG: 2 I64 [3] 1 0 2
rondo.block @whole(%x: tensor<?x1xf32>) -> tensor<?x1xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(1) : tensor<?x1xf32>
  %z = arith.subf %x, %x : tensor<?x1xf32>
  %y = rondo.attend %z cache(0) heads(1) kv_heads(1) scale 1.0 full : tensor<?x1xf32>
  rondo.yield %y : tensor<?x1xf32>
}
func.func @full(%x: tensor<?x1xf32>) -> (tensor<?x1xf32> {rondo.output = #rondo.output<"mean">}, tensor<?xi32>, tensor<?xi32>) {
  %y = rondo.apply @whole(%x) layer(0) side(0) slot(0) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %p = rondo.row_ids position : tensor<?xi32>
  %t = rondo.row_ids token_type : tensor<?xi32>
  return %y, %p, %t : tensor<?x1xf32>, tensor<?xi32>, tensor<?xi32>
}
