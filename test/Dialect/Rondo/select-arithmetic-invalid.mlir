// RUN: rondo-opt %s -rondo-select-arithmetic -verify-diagnostics

// Tests that the weights of one linear have one mode.
rondo.param @f : tensor<64x64xf32> from ["f"]
rondo.param @h : tensor<64x64xbf16> from ["h"]
rondo.block @mixed(%x: tensor<?x64xf32>) {
  // expected-error @below {{'rondo.linear' op expected weights of one arithmetic mode, got 'exact' and 'bf16_dot' for '@h'}}
  %0:2 = rondo.linear %x, [@f, @h] : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x64xf32>
}
