// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages),rondo-rt-tile-stages,rondo-rt-plan-buffers,convert-rondo-rt-to-cpu)' -o %t && FileCheck %s < %t
// RUN: FileCheck %s --check-prefix=ENTRY < %t

// Tests that bodies of selected rows run with the context of these, at its place in
// the arena, and only if there are any; that other bodies run with the context of
// the step; and that three visits have one call of each.
// ENTRY-LABEL: func.func @rondo_full(
// ENTRY-SAME: %[[STEP:[a-z0-9]+]]: !llvm.ptr
// ENTRY: scf.for
// ENTRY: scf.for
// ENTRY: scf.index_switch
// ENTRY: call @rondo_body_enter(%[[STEP]],
// ENTRY: %[[LIST:.*]] = arith.constant 40960 : i64
// ENTRY: %[[OWN:.*]] = llvm.getelementptr %{{.*}}[%[[LIST]]]
// ENTRY: %[[COUNT:.*]] = arith.extui
// ENTRY: %[[ANY:.*]] = arith.cmpi ne, %[[COUNT]],
// ENTRY-NEXT: scf.if %[[ANY]] {
// ENTRY-NEXT: call @rondo_body_layer(%[[OWN]],
// ENTRY-NEXT: }
// ENTRY: call @rondo_body_leave(%[[STEP]],
// ENTRY-NOT: call @rondo_body_{{enter|layer|leave}}
// ENTRY: call @rondo_body_coda(%[[STEP]],
// ENTRY-LABEL: func.func @rondo_prelude(
module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
rondo_rt.schedule bodies [0, 1, 2, 0, 1, 2, 0, 1, 2] layers [0, 0, 0, 0, 0, 0, 0, 0, 0] sides [0, 0, 0, 1, 0, 0, 2, 0, 0] slots [0, 0, 0, 0, 1, 0, 0, 2, 0] traces [-1, -1, -1, -1, -1, -1, -1, -1, -1] visits [0, 3, 6, 9]
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.param @q : tensor<64x64xf32> from ["q"]
rondo.param @router layers(1) depths(3) : tensor<1x64xf32> from ["r.0", "r.1", "r.2"]

rondo_rt.body @prelude prelude 0 caches(0) inputs [] outputs [0, 1] {
^bb0(%t: tensor<?xi32>):
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [-1.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  rondo_rt.return %x, %r : tensor<?x64xf32>, tensor<?x4xf32>
}

// Tests that gates are there before rows are ranked, records before one thread
// lists the rows that go on, and the list before all threads copy what they hold;
// and that a capacity is a number of f64 times the rows of the sequence.
// CHECK-LABEL: func.func private @rondo_body_enter(
// Stage "route": the gate of each row, then its rank.
// CHECK: arith.cmpf oeq
// CHECK: llvm.call %{{.*}}(%arg0, %{{.*}})
// CHECK: arith.cmpf ord
// CHECK: arith.cmpf ogt
// CHECK: arith.sitofp %{{.*}} : i64 to f64
// CHECK: arith.fptosi %{{.*}} : f64 to i64
// CHECK: llvm.call %{{.*}}(%arg0, %{{.*}})
// Stage "select_rows": the list by one thread, then the copies.
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %arg1, %{{.*}} : i64
// CHECK: scf.if %[[FIRST]]
// CHECK: arith.cmpf oge
// CHECK: llvm.call %{{.*}}(%arg0, %{{.*}})
// CHECK: scf.for
// CHECK: llvm.call %{{.*}}(%arg0, %{{.*}})
rondo_rt.body @enter block 0 caches(0) inputs [0, 1] outputs [2, 1] {
^bb0(%x: tensor<?x64xf32>, %record: tensor<?x4xf32>):
  %s = rondo.linear %x, [@router] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x1xf32>
  %n = rondo.route top_k %s, %record sigmoid alpha 0.5 capacities [1.0, 0.5, 0.25] : tensor<?x1xf32>, tensor<?x4xf32>
  %y = rondo.select_rows %x by %n places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo_rt.return %y, %n : tensor<?x64xf32>, tensor<?x4xf32>
}

rondo_rt.body @layer block 1 caches(1) inputs [2] outputs [2] selected {
^bb0(%x: tensor<?x64xf32>):
  %q = rondo.linear %x, [@q] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.append %q, %q cache(0) heads(2) : tensor<?x64xf32>
  %a = rondo.attend %q cache(0) heads(2) kv_heads(2) scale 0.25 causal : tensor<?x64xf32>
  rondo_rt.return %a : tensor<?x64xf32>
}

// Tests that a row looks its number among the selected ones up, and that a number
// which it does not have is none to read at.
// CHECK-LABEL: func.func private @rondo_body_leave(
// CHECK: %[[NONE:.*]] = arith.constant 4294967295 : i64
// CHECK-NEXT: %[[IS:.*]] = arith.cmpi ne, %{{.*}}, %[[NONE]]
// CHECK: %[[AGAIN:.*]] = arith.constant 4294967295 : i64
// CHECK-NEXT: %[[HAS:.*]] = arith.cmpi ne, %[[NUMBER:.*]], %[[AGAIN]]
// CHECK: arith.select %[[HAS]], %[[NUMBER]], %{{.*}} : i64
// CHECK: arith.select %[[IS]], %{{.*}} : vector<32xf32>
rondo_rt.body @leave block 2 caches(0) inputs [2, 0, 1] outputs [0] {
^bb0(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>, %record: tensor<?x4xf32>):
  %z = rondo.merge_rows add selected %y into %x by %record : tensor<?x64xf32>, tensor<?x4xf32>
  rondo_rt.return %z : tensor<?x64xf32>
}

rondo_rt.body @coda coda 0 caches(0) inputs [0] outputs [] {
^bb0(%x: tensor<?x64xf32>):
  %l = rondo.linear %x, [@e] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x96xf32>
  rondo_rt.return %l : tensor<?x96xf32>
}
}
