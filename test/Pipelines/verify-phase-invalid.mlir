// RUN: rondo-opt %s -split-input-file -rondo-verify-phase=phase=step -verify-diagnostics

// Tests that loops are gone at phase step.
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  // expected-error @below {{'rondo.loop' op is still here at phase step; phase step was to remove it}}
  %y = rondo.loop %d to 3 carries(%h = %x) : tensor<?x64xf32> {
    rondo.yield %h : tensor<?x64xf32>
  }
  return %y : tensor<?x64xf32>
}
