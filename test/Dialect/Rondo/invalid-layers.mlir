// RUN: rondo-opt %s -split-input-file -verify-diagnostics

// Tests that an embedding names a parameter.
func.func @embed_c1_symbol(%t: tensor<?xi32>) {
  // expected-error @below {{'rondo.embed' op expected table '@embed_c1_symbol' to name a 'rondo.param'}}
  %x = rondo.embed %t, @embed_c1_symbol : tensor<?xi32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that an embedding's table is a matrix without layers.
rondo.param @w layers(2) : tensor<100x64xf32> from ["0", "1"]
func.func @embed_c1_layers(%t: tensor<?xi32>) {
  // expected-error @below {{'rondo.embed' op expected table '@w' of rank 2 without layers, got 'tensor<100x64xf32>' with 2 layers}}
  %x = rondo.embed %t, @w : tensor<?xi32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that an embedding has the table's width.
rondo.param @w : tensor<100x64xf32> from ["w"]
func.func @embed_c2_width(%t: tensor<?xi32>) {
  // expected-error @below {{'rondo.embed' op expected a result of the table's width 64, got 32}}
  %x = rondo.embed %t, @w : tensor<?xi32> -> tensor<?x32xf32>
  return
}

// -----

// Tests that a linear has a weight.
func.func @linear_c1_none(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected at least one weight}}
  "rondo.linear"(%x) <{weights = []}> : (tensor<?x64xf32>) -> ()
  return
}

// -----

// Tests that a linear has a result for each weight.
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c1_results(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected one result for each of 2 weights, got 1}}
  %y = rondo.linear %x, [@w, @w] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that the shape of a weight follows from the rows.
// expected-note @below {{parameter defined here}}
rondo.param @w : tensor<64x32xf32> from ["w"]
func.func @linear_c2_shape(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected weight '@w' of shape [64, 64], got 'tensor<64x32xf32>'}}
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that there is a bias for each weight.
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c3_count(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected one bias for each of 1 weights, got 2}}
  %y = rondo.linear %x, [@w] bias [unit, unit] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that a bias is a parameter or none.
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c3_kind(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected a bias to be a parameter's name or unit, got "b"}}
  %y = rondo.linear %x, [@w] bias ["b"] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that a bias has the result's width.
// expected-note @below {{parameter defined here}}
rondo.param @b : tensor<32xf32> from ["b"]
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c3_width(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected bias '@b' of shape [64], got 'tensor<32xf32>'}}
  %y = rondo.linear %x, [@w] bias [@b] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that bf16_dot multiplies bf16 weights.
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c4_bf16(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected bf16 weights for arithmetic mode 'bf16_dot', got 'f32'}}
  %y = rondo.linear %x, [@w] arithmetic(bf16_dot) : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that int8_dynamic multiplies weights of a block type.
rondo.param @w : tensor<64x64xbf16> from ["w"]
func.func @linear_c4_int8(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected block type weights for arithmetic mode 'int8_dynamic', got 'bf16'}}
  %y = rondo.linear %x, [@w] arithmetic(int8_dynamic) : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that an arithmetic mode is known.
rondo.param @w : tensor<64x64xbf16> from ["w"]
func.func @linear_mode(%x: tensor<?x64xf32>) {
  // expected-error @below {{expected an arithmetic mode, got 'fast'}}
  %y = rondo.linear %x, [@w] arithmetic(fast) : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that there is a weight to add to.
func.func @norm_c4_plus(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.norm' op expected a weight to which 'plus' is added}}
  %y = rondo.norm rms %x plus 1.0 eps 1.0e-5 : tensor<?x64xf32>
  return
}

// -----

// Tests that deltas are given for each weight.
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c6_count(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected one entry of 'lora' for each of 1 weights, got 2}}
  %y = rondo.linear %x, [@w] lora [unit, unit] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that a delta is a pair of matrices.
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c6_kind(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected entries of 'lora' to be '#rondo.lora' or unit, got @a}}
  %y = rondo.linear %x, [@w] lora [@a] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that A reads the rows.
