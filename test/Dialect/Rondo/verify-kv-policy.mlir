// RUN: rondo-opt %s -split-input-file -rondo-verify-kv-policy -remarks-filter=rondo-verify-kv-policy -verify-diagnostics

// Tests that two visits with a slot each keep the per-depth policy.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'per-depth' holds for 2 executions on 2 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
      %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that last-exited equals per-depth where the depth is fixed.
module attributes {rondo.kv_policy = "last-exited", rondo.trained_kv = ["per-depth"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'last-exited' holds for 1 executions on 1 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that a later visit may read the first visit's slot under first-step.
module attributes {rondo.kv_policy = "first-step", rondo.trained_kv = ["first-step"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @first(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  rondo.block @again(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %q = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    %y = rondo.attend %q cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'first-step' holds for 3 executions on 1 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @first(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %z = rondo.loop %d to 2 carries(%h = %y) : tensor<?x64xf32> {
      %a = rondo.apply @again(%h) at(%d) layer(0) side(d0 + 1) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %a : tensor<?x64xf32>
    }
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that under hybrid the first visit appends all versions, and later ones
// append theirs again.
module attributes {rondo.kv_policy = "hybrid", rondo.trained_kv = ["hybrid"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @first(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(2) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.append %k, %k cache(1) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  rondo.block @again(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'hybrid' holds for 2 executions on 2 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @first(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %z = rondo.apply @again(%y) layer(0) side(1) slot(1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that another layer's keys and values may be read under per-depth.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.param @w layers(2) : tensor<64x64xf32> from ["w0", "w1"]
  rondo.block @writer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %k : tensor<?x64xf32>
  }
  rondo.block @reader(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %q = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    %y = rondo.attend %q cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'per-depth' holds for 2 executions on 1 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @writer(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %z = rondo.apply @reader(%y) layer(1) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that a policy the checkpoint is not trained for runs when forced.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["terminal"], rondo.force_kv_policy} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'per-depth' holds for 1 executions on 1 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that a model without KV slots needs no policy.
module {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    rondo.yield %x : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that visits of one version overwrite it.
module attributes {rondo.kv_policy = "modulo:2", rondo.trained_kv = ["modulo:2"]} {
  rondo.param @w layers(2) : tensor<64x64xf32> from ["w0", "w1"]
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'modulo:2' holds for 6 executions on 4 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 3 carries(%h = %x) : tensor<?x64xf32> {
      %z = rondo.loop %l to 2 carries(%g = %h) : tensor<?x64xf32> {
        %a = rondo.apply @b(%g) at(%d, %l) layer(d1) side(d0) slot((d0 mod 2) * 2 + d1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
        rondo.yield %a : tensor<?x64xf32>
      }
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that all visits may overwrite one version.
module attributes {rondo.kv_policy = "final-shared", rondo.trained_kv = ["final-shared"]} {
  rondo.param @w layers(2) : tensor<64x64xf32> from ["w0", "w1"]
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'final-shared' holds for 6 executions on 2 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 3 carries(%h = %x) : tensor<?x64xf32> {
      %z = rondo.loop %l to 2 carries(%g = %h) : tensor<?x64xf32> {
        %a = rondo.apply @b(%g) at(%d, %l) layer(d1) side(d0) slot((0) * 2 + d1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
        rondo.yield %a : tensor<?x64xf32>
      }
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that executions share a slot where each reads its own keys and values only.
module attributes {rondo.kv_policy = "none", rondo.trained_kv = ["none"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 full : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-remark @below {{KV policy 'none' holds for 3 executions on 1 slots}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 3 carries(%h = %x) : tensor<?x64xf32> {
      %z = rondo.apply @b(%h) at(%d) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}
