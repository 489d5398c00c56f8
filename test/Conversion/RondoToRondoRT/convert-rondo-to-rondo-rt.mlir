// RUN: rondo-opt %s -split-input-file -convert-rondo-to-rondo-rt | FileCheck %s

// Tests that a nest becomes a table and its block one body; what stands between
// loops is a body too; embedding and head are prelude and coda.

// CHECK-LABEL: module
// CHECK: rondo_rt.schedule bodies [0, 0, 1, 0, 0, 1] layers [0, 1, 0, 0, 1, 0] sides [0, 0, 0, 1, 1, 0] slots [0, 1, 0, 2, 3, 0] traces [-1, -1, -1, -1, -1, -1] visits [0, 3, 6]
// CHECK: rondo_rt.body @prelude prelude 0 caches(0) inputs [] outputs [0]
// CHECK-NEXT: ^bb0(%[[T:.*]]: tensor<?xi32>):
// CHECK-NEXT: rondo.embed %[[T]], @e
// CHECK: rondo_rt.body @layer_body block 0 caches(1) inputs [0] outputs [0]
// CHECK: rondo.attend
// CHECK: rondo_rt.body @between block 1 caches(0) inputs [0] outputs [0]
// CHECK-NEXT: ^bb0
// CHECK-NEXT: rondo.norm
// CHECK: rondo_rt.body @coda coda 0 caches(0) inputs [0] outputs []
// CHECK-NEXT: ^bb0
// CHECK-NEXT: rondo.linear
// CHECK-NOT: rondo.loop
// CHECK-NOT: func.func
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  %a = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  rondo.yield %a : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    %z = rondo.loop %l to 2 carries(%g = %h) : tensor<?x64xf32> {
      %b = rondo.apply @layer(%g) at(%d, %l) layer(d1) side(d0) slot(d0 * 2 + d1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %b : tensor<?x64xf32>
    }
    %n = rondo.norm rms %z eps 1.0e-5 : tensor<?x64xf32>
    rondo.yield %n : tensor<?x64xf32>
  }
  %l = rondo.linear %y, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that two carried values that start from one value get states of their
// own, by a copy.

// CHECK-LABEL: module
// CHECK: rondo_rt.body @prelude prelude 0 caches(0) inputs [] outputs [0, 1]
// CHECK: %[[X:.*]] = rondo.embed
// CHECK: %[[A:.*]] = rondo_rt.copy %[[X]]
// CHECK-NOT: rondo_rt.copy
// CHECK: rondo_rt.return %[[X]], %[[A]]
// CHECK: rondo_rt.body @pair_body block 0 caches(0) inputs [1, 0] outputs [1, 0]
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @pair(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %s = arith.addf %a, %b : tensor<?x64xf32>
  %d = arith.subf %a, %b : tensor<?x64xf32>
  rondo.yield %s, %d : tensor<?x64xf32>, tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y:2 = rondo.loop %d to 3 carries(%a = %x, %b = %x) : tensor<?x64xf32>, tensor<?x64xf32> {
    %z:2 = rondo.apply @pair(%a, %b) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    rondo.yield %z#0, %z#1 : tensor<?x64xf32>, tensor<?x64xf32>
  }
  %s = arith.addf %y#0, %y#1 : tensor<?x64xf32>
  %l = rondo.linear %s, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that trace points are numbered: prelude, executions in order, coda.

// CHECK-LABEL: module
// CHECK-SAME: rondo_rt.trace_points = [{form = "rows", index = -1 : i64, name = "embedding", width = 64 : i64}, {form = "rows", index = 0 : i64, name = "hidden", width = 64 : i64}, {form = "rows", index = 1 : i64, name = "hidden", width = 64 : i64}, {form = "rows", index = -1 : i64, name = "final", width = 64 : i64}]
// CHECK: rondo_rt.schedule {{.*}} traces [1, 2] visits [0, 1, 2]
// CHECK: rondo.trace single "embedding" %{{.*}} {fixed, point = 0 : i64}
// CHECK: rondo.trace "hidden" %{{.*}} {point = 0 : i64}
// CHECK: rondo.trace single "final" %{{.*}} {fixed, point = 3 : i64}
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = arith.addf %x, %x : tensor<?x64xf32>
  rondo.trace "hidden" %y : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  rondo.trace single "embedding" %x : tensor<?x64xf32>
  %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    rondo.yield %z : tensor<?x64xf32>
  }
  rondo.trace single "final" %y : tensor<?x64xf32>
  %l = rondo.linear %y, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a model without loops has a prelude and a coda, and no visits.

// CHECK-LABEL: module
// CHECK: rondo_rt.schedule bodies [] layers [] sides [] slots [] traces [] visits [0]
// CHECK: rondo_rt.body @prelude
// CHECK: rondo_rt.body @coda
rondo.param @e : tensor<96x64xf32> from ["e"]
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %l = rondo.linear %x, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a module without a model is left alone.

// CHECK-LABEL: module
// CHECK: func.func @other
// CHECK-NOT: rondo_rt
func.func @other() {
  return
}

// -----

// Tests that a value of the iteration before is copied before its state is
// overwritten, and that a body without caches has no slots.

