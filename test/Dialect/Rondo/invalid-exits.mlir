// RUN: rondo-opt %s -split-input-file -verify-diagnostics

// Tests that every column has a value.
func.func @fill_c1(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.fill' op expected one value for each of 3 columns, got 2}}
  %y = rondo.fill [1.0, 2.0] like %x : tensor<?x64xf32> -> tensor<?x3xf32>
  return
}

// -----

// Tests that columns fit a chunk.
func.func @fill_c2(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.fill' op expected at most 32 columns, got 33}}
  %y = rondo.fill [0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.,0.] like %x : tensor<?x64xf32> -> tensor<?x33xf32>
  return
}

// -----

// Tests that a gate is one number.
func.func @exit_c1_gate(%x: tensor<?x64xf32>, %g: tensor<?x2xf32>, %r: tensor<?x3xf32>) {
  // expected-error @below {{'rondo.exit' op expected a gate of 1 column and a record of 3, got 2 and 3}}
  %y:2 = rondo.exit cumulative %x, %g, %x, %r threshold 0.5 scope(row) after(ghost) : tensor<?x64xf32>, tensor<?x2xf32>, tensor<?x3xf32>
  return
}

// -----

// Tests that a record has three numbers.
func.func @exit_c1_record(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>, %r: tensor<?x2xf32>) {
  // expected-error @below {{'rondo.exit' op expected a gate of 1 column and a record of 3, got 1 and 2}}
  %y:2 = rondo.exit cumulative %x, %g, %x, %r threshold 0.5 scope(row) after(ghost) : tensor<?x64xf32>, tensor<?x1xf32>, tensor<?x2xf32>
  return
}

// -----

// Tests that a threshold of all visits is no exit.
func.func @exit_c2_one(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>, %r: tensor<?x3xf32>) {
  // expected-error @below {{'rondo.exit' op expected a threshold above 0 and below 1, got 1.000000e+00 : f32}}
  %y:2 = rondo.exit cumulative %x, %g, %x, %r threshold 1.0 scope(row) after(ghost) : tensor<?x64xf32>, tensor<?x1xf32>, tensor<?x3xf32>
  return
}

// -----

// Tests that a threshold is not zero, at which nothing would be chosen.
func.func @exit_c2_zero(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>, %r: tensor<?x3xf32>) {
  // expected-error @below {{'rondo.exit' op expected a threshold above 0 and below 1, got 0.000000e+00 : f32}}
  %y:2 = rondo.exit cumulative %x, %g, %x, %r threshold 0.0 scope(row) after(ghost) : tensor<?x64xf32>, tensor<?x1xf32>, tensor<?x3xf32>
  return
}
