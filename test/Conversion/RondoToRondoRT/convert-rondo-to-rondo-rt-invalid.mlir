// RUN: rondo-opt %s -split-input-file -convert-rondo-to-rondo-rt -verify-diagnostics

// Tests that a model must start from tokens.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{expected the model to start with a 'rondo.embed' of its tokens}}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %l = rondo.linear %x, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a model returns something.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{expected the model to return at least one value}}
func.func @model(%t: tensor<?xi32>) {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  return
}

// -----

// Tests that the model's tokens are its first argument.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{expected the model's first argument to be its tokens}}
func.func @model() -> tensor<?x64xf32> {
  %i = rondo.row_ids position : tensor<?xi32>
  %x = rondo.embed %i, @e : tensor<?xi32> -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}

// -----

// Tests that ids are looked up in the prelude, the only body that has them.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  // expected-error @below {{'rondo.embed' op expected to stand in front of the first loop or 'rondo.apply' of the model}}
  %z = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %s = arith.addf %y, %z : tensor<?x64xf32>
  return %s : tensor<?x64xf32>
}

// -----

// Tests that several results have names.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{expected a name for each of several results, give result 1 the attribute 'rondo.output'}}
func.func @model(%t: tensor<?xi32>)
    -> (tensor<?x64xf32> {rondo.output = #rondo.output<"a">}, tensor<?x64xf32>) {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  return %x, %x : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Tests that results have different names.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{expected results of different names, got 'a' twice}}
func.func @model(%t: tensor<?xi32>)
    -> (tensor<?x64xf32> {rondo.output = #rondo.output<"a">},
        tensor<?x64xf32> {rondo.output = #rondo.output<"a">}) {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  return %x, %x : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// Tests that a model has one mask, since a row's descriptor says once what it sees.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 full : tensor<?x64xf32>
  // expected-error @below {{'rondo.attend' op expected one mask in all of the model, got 'causal' beside 'full'}}
  %z = rondo.attend %y cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
  rondo.yield %z : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// Tests that indices are induction values, so that the schedule is known.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>, %i: index) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  // expected-error @below {{'rondo.apply' op expected indices to be induction values of enclosing loops}}
  %y = rondo.apply @b(%x) at(%i) layer(0) side(d0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %l = rondo.linear %y, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that rows which no operation computes are an input.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{argument 1 expected 'rondo.input', which says how its rows come about}}
func.func @model(%t: tensor<?xi32>, %s: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y = arith.addf %x, %s : tensor<?x64xf32>
  %l = rondo.linear %y, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that an input is read.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{input 'state' is not read; remove the argument}}
func.func @model(%t: tensor<?xi32>, %s: tensor<?x64xf32> {rondo.input = #rondo.input<"state", init = zeros>}) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %l = rondo.linear %x, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a block without a model is no model, and what is missing is named.
// expected-error @below {{expected a function '@model' from tokens to logits, which says how blocks are executed; found none of that name}}
module {
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @main() {
  return
}
}
