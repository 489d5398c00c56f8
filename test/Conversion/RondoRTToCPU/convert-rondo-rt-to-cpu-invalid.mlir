// RUN: rondo-opt %s -split-input-file -convert-rondo-rt-to-cpu -verify-diagnostics

// Tests that options, target and KV geometry must be known.
// expected-error @below {{expected the module attributes 'rondo.options', 'rondo.target' and 'rondo_rt.kv'}}
module {
}

// -----

// Tests that a model has a prelude and a coda.
// expected-error @below {{expected a prelude and a coda}}
module attributes {
  rondo.options = {context = 256 : i64, rows = 64 : i64, kv = f32},
  rondo.target = {kind = "cpu", cpu = "znver3", features = ["x86-64-v3"]},
  rondo_rt.kv = {heads = 1 : i64, head_dim = 32 : i64, key_lanes = 32 : i64, value_lanes = 32 : i64, slots = 1 : i64}} {
}
