// Tests how tensors of the inputs find their arguments, and what is said of those that do not.

// DEFINE: %{entry} = sum
// DEFINE: %{run} = rondo-interp %s --inputs=%t.in --outputs=%t.out --entry=%{entry}
// DEFINE: %{fail} = %status 1 %{run} 2>&1

// Arguments by the names of the text, by number, and token ids as 'tokens', in every type of numbers.
// RUN: %tensors write %t.in x=F16[2,2]:1,2,3,4 1=BF16[2]:16256,16384 tokens=I64[2]:7,8
// RUN: %{run} && %tensors print %t.out | FileCheck --match-full-lines %s --check-prefix=GOOD
// GOOD: 0 F64 [2, 2] 2 4 6 8
// GOOD: 1 F64 [2] 1 2
// GOOD: 2 I64 [2] 7 8
// ERROR: inputs.mlir:[[#@LINE+1]]:1: error:
func.func @sum(%x: tensor<?x2xf32>, %scales: tensor<2xf32>, %ids: tensor<?xi32>) -> (tensor<?x2xf32>, tensor<2xf32>, tensor<?xi32>) {
  %y = arith.addf %x, %x : tensor<?x2xf32>
  return %y, %scales, %ids : tensor<?x2xf32>, tensor<2xf32>, tensor<?xi32>
}

// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,MISSING
// MISSING-SAME: argument 2 has no input; put a tensor called 'ids' or '2' or 'tokens' into the file of --inputs
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4
// RUN: not rondo-interp %s --inputs=%t.in --outputs=%t.out --entry=named 2>&1 | FileCheck %s --check-prefix=NAMED
// NAMED: argument 0 has no input; put a tensor called 'tokens' or '0' into the file of --inputs
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2 ids=I32[2]:1,2 y=F32[1]:0
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,LEFT
// LEFT-SAME: input 'y' is for no argument of '@sum'; name it after one, by its name or number, or leave it out
// RUN: %tensors write %t.in x=F32[2,3]:1,2,3,4,5,6 scales=F32[2]:1,2 ids=I32[2]:1,2
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,SHAPE
// SHAPE-SAME: input 'x' has shape [2, 3], expected [?, 2]; all inputs with rows have equally many
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2 ids=I32[3]:1,2,3
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,ROWS
// ROWS-SAME: input 'ids' has shape [3], expected [2]; all inputs with rows have equally many
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=I32[2]:1,2 ids=I32[2]:1,2
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,INTEGERS
// INTEGERS-SAME: input 'scales' holds integers, expected floats (F64, F32, F16 or BF16)
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2 ids=F32[2]:1,2
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,FLOATS
// FLOATS-SAME: input 'ids' holds floats, expected integers (I32 or I64)
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2 ids=I64[2]:1,9223372036854775807
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,RANGE
// RANGE-SAME: input 'ids' holds an integer beyond 32 bits, about 9.22{{.*}}e+18; give ids and numbers that fit i32
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2 ids=I32[2]:1,2 sequences=I32[3]:0,0,0
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,SEQUENCES
// SEQUENCES-SAME: input 'sequences' has shape [3], expected [2]
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2 ids=I32[2]:1,2 positions=I32[2]:0,-1
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,POSITION
// POSITION-SAME: input 'positions' is -1 for row 1; positions count from 0
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4 scales=F32[2]:1,2 ids=I32[2]:1,2 positions=I32[2]:4,4
// RUN: %{fail} | FileCheck %s --check-prefixes=ERROR,TWICE
// TWICE-SAME: row 1 is position 4 of sequence 0, as another row of its step; tell them apart by 'sequences', 'positions' or 'steps'
// RUN: %tensors write %t.in x=U8[1]:0
// RUN: %{fail} | FileCheck %s --check-prefix=KIND
// KIND: rondo-interp: error: tensor 'x' in '{{.*}}' has type U8; known: F64, F32, F16, BF16, I64, I32; convert it to one of them

// Argument types other than tensors of f32 and i32.
// REDEFINE: %{entry} = scalar
// RUN: %tensors write %t.in x=F32[2,2]:1,2,3,4
// RUN: %{fail} | FileCheck %s --check-prefix=SCALAR
// SCALAR: inputs.mlir:[[#@LINE+1]]:1: error: argument 0 has type 'f32'; an entry takes tensors of f32 or i32 whose dimensions are static but for the first
func.func @scalar(%x: f32) {
  return
}
// REDEFINE: %{entry} = dynamic
// RUN: %{fail} | FileCheck %s --check-prefix=DYNAMIC
// DYNAMIC: error: argument 0 has type 'tensor<?x?xf32>'; an entry takes tensors
func.func @dynamic(%x: tensor<?x?xf32>) {
  return
}

func.func @named(%tokens: tensor<?xi32>) -> tensor<?xi32> {
  return %tokens : tensor<?xi32>
}