// expected-note @below {{parameter defined here}}
rondo.param @a : tensor<8x32xf32> from ["a"]
rondo.param @b : tensor<64x8xf32> from ["b"]
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c6_a(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected A '@a' of shape [8, 64], got 'tensor<8x32xf32>'}}
  %y = rondo.linear %x, [@w] lora [#rondo.lora<@a, @b, scale = 1.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that B has the rank of A.
rondo.param @a : tensor<8x64xf32> from ["a"]
// expected-note @below {{parameter defined here}}
rondo.param @b : tensor<64x4xf32> from ["b"]
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c6_b(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected B '@b' of shape [64, 8], got 'tensor<64x4xf32>'}}
  %y = rondo.linear %x, [@w] lora [#rondo.lora<@a, @b, scale = 1.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that A is there.
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c6_missing(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected A '@a' to name a 'rondo.param'}}
  %y = rondo.linear %x, [@w] lora [#rondo.lora<@a, @b, scale = 1.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that deltas that vary by depth need an execution.
rondo.param @a depths(2) : tensor<8x64xf32> from ["a.0", "a.1"]
rondo.param @b : tensor<64x8xf32> from ["b"]
rondo.param @w : tensor<64x64xf32> from ["w"]
func.func @linear_c5_depths(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected A '@a' without layers and depths outside of a block, got 1 layers and 2 depths}}
  %y = rondo.linear %x, [@w] lora [#rondo.lora<@a, @b, scale = 1.0 : f32>] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that a scale has something to scale by.
func.func @scale_c1(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.scale' op expected a weight, a factor ('by') or both}}
  %y = rondo.scale %x : tensor<?x64xf32>
  return
}

// -----

// Tests that a scale vector has the rows' width.
// expected-note @below {{parameter defined here}}
rondo.param @w : tensor<32xf32> from ["w"]
func.func @scale_c2(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.scale' op expected weight '@w' of shape [64], got 'tensor<32xf32>'}}
  %y = rondo.scale %x, @w : tensor<?x64xf32>
  return
}

// -----

// Tests that a scale vector that varies by depth needs an execution.
rondo.param @w depths(2) : tensor<64xf32> from ["w.0", "w.1"]
func.func @scale_c3(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.scale' op expected weight '@w' without layers and depths outside of a block, got 1 layers and 2 depths}}
  %y = rondo.scale %x, @w : tensor<?x64xf32>
  return
}

// -----

// Tests that stacks of weights need an execution.
rondo.param @w layers(2) : tensor<64x64xf32> from ["0", "1"]
func.func @linear_c5_stacked(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected weight '@w' without layers and depths outside of a block, got 2 layers and 1 depths}}
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that a norm's eps is positive.
func.func @norm_c1_eps(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.norm' op expected a positive eps, got 0.000000e+00 : f32}}
  %y = rondo.norm rms %x eps 0.0 : tensor<?x64xf32>
  return
}

// -----

// Tests that a norm's weight has the width of a head.
// expected-note @below {{parameter defined here}}
rondo.param @w : tensor<64xf32> from ["w"]
func.func @norm_c2_width(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.norm' op expected weight '@w' of shape [32], got 'tensor<64xf32>'}}
  %y = rondo.norm rms %x, @w eps 1.0e-5 heads(2) : tensor<?x64xf32>
  return
}

// -----

// Tests that the heads of a norm divide the row.
func.func @norm_c3_heads(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.norm' op expected heads to divide the width 64, got 3}}
  %y = rondo.norm rms %x eps 1.0e-5 heads(3) : tensor<?x64xf32>
  return
}

// -----

// Tests that an RMS norm has no bias.
rondo.param @w : tensor<64xf32> from ["w"]
func.func @norm_c4_bias(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.norm' op expected no bias of kind 'rms', got '@w'}}
  %y = rondo.norm rms %x, @w bias @w eps 1.0e-5 : tensor<?x64xf32>
  return
}

// -----

// Tests that stacks of a norm's weights need an execution.
rondo.param @w layers(2) : tensor<64xf32> from ["0", "1"]
func.func @norm_c5_stacked(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.norm' op expected weight '@w' without layers and depths outside of a block, got 2 layers and 1 depths}}
  %y = rondo.norm rms %x, @w eps 1.0e-5 : tensor<?x64xf32>
  return
}

