// RUN: rondo-opt %s -split-input-file -rondo-rt-tile-stages -verify-diagnostics

// Tests that options and target must be known.
// expected-error @below {{expected the module attribute 'rondo.target'}}
module attributes {rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32}} {
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that all caches of a model have one geometry.
rondo.param @a : tensor<64x64xf32> from ["a"]
rondo_rt.body @b block 0 caches(2) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.stage "a" {
    %0 = rondo.linear %x, [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %0, %0 cache(0) heads(2) : tensor<?x64xf32>
  }
  rondo_rt.stage "a" {
    %0 = rondo.linear %x, [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
    // expected-error @below {{'rondo.append' op expected all KV caches of a model to have 2 heads of 32 dimensions, got 4 of 16}}
    rondo.append %0, %0 cache(1) heads(4) : tensor<?x64xf32>
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that rotated rows are not mixed with flat ones.
rondo.param @a : tensor<64x64xf32> from ["a"]
rondo_rt.body @b block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.stage "a" {
    %0 = rondo.linear %x, [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
    %1 = rondo.rope half %0 heads(2) frequencies [1.0, 0.5] : tensor<?x64xf32>
    // expected-error @below {{'arith.addf' op expected operands in one layout, got #rondo_rt.layout<flat, 64> and #rondo_rt.layout<rope_half, 64 heads(2) rotary(2)>}}
    %2 = arith.addf %x, %1 : tensor<?x64xf32>
    rondo.append %2, %2 cache(0) heads(2) : tensor<?x64xf32>
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that rotated rows do not leave the block.
rondo.param @a : tensor<64x64xf32> from ["a"]
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %y = rondo_rt.stage "a" -> tensor<?x64xf32> {
    %0 = rondo.linear %x, [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
    %1 = rondo.rope half %0 heads(2) frequencies [1.0, 0.5] : tensor<?x64xf32>
    rondo_rt.yield %1 : tensor<?x64xf32>
  }
  // expected-error @below {{'rondo_rt.return' op expected flat rows, but they are rotated or cached and stand in layout #rondo_rt.layout<rope_half, 64 heads(2) rotary(2)>}}
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that queries come from a linear of the same block.
rondo_rt.body @b block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %y = rondo_rt.stage "attend" -> tensor<?x64xf32> {
    // expected-error @below {{'rondo.attend' op expected an operand computed by a 'rondo.linear' of the same block}}
    %0 = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that only known operations are computed lane by lane: none that calls a library, none of other types.
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %y = rondo_rt.stage "erf" -> tensor<?x64xf32> {
    // expected-error @below {{'math.erf' op cannot be computed in chunks of lanes; expected an operation of 'rondo' on rows, or addf, subf, mulf, divf, negf, maximumf, minimumf, maxnumf or minnumf of 'arith'}}
    %0 = math.erf %x : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %y = rondo_rt.stage "remainder" -> tensor<?x64xf32> {
    // expected-error @below {{'arith.remf' op cannot be computed in chunks of lanes}}
    %0 = arith.remf %x, %x : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %y = rondo_rt.stage "select" -> tensor<?x64xf32> {
    %0 = arith.cmpf olt, %x, %x : tensor<?x64xf32>
    // expected-error @below {{'arith.select' op cannot be computed in chunks of lanes}}
    %1 = arith.select %0, %x, %x : tensor<?x64xi1>, tensor<?x64xf32>
    rondo_rt.yield %1 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that heads are normalized by their root mean square only.
rondo.param @a : tensor<64x64xf32> from ["a"]
rondo_rt.body @b block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.stage "a" {
    %0 = rondo.linear %x, [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
    // expected-error @below {{'rondo.norm' op of heads is only supported for kind rms}}
    %1 = rondo.norm layer %0 eps 1.0e-5 heads(2) : tensor<?x64xf32>
    rondo.append %1, %0 cache(0) heads(2) : tensor<?x64xf32>
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that a cache is read with the heads that it is written with.
rondo.param @a : tensor<64x64xf32> from ["a"]
rondo_rt.body @b block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %q = rondo_rt.stage "a" -> tensor<?x64xf32> {
    %0:2 = rondo.linear %x, [@a, @a] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
    rondo.append %0#1, %0#1 cache(0) heads(2) : tensor<?x64xf32>
    rondo_rt.yield %0#0 : tensor<?x64xf32>
  }
  %y = rondo_rt.stage "attend" -> tensor<?x64xf32> {
    // expected-error @below {{'rondo.attend' op expected 2 KV heads, as 'rondo.append' stores, got 1}}
    %0 = rondo.attend %q cache(0) heads(2) kv_heads(1) scale 1.0 causal : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that queries have as many dimensions a head as keys.
rondo.param @a : tensor<64x64xf32> from ["a"]
rondo_rt.body @b block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %q = rondo_rt.stage "a" -> tensor<?x64xf32> {
    %0:2 = rondo.linear %x, [@a, @a] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
    rondo.append %0#1, %0#1 cache(0) heads(2) : tensor<?x64xf32>
    rondo_rt.yield %0#0 : tensor<?x64xf32>
  }
  %y = rondo_rt.stage "attend" -> tensor<?x64xf32> {
    // expected-error @below {{'rondo.attend' op expected queries of 32 dimensions a head, as the keys of 'rondo.append', got 16}}
    %0 = rondo.attend %q cache(0) heads(4) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that queries and keys turn alike.
rondo.param @a : tensor<64x64xf32> from ["a"]
rondo_rt.body @b block 0 caches(1) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %q = rondo_rt.stage "a" -> tensor<?x64xf32> {
    %0:2 = rondo.linear %x, [@a, @a] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
    %r = rondo.rope half %0#0 heads(2) frequencies [1.0, 0.5] : tensor<?x64xf32>
    rondo.append %0#1, %0#1 cache(0) heads(2) : tensor<?x64xf32>
    rondo_rt.yield %r : tensor<?x64xf32>
  }
  %y = rondo_rt.stage "attend" -> tensor<?x64xf32> {
    // expected-error @below {{'rondo.attend' op expected queries and keys whose heads turn alike and stand in 32 lanes, got queries of 64; apply the same 'rondo.rope' to both}}
    %0 = rondo.attend %q cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]}} {
// Tests that every position of a sequence is in its table.
rondo.param @p : tensor<128x64xf32> from ["p"]
rondo_rt.body @b prelude 0 caches(0) inputs [] outputs [0] {
^bb0(%t: tensor<?xi32>):
  %x = rondo_rt.stage "embed" -> tensor<?x64xf32> {
    %i = rondo.row_ids position : tensor<?xi32>
    // expected-error @below {{'rondo.embed' op looks positions up in 128 entries of 'p', but sequences may have 256; compile with --context=128 or less}}
    %0 = rondo.embed %i, @p : tensor<?xi32> -> tensor<?x64xf32>
    rondo_rt.yield %0 : tensor<?x64xf32>
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}
