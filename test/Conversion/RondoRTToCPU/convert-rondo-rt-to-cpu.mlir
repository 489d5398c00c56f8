// RUN: rondo-opt %s -rondo-rt-tile-stages -rondo-rt-plan-buffers -convert-rondo-rt-to-cpu | FileCheck %s
// RUN: rondo-opt %s -rondo-rt-tile-stages -rondo-rt-plan-buffers -convert-rondo-rt-to-cpu | FileCheck %s --check-prefix=ENTRY
// RUN: sed 's/"x86-64-v3"/"x86-64-v3", "avx512", "avx512-vnni", "avx512-bf16"/' %s | rondo-opt -rondo-rt-tile-stages -rondo-rt-plan-buffers -convert-rondo-rt-to-cpu | FileCheck %s --check-prefix=AVX512

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = bf16},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
rondo_rt.schedule bodies [0, 0] layers [0, 1] sides [0, 1] slots [0, 1] traces [-1, -1] visits [0, 1, 2]
rondo.param @e : tensor<96x64xbf16> from ["e"]
rondo.param @q layers(2) : tensor<64x64xbf16> from ["q.0", "q.1"]

rondo_rt.body @prelude prelude 0 caches(0) inputs [] outputs [0] {
^bb0(%t: tensor<?xi32>):
  %x = rondo_rt.stage "embed" -> tensor<?x64xf32> {
    %0 = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %x : tensor<?x64xf32>
}

// Tests that a body is one function with a barrier after each stage, that few
// rows skip the barrier behind the prologue, and that attention has two orders.
// CHECK-LABEL: func.func private @rondo_body_layer(
// CHECK-SAME: %[[CONTEXT:[a-z0-9]+]]: !llvm.ptr, %[[THREAD:[a-z0-9]+]]: i64, %{{.*}}: i64, %{{.*}}: i64, %{{.*}}: i64)
// The prologue of stage "q.append" and its barrier for many rows.
// CHECK: arith.cmpi sgt, %{{.*}}, %c8_i64
// CHECK-NEXT: scf.if
// CHECK: llvm.call %{{.*}}(%[[CONTEXT]], %{{.*}})
// The panels, in blocks of 48 rows.
// CHECK: arith.minsi %{{.*}}, %c48_i64
// CHECK: call @rondo_kernel_bf16pair_bf16asf32_rows
// CHECK: llvm.call %{{.*}}(%[[CONTEXT]], %{{.*}})
// Stage "attend".
// CHECK: call @rondo_attend_page_k32_v32
// CHECK: llvm.call %{{.*}}(%[[CONTEXT]], %{{.*}})
// CHECK: call @rondo_attend_merge_k32_v32
// CHECK: call @rondo_attend_page_k32_v32
// The start of this thread's share of what comes next, the first stage of the
// execution that follows, if there are few rows. Nothing of attention's is.
// CHECK: arith.cmpi sle, %{{.*}}, %c8_i64
// CHECK: llvm.intr.prefetch
// CHECK-NOT: llvm.intr.prefetch
// CHECK: llvm.call %{{.*}}(%[[CONTEXT]], %{{.*}})
// CHECK-NEXT: return
rondo_rt.body @layer block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %q = rondo_rt.stage "q.append" -> tensor<?x64xf32> {
    %0 = rondo.linear %x, [@q] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %0, %0 cache(0) heads(2) : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  %a = rondo_rt.stage "attend" -> tensor<?x64xf32> {
    %0 = rondo.attend %q cache(0) heads(2) kv_heads(2) scale 0.25 causal : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %a : tensor<?x64xf32>
}

rondo_rt.body @coda coda 0 caches(0) inputs [0] outputs [] {
^bb0(%x: tensor<?x64xf32>):
  %l = rondo_rt.stage "e" -> tensor<?x96xf32> {
    %0 = rondo.linear %x, [@e] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x96xf32>
    rondo_rt.yield %0 : tensor<?x96xf32>
  }
  rondo_rt.return %l : tensor<?x96xf32>
}

// Tests that the loop over visits is one loop over the schedule, with one call
// of the body inside, however many executions there are.
// ENTRY-LABEL: func.func @rondo_full(
// ENTRY: call @rondo_body_prelude
// ENTRY: scf.for
// ENTRY: scf.for
// ENTRY: call @rondo_body_layer
// ENTRY-NOT: call @rondo_body_layer
// ENTRY: call @rondo_body_coda
// ENTRY-LABEL: func.func @rondo_prelude(
// ENTRY-LABEL: func.func @rondo_depth_step(
// ENTRY: call @rondo_body_layer
// ENTRY-LABEL: func.func @rondo_coda(

// Tests that the machine's instructions are used where the target has them.
// AVX512: avx512bf16.dpbf16ps
}
