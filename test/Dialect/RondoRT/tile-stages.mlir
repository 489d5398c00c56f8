// RUN: rondo-opt %s -rondo-rt-tile-stages | FileCheck %s

module attributes {
  rondo.options = {context = 256 : i64, sequences = 4 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {

// Tests that heads of 16 take a chunk each, rotated pairs 16 lanes apart, and
// that the KV geometry follows.
// CHECK: rondo_rt.kv = {head_dim = 16 : i64, heads = 2 : i64, key_lanes = 32 : i64, slots = 3 : i64, value_lanes = 32 : i64}
rondo_rt.schedule bodies [0, 0, 0] layers [0, 1, 0] sides [0, 0, 1] slots [0, 1, 2]
  traces [-1, -1, -1] visits [0, 2, 3]
rondo.param @n layers(2) : tensor<64xf32> from ["n.0", "n.1"]
rondo.param @q layers(2) : tensor<64x64xbf16> from ["q.0", "q.1"]
rondo.param @k layers(2) : tensor<32x64xbf16> from ["k.0", "k.1"]
rondo.param @v layers(2) : tensor<32x64xbf16> from ["v.0", "v.1"]
rondo.param @g layers(2) : tensor<96x64x!rondo.q4_0> from ["g.0", "g.1"]
rondo.param @u layers(2) : tensor<96x64x!rondo.q4_0> from ["u.0", "u.1"]

// CHECK-LABEL: rondo_rt.body @attention
rondo_rt.body @attention block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: %[[Q:.*]] = rondo_rt.stage "norm.q.k.v" -> tensor<?x128xf32>
  // CHECK: %[[S:.*]] = rondo_rt.reduce
  // CHECK: math.sqrt
  // CHECK: %[[P:.*]] = rondo_rt.pack layout <flat, 64> format(bf16_as_f32)
  // CHECK: rondo_rt.load_vector @vector.n
  // CHECK: rondo_rt.tile units(4) panels(1) -> tensor<?x128xf32>
  // CHECK: rondo_rt.contract %[[P]], @packed.q
  // CHECK: rondo_rt.rotate
  // CHECK: rondo_rt.tile units(2) panels(1)
  // CHECK: rondo_rt.append key
  // CHECK: rondo_rt.tile units(2) panels(1)
  // CHECK-NOT: rondo_rt.rotate
  // CHECK: rondo_rt.append value
  %q = rondo_rt.stage "norm.q.k.v" -> tensor<?x64xf32> {
    %n = rondo.norm rms %x, @n eps 1.0e-5 : tensor<?x64xf32>
    %0:3 = rondo.linear %n, [@q, @k, @v] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
    %1 = rondo.rope half %0#0 heads(4) frequencies [1.0, 0.1, 0.01, 0.001, 0.1, 0.1, 0.1, 0.1] : tensor<?x64xf32>
    %2 = rondo.rope half %0#1 heads(2) frequencies [1.0, 0.1, 0.01, 0.001, 0.1, 0.1, 0.1, 0.1] : tensor<?x32xf32>
    rondo.append %2, %0#2 cache(0) heads(2) : tensor<?x32xf32>
    rondo_rt.yield %1 : tensor<?x64xf32>
  }
  // CHECK: rondo_rt.attend %[[Q]] cache(0) heads(4) kv_heads(2) head_dim(16) {{.*}} : tensor<?x128xf32> -> tensor<?x64xf32>
  %a = rondo_rt.stage "attend" -> tensor<?x64xf32> {
    %0 = rondo.attend %q cache(0) heads(4) kv_heads(2) scale 0.25 causal : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %a : tensor<?x64xf32>
}

// Tests that results which the epilogue combines are computed side by side.
// CHECK-LABEL: rondo_rt.body @mlp
rondo_rt.body @mlp block 1 caches(0) inputs [0] outputs [1] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.pack layout <flat, 64> format(int8_group)
  // CHECK: rondo_rt.tile units(3) panels(1) -> tensor<?x96xf32>
  // CHECK: rondo_rt.contract %{{.*}}, @packed.g.u[0 + %{{.*}} * 2 + 0]
  // CHECK: rondo_rt.contract %{{.*}}, @packed.g.u[0 + %{{.*}} * 2 + 1]
  // CHECK: rondo_rt.activate silu
  // CHECK: arith.mulf %{{.*}} : vector<32xf32>
  %y = rondo_rt.stage "g.u" -> tensor<?x96xf32> {
    %0:2 = rondo.linear %x, [@g, @u] arithmetic(int8_dynamic) : tensor<?x64xf32> -> tensor<?x96xf32>, tensor<?x96xf32>
    %1 = rondo.activation silu %0#0 : tensor<?x96xf32>
    %2 = arith.mulf %1, %0#1 : tensor<?x96xf32>
    rondo_rt.yield %2 : tensor<?x96xf32>
  }
  rondo_rt.return %y : tensor<?x96xf32>
}

// CHECK-DAG: rondo_rt.packed @packed.q [@q] rows [#rondo_rt.layout<rope_half, 64 heads(4) rotary(8)>] format(bf16_pair) k(64) layers(2)
// CHECK-DAG: rondo_rt.packed @packed.v [@v] rows [#rondo_rt.layout<heads, 32 heads(2)>]
// CHECK-DAG: rondo_rt.rope_table @rope frequencies {{.*}} positions(256) chunks(1)
// CHECK-DAG: rondo_rt.packed @packed.g.u [@g, @u] rows [#rondo_rt.layout<flat, 96>, #rondo_rt.layout<flat, 96>] format(q4_0)
}
