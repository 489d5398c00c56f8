// RUN: rondo-opt %s -split-input-file -convert-rondo-to-rondo-rt -verify-diagnostics

// Tests that an operation does not mix selected rows with others.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  // expected-error @below {{'arith.addf' op reads selected rows beside others; end them in 'rondo.merge_rows'}}
  %z = arith.addf %x, %y : tensor<?x64xf32>
  rondo.yield %z : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %z = rondo.merge_rows replace %y into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that trace points have all rows.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-error @below {{'rondo.trace' op traces selected rows; trace what 'rondo.merge_rows' makes of them}}
  rondo.trace "layer" %x : tensor<?x64xf32>
  rondo.yield %x : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %a = rondo.apply @layer(%y) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %z = rondo.merge_rows replace %a into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a selection ends before the next one.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  %s = rondo.fill [0.0, 0.0, 0.0, 0.0] like %y : tensor<?x64xf32> -> tensor<?x4xf32>
  // expected-error @below {{'rondo.select_rows' op selects among selected rows; end them in 'rondo.merge_rows'}}
  %z = rondo.select_rows %y by %s places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %z : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %z = rondo.merge_rows replace %y into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that only blocks are executed for selected rows.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  // expected-error @below {{'rondo.norm' op expected selected rows to be computed inside a 'rondo.block'}}
  %n = rondo.norm rms %y eps 1.0e-5 : tensor<?x64xf32>
  %z = rondo.merge_rows replace %n into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a block is executed for selected rows everywhere or nowhere.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  rondo.yield %n : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  // expected-error @below {{'rondo.apply' op executes 'layer' for all rows, but another place does for selected ones; write two blocks}}
  %b = rondo.apply @layer(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %a = rondo.apply @layer(%y) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %z = rondo.merge_rows replace %a into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a block of selected rows computes no others.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
rondo.block @both(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %a = arith.addf %y, %y : tensor<?x64xf32>
  // expected-error @below {{'arith.mulf' op computes all rows in a block of selected rows; write two blocks}}
  %b = arith.mulf %x, %x : tensor<?x64xf32>
  rondo.yield %a, %b : tensor<?x64xf32>, tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %a:2 = rondo.apply @both(%y, %x) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
  %z = rondo.merge_rows replace %a#0 into %a#1 by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that places which follow each other are no positions to count.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
  // expected-error @below {{'rondo.attend' op has a window, which counts positions, but its rows are selected with dense places; leave the window out}}
  %a = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal window(8) : tensor<?x64xf32>
  rondo.yield %a : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %a = rondo.apply @layer(%y) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %z = rondo.merge_rows replace %a into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that one place of the model selects rows.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
rondo.block @again(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  // expected-error @below {{'rondo.select_rows' op expected one loop over visits that selects rows once in each, by a record that it carries}}
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %m = rondo.merge_rows replace %y into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %a = rondo.apply @again(%m, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  %z = rondo.merge_rows replace %a into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that the runtime finds the record in a state.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  // expected-error @below {{'rondo.select_rows' op expected one loop over visits that selects rows once in each, by a record that it carries}}
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %z = rondo.merge_rows replace %y into %x by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that a model gives back all rows.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x64xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  // expected-error @below {{'func.return' op returns selected rows; end them in 'rondo.merge_rows'}}
  return %y : tensor<?x64xf32>
}

// -----

// Tests that a loop does not begin with all rows and carry selected ones.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  rondo.yield %n : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  // expected-error @below {{'rondo.loop' op starts with all rows and carries selected ones; end them in 'rondo.merge_rows'}}
  %y:2 = rondo.loop %d to 3 carries(%h = %x, %g = %x) : tensor<?x64xf32>, tensor<?x64xf32> {
    %n = rondo.apply @layer(%g) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %z = rondo.apply @enter(%h, %r) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
    rondo.yield %h, %z : tensor<?x64xf32>, tensor<?x64xf32>
  }
  %z = rondo.merge_rows replace %y#1 into %y#0 by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}

// -----

// Tests that rows are merged into all rows.
rondo.param @e : tensor<96x64xf32> from ["e"]
rondo.block @enter(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) -> tensor<?x64xf32> {
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  rondo.yield %y : tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %r = rondo.fill [0.0, 0.0, 0.0, 0.0] like %x : tensor<?x64xf32> -> tensor<?x4xf32>
  %y = rondo.apply @enter(%x, %r) layer(0) side(0) slot(0) : (tensor<?x64xf32>, tensor<?x4xf32>) -> tensor<?x64xf32>
  // expected-error @below {{'rondo.merge_rows' op merges into selected rows; merge into all rows, by a record of all}}
  %z = rondo.merge_rows replace %x into %y by %r : tensor<?x64xf32>, tensor<?x4xf32>
  %l = rondo.linear %z, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}
