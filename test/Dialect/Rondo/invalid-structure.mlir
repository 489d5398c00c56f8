// RUN: rondo-opt %s -split-input-file -verify-diagnostics

// Tests that the shape of a parameter is static.
// expected-error @below {{'rondo.param' op expected a static shape of rank 1 or 2, got 'tensor<?x64xf32>'}}
rondo.param @param_c1_dynamic : tensor<?x64xf32> from ["w"]

// -----

// Tests that a parameter is a vector or a matrix.
// expected-error @below {{'rondo.param' op expected a static shape of rank 1 or 2, got 'tensor<2x3x4xf32>'}}
rondo.param @param_c1_rank : tensor<2x3x4xf32> from ["w"]

// -----

// Tests that a parameter has values.
// expected-error @below {{'rondo.param' op expected dimensions of at least 1, got 'tensor<4x0xf32>'}}
rondo.param @param_c1_empty : tensor<4x0xf32> from ["w"]

// -----

// Tests that a parameter has a storage type.
// expected-error @below {{'rondo.param' op expected element type f32, bf16, f16 or a block type, got 'i8'}}
rondo.param @param_c2_element_type : tensor<64xi8> from ["w"]

// -----

// Tests that values are converted to a storage type.
// expected-error @below {{'rondo.param' op expected stored type f32, bf16, f16 or a block type, got 'i8'}}
rondo.param @param_c2_stored_type : tensor<64xf32> stored as i8 from ["w"]

// -----

// Tests that a stack names every entry.
// expected-error @below {{'rondo.param' op expected one key for each of 2 entries, got 1}}
rondo.param @param_c3_keys layers(2) : tensor<64xf32> from ["w"]

// -----

// Tests that a stack has an entry.
// expected-error @below {{'rondo.param' op expected at least 1 layer, got 0}}
rondo.param @param_c4_layers layers(0) : tensor<64xf32> from []

// -----

// Tests that a side parameter has an entry for each layer and depth.
// expected-error @below {{'rondo.param' op expected one key for each of 6 entries, got 3}}
rondo.param @param_c3_depths layers(2) depths(3) : tensor<64xf32> from ["a", "b", "c"]

// -----

// Tests that a side parameter has a depth.
// expected-error @below {{'rondo.param' op expected at least 1 depth, got 0}}
rondo.param @param_c4_depths depths(0) : tensor<64xf32> from []

// -----

// Tests that only side parameters have holes.
// expected-error @below {{'rondo.param' op expected a tensor for each entry of a parameter that does not vary by depth}}
rondo.param @param_c6_unit layers(2) : tensor<64xf32> from ["a", unit]

// -----

// Tests that a side parameter is somewhere.
// expected-error @below {{'rondo.param' op expected a tensor for at least one entry}}
rondo.param @param_c6_all depths(2) : tensor<64xf32> from [unit, unit]

// -----

// Tests that a part of a matrix is one of a matrix.
// expected-error @below {{'rondo.param' op expected a part of a matrix, got one of rank 3}}
rondo.param @param_c7_rank : tensor<8x8xf32> from ["w"] part <of = [2, 8, 8], first = 0, run = 8, step = 8>

// -----

// Tests that rows of a part are rows of the tensor.
// expected-error @below {{'rondo.param' op expected a part inside of the tensor, got row 103 and columns 0 to 8 of 103 rows and 8 columns}}
rondo.param @param_c7_rows : tensor<16x8xf32> from ["w"] part <of = [103, 8], first = 0, run = 8, step = 96>

// -----

// Tests that columns of a part are columns of the tensor.
// expected-error @below {{'rondo.param' op expected a part inside of the tensor, got row 15 and columns 1 to 9 of 16 rows and 8 columns}}
rondo.param @param_c7_columns : tensor<16x8xf32> from ["w"] part <of = [16, 8], first = 0, run = 16, step = 16, column = 1>

// -----

// Tests that elements of a part are elements of the tensor.
// expected-error @below {{'rondo.param' op expected a part inside of the tensor, got row 80 and columns 0 to 1 of 80 rows and 1 columns}}
rondo.param @param_c7_vector : tensor<40xf32> from ["b"] part <of = [2, 40], first = 41, run = 40, step = 40>

// -----

