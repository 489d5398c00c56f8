// RUN: rondo-opt %s -split-input-file -rondo-rt-plan-buffers -verify-diagnostics

// Tests that options must be known.
// expected-error @below {{expected the module attribute 'rondo.options'}}
module {
}

// -----

module attributes {rondo.options = {context = 256 : i64, rows = 16 : i64, kv = f32},
  rondo_rt.kv = {heads = 0 : i64, head_dim = 0 : i64, key_lanes = 0 : i64, value_lanes = 0 : i64, slots = 0 : i64}} {
// Tests that a block may not only exchange its states.
// expected-error @below {{'rondo_rt.body' op permutes its states; compute at least one of them in the block}}
rondo_rt.body @swap block 0 caches(0) inputs [0, 1] outputs [0, 1] {
^bb0(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>):
  rondo_rt.return %b, %a : tensor<?x64xf32>, tensor<?x64xf32>
}
}
