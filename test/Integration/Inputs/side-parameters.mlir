// A block of two layers, visited three times, that differs by depth in every way a side parameter can: low-rank deltas
// of two ranks with a bare depth, a norm and a bias, a scale vector, and a whole matrix; see test_side_parameters.py.
module attributes {rondo.architecture = "hand", rondo.name = "side parameters", rondo.kv_policy = "per-depth", rondo.trained_kv = ["per-depth"], rondo.stop_tokens = [], rondo.context_limit = 256 : i64} {
  rondo.param @embed : tensor<96x64xf32> from ["embed"]
  rondo.param @final_norm : tensor<64xf32> from ["final_norm"]
  rondo.param @norm layers(2) depths(3) : tensor<64xf32> from ["norm.0.0", "norm.0.1", "norm.0.2", "norm.1.0", "norm.1.1", "norm.1.2"]
  rondo.param @q layers(2) : tensor<64x64xf32> from ["q.0", "q.1"]
  rondo.param @q.a layers(2) depths(3) : tensor<6x64xf32> from [unit, "q.a.0.1", "q.a.0.2", unit, "q.a.1.1", "q.a.1.2"]
  rondo.param @q.b layers(2) depths(3) : tensor<64x6xf32> from [unit, "q.b.0.1", "q.b.0.2", unit, "q.b.1.1", "q.b.1.2"]
  rondo.param @k layers(2) : tensor<32x64xf32> from ["k.0", "k.1"]
  rondo.param @v layers(2) : tensor<32x64xf32> from ["v.0", "v.1"]
  rondo.param @v.a layers(2) depths(3) : tensor<40x64xf32> from ["v.a.0.0", "v.a.0.1", "v.a.0.2", "v.a.1.0", "v.a.1.1", "v.a.1.2"]
  rondo.param @v.b layers(2) depths(3) : tensor<32x40xf32> from ["v.b.0.0", "v.b.0.1", "v.b.0.2", "v.b.1.0", "v.b.1.1", "v.b.1.2"]
  rondo.param @o layers(2) depths(3) : tensor<64x64xf32> from ["o.0.0", "o.0.1", "o.0.2", "o.1.0", "o.1.1", "o.1.2"]
  rondo.param @o_bias layers(2) depths(3) : tensor<64xf32> from ["o_bias.0.0", "o_bias.0.1", "o_bias.0.2", "o_bias.1.0", "o_bias.1.1", "o_bias.1.2"]
  rondo.param @step depths(3) : tensor<64xf32> from ["step.0", "step.1", "step.2"]
  rondo.block @layer(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
    %n = rondo.norm rms %x, @norm eps 1.0e-5 : tensor<?x64xf32>
    %q, %k, %v = rondo.linear %n, [@q, @k, @v]
      lora [#rondo.lora<@q.a, @q.b, scale = 2.0 : f32>, unit, #rondo.lora<@v.a, @v.b, scale = 1.0 : f32>]
      : tensor<?x64xf32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
    rondo.append %k, %v cache(0) heads(2) : tensor<?x32xf32>
    %a = rondo.attend %q cache(0) heads(4) kv_heads(2) scale 0.25 causal : tensor<?x64xf32>
    %o = rondo.linear %a, [@o] bias [@o_bias] : tensor<?x64xf32> -> tensor<?x64xf32>
    %s = rondo.scale %o, @step by 0.5 : tensor<?x64xf32>
    %y = arith.addf %x, %s : tensor<?x64xf32>
    rondo.yield %y : tensor<?x64xf32>
  }
  func.func @model(%tokens: tensor<?xi32>) -> tensor<?x96xf32> {
    %x = rondo.embed %tokens, @embed : tensor<?xi32> -> tensor<?x64xf32>
    %y = rondo.loop %d to 3 carries(%h = %x) : tensor<?x64xf32> {
      %z = rondo.loop %l to 2 carries(%g = %h) : tensor<?x64xf32> {
        %w = rondo.apply @layer(%g) at(%d, %l) layer(d1) side(d0) slot(d0 * 2 + d1) : (tensor<?x64xf32>) -> tensor<?x64xf32>
        rondo.yield %w : tensor<?x64xf32>
      }
      rondo.yield %z : tensor<?x64xf32>
    }
    %n = rondo.norm rms %y, @final_norm eps 1.0e-5 : tensor<?x64xf32>
    %logits = rondo.linear %n, [@embed] : tensor<?x64xf32> -> tensor<?x96xf32>
    return %logits : tensor<?x96xf32>
  }
}
