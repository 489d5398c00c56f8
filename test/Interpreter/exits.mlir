// Tests exits against figures computed by hand.

// RUN: %tensors write %t.weights none=F32[1]:1

// Four visits with the gates of hazards .3 .3 .3: the record is [visit, 1 - .7^r, .7^r], and with a threshold of .6 the
// row takes the states 10, 20, 30 and no longer 40. The second row has hazards of one half: it takes 10 and 20.
// RUN: %tensors write %t.in gate=F32[2,1]:-0.8472978603872036,0 s=F32[2,1]:10,100
// RUN: rondo-interp %s --archive=%t.weights --inputs=%t.in --outputs=%t.out --entry=visits && %tensors print %t.out | FileCheck %s
// CHECK: 0 F64 [2, 1] 30 200
// CHECK: depth I64 [2] 2 1
// CHECK: first F64 [2] 10 100
// CHECK: last F64 [2, 3] 2 0.{{7598|7599}}{{[0-9]*}} 0.{{2401|2400}}{{[0-9]*}} 1 0.9375 0.0625
func.func @visits(%gate: tensor<?x1xf32>, %s: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %r0 = rondo.fill [-1.0, 0.0, 1.0] like %gate : tensor<?x1xf32> -> tensor<?x3xf32>
  %zero = arith.subf %s, %s : tensor<?x1xf32>
  %y:3 = rondo.loop %d to 4 carries(%x = %zero, %chosen = %s, %r = %r0) : tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x3xf32> {
    %z = arith.addf %x, %s : tensor<?x1xf32>
    %c, %n = rondo.exit cumulative %z, %gate, %chosen, %r threshold 0.6 scope(row) after(ghost) : tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x3xf32>
    rondo.yield %z, %c, %n : tensor<?x1xf32>, tensor<?x1xf32>, tensor<?x3xf32>
  }
  rondo.trace single "first" %s as numbers : tensor<?x1xf32>
  rondo.trace single "depth" %y#2 as integers : tensor<?x3xf32>
  rondo.trace single "last" %y#2 : tensor<?x3xf32>
  return %y#1 : tensor<?x1xf32>
}
