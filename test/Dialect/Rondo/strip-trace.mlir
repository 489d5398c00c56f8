// RUN: rondo-opt %s -split-input-file -rondo-strip-trace | FileCheck %s

// Tests that trace points go.
// CHECK-LABEL: func.func @strip
// CHECK-NEXT: return
func.func @strip(%x: tensor<?x64xf32>) {
  rondo.trace "hidden" %x : tensor<?x64xf32>
  return
}

// -----

// Tests that trace points stay where the options ask for them.
// CHECK-LABEL: func.func @keep
// CHECK-NEXT: rondo.trace "hidden"
module attributes {rondo.options = {trace = true}} {
  func.func @keep(%x: tensor<?x64xf32>) {
    rondo.trace "hidden" %x : tensor<?x64xf32>
    return
  }
}

// -----

// Tests that options that do not ask for them remove them.
// CHECK-LABEL: func.func @off
// CHECK-NEXT: return
module attributes {rondo.options = {trace = false}} {
  func.func @off(%x: tensor<?x64xf32>) {
    rondo.trace "hidden" %x : tensor<?x64xf32>
    return
  }
}

// -----

// Tests that what only a trace point read goes with it, and nothing else.
// CHECK-LABEL: func.func @dead
// CHECK-NEXT: %[[Y:.*]] = rondo.norm
// CHECK-NEXT: return %[[Y]]
func.func @dead(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
  rondo.trace "kept" %y : tensor<?x64xf32>
  %s = rondo.activation silu %y : tensor<?x64xf32>
  %t = arith.addf %s, %y : tensor<?x64xf32>
  rondo.trace "dead" %t : tensor<?x64xf32>
  %d = rondo.fill [3.0] like %x : tensor<?x64xf32> -> tensor<?x1xf32>
  rondo.trace single "depth" %d as integers : tensor<?x1xf32>
  return %y : tensor<?x64xf32>
}
