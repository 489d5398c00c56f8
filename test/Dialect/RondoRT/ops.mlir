// RUN: rondo-opt %s | rondo-opt | FileCheck %s
// RUN: rondo-opt %s -mlir-print-op-generic | rondo-opt | FileCheck %s

// Tests that all operations round-trip, in their own form and the generic one.

// CHECK: rondo_rt.schedule bodies [0, 0] layers [0, 1] sides [0, 0] slots [0, 1] traces [-1, -1] visits [0, 2]
rondo_rt.schedule bodies [0, 0] layers [0, 1] sides [0, 0] slots [0, 1] traces [-1, -1] visits [0, 2]
// CHECK: rondo_rt.packed @w [@a, @b] rows [#rondo_rt.layout<flat, 64>, #rondo_rt.layout<rope_half, 64 heads(2) rotary(16)>] format(q4_0) k(64) layers(2) unit_panels(1) offset(64) stride(128)
rondo_rt.packed @w [@a, @b] rows [#rondo_rt.layout<flat, 64>, #rondo_rt.layout<rope_half, 64 heads(2) rotary(16)>] format(q4_0) k(64) layers(2) unit_panels(1) offset(64) stride(128)
// CHECK: rondo_rt.vector @n @norm layout <flat, 64> layers(2) repeat(2) offset(0) stride(256)
rondo_rt.vector @n @norm layout <flat, 64> layers(2) repeat(2) offset(0) stride(256)
// CHECK: rondo_rt.rope_table @r frequencies [1.000000e+00, 0.333333343] positions(16) chunks(1) offset(0)
rondo_rt.rope_table @r frequencies [1.0, 0.333333343] positions(16) chunks(1) offset(0)

// CHECK-LABEL: rondo_rt.body @tiled block 0 caches(1) inputs [0] outputs [0]
rondo_rt.body @tiled block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "s" -> tensor<?x64xf32>
  %y = rondo_rt.stage "s" -> tensor<?x64xf32> {
    // CHECK: rondo_rt.reduce layout <flat, 64>
    %s = rondo_rt.reduce layout <flat, 64> {
    ^bb0(%c: index):
      // CHECK: rondo_rt.load %{{.*}}[%{{.*}}] : tensor<?x64xf32>
      %v = rondo_rt.load %x[%c] : tensor<?x64xf32>
      rondo_rt.yield %v : vector<32xf32>
    }
    // CHECK: rondo_rt.pack layout <flat, 64> format(int8_group)
    %p = rondo_rt.pack layout <flat, 64> format(int8_group) {
    ^bb0(%c: index):
      %v = rondo_rt.load_vector @n[%c]
      rondo_rt.yield %v : vector<32xf32>
    }
    // CHECK: rondo_rt.tile units(2) panels(1) -> tensor<?x64xf32>
    %t = rondo_rt.tile units(2) panels(1) -> tensor<?x64xf32> {
    ^bb0(%u: index):
      // CHECK: rondo_rt.contract %{{.*}}, @w[0 + %{{.*}} * 2 + 1]
      %a = rondo_rt.contract %p, @w[0 + %u * 2 + 1]
      // CHECK: rondo_rt.sum_lanes
      %l = rondo_rt.sum_lanes %a
      // CHECK: rondo_rt.rotate %{{.*}}, @r[%{{.*}} * 1 + 0]
      %b = rondo_rt.rotate %a, @r[%u * 1 + 0]
      // CHECK: rondo_rt.activate silu
      %d = rondo_rt.activate silu %b
      // CHECK: rondo_rt.append key %{{.*}} cache(0) [%{{.*}} * 1 + 0]
      rondo_rt.append key %d cache(0) [%u * 1 + 0]
      // CHECK: rondo_rt.trace %{{.*}} point(1) width(64) fixed[%{{.*}}]
      rondo_rt.trace %d point(1) width(64) fixed [%u]
      rondo_rt.yield %d : vector<32xf32>
    }
    rondo_rt.yield %t : tensor<?x64xf32>
  }
  // CHECK: rondo_rt.attend %{{.*}} cache(0) heads(2) kv_heads(1) head_dim(32) scale 5.000000e-01 window(4) : tensor<?x64xf32> -> tensor<?x64xf32>
  %a = rondo_rt.stage "attend" -> tensor<?x64xf32> {
    %0 = rondo_rt.attend %y cache(0) heads(2) kv_heads(1) head_dim(32) scale 0.5 window(4) : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  // CHECK: rondo_rt.copy
  %c = rondo_rt.stage "copy" -> tensor<?x64xf32> {
    %0 = rondo_rt.copy %a : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %c : tensor<?x64xf32>
}

// CHECK-LABEL: rondo_rt.body @planned prelude 0
rondo_rt.body @planned prelude 0 caches(0) inputs [] outputs [0] {
^bb0(%t: tensor<?xi32>):
  // CHECK: rondo_rt.buffer offset(64) : memref<?x64xf32>
  %b = rondo_rt.buffer offset(64) : memref<?x64xf32>
  // CHECK: rondo_rt.buffer offset(0) logits : memref<?x96xf32>
  %l = rondo_rt.buffer offset(0) logits : memref<?x96xf32>
  rondo_rt.stage "embed" {
    // CHECK: rondo_rt.embed @w width(64) scale 1.000000e+00 into %{{.*}} : memref<?x64xf32>
    rondo_rt.embed @w width(64) scale 1.0 into %b : memref<?x64xf32>
    // CHECK: rondo_rt.embed @w by position width(64) scale 1.000000e+00 into %{{.*}} : memref<?x64xf32>
    rondo_rt.embed @w by position width(64) scale 1.0 into %b : memref<?x64xf32>
  }
  rondo_rt.stage "copy" {
    // CHECK: rondo_rt.tile units(2) panels(1) scratch(128)
    rondo_rt.tile units(2) panels(1) scratch(128) {
    ^bb0(%u: index):
      %v = rondo_rt.load %b[%u] : memref<?x64xf32>
      // CHECK: rondo_rt.store %{{.*}}, %{{.*}}[%{{.*}}] : memref<?x96xf32>
      rondo_rt.store %v, %l[%u] : memref<?x96xf32>
    }
  }
  rondo_rt.return
}

// Routing: operations of whole stages, and of tiles of all rows.
// CHECK-LABEL: rondo_rt.body @routed block 1 caches(0) inputs [0, 1] outputs [0] selected {
rondo_rt.body @routed block 1 caches(0) inputs [0, 1] outputs [0] selected {
^bb0(%x: tensor<?x64xf32>, %r: tensor<?x32xf32>):
  // CHECK: rondo_rt.route choice %{{.*}}, %{{.*}} columns(3) softmax alpha 1.000000e+00 additive biases @n : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
  %n = rondo_rt.stage "route" -> tensor<?x32xf32> {
    %0 = rondo_rt.route choice %r, %r columns(3) softmax alpha 1.0 additive biases @n : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
    rondo_rt.yield %0 : tensor<?x32xf32>
  }
  // CHECK: rondo_rt.select_rows %{{.*}} by %{{.*}} places kept : tensor<?x64xf32>, tensor<?x32xf32> -> tensor<?x64xf32>
  %y = rondo_rt.stage "select_rows" -> tensor<?x64xf32> {
    %0 = rondo_rt.select_rows %x by %n places kept : tensor<?x64xf32>, tensor<?x32xf32> -> tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  %z = rondo_rt.stage "merge_rows" -> tensor<?x64xf32> {
    %0 = rondo_rt.tile units(1) panels(2) -> tensor<?x64xf32> {
    ^bb0(%u: index):
      // CHECK: rondo_rt.is_selected
      %s = rondo_rt.is_selected
      // CHECK: rondo_rt.load_selected %{{.*}}[%{{.*}} * 2 + 1] : tensor<?x64xf32>
      %v = rondo_rt.load_selected %y[%u * 2 + 1] : tensor<?x64xf32>
      %w = arith.select %s, %v, %v : vector<32xf32>
      rondo_rt.yield %w, %w : vector<32xf32>, vector<32xf32>
    }
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %z : tensor<?x64xf32>
}

// CHECK-LABEL: rondo_rt.body @routed_buffers
rondo_rt.body @routed_buffers block 2 caches(0) inputs [0, 1] outputs [0] {
  %x = rondo_rt.buffer offset(0) : memref<?x64xf32>
  %r = rondo_rt.buffer offset(64) : memref<?x32xf32>
  rondo_rt.stage "route" {
    // CHECK: rondo_rt.route top_k %{{.*}}, %{{.*}} into %{{.*}} columns(1) tanh alpha 5.000000e-01 capacities [1.000000e+00, 5.000000e-01] shared(128) : memref<?x32xf32>, memref<?x32xf32>, memref<?x32xf32>
    rondo_rt.route top_k %r, %r into %r columns(1) tanh alpha 0.5 capacities [1.0, 0.5] shared(128) : memref<?x32xf32>, memref<?x32xf32>, memref<?x32xf32>
    // CHECK: rondo_rt.route threshold %{{.*}}, %{{.*}} into %{{.*}} columns(1) identity alpha 1.000000e+00 threshold 0.000000e+00 : memref
    rondo_rt.route threshold %r, %r into %r columns(1) identity alpha 1.0 threshold 0.0 : memref<?x32xf32>, memref<?x32xf32>, memref<?x32xf32>
  }
  rondo_rt.stage "select_rows" {
    // CHECK: rondo_rt.select_rows %{{.*}} by %{{.*}} into %{{.*}} places dense : memref<?x64xf32>, memref<?x32xf32>, memref<?x64xf32>
    rondo_rt.select_rows %x by %r into %x places dense : memref<?x64xf32>, memref<?x32xf32>, memref<?x64xf32>
  }
  rondo_rt.return
}
