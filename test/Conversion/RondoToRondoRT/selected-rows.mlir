// RUN: rondo-opt %s -split-input-file -convert-rondo-to-rondo-rt | FileCheck %s

// Tests that what is computed from selected rows is marked, the merge that ends
// them too, and that the module says which state has the records of the loop.

// CHECK-LABEL: module
// CHECK-SAME: rondo_rt.routing = {first_visit = 0 : i64, scope = "cohort", state = [[STATE:[0-9]+]] : i64, visits = 3 : i64}
// CHECK: rondo_rt.body @prelude prelude 0
// CHECK-NOT: selected
// CHECK: rondo_rt.body @enter_body block {{[0-9]+}} caches(0) inputs {{.*}} outputs [{{[0-9]+}}, [[STATE]]] {
// CHECK: rondo.select_rows
// CHECK: rondo_rt.body @layer_body block {{[0-9]+}} caches(1) {{.*}} selected {
// CHECK: rondo.attend
// CHECK: rondo_rt.body @leave_body
// CHECK-NOT: selected
// CHECK: rondo.merge_rows add selected
// CHECK: rondo_rt.body @coda coda 0
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.param @router layers(1) depths(3) : tensor<1x64xf32> from ["r.0", "r.1", "r.2"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> (tensor<?x64xf32>, tensor<?x4xf32>) {
  %s = rondo.linear %x, [@router] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x1xf32>
  %n = rondo.route top_k %s, %r sigmoid alpha 0.1 capacities [1.0, 0.5, 0.25] : tensor<?x1xf32>, tensor<?x4xf32>
  %y = rondo.select_rows %x by %n places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y, %n : tensor<?x64xf32>, tensor<?x4xf32>
}
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  %a = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  rondo.yield %a : tensor<?x64xf32>
}
rondo.block @leave(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %z = rondo.merge_rows add %y into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %z : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [-1.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y:2 = rondo.loop %d to 3 carries(%h = %x, %q = %r) : tensor<?x64xf32>, tensor<?x4xf32> {
    %e:2 = rondo.apply @enter(%h, %q) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> (tensor<?x64xf32>, tensor<?x4xf32>)
    %z = rondo.loop %l to 2 carries(%g = %e#0) : tensor<?x64xf32> {
      %a = rondo.apply @layer(%g) at(%d, %l) layer(d1) side(d0) slot(d0 * 2 + d1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %a : tensor<?x64xf32>
    }
    %m = rondo.apply @leave(%z, %h, %e#1) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
    rondo.yield %m, %e#1 : tensor<?x64xf32>, tensor<?x4xf32>
  }
  %l = rondo.linear %y#0, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests rows that choose their depth by themselves, in front of the loop and
// behind other executions; and that a merge of all rows is not marked.

// CHECK-LABEL: module
// CHECK-SAME: rondo_rt.routing = {first_visit = [[FIRST:[0-9]+]] : i64, scope = "row", state = [[STATE:[0-9]+]] : i64, visits = 2 : i64}
// CHECK: rondo_rt.schedule bodies [0, 1, 2, 3, 4, 5, 6, 4, 5, 6] {{.*}} visits [0, 1, 2, 3, 4, 7, 10]
// CHECK: rondo_rt.body @layer_body block 0 caches(0) inputs [0] outputs [0] {
// CHECK: rondo_rt.body @enter_body block [[FIRST]] caches(0) inputs [{{[0-9]+}}, [[STATE]]] outputs [{{[0-9]+}}] {
// CHECK: rondo_rt.body @routed_body block {{[0-9]+}} caches(0) {{.*}} selected {
// CHECK: rondo.merge_rows replace selected
// CHECK: rondo_rt.body @coda
// CHECK: rondo.merge_rows add %
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.param @router : tensor<2x64xf32> from ["r"]
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  rondo.yield %n : tensor<?x64xf32>
}
rondo.block @choose(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %s = rondo.linear %x, [@router] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x2xf32>
  %n = rondo.route choice %s, %r softmax alpha 1.0 : tensor<?x2xf32>, tensor<?x4xf32>
  rondo.yield %n : tensor<?x4xf32>
}
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places kept : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
rondo.block @routed(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  rondo.yield %n : tensor<?x64xf32>
}
rondo.block @leave(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %z = rondo.merge_rows replace %y into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %z : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %e = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %x = rondo.loop %p to 1 carries(%h = %e) : tensor<?x64xf32> {
    %a = rondo.apply @layer(%h) at(%p) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    rondo.yield %a : tensor<?x64xf32>
  }
  %f = rondo.fill [-1.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %r = rondo.apply @choose(%x, %f) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    %s = rondo.apply @enter(%h, %r) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
    %a = rondo.apply @routed(%s) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %m = rondo.apply @leave(%a, %h, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
    rondo.yield %m : tensor<?x64xf32>
  }
  %z = rondo.merge_rows add %y into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}
