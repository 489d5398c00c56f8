// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages))' | FileCheck %s --check-prefix=STAGES
// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages),rondo-rt-tile-stages)' | FileCheck %s --check-prefix=TILED
// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages),rondo-rt-tile-stages,rondo-rt-plan-buffers)' | FileCheck %s --check-prefix=BUFFERS

// Tests that the list of selected rows has a place behind the states: a context,
// 64 descriptors, and two numbers for each row.
// BUFFERS: rondo_rt.selection = 40960 : i64
module attributes {
  rondo.options = {context = 256 : i64, sequences = 4 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {

rondo_rt.schedule bodies [0, 1, 2] layers [0, 0, 0] sides [0, 0, 0] slots [0, 0, 0] traces [0, 0, 0] visits [0, 3]
rondo.param @router : tensor<1x64xf32> from ["router"]
rondo.param @choice : tensor<3x64xf32> from ["choice"]
rondo.param @bias : tensor<3xf32> from ["bias"]

// Tests that routing and selecting are stages of their own, that a trace point of
// one column moves it to the front, and that gates which all threads read have
// bytes of the arena.
// STAGES-LABEL: rondo_rt.body @enter
// STAGES: rondo_rt.stage "router"
// STAGES: rondo_rt.stage "route"
// STAGES-NEXT: rondo.route top_k
// STAGES-NEXT: rondo_rt.yield
// STAGES: rondo_rt.stage "trace"
// STAGES: rondo_rt.stage "select_rows"
// STAGES-NEXT: rondo.select_rows
// STAGES-NEXT: rondo_rt.yield
// TILED-LABEL: rondo_rt.body @enter
// TILED: %[[S:.*]] = rondo_rt.stage "router"
// TILED: %[[N:.*]] = rondo_rt.stage "route"
// TILED-NEXT: rondo_rt.route top_k %[[S]], %{{.*}} columns(1) sigmoid alpha 5.000000e-01 capacities [1.000000e+00, 5.000000e-01] : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
// TILED: %[[C:.*]] = rondo_rt.load %[[N]]
// TILED-NEXT: %[[F:.*]] = vector.shuffle %[[C]], %[[C]] [3, 4,
// TILED-NEXT: rondo_rt.trace %[[F]] point(0) width(1)
// TILED: rondo_rt.select_rows %{{.*}} by %[[N]] places dense : tensor<?x64xf32>, tensor<?x32xf32> -> tensor<?x64xf32>
// BUFFERS-LABEL: rondo_rt.body @enter
// BUFFERS: rondo_rt.route top_k %{{.*}}, %{{.*}} into %[[N:.*]] columns(1) {{.*}} shared({{[0-9]+}}) : memref
// BUFFERS: rondo_rt.select_rows %{{.*}} by %[[N]] into %{{.*}} places dense : memref
rondo_rt.body @enter block 0 caches(0) inputs [0, 1] outputs [2, 1] {
^bb0(%x: tensor<?x64xf32>, %record: tensor<?x4xf32>):
  %s = rondo.linear %x, [@router] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x1xf32>
  %n = rondo.route top_k %s, %record sigmoid alpha 0.5 capacities [1.0, 0.5] : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.trace "selected" %n as positions column(3) {point = 0 : i64} : tensor<?x4xf32>
  %y = rondo.select_rows %x by %n places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo_rt.return %y, %n : tensor<?x64xf32>, tensor<?x4xf32>
}

// Tests that the mark of selected rows stays.
// TILED: rondo_rt.body @layer block 1 {{.*}} selected {
// BUFFERS: rondo_rt.body @layer block 1 {{.*}} selected {
rondo_rt.body @layer block 1 caches(0) inputs [2] outputs [2] selected {
^bb0(%x: tensor<?x64xf32>):
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  rondo_rt.return %n : tensor<?x64xf32>
}

// Tests that a row reads what the selected row that it is left, and that all rows
// are updated in place, but not over the selected ones, which other rows read.
// STAGES-LABEL: rondo_rt.body @leave
// STAGES: rondo_rt.stage "merge_rows"
// TILED-LABEL: rondo_rt.body @leave
// TILED: %[[R:.*]] = rondo_rt.load %{{.*}}[%c0]
// TILED: %[[T:.*]] = rondo_rt.is_selected
// TILED: %[[Y:.*]] = rondo_rt.load_selected %arg0[%{{.*}}] : tensor<?x64xf32>
// TILED: %[[X:.*]] = rondo_rt.load %arg1
// TILED: %[[W:.*]] = vector.extract %[[R]][1]
// TILED: arith.mulf
// TILED: %[[Z:.*]] = arith.addf %[[X]]
// TILED: arith.select %[[T]], %[[Z]], %[[X]]
// BUFFERS-LABEL: rondo_rt.body @leave
// BUFFERS-DAG: %[[ROWS:.*]] = rondo_rt.buffer offset([[SELECTED:[0-9]+]])
// BUFFERS-DAG: %[[ALL:.*]] = rondo_rt.buffer offset(0) : memref<?x64xf32>
// BUFFERS: rondo_rt.load_selected %[[ROWS]]
// BUFFERS-NOT: rondo_rt.stage "copy"
rondo_rt.body @leave block 2 caches(0) inputs [2, 0, 1] outputs [0] {
^bb0(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>, %record: tensor<?x4xf32>):
  %z = rondo.merge_rows add selected %y into %x by %record : tensor<?x64xf32>, tensor<?x4xf32>
  rondo_rt.return %z : tensor<?x64xf32>
}

// Tests a choice between columns with biases, which is no matter of other rows.
// STAGES-LABEL: rondo_rt.body @choose
// STAGES: rondo_rt.stage "route"
// STAGES-NEXT: rondo.route choice
// TILED-LABEL: rondo_rt.body @choose
// TILED: rondo_rt.route choice %{{.*}}, %{{.*}} columns(3) softmax alpha 1.000000e+00 additive biases @vector.bias : tensor
// BUFFERS-LABEL: rondo_rt.body @choose
// BUFFERS: rondo_rt.route choice
rondo_rt.body @choose block 3 caches(0) inputs [0, 1] outputs [1] {
^bb0(%x: tensor<?x64xf32>, %record: tensor<?x4xf32>):
  %s = rondo.linear %x, [@choice] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x3xf32>
  %n = rondo.route choice %s, %record softmax alpha 1.0 additive biases @bias : tensor<?x3xf32>, tensor<?x4xf32>
  rondo_rt.return %n : tensor<?x4xf32>
}

// Tests that a merge of all rows asks the record whether the row was taken.
// STAGES-LABEL: rondo_rt.body @end
// STAGES: rondo_rt.stage "merge_rows"
// TILED-LABEL: rondo_rt.body @end
// TILED-NOT: selected
// TILED: %[[TAKEN:.*]] = vector.extract %{{.*}}[3]
// TILED: %[[IS:.*]] = arith.cmpf une, %[[TAKEN]]
// TILED: arith.select %[[IS]]
// TILED: rondo_rt.vector @vector.bias @bias layout <flat, 3>
rondo_rt.body @end block 4 caches(0) inputs [2, 0, 1] outputs [0] {
^bb0(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>, %record: tensor<?x4xf32>):
  %z = rondo.merge_rows replace %y into %x by %record : tensor<?x64xf32>, tensor<?x4xf32>
  rondo_rt.return %z : tensor<?x64xf32>
}
}