// Tests that columns of a block type begin at a group.
// expected-error @below {{'rondo.param' op expected columns of a block type to begin at a multiple of 32, got 16}}
rondo.param @param_c7_group : tensor<16x32x!rondo.q8_0> from ["w"] part <of = [16, 64], first = 0, run = 16, step = 16, column = 16>

// -----

// Tests that a delta is one of a matrix.
rondo.param @a : tensor<8x64xf32> from ["a"]
// expected-error @below {{'rondo.param' op expected 'plus' of a matrix, got 'tensor<64xf32>'}}
rondo.param @param_c8_rank : tensor<64xf32> from ["w"] plus <@a, @a, scale = 1.0 : f32>

// -----

// Tests that a matrix with a delta is there.
rondo.param @a : tensor<8x64xf32> from ["a"]
rondo.param @b : tensor<64x8xf32> from ["b"]
// expected-error @below {{'rondo.param' op expected a tensor for each entry of a parameter with 'plus'}}
rondo.param @param_c8_unit depths(2) : tensor<64x64xf32> from [unit, "w"] plus <@a, @b, scale = 1.0 : f32>

// -----

// Tests that factors are parameters.
// expected-error @below {{'rondo.param' op expected a factor of 'plus' to be another 'rondo.param', got @missing}}
rondo.param @param_c8_missing : tensor<64x64xf32> from ["w"] plus <@missing, @missing, scale = 1.0 : f32>

// -----

// Tests that a matrix is not a factor of itself.
// expected-error @below {{'rondo.param' op expected a factor of 'plus' to be another 'rondo.param', got @param_c8_self}}
rondo.param @param_c8_self : tensor<64x64xf32> from ["w"] plus <@param_c8_self, @param_c8_self, scale = 1.0 : f32>

// -----

// Tests that factors have one rank.
rondo.param @a : tensor<8x64xf32> from ["a"]
rondo.param @b : tensor<64x9xf32> from ["b"]
// expected-error @below {{'rondo.param' op expected factors A [rank, in] and B [out, rank] of 'tensor<64x64xf32>', got 'tensor<64x9xf32>'}}
rondo.param @param_c8_shape : tensor<64x64xf32> from ["w"] plus <@a, @b, scale = 1.0 : f32>

// -----

// Tests that factors have an entry for each depth.
rondo.param @a depths(3) : tensor<8x64xf32> from ["a", "a", "a"]
rondo.param @b : tensor<64x8xf32> from ["b"]
// expected-error @below {{'rondo.param' op expected factor @a to have one entry, or one for each layer and depth}}
rondo.param @param_c8_depths depths(2) : tensor<64x64xf32> from ["w", "w"] plus <@a, @b, scale = 1.0 : f32>

// -----

// Tests that rows of a block type are whole groups.
// expected-error @below {{'rondo.param' op expected the last dimension of a block type to be a multiple of 32, got 48}}
rondo.param @param_c5_groups : tensor<64x48x!rondo.q4_0> from ["w"]

// -----

// Tests that rows that are stored in groups are whole groups.
// expected-error @below {{'rondo.param' op expected the last dimension of a block type to be a multiple of 32, got 48}}
rondo.param @param_c5_stored_groups : tensor<64x48xf32> stored as !rondo.q4_0 from ["w"]

// -----

// Tests that a block ends in a yield.
// expected-error @below {{'rondo.block' op expects regions to end with 'rondo.yield', found 'llvm.unreachable'}}
// expected-note @below {{in custom textual format, the absence of terminator implies 'rondo.yield'}}
rondo.block @block_c1_terminator() {
  "llvm.unreachable"() : () -> ()
}

// -----

// Tests that arguments of a block are rows.
// expected-error @below {{'rondo.block' op expected arguments and results of the type of rows, got 'tensor<4x64xf32>'}}
rondo.block @block_c2_rows(%x: tensor<4x64xf32>) {
}

// -----

// Tests that the region's arguments are those of the block's type.
// expected-error @below {{'rondo.block' op expected the region's arguments to have the types ('tensor<?x64xf32>'), got ('tensor<?x32xf32>')}}
"rondo.block"() <{sym_name = "block_c2_arguments", function_type = (tensor<?x64xf32>) -> ()}> ({
^bb0(%x: tensor<?x32xf32>):
  "rondo.yield"() : () -> ()
}) : () -> ()

