// RUN: rondo-opt %s -split-input-file -rondo-verify-kv-policy -verify-diagnostics

// Tests that a slot is appended once under per-depth.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    // expected-error @below {{'rondo.append' op expected KV policy "per-depth" to append a slot once, got slot 0 in execution 1 after execution 0}}
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %x : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
      // expected-note @below {{executed here}}
      %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that a loop inside a block may not append one slot in every iteration.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %y = rondo.loop %l to 2 carries(%h = %x) : tensor<?x64xf32> {
      // expected-error @below {{to append a slot once, got slot 0 in execution 0 after execution 0}}
      rondo.append %h, %h cache(0) heads(2) : tensor<?x64xf32>
      rondo.yield %h : tensor<?x64xf32>
    }
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    // expected-note @below {{executed here}}
    %z = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that a slot is appended before it is read.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    // expected-error @below {{'rondo.attend' op expected a slot that the same or an earlier execution appended, got slot 3 in execution 0}}
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.append %y, %y cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    // expected-note @below {{executed here}}
    %z = rondo.apply @b(%x) layer(0) side(0) slot(3) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that per-depth forbids to read another visit's version of a layer.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @first(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %k : tensor<?x64xf32>
  }
  rondo.block @again(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %q = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    // expected-error @below {{'rondo.attend' op expected KV policy "per-depth" to read the version of its own depth, got slot 0 of execution 0 in execution 1}}
    // expected-note @below {{KV policy 'first-step' lets later visits of a layer read the first}}
    %y = rondo.attend %q cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @first(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    // expected-note @below {{executed here}}
    %z = rondo.apply @again(%y) layer(0) side(1) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that first-step lets the first visit of a layer append, and no other.
module attributes {rondo.kv_policy = "first-step", rondo.trained_kv = ["first-step"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    // expected-error @below {{'rondo.append' op expected KV policy "first-step" to append at the first visit of a layer only, got execution 1 after execution 0}}
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %k : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
      // expected-note @below {{executed here}}
      %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that every slot has an owner.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  // expected-error @below {{'func.func' op expected an execution to own each of 3 slots, got none for slot 1}}
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
      %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0 * 2) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that a policy the checkpoint is not trained for is an error.
// expected-error @below {{'builtin.module' op expected a KV policy that the checkpoint is trained for, got "first-step"}}
// expected-note @below {{trained for ["per-depth"]}}
// expected-note @below {{set 'rondo.force_kv_policy' to run it all the same}}
module attributes {rondo.kv_policy = "first-step", rondo.trained_kv = ["per-depth"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %x : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that a policy that a schedule of fixed depth cannot keep is an error.
// expected-error @below {{'builtin.module' op 'window:4' is not a KV policy of models of fixed depth; known: per-depth, last-exited, first-step, final-shared, modulo:S, first-then-shared:S (S from 1 to 65535), none}}
module attributes {rondo.kv_policy = "window:4"} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %x : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that a policy keeps at least one version.
// expected-error @below {{'builtin.module' op 'modulo:0' is not a KV policy of models of fixed depth}}
module attributes {rondo.kv_policy = "modulo:0"} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %x : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that trained policies are known, too.
// expected-error @below {{'builtin.module' op 'mudulo:2' is not a KV policy of models of fixed depth}}
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["mudulo:2"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %x : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that under hybrid a visit appends the version that the first one left
// for it.
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
    // expected-error @below {{'rondo.append' op expected KV policy "hybrid" to append version 1 to slot 1, as visits of the layer before, got slot 0 in execution 1}}
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @first(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    // expected-note @below {{executed here}}
    %z = rondo.apply @again(%y) layer(0) side(1) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that visits which share a version share its slot.
module attributes {rondo.kv_policy = "modulo:2", rondo.trained_kv = ["modulo:2"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    // expected-error @below {{'rondo.append' op expected KV policy "modulo:2" to append version 0 to slot 0, as visits of the layer before, got slot 2 in execution 2}}
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %k : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 3 carries(%h = %x) : tensor<?x64xf32> {
      // expected-note @below {{executed here}}
      %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that versions do not share a slot.
module attributes {rondo.kv_policy = "modulo:2", rondo.trained_kv = ["modulo:2"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    // expected-error @below {{'rondo.append' op expected KV policy "modulo:2" to append a slot once, got slot 0 in execution 1 after execution 0}}
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %k : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
      // expected-note @below {{executed here}}
      %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that a visit appends before it attends.
module attributes {rondo.kv_policy = "final-shared", rondo.trained_kv = ["final-shared"]} {
  rondo.param @w : tensor<64x64xf32> from ["w"]
  rondo.block @first(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %k : tensor<?x64xf32>
  }
  rondo.block @late(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %k = rondo.linear %x, [@w] : tensor<?x64xf32> -> tensor<?x64xf32>
    // expected-error @below {{'rondo.attend' op expected KV policy "final-shared" to read the version of its own depth, got slot 0 of execution 0 in execution 1}}
    // expected-note @below {{KV policy 'first-step' lets later visits of a layer read the first}}
    %y = rondo.attend %k cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.append %k, %k cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @first(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    // expected-note @below {{executed here}}
    %z = rondo.apply @late(%y) layer(0) side(1) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that a model with KV slots declares a policy.
// expected-error @below {{'builtin.module' op expected attribute 'rondo.kv_policy' of a model with KV slots}}
module {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %x : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that the schedule has no slot below 0.
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
    // expected-error @below {{'rondo.apply' op expected a slot that is not negative, got -1 in execution 1}}
    %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(-d0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    rondo.yield %z : tensor<?x64xf32>
  }
  return %y : tensor<?x64xf32>
}

// -----

// Tests that the indices of an execution are known.
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>, %i: index) -> tensor<?x64xf32> {
  // expected-error @below {{'rondo.apply' op expected indices that are induction values or constants, got}}
  %z = rondo.apply @b(%x) at(%i) layer(0) side(0) slot(d0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
  return %z : tensor<?x64xf32>
}

// -----

// Tests that an execution stands in loops of this dialect only.
rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  rondo.yield %x : tensor<?x64xf32>
}
func.func @model(%x: tensor<?x64xf32>, %p: i1) -> tensor<?x64xf32> {
  %y = scf.if %p -> tensor<?x64xf32> {
    // expected-error @below {{'rondo.apply' op expected to be enclosed by 'rondo.loop' only, got 'scf.if'}}
    %z = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    scf.yield %z : tensor<?x64xf32>
  } else {
    scf.yield %x : tensor<?x64xf32>
  }
  return %y : tensor<?x64xf32>
}

// -----

// Tests that without kept keys and values a row sees its whole sequence.
module attributes {rondo.kv_policy = "none", rondo.trained_kv = ["none"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    // expected-error @below {{'rondo.attend' op expected KV policy "none" to see whole sequences and what the execution wrote itself, got mask 'causal'}}
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    // expected-note @below {{executed here}}
    %y = rondo.apply @b(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }
}

// -----

// Tests that without kept keys and values an execution reads its own.
module attributes {rondo.kv_policy = "none", rondo.trained_kv = ["none"]} {
  rondo.block @a(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.yield %x : tensor<?x64xf32>
  }
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    // expected-error @below {{'rondo.attend' op expected KV policy "none" to see whole sequences and what the execution wrote itself, got slot 0 of execution 0 in execution 1}}
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 full : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.apply @a(%x) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    // expected-note @below {{executed here}}
    %z = rondo.apply @b(%y) layer(0) side(0) slot(0) : (tensor<?x64xf32>) -> tensor<?x64xf32>
    return %z : tensor<?x64xf32>
  }
}

// -----

// Tests that keys and values that nothing attends are an error.
module attributes {rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"]} {
  rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(2) {
    rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
    rondo.append %x, %x cache(1) heads(2) : tensor<?x64xf32>
    %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
    %y = rondo.loop %d to 2 carries(%h = %x) : tensor<?x64xf32> {
      // expected-error @below {{'rondo.apply' op expected an execution to attend slot 1, which execution 0 appends; leave its keys and values out, or attend them}}
      %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0 * 2) : (tensor<?x64xf32>) -> tensor<?x64xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    return %y : tensor<?x64xf32>
  }
}
