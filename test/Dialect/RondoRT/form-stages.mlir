// RUN: rondo-opt %s -pass-pipeline='builtin.module(rondo_rt.body(rondo-rt-form-stages))' | FileCheck %s

rondo.param @layer.g : tensor<96x64xf32> from ["g"]
rondo.param @layer.u : tensor<96x64xf32> from ["u"]
rondo.param @layer.d : tensor<64x96xf32> from ["d"]
rondo.param @layer.q : tensor<64x64xf32> from ["q"]

// Tests that a norm goes into the prologue and what follows lane by lane into
// the epilogue.
// CHECK-LABEL: rondo_rt.body @mlp
rondo_rt.body @mlp block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: %[[M:.*]] = rondo_rt.stage "norm.g.u.silu.mul"
  // CHECK: rondo.norm
  // CHECK: rondo.linear
  // CHECK: arith.mulf
  // CHECK: %[[Y:.*]] = rondo_rt.stage "d.add"
  // CHECK-NEXT: rondo.linear %[[M]]
  // CHECK-NEXT: arith.addf
  // CHECK: rondo_rt.return %[[Y]]
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  %g, %u = rondo.linear %n, [@layer.g, @layer.u] : tensor<?x64xf32> -> tensor<?x96xf32>, tensor<?x96xf32>
  %s = rondo.activation silu %g : tensor<?x96xf32>
  %m = arith.mulf %s, %u : tensor<?x96xf32>
  %d = rondo.linear %m, [@layer.d] : tensor<?x96xf32> -> tensor<?x64xf32>
  %y = arith.addf %x, %d : tensor<?x64xf32>
  rondo_rt.return %y : tensor<?x64xf32>
}

// Tests that linears that do not need each other share a stage, also when an
// epilogue stands between them.
// CHECK-LABEL: rondo_rt.body @unfused
rondo_rt.body @unfused block 1 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "norm.g.u.silu.mul"
  // CHECK: rondo.norm
  // CHECK-NOT: rondo.norm
  // CHECK: rondo.linear {{.*}}[@layer.g]
  // CHECK-NEXT: rondo.linear {{.*}}[@layer.u]
  // CHECK-NEXT: rondo.activation
  // CHECK: rondo_rt.stage "d"
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  %g = rondo.linear %n, [@layer.g] : tensor<?x64xf32> -> tensor<?x96xf32>
  %s = rondo.activation silu %g : tensor<?x96xf32>
  %u = rondo.linear %n, [@layer.u] : tensor<?x64xf32> -> tensor<?x96xf32>
  %m = arith.mulf %s, %u : tensor<?x96xf32>
  %d = rondo.linear %m, [@layer.d] : tensor<?x96xf32> -> tensor<?x64xf32>
  rondo_rt.return %d : tensor<?x64xf32>
}

// Tests that a norm is cloned into every stage that reads it, and that a linear
// does not join a stage that computes what it reads.
// CHECK-LABEL: rondo_rt.body @dependent
rondo_rt.body @dependent block 5 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "norm.q"
  // CHECK: rondo.norm
  // CHECK: rondo_rt.stage "norm.add.q"
  // CHECK: rondo.norm
  // CHECK: rondo_rt.return
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  %q = rondo.linear %n, [@layer.q] : tensor<?x64xf32> -> tensor<?x64xf32>
  %a = arith.addf %n, %q : tensor<?x64xf32>
  %y = rondo.linear %a, [@layer.q] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo_rt.return %y : tensor<?x64xf32>
}

// Tests that attention stands alone, after the append that it reads.
// CHECK-LABEL: rondo_rt.body @attention
rondo_rt.body @attention block 2 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: %[[Q:.*]] = rondo_rt.stage "q.append"
  // CHECK: %[[A:.*]] = rondo_rt.stage "attend"
  // CHECK-NEXT: rondo.attend %[[Q]]
  // CHECK-NEXT: rondo_rt.yield
  %q = rondo.linear %x, [@layer.q] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo.append %q, %q cache(0) heads(2) : tensor<?x64xf32>
  %a = rondo.attend %q cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  rondo_rt.return %a : tensor<?x64xf32>
}

