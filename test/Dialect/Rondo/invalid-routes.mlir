// RUN: rondo-opt %s -split-input-file -verify-diagnostics

// Tests that a router knows its visit.
func.func @route_c1(%s: tensor<?x1xf32>, %r: tensor<?x4xf32>) {
  // expected-error @below {{'rondo.route' op expected to stand inside a 'rondo.block', whose side index is the visit}}
  %n = rondo.route threshold %s, %r sigmoid alpha 0.1 threshold 0.0 : tensor<?x1xf32>, tensor<?x4xf32>
  return
}

// -----

// Tests that a record has four numbers.
rondo.block @route_c2(%s: tensor<?x1xf32>, %r: tensor<?x3xf32>) -> tensor<?x3xf32> {
  // expected-error @below {{'rondo.route' op expected a record of 4 columns, got 3}}
  %n = rondo.route threshold %s, %r sigmoid alpha 0.1 threshold 0.0 : tensor<?x1xf32>, tensor<?x3xf32>
  rondo.yield %n : tensor<?x3xf32>
}

// -----

// Tests that a rule about going on reads one score.
rondo.block @route_c3_one(%s: tensor<?x2xf32>, %r: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @below {{'rondo.route' op expected one score of each row, got 2}}
  %n = rondo.route top_k %s, %r sigmoid alpha 0.1 capacities [1.0] : tensor<?x2xf32>, tensor<?x4xf32>
  rondo.yield %n : tensor<?x4xf32>
}

// -----

// Tests that the scores of a choice fit a chunk.
rondo.block @route_c3_choice(%s: tensor<?x33xf32>, %r: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @below {{'rondo.route' op expected at most 32 scores of each row, got 33}}
  %n = rondo.route choice %s, %r softmax alpha 1.0 : tensor<?x33xf32>, tensor<?x4xf32>
  rondo.yield %n : tensor<?x4xf32>
}

// -----

// Tests that the largest scores need a number of them.
rondo.block @route_c4_missing(%s: tensor<?x1xf32>, %r: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @below {{'rondo.route' op expected 'capacities' with 'top_k' alone and 'threshold' with 'threshold' alone}}
  %n = rondo.route top_k %s, %r sigmoid alpha 0.1 threshold 0.0 : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.yield %n : tensor<?x4xf32>
}

// -----

// Tests that a capacity is a share of the rows.
rondo.block @route_c4_share(%s: tensor<?x1xf32>, %r: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @below {{'rondo.route' op expected a capacity for each visit, each above 0 and not above 1, got 0.000000e+00}}
  %n = rondo.route top_k %s, %r sigmoid alpha 0.1 capacities [1.0, 0.0] : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.yield %n : tensor<?x4xf32>
}

// -----

// Tests that a softmax over one score, which is 1, is no rule.
rondo.block @route_c5_softmax(%s: tensor<?x1xf32>, %r: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @below {{'rondo.route' op expected 'biases' and 'softmax' with 'choice' alone}}
  %n = rondo.route threshold %s, %r softmax alpha 0.1 threshold 0.0 : tensor<?x1xf32>, tensor<?x4xf32>
  rondo.yield %n : tensor<?x4xf32>
}

// -----

// Tests that there is a bias for each score.
rondo.param @b : tensor<3xf32> from ["b"]
rondo.block @route_c5_biases(%s: tensor<?x2xf32>, %r: tensor<?x4xf32>) -> tensor<?x4xf32> {
  // expected-error @below {{'rondo.route' op expected biases @b to name a 'rondo.param' of 2 values}}
  %n = rondo.route choice %s, %r softmax alpha 1.0 biases @b : tensor<?x2xf32>, tensor<?x4xf32>
  rondo.yield %n : tensor<?x4xf32>
}

// -----

// Tests that rows are selected for a visit.
func.func @select_rows_c1(%x: tensor<?x64xf32>, %r: tensor<?x4xf32>) {
  // expected-error @below {{'rondo.select_rows' op expected to stand inside a 'rondo.block', whose side index is the visit}}
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x4xf32>
  return
}

// -----

// Tests that rows are selected by a record.
rondo.block @select_rows_c2(%x: tensor<?x64xf32>, %r: tensor<?x1xf32>) -> tensor<?x64xf32> {
  // expected-error @below {{'rondo.select_rows' op expected a record of 4 columns, got 1}}
  %y = rondo.select_rows %x by %r places dense : tensor<?x64xf32>, tensor<?x1xf32>
  rondo.yield %y : tensor<?x64xf32>
}

// -----

// Tests that rows are not merged in a loop, where nothing says which visit it is.
func.func @merge_rows_c1(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>, %r: tensor<?x4xf32>) {
  %l = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    // expected-error @below {{'rondo.merge_rows' op expected to stand inside a 'rondo.block', or behind all loops}}
    %z = rondo.merge_rows add %y into %h by %r : tensor<?x64xf32>, tensor<?x4xf32>
    rondo.yield %z : tensor<?x64xf32>
  }
  return
}

// -----

// Tests that rows are merged by a record.
rondo.block @merge_rows_c2(%y: tensor<?x64xf32>, %r: tensor<?x2xf32>) -> tensor<?x64xf32> {
  // expected-error @below {{'rondo.merge_rows' op expected a record of 4 columns, got 2}}
  %z = rondo.merge_rows replace %y into %y by %r : tensor<?x64xf32>, tensor<?x2xf32>
  rondo.yield %z : tensor<?x64xf32>
}

// -----

// Tests that a traced column is one of the value.
func.func @trace_c1_column(%x: tensor<?x4xf32>) {
  // expected-error @below {{'rondo.trace' op expected a column below 32 of 4, and a form of one number, got column 4 and form numbers}}
  rondo.trace "t" %x as numbers column(4) : tensor<?x4xf32>
  return
}

// -----

// Tests that a column is traced as one number.
func.func @trace_c1_form(%x: tensor<?x4xf32>) {
  // expected-error @below {{'rondo.trace' op expected a column below 32 of 4, and a form of one number, got column 1 and form rows}}
  rondo.trace "t" %x column(1) : tensor<?x4xf32>
  return
}
