// RUN: not rondo-opt %s -rondo-verify-phase=phase=tiled 2>&1 | FileCheck %s --check-prefix=TILED
// RUN: not rondo-opt %s -rondo-verify-phase=phase=buffers 2>&1 | FileCheck %s --check-prefix=BUFFERS
// RUN: not rondo-opt %s -rondo-verify-phase=phase=rondo 2>&1 | FileCheck %s --check-prefix=RONDO
// RUN: not rondo-opt %s -rondo-verify-phase=phase=nowhere 2>&1 | FileCheck %s --check-prefix=NAME
// RUN: rondo-opt %s -rondo-verify-phase=phase=step | FileCheck %s

// Tests that each phase says what does not belong to it.
// TILED: 'rondo.norm' op is still here at phase tiled; phase tiled was to remove it
// BUFFERS: 'rondo_rt.stage' op has tensors at phase buffers; phase buffers was to replace them
// RONDO: 'rondo_rt.body' op is not known before phase step
// NAME: no phase of the IR is called 'nowhere'
// CHECK: rondo.norm
rondo_rt.body @rows block 0 caches(0) inputs [0] outputs [0] {
^bb0(%x: tensor<?x64xf32>):
  %y = rondo_rt.stage "norm" -> tensor<?x64xf32> {
    %n = rondo.norm rms %x eps 1.0e-5 : tensor<?x64xf32>
    rondo_rt.yield %n : tensor<?x64xf32>
  }
  rondo_rt.return %y : tensor<?x64xf32>
}
