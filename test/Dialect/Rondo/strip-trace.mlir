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
