// Two attentions with different windows and a gate between them, a carried pair of
// states, visited five times; see test_hand_typed_block.py.
module attributes {rondo.architecture = "hand", rondo.name = "two windows and a gate", rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"], rondo.stop_tokens = [], rondo.context_limit = 256 : i64} {
  rondo.param @embed : tensor<96x64xf32> from ["embed"]
  rondo.param @norm : tensor<64xf32> from ["norm"]
  rondo.param @q : tensor<64x64xf32> from ["q"]
  rondo.param @k : tensor<32x64xf32> from ["k"]
  rondo.param @v : tensor<32x64xf32> from ["v"]
  rondo.param @k2 : tensor<32x64xf32> from ["k2"]
  rondo.param @v2 : tensor<32x64xf32> from ["v2"]
  rondo.param @gate : tensor<64x64xf32> from ["gate"]
  rondo.param @gate_bias : tensor<64xf32> from ["gate_bias"]
  rondo.param @o : tensor<64x64xf32> from ["o"]
  rondo.param @mix : tensor<64x64xf32> from ["mix"]
  rondo.block @step(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) caches(2) {
    %n = rondo.norm rms %a, @norm eps 1.0e-5 : tensor<?x64xf32>
    %q = rondo.linear %n, [@q] : tensor<?x64xf32> -> tensor<?x64xf32>
    %k = rondo.linear %n, [@k] : tensor<?x64xf32> -> tensor<?x32xf32>
    %v = rondo.linear %n, [@v] : tensor<?x64xf32> -> tensor<?x32xf32>
    %k2 = rondo.linear %b, [@k2] : tensor<?x64xf32> -> tensor<?x32xf32>
    %v2 = rondo.linear %b, [@v2] : tensor<?x64xf32> -> tensor<?x32xf32>
    rondo.append %k, %v cache(0) heads(2) : tensor<?x32xf32>
    rondo.append %k2, %v2 cache(1) heads(2) : tensor<?x32xf32>
    %near = rondo.attend %q cache(0) heads(4) kv_heads(2) scale 0.25 causal window(5) : tensor<?x64xf32>
    %far = rondo.attend %q cache(1) heads(4) kv_heads(2) scale 0.25 causal window(40) : tensor<?x64xf32>
    %gl = rondo.linear %n, [@gate] bias [@gate_bias] : tensor<?x64xf32> -> tensor<?x64xf32>
    %g = rondo.activation sigmoid %gl : tensor<?x64xf32>
    %d = arith.subf %near, %far : tensor<?x64xf32>
    %gd = arith.mulf %g, %d : tensor<?x64xf32>
    %both = arith.addf %far, %gd : tensor<?x64xf32>
    %o = rondo.linear %both, [@o] : tensor<?x64xf32> -> tensor<?x64xf32>
    %a2 = arith.addf %a, %o : tensor<?x64xf32>
    %m = rondo.linear %a2, [@mix] : tensor<?x64xf32> -> tensor<?x64xf32>
    %t = rondo.activation tanh %m : tensor<?x64xf32>
    %b2 = arith.addf %b, %t : tensor<?x64xf32>
    rondo.yield %a2, %b2 : tensor<?x64xf32>, tensor<?x64xf32>
  }
  func.func @model(%tokens: tensor<?xi32>) -> tensor<?x96xf32> {
    %x = rondo.embed %tokens, @embed : tensor<?xi32> -> tensor<?x64xf32>
    %y:2 = rondo.loop %d to 5 carries(%a = %x, %b = %x) : tensor<?x64xf32>, tensor<?x64xf32> {
      %z:2 = rondo.apply @step(%a, %b) at(%d) layer(0) side(d0) slot(d0 * 2) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
      rondo.yield %z#0, %z#1 : tensor<?x64xf32>, tensor<?x64xf32>
    }
    %s = arith.addf %y#0, %y#1 : tensor<?x64xf32>
    %n = rondo.norm rms %s, @norm eps 1.0e-5 : tensor<?x64xf32>
    %logits = rondo.linear %n, [@embed] : tensor<?x64xf32> -> tensor<?x96xf32>
    return %logits : tensor<?x96xf32>
  }
}
