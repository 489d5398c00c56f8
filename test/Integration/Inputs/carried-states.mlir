// One block applied to its arguments in every order, and a loop that carries the states of two earlier iterations; see
// test_carried_states.py.
module attributes {rondo.architecture = "hand", rondo.name = "swap", rondo.stop_tokens = [], rondo.context_limit = 256 : i64} {
rondo.param @e : tensor<96x64xf32> from ["embed"]
rondo.param @q : tensor<64x64xf32> from ["q"]
rondo.block @mix(%a: tensor<?x64xf32>, %b: tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %s = rondo.linear %a, [@q] : tensor<?x64xf32> -> tensor<?x64xf32>
  %t = arith.addf %s, %b : tensor<?x64xf32>
  %d = arith.subf %a, %b : tensor<?x64xf32>
  rondo.yield %t, %d : tensor<?x64xf32>, tensor<?x64xf32>
}
func.func @model(%t: tensor<?xi32>) -> tensor<?x96xf32> {
  %x = rondo.embed %t, @e : tensor<?xi32> -> tensor<?x64xf32>
  %y:4 = rondo.loop %d to 3 carries(%a = %x, %b = %x, %p = %x, %o = %x) : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32> {
    %z:2 = rondo.apply @mix(%a, %b) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    %w:2 = rondo.apply @mix(%a, %z#1) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    %v:2 = rondo.apply @mix(%w#1, %w#0) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    %u:2 = rondo.apply @mix(%v#0, %v#0) at(%d) layer(0) side(d0) slot(d0) : (tensor<?x64xf32>, tensor<?x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    %k = arith.addf %u#0, %p : tensor<?x64xf32>
    %n = rondo.norm rms %k eps 1.0e-5 : tensor<?x64xf32>
    %m = rondo.norm rms %w#1 eps 1.0e-5 : tensor<?x64xf32>
    rondo.yield %n, %m, %a, %p : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
  }
  %s = arith.addf %y#0, %y#1 : tensor<?x64xf32>
  %s1 = arith.addf %s, %y#2 : tensor<?x64xf32>
  %s2 = arith.addf %s1, %y#3 : tensor<?x64xf32>
  %l = rondo.linear %s2, [@e] : tensor<?x64xf32> -> tensor<?x96xf32>
  return %l : tensor<?x96xf32>
}
}