// -----

// Tests that a block yields what its type says.
// expected-error @below {{'rondo.block' op expected to yield values of the types ('tensor<?x64xf32>'), got ('tensor<?x32xf32>')}}
rondo.block @block_c2_yield(%x: tensor<?x32xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x32xf32>
}

// -----

// Tests that the number of caches is not negative.
// expected-error @below {{'rondo.block' op expected a number of caches that is not negative, got -1}}
rondo.block @block_c3_negative() caches(-1) {
}

// -----

// Tests that an execution names a block.
func.func @apply_c1_block(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.apply' op expected '@apply_c1_block' to name a 'rondo.block'}}
  rondo.apply @apply_c1_block(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> ()
  return
}

// -----

// Tests that an execution has the type of its block.
rondo.block @b(%x: tensor<?x64xf32>) {
}
func.func @apply_c2_type(%x: tensor<?x32xf32>) {
  // expected-error @below {{'rondo.apply' op expected the type of block '@b', '(tensor<?x64xf32>) -> ()', got '(tensor<?x32xf32>) -> ()'}}
  rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x32xf32>) -> ()
  return
}

// -----

// Tests that each map has a dimension for every index.
rondo.block @b() {
}
func.func @apply_c3_dimensions() {
  rondo.loop %d to 2 {
    // expected-error @below {{'rondo.apply' op expected 'side' to map 1 indices to one value, got affine_map<() -> (0)>}}
    "rondo.apply"(%d) <{block = @b, layer = affine_map<(d0) -> (0)>, side = affine_map<() -> (0)>,
                        slot = affine_map<(d0) -> (0)>, operandSegmentSizes = array<i32: 0, 1>}> : (index) -> ()
  }
  return
}

// -----

// Tests that each map has one result.
rondo.block @b() {
}
func.func @apply_c3_results() {
  // expected-error @below {{'rondo.apply' op expected 'slot' to map 0 indices to one value, got affine_map<() -> (0, 1)>}}
  "rondo.apply"() <{block = @b, layer = affine_map<() -> (0)>, side = affine_map<() -> (0)>,
                    slot = affine_map<() -> (0, 1)>, operandSegmentSizes = array<i32: 0, 0>}> : () -> ()
  return
}

// -----

// Tests that the layers of all iterations stay inside the stacks of the block.
// expected-note @below {{parameter defined here}}
rondo.param @w layers(4) : tensor<64x64xf32> from ["0", "1", "2", "3"]
rondo.block @b(%x: tensor<?x64xf32>) {
  %y = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
}
func.func @apply_c4_large(%x: tensor<?x64xf32>) {
  rondo.loop %d to 2 {
    rondo.loop %l to 3 {
      // expected-error @below {{'rondo.apply' op expected layers below 4 of parameter '@w', got 4}}
      rondo.apply @b(%x) at(%d, %l) layer(d0 * 2 + d1) side(0) slot(0) : (tensor<?x64xf32>) -> ()
    }
  }
  return
}

// -----

// Tests that the side index stays inside the depths.
// expected-note @below {{parameter defined here}}
rondo.param @w depths(2) : tensor<64xf32> from ["0", "1"]
rondo.block @b(%x: tensor<?x64xf32>) {
  %y = rondo.norm rms %x, @w eps 1.0e-5 : tensor<?x64xf32>
}
func.func @apply_c4_side(%x: tensor<?x64xf32>) {
  rondo.loop %d to 3 {
    // expected-error @below {{'rondo.apply' op expected side indices below 2 of parameter '@w', got 2}}
    rondo.apply @b(%x) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>) -> ()
  }
  return
}

// -----

// Tests that layers are not negative.
rondo.block @b() {
}
func.func @apply_c4_negative() {
  rondo.loop %d to 2 {
    // expected-error @below {{'rondo.apply' op expected layers that are not negative, got -1}}
    rondo.apply @b() at(%d) layer(-d0) side(0) slot(0) : () -> ()
  }
  return
}

// -----

// Tests that a constant index counts for the range of layers.
rondo.block @b() {
}
func.func @apply_c4_constant() {
  %c = arith.constant -3 : index
  // expected-error @below {{'rondo.apply' op expected layers that are not negative, got -3}}
  rondo.apply @b() at(%c) layer(d0) side(0) slot(0) : () -> ()
  return
}

