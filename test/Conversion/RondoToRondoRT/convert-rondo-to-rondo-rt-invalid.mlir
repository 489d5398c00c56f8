// RUN: rondo-opt %s -split-input-file -convert-rondo-to-rondo-rt -verify-diagnostics

// Tests that a model must start from tokens.
rondo.param @e : tensor<96x64xf32> from ["e"]
// expected-error @below {{expected the model to start with a 'rondo.embed' of its tokens}}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x96xf32> {
  %l = rondo.linear %x, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that something must come after the last loop.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
// expected-error @below {{expected the model to return one value, of an operation after its last loop}}
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
