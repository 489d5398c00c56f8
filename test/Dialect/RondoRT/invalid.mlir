// RUN: rondo-opt %s -split-input-file -verify-diagnostics

// Tests that all columns of the schedule have one length.
module @schedule_c1_lengths {
// expected-error @below {{'rondo_rt.schedule' op expected 2 entries in every array, got 1}}
rondo_rt.schedule bodies [0, 0] layers [0] sides [0, 0] slots [0, 0] traces [0, 0] visits [0, 2]
}

// -----

// Tests that visits cover the schedule.
module @schedule_c2_visits {
// expected-error @below {{'rondo_rt.schedule' op expected visits to ascend from 0 to 2}}
rondo_rt.schedule bodies [0, 0] layers [0, 0] sides [0, 0] slots [0, 0] traces [0, 0] visits [0, 1]
}

// -----

// Tests that entries fit the runtime's table.
module @schedule_c3_range {
// expected-error @below {{'rondo_rt.schedule' op expected entries from 0 to 65535, got 65536}}
rondo_rt.schedule bodies [0] layers [0] sides [0] slots [65536] traces [0] visits [0, 1]
}

// -----

// Tests that a block has an argument for each state it reads.
module @body_c2_arguments {
// expected-error @below {{'rondo_rt.body' op expected 2 arguments, got 1}}
rondo_rt.body @b block 0 caches(0) inputs [0, 1] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

// Tests that a block returns a value for each state it writes.
module @body_c2_results {
// expected-error @below {{'rondo_rt.body' op expected 2 returned values, got 1}}
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0, 1] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

// Tests that a coda returns something.
module @body_c2_coda {
// expected-error @below {{'rondo_rt.body' op expected at least one returned value}}
rondo_rt.body @c coda 0 caches(0) inputs [0] outputs [] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.return
}
}

// -----