// -----

// Tests that blocks do not execute blocks.
rondo.block @b() {
}
rondo.block @apply_c5_nested() {
  // expected-error @below {{'rondo.apply' op expected to stand outside of 'rondo.block'}}
  rondo.apply @b() layer(0) side(0) slot(0) : () -> ()
}

// -----

// Tests that a loop ends in a yield.
func.func @loop_c1_terminator() {
  // expected-error @below {{'rondo.loop' op expects regions to end with 'rondo.yield', found 'llvm.unreachable'}}
  // expected-note @below {{in custom textual format, the absence of terminator implies 'rondo.yield'}}
  rondo.loop %d to 2 {
    "llvm.unreachable"() : () -> ()
  }
  return
}

// -----

// Tests that the region begins with the induction value.
func.func @loop_c2_induction(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.loop' op expected the region's first argument to be an 'index'}}
  %y = "rondo.loop"(%x) <{count = 2 : i64}> ({
  ^bb0(%h: tensor<?x64xf32>):
    "rondo.yield"(%h) : (tensor<?x64xf32>) -> ()
  }) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

// Tests that the carried values match the region's arguments in number.
func.func @loop_c2_carried_count(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.loop' op expected 2 carried values to match the region's arguments, got 1}}
  %y = "rondo.loop"(%x) <{count = 2 : i64}> ({
  ^bb0(%d: index, %h: tensor<?x64xf32>, %g: tensor<?x64xf32>):
    "rondo.yield"(%h) : (tensor<?x64xf32>) -> ()
  }) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

// Tests that the carried values match the region's arguments in type.
func.func @loop_c2_carried_type(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.loop' op expected carried values of the types ('tensor<?x32xf32>'), got ('tensor<?x64xf32>')}}
  %y = "rondo.loop"(%x) <{count = 2 : i64}> ({
  ^bb0(%d: index, %h: tensor<?x32xf32>):
    "rondo.yield"(%h) : (tensor<?x32xf32>) -> ()
  }) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

// Tests that the results are those of the carried values.
func.func @loop_c2_results(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.loop' op expected results of the types ('tensor<?x64xf32>'), got ('tensor<?x32xf32>')}}
  %y = "rondo.loop"(%x) <{count = 2 : i64}> ({
  ^bb0(%d: index, %h: tensor<?x64xf32>):
    "rondo.yield"(%h) : (tensor<?x64xf32>) -> ()
  }) : (tensor<?x64xf32>) -> tensor<?x32xf32>
  return
}

// -----

// Tests that an iteration yields the carried values.
func.func @loop_c2_yield(%x: tensor<?x64xf32>, %y: tensor<?x32xf32>) {
  // expected-error @below {{'rondo.loop' op expected to yield values of the types ('tensor<?x64xf32>'), got ('tensor<?x32xf32>')}}
  %z = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    rondo.yield %y : tensor<?x32xf32>
  }
  return
}

// -----

// Tests that a loop runs.
func.func @loop_c3_count() {
  // expected-error @below {{'rondo.loop' op expected a count of at least 1, got 0}}
  rondo.loop %d to 0 {
  }
  return
}

// -----

// Tests that the text gives a type for each carried value.
func.func @loop_types(%x: tensor<?x64xf32>) {
  // expected-error @below {{expected 2 types of carried values, got 1}}
  %y:2 = rondo.loop %d to 2 carries(%h = %x, %g = %x) : tensor<?x64xf32> {
  }
  return
}

// -----

rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @apply_c6_zero(%x: tensor<?x64xf32>, %d: index) {
  // expected-error @below {{'rondo.apply' op expected 'slot' to divide by positive numbers, got affine_map<(d0) -> (d0 floordiv 0)>}}
  %y = rondo.apply @b(%x) at(%d) layer(0) side(0) slot(d0 floordiv 0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}

// -----

rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @apply_c6_negative(%x: tensor<?x64xf32>, %d: index) {
  // expected-error @below {{'rondo.apply' op expected 'layer' to divide by positive numbers}}
  %y = rondo.apply @b(%x) at(%d) layer(1 + d0 mod -2) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return
}