// -----

// Tests that the heads of a rope divide the row.
func.func @rope_c1_heads(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.rope' op expected heads to divide the width 64, got 0}}
  %y = rondo.rope half %x heads(0) frequencies [1.0] : tensor<?x64xf32>
  return
}

// -----

// Tests that pairs of a rope fit a head.
func.func @rope_c2_frequencies(%x: tensor<?x8xf32>) {
  // expected-error @below {{'rondo.rope' op expected 1 to 2 frequencies, got 3}}
  %y = rondo.rope half %x heads(2) frequencies [1.0, 0.5, 0.25] : tensor<?x8xf32>
  return
}

// -----

// Tests that keys and values have one type.
rondo.block @append_c1_types(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) caches(1) {
  // expected-error @below {{'rondo.append' op requires all operands to have the same type}}
  "rondo.append"(%x, %y) <{cache = 0 : i64, heads = 2 : i64}> : (tensor<?x64xf32>, tensor<?x32xf32>) -> ()
}

// -----

// Tests that the heads of keys divide the row.
rondo.block @append_c2_heads(%x: tensor<?x64xf32>) caches(1) {
  // expected-error @below {{'rondo.append' op expected heads to divide the width 64, got 5}}
  rondo.append %x, %x cache(0) heads(5) : tensor<?x64xf32>
}

// -----

// Tests that an append belongs to an execution.
func.func @append_c3_place(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.append' op expected to stand inside a 'rondo.block' or a 'rondo_rt.stage'}}
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  return
}

// -----

// Tests that an append names a cache of the block.
rondo.block @append_c3_cache(%x: tensor<?x64xf32>) caches(1) {
  // expected-error @below {{'rondo.append' op expected a cache below the block's 1, got 1}}
  rondo.append %x, %x cache(1) heads(2) : tensor<?x64xf32>
}

// -----

// Tests that query heads share KV heads evenly.
rondo.block @attend_c1_kv_heads(%x: tensor<?x64xf32>) caches(1) {
  // expected-error @below {{'rondo.attend' op expected kv_heads to divide 4 heads, got 3}}
  %y = rondo.attend %x cache(0) heads(4) kv_heads(3) scale 1.0 causal : tensor<?x64xf32>
}

// -----

// Tests that query heads divide the row.
rondo.block @attend_c2_heads(%x: tensor<?x64xf32>) caches(1) {
  // expected-error @below {{'rondo.attend' op expected heads to divide the width 64, got 3}}
  %y = rondo.attend %x cache(0) heads(3) kv_heads(3) scale 1.0 causal : tensor<?x64xf32>
}

// -----

// Tests that a window has a position.
rondo.block @attend_c3_window(%x: tensor<?x64xf32>) caches(1) {
  // expected-error @below {{'rondo.attend' op expected a window of at least 1, got 0}}
  %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal window(0) : tensor<?x64xf32>
}

// -----

// Tests that an attend belongs to an execution.
func.func @attend_c4_place(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.attend' op expected to stand inside a 'rondo.block' or a 'rondo_rt.stage'}}
  %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  return
}

// -----

// Tests that a cache is not negative.
rondo.block @attend_c4_negative(%x: tensor<?x64xf32>) caches(1) {
  // expected-error @below {{'rondo.attend' op expected a cache that is not negative, got -1}}
  %y = rondo.attend %x cache(-1) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
}

// -----

// Tests that who sees the whole sequence has no window.
rondo.block @attend_c5_window(%x: tensor<?x64xf32>) caches(1) {
  // expected-error @below {{'rondo.attend' op expected no window of mask 'full', got 8}}
  %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 full window(8) : tensor<?x64xf32>
}

// -----

// Tests that tokens come from the caller.
func.func @row_ids_c1_token() {
  // expected-error @below {{'rondo.row_ids' op expected 'position' or 'token_type', got 'token': tokens are the model's argument}}
  %i = rondo.row_ids token : tensor<?xi32>
  return
}
