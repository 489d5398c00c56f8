// RUN: rondo-opt %s -split-input-file -verify-diagnostics

// Tests that module attributes stand on the module.
// expected-error @below {{attribute 'rondo.phase' expected to stand on 'builtin.module', got 'func.func'}}
func.func private @place() attributes {rondo.phase = "rondo"}

// -----

// Tests that a phase is one of the known.
// expected-error @below {{attribute 'rondo.phase' expected the name of a phase, got "late"}}
module attributes {rondo.phase = "late"} {}

// -----

// Tests the kind of attributes that are text.
// expected-error @below {{attribute 'rondo.kv_policy' expected a string, got 1 : i64}}
module attributes {rondo.kv_policy = 1 : i64} {}

// -----

// Tests the kind of attributes that are lists of text.
// expected-error @below {{attribute 'rondo.trained_kv' expected an array of strings, got "per-depth"}}
module attributes {rondo.trained_kv = "per-depth"} {}

// -----

// Tests the kind of attributes that are flags.
// expected-error @below {{attribute 'rondo.force_kv_policy' expected a unit attribute, got true}}
module attributes {rondo.force_kv_policy = true} {}

// -----

// Tests the kind of attributes that are integers.
// expected-error @below {{attribute 'rondo.context_limit' expected an integer, got "2048"}}
module attributes {rondo.context_limit = "2048"} {}

// -----

// Tests the kind of attributes that are lists of integers.
// expected-error @below {{attribute 'rondo.stop_tokens' expected an array of integers, got ["</s>"]}}
module attributes {rondo.stop_tokens = ["</s>"]} {}

// -----

// Tests the kind of attributes that are dictionaries.
// expected-error @below {{attribute 'rondo.target' expected a dictionary, got "cpu"}}
module attributes {rondo.target = "cpu"} {}

// -----

// Tests the kind of attributes that are lists of dictionaries.
// expected-error @below {{attribute 'rondo.archives' expected an array of dictionaries, got ["model.safetensors"]}}
module attributes {rondo.archives = ["model.safetensors"]} {}

// -----

// Tests that the arithmetic option is known.
// expected-error @below {{attribute 'rondo.options' expected 'arithmetic' to be "exact" or "fast", got "quick"}}
module attributes {rondo.options = {arithmetic = "quick"}} {}

// -----

// Tests that other names of the dialect are left to the passes that use them.
module attributes {rondo.something_else = 1 : i64} {}

// -----

// Tests that a tensor has elements.
// expected-error @below {{expected 1 to 4 dimensions of at least 1 and less than 2^62 elements}}
rondo.param @part_c1_zero : tensor<8xf32> from ["w"] part <of = [8, 0], first = 0, run = 8, step = 8>

// -----

// Tests that the elements of a tensor can be counted.
// expected-error @below {{expected 1 to 4 dimensions of at least 1 and less than 2^62 elements}}
rondo.param @part_c1_many : tensor<8xf32> from ["w"] part <of = [4294967296, 4294967296], first = 0, run = 8, step = 8>

// -----

// Tests that runs have rows.
// expected-error @below {{expected 'run' of at least 1 and below 2^31, got 0}}
rondo.param @part_c2_run : tensor<8xf32> from ["w"] part <of = [8], first = 0, run = 0, step = 8>

// -----

// Tests that a part begins inside of a tensor.
// expected-error @below {{expected 'first' of at least 0 and below 2^31, got -1}}
rondo.param @part_c2_first : tensor<8xf32> from ["w"] part <of = [8], first = -1, run = 8, step = 8>

// -----

// Tests that an input has a name.
// expected-error @below {{expected an input to have a name}}
func.func @input_c1(%x: tensor<?x64xf32> {rondo.input = #rondo.input<"", init = zeros>}) { return }

// -----

// Tests that a normal distribution has a deviation.
// expected-error @below {{expected 'deviation' of an input with init = normal}}
func.func @input_c2_missing(%x: tensor<?x64xf32> {rondo.input = #rondo.input<"x", init = normal>}) { return }

// -----

// Tests that nothing else has one.
// expected-error @below {{expected 'deviation' with init = normal only}}
func.func @input_c2_zeros(%x: tensor<?x64xf32> {rondo.input = #rondo.input<"x", init = zeros, deviation = 1.0>}) { return }

// -----

// Tests that a deviation is above 0.
// expected-error @below {{expected 'deviation' of f64, finite and above 0, got -1.000000e+00 : f64}}
func.func @input_c2_negative(%x: tensor<?x64xf32> {rondo.input = #rondo.input<"x", init = normal, deviation = -1.0>}) { return }

// -----

// Tests the type of a deviation.
// expected-error @below {{expected 'deviation' of f64, finite and above 0, got 1.000000e+00 : f32}}
func.func @input_c2_type(%x: tensor<?x64xf32> {rondo.input = #rondo.input<"x", init = normal, deviation = 1.0 : f32>}) { return }

// -----

// Tests that inputs are rows.
// expected-error @below {{attribute 'rondo.input' of argument 0 expected an argument with the type of rows}}
func.func @input_c3_type(%x: tensor<?xi32> {rondo.input = #rondo.input<"x", init = zeros>}) { return }

// -----

// Tests that inputs are arguments.
// expected-error @below {{attribute 'rondo.input' expected to stand on an argument of a function}}
module attributes {rondo.input = #rondo.input<"x", init = zeros>} {}

// -----

// Tests the kind of an argument's attribute.
// expected-error @below {{attribute 'rondo.input' expected '#rondo.input', got "x"}}
func.func @input_kind(%x: tensor<?x64xf32> {rondo.input = "x"}) { return }

// -----

// Tests that a name means one input.
// expected-error @below {{arguments 0 and 1 are inputs of one name, 'x'; give each its own}}
func.func @input_c4(%x: tensor<?x64xf32> {rondo.input = #rondo.input<"x", init = zeros>},
                    %y: tensor<?x64xf32> {rondo.input = #rondo.input<"x", init = given>}) { return }

// -----

// Tests that an output can be called by its name.
// expected-error @below {{expected a name that is not empty}}
func.func private @output_c1_name() -> (tensor<?x64xf32> {rondo.output = #rondo.output<"">})

// -----

// Tests that an output is rows.
// expected-error @below {{attribute 'rondo.output' expected '#rondo.output' on a result that is rows, got #rondo.output<"ids"> on result 0}}
func.func private @output_c2_rows() -> (tensor<?xi32> {rondo.output = #rondo.output<"ids">})

// -----

// Tests that the name of an output is an attribute of its own.
// expected-error @below {{attribute 'rondo.output' expected '#rondo.output' on a result that is rows, got "states" on result 0}}
func.func private @output_c2_kind() -> (tensor<?x64xf32> {rondo.output = "states"})

// -----

// expected-error @below {{attribute 'rondo.context_limit' expected a positive number of positions, got 0}}
module attributes {rondo.context_limit = 0 : i64} {
}

// -----

// expected-error @below {{attribute 'rondo.stop_tokens' expected token ids, got -1}}
module attributes {rondo.stop_tokens = [2, -1]} {
}

// -----

// expected-error @below {{attribute 'rondo.stop_tokens' expected token ids, got 4294967295}}
module attributes {rondo.stop_tokens = array<i64: 4294967295>} {
}