// Tests that rows without a root get a stage of their own.
// CHECK-LABEL: rondo_rt.body @rows
rondo_rt.body @rows block 3 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "norm"
  // CHECK-NOT: rondo_rt.stage
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  rondo_rt.return %n : tensor<?x64xf32>
}

// Tests that a body with stages is left alone.
// CHECK-LABEL: rondo_rt.body @done
rondo_rt.body @done block 4 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "mine"
  // CHECK-NOT: rondo_rt.stage
  %y = rondo_rt.stage "mine" -> tensor<?x64xf32> {
    %z = arith.addf %x, %x : tensor<?x64xf32>
    rondo_rt.yield %z : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}

rondo.param @layer.a : tensor<8x64xf32> from ["a"]
rondo.param @layer.b : tensor<64x8xf32> from ["b"]
rondo.param @layer.wide_a : tensor<256x64xf32> from ["wide_a"]
rondo.param @layer.wide_b : tensor<64x256xf32> from ["wide_b"]

// Tests that the inner matrix of a low-rank product goes into the prologue of
// the stage that both sums share.
// CHECK-LABEL: rondo_rt.body @low_rank
rondo_rt.body @low_rank block 6 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "norm.a.q.b.add"
  // CHECK: %[[N:.*]] = rondo.norm
  // CHECK-NEXT: %[[T:.*]] = rondo.linear %[[N]], [@layer.a]
  // CHECK-NEXT: rondo.linear %[[N]], [@layer.q]
  // CHECK-NEXT: rondo.linear %[[T]], [@layer.b]
  // CHECK-NEXT: arith.addf
  // CHECK-NOT: rondo_rt.stage
  // CHECK: rondo_rt.return
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  %q = rondo.linear %n, [@layer.q] : tensor<?x64xf32> -> tensor<?x64xf32>
  %t = rondo.linear %n, [@layer.a] : tensor<?x64xf32> -> tensor<?x8xf32>
  %d = rondo.linear %t, [@layer.b] : tensor<?x8xf32> -> tensor<?x64xf32>
  %y = arith.addf %q, %d : tensor<?x64xf32>
  rondo_rt.return %y : tensor<?x64xf32>
}

// Tests that one of 64 KiB is divided among the threads instead.
// CHECK-LABEL: rondo_rt.body @high_rank
rondo_rt.body @high_rank block 7 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // CHECK: rondo_rt.stage "q.wide_a"
  // CHECK: rondo_rt.stage "wide_b.add"
  %q = rondo.linear %x, [@layer.q] : tensor<?x64xf32> -> tensor<?x64xf32>
  %t = rondo.linear %x, [@layer.wide_a] : tensor<?x64xf32> -> tensor<?x256xf32>
  %d = rondo.linear %t, [@layer.wide_b] : tensor<?x256xf32> -> tensor<?x64xf32>
  %y = arith.addf %q, %d : tensor<?x64xf32>
  rondo_rt.return %y : tensor<?x64xf32>
}

// Tests that embeddings that follow each other share a stage, with the ids of
// their rows, and that what needs their sum comes after a barrier.
rondo.param @words : tensor<96x64xf32> from ["w"]
// CHECK-LABEL: rondo_rt.body @tables
rondo_rt.body @tables prelude 0 caches(0) inputs [] outputs [0] {
^bb0(%t: tensor<?xi32>):
  // CHECK: rondo_rt.stage "embed"
  // CHECK-NEXT: %[[P:.*]] = rondo.row_ids position
  // CHECK-NEXT: rondo.embed %{{.*}}, @words
  // CHECK-NEXT: rondo.embed %[[P]], @words
  // CHECK-NEXT: rondo_rt.yield
  // CHECK: rondo_rt.stage "add.norm.q"
  %p = rondo.row_ids position : tensor<?xi32>
  %w = rondo.embed %t, @words : tensor<?xi32> -> tensor<?x64xf32>
  %e = rondo.embed %p, @words : tensor<?xi32> -> tensor<?x64xf32>
  %x = arith.addf %w, %e : tensor<?x64xf32>
  %n = rondo.norm layer %x eps 1.0e-5 : tensor<?x64xf32>
  %y = rondo.linear %n, [@layer.q] : tensor<?x64xf32> -> tensor<?x64xf32>
  rondo_rt.return %y : tensor<?x64xf32>
}