// Tests that a stage yields its results.
module @stage_c2_results {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // expected-error @below {{'rondo_rt.stage' op expected 1 yielded values of the results' types, got 0}}
  %y = rondo_rt.stage "s" -> tensor<?x64xf32> {
    rondo_rt.yield
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

// Tests that a tile yields a vector for each panel of each result.
module @tile_c2_vectors {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %y = rondo_rt.stage "s" -> tensor<?x64xf32> {
    // expected-error @below {{'rondo_rt.tile' op expected 2 yielded vectors, got 1}}
    %t = rondo_rt.tile units(1) panels(2) -> tensor<?x64xf32> {
    ^bb0(%u: index):
      %v = rondo_rt.load %x[%u * 2 + 0] : tensor<?x64xf32>
      rondo_rt.yield %v : vector<32xf32>
    }
    rondo_rt.yield %t : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

// Tests that packed matrices have a layout for each parameter.
module @packed_c1_layouts {
// expected-error @below {{'rondo_rt.packed' op expected 1 layouts, got 2}}
rondo_rt.packed @w [@a] rows [#rondo_rt.layout<flat, 64>, #rondo_rt.layout<flat, 64>] format(f32) k(64) layers(1) unit_panels(1)
}

// -----

// Tests that interleaved matrices have equally many panels.
module @packed_c2_panels {
// expected-error @below {{'rondo_rt.packed' op expected 2 panels in every parameter, got 3}}
rondo_rt.packed @w [@a, @b] rows [#rondo_rt.layout<flat, 64>, #rondo_rt.layout<flat, 96>] format(f32) k(64) layers(1) unit_panels(1)
}

// -----

// Tests that inputs are padded to what a line holds.
module @packed_c3_inputs {
// expected-error @below {{'rondo_rt.packed' op expected 'k' to be a multiple of 32, got 48}}
rondo_rt.packed @w [@a] rows [#rondo_rt.layout<flat, 64>] format(q8_0) k(48) layers(1) unit_panels(1)
}

// -----

// Tests that inputs of bf16 are padded to pairs.
module @packed_c3_pairs {
// expected-error @below {{'rondo_rt.packed' op expected 'k' to be a multiple of 2, got 7}}
rondo_rt.packed @w2 [@a] rows [#rondo_rt.layout<flat, 64>] format(bf16_pair) k(7) layers(1) unit_panels(1)
}

// -----

// Tests that a vector is looked up among vectors.
module @load_vector_c1_symbol {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.stage "s" {
    rondo_rt.tile units(2) panels(1) {
    ^bb0(%u: index):
      // expected-error @below {{'rondo_rt.load_vector' op expected 'w' to name a 'rondo_rt.vector'}}
      %v = rondo_rt.load_vector @w[%u]
      rondo_rt.yield
    }
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

// Tests that weights are looked up among packed weights.
module @contract_c1_symbol {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.stage "s" {
    %p = rondo_rt.pack layout <flat, 64> format(f32) {
    ^bb0(%c: index):
      %v = rondo_rt.load %x[%c] : tensor<?x64xf32>
      rondo_rt.yield %v : vector<32xf32>
    }
    rondo_rt.tile units(2) panels(1) {
    ^bb0(%u: index):
      // expected-error @below {{'rondo_rt.contract' op expected 'w' to name a 'rondo_rt.packed'}}
      %v = rondo_rt.contract %p, @w[0 + %u * 1 + 0]
      rondo_rt.yield
    }
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

// Tests that a rotation is looked up among rope tables.
module @rotate_c1_symbol {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.stage "s" {
    rondo_rt.tile units(2) panels(1) {
    ^bb0(%u: index):
      %v = rondo_rt.load %x[%u] : tensor<?x64xf32>
      // expected-error @below {{'rondo_rt.rotate' op expected 'r' to name a 'rondo_rt.rope_table'}}
      %w = rondo_rt.rotate %v, @r[%u * 1 + 0]
      rondo_rt.yield
    }
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

// Tests that an embedding is looked up among packed weights.
module @embed_c1_symbol {
rondo_rt.body @p prelude 0 caches(0) inputs [] outputs [0] {
^bb0(%t: tensor<?xi32>):
  %y = rondo_rt.stage "embed" -> tensor<?x64xf32> {
    // expected-error @below {{'rondo_rt.embed' op expected 'w' to name a 'rondo_rt.packed'}}
    %x = rondo_rt.embed @w width(64) scale 1.0 -> tensor<?x64xf32>
    rondo_rt.yield %x : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
}

// -----

// Tests that a body has one block.
module @body_c1_blocks {
// expected-error @below {{'rondo_rt.body' op expects region #0 to have 0 or 1 blocks}}
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.return %x : tensor<?x64xf32>
^bb1:
  rondo_rt.return
}
}

// -----

// Tests that a stage has one block.
module @stage_c1_blocks {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  // expected-error @below {{'rondo_rt.stage' op expects region #0 to have 0 or 1 blocks}}
  rondo_rt.stage "s" {
    rondo_rt.yield
  ^bb1:
    rondo_rt.yield
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

// Tests that a tile has one block.
module @tile_c1_blocks {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  rondo_rt.stage "s" {
    // expected-error @below {{'rondo_rt.tile' op expects region #0 to have 0 or 1 blocks}}
    rondo_rt.tile units(2) panels(1) {
    ^bb0(%u: index):
      rondo_rt.yield
    ^bb1:
      rondo_rt.yield
    }
  }
  rondo_rt.return %x : tensor<?x64xf32>
}
}

// -----

// Tests that biases of a router are looked up among vectors.
module @route_c1_symbol {
rondo_rt.body @b block 0 caches(0) inputs [0] outputs [0] {
^bb0(%r: tensor<?x32xf32>):
  %n = rondo_rt.stage "route" -> tensor<?x32xf32> {
    // expected-error @below {{'rondo_rt.route' op expected 'w' to name a 'rondo_rt.vector'}}
    %0 = rondo_rt.route choice %r, %r columns(3) softmax alpha 1.0 biases @w : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
    rondo_rt.yield %0 : tensor<?x32xf32>
  }
  rondo_rt.return %n : tensor<?x32xf32>
}
}