// CHECK-LABEL: module
// CHECK: rondo_rt.schedule bodies [0, 1, 2, 0, 1, 2] {{.*}} slots [0, 0, 0, 0, 0, 0]
// CHECK: rondo_rt.body @between block 0 caches(0) inputs [1] outputs [2]
// CHECK: rondo_rt.copy
// CHECK: rondo_rt.body @double_body block 1 caches(0) inputs [1] outputs [1]
// CHECK: rondo_rt.body @between_{{[0-9]+}} block 2 caches(0) inputs [2] outputs [0]
// CHECK: rondo_rt.copy
// CHECK: rondo_rt.body @coda coda 0 caches(0) inputs [1, 0] outputs []
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @double(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = arith.addf %x, %x : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y:2 = rondo.loop %d to 2 carries(%h = %x, %before = %x) : tensor<?x64xf32>, tensor<?x64xf32> {
    %z = rondo.apply @double(%h) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    rondo.yield %z, %h : tensor<?x64xf32>, tensor<?x64xf32>
  }
  %s = arith.addf %y#0, %y#1 : tensor<?x64xf32>
  %l = rondo.linear %s, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that an input is a state that no body writes before it is read, and that what reads it is no part of the prelude.

// CHECK-LABEL: module
// CHECK-SAME: rondo_rt.inputs = [{input = #rondo.input<"state", init = normal, deviation = 5.000000e-01 : f64>, state = [[STATE:[0-9]+]] : i64, width = 64 : i64}]
// CHECK: rondo_rt.body @prelude prelude 0 caches(0) inputs [] outputs [{{[0-9]+}}]
// CHECK: rondo_rt.body @between block 0 caches(0) inputs [{{[0-9]+}}, [[STATE]]]
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = arith.mulf %x, %x : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>, %s: tensor<?x64xf32> {rondo.input = #rondo.input<"state", init = normal, deviation = 0.5>}) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %h = arith.addf %x, %s : tensor<?x64xf32>
  %y = rondo.apply @b(%h) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %l = rondo.linear %y, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that names and widths of the results go to the module, that ids stay in
// the prelude, and that a result which a loop computed is copied by the coda.

// CHECK-LABEL: module attributes
// CHECK-SAME: rondo_rt.outputs = [{first = false, name = "states", width = 64 : i64}, {first = true, name = "pooled", width = 64 : i64}]
// CHECK-SAME: rondo_rt.scope = "cohort"
// CHECK: rondo_rt.body @prelude prelude 0 caches(0) inputs [] outputs [0]
// CHECK-NEXT: ^bb0(%[[T:.*]]: tensor<?xi32>):
// CHECK-NEXT: %[[I:.*]] = rondo.row_ids position
// CHECK-NEXT: rondo.embed %[[T]], @e
// CHECK-NEXT: rondo.embed %[[I]], @e
// CHECK: rondo_rt.body @coda coda 0 caches(0) inputs [0] outputs []
// CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<?x64xf32>):
// CHECK-NEXT: %[[P:.*]] = rondo.activation tanh %[[X]]
// CHECK-NEXT: %[[C:.*]] = rondo_rt.copy %[[X]]
// CHECK-NEXT: rondo_rt.return %[[C]], %[[P]]
module {
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  %a = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 full : tensor<?x64xf32>
  rondo.yield %a : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>)
    -> (tensor<?x64xf32> {rondo.output = #rondo.output<"states">},
        tensor<?x64xf32> {rondo.output = #rondo.output<"pooled", first = true>}) {
  %i = rondo.row_ids position : tensor<?xi32>
  %w = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %q = rondo.embed %i, @e : tensor<?xi32> -> tensor<?x64xf32>
  %x = arith.addf %w, %q : tensor<?x64xf32>
  %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    %z = rondo.apply @layer(%h) at(%d) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    rondo.yield %z : tensor<?x64xf32>
  }
  %p = rondo.activation tanh %y : tensor<?x64xf32>
  return %y, %p : tensor<?x64xf32>, tensor<?x64xf32>
}
}

// -----

// Tests that two inputs have states of their own, though one block reads both.

// CHECK-LABEL: module
// CHECK-SAME: rondo_rt.inputs = [{input = #rondo.input<"a", init = zeros>, state = [[A:[0-9]+]] : i64, width = 64 : i64}, {input = #rondo.input<"b", init = zeros>, state = [[B:[0-9]+]] : i64, width = 64 : i64}]
// CHECK: rondo_rt.body @prelude prelude 0 caches(0) inputs []
// CHECK: rondo_rt.body @between block 0 caches(0) inputs {{.*}}[[A]]
// CHECK: rondo_rt.copy
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = arith.mulf %x, %x : tensor<?x64xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>, %a: tensor<?x64xf32> {rondo.input = #rondo.input<"a", init = zeros>},
                 %b: tensor<?x64xf32> {rondo.input = #rondo.input<"b", init = zeros>}) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y = rondo.apply @b(%a) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %z = rondo.apply @b(%b) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %u = arith.addf %y, %z : tensor<?x64xf32>
  %v = arith.addf %x, %u : tensor<?x64xf32>
  %l = rondo.linear %v, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}
