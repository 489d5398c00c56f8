// Tests constants and elementwise operations of arith and math against figures computed by hand.

// RUN: %tensors write %t.in x=F32[1,3]:0.5,2,-4 y=F32[1,3]:4,-2,0.25
// RUN: rondo-interp %s --inputs=%t.in --outputs=%t.out --entry=arith && %tensors print %t.out | FileCheck --match-full-lines %s --check-prefix=ARITH
// ARITH:      0 F64 [1, 3] 4.5 0 -3.75
// ARITH-NEXT: 1 F64 [1, 3] -3.5 4 -4.25
// ARITH-NEXT: 2 F64 [1, 3] 2 -4 -1
// ARITH-NEXT: 3 F64 [1, 3] 0.125 -1 -16
// ARITH-NEXT: 4 F64 [1, 3] -0.5 -2 4
// ARITH-NEXT: 5 F64 [1, 3] 4 2 0.25
// ARITH-NEXT: 6 F64 [1, 3] 0.5 -2 -4
// ARITH-NEXT: 7 F64 [1, 3] 4 2 0.25
// ARITH-NEXT: 8 F64 [1, 3] 0.5 -2 -4
!rows = tensor<?x3xf32>
func.func @arith(%x: !rows, %y: !rows) -> (!rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows) {
  %0 = arith.addf %x, %y : !rows
  %1 = arith.subf %x, %y : !rows
  %2 = arith.mulf %x, %y : !rows
  %3 = arith.divf %x, %y : !rows
  %4 = arith.negf %x : !rows
  %5 = arith.maximumf %x, %y : !rows
  %6 = arith.minimumf %x, %y : !rows
  %7 = arith.maxnumf %x, %y : !rows
  %8 = arith.minnumf %x, %y : !rows
  return %0, %1, %2, %3, %4, %5, %6, %7, %8 : !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows
}

// RUN: %tensors write %t.pair x=F32[1,3]:0.5,2,4 y=F32[1,3]:3,-1,0.5
// RUN: rondo-interp %s --inputs=%t.pair --outputs=%t.out --entry=math && %tensors print %t.out | FileCheck --match-full-lines %s --check-prefix=MATH
// MATH:      0 F64 [1, 3] 3 1 0.5
// MATH-NEXT: 1 F64 [1, 3] 0.877583 -0.416147 -0.653644
// MATH-NEXT: 10 F64 [1, 3] 0.462117 0.964028 0.999329
// MATH-NEXT: 2 F64 [1, 3] 0.5205 0.995322 1
// MATH-NEXT: 3 F64 [1, 3] 1.64872 7.38906 54.5981
// MATH-NEXT: 4 F64 [1, 3] 2 0 6
// MATH-NEXT: 5 F64 [1, 3] -0.693147 0.693147 1.38629
// MATH-NEXT: 6 F64 [1, 3] 0.125 0.5 2
// MATH-NEXT: 7 F64 [1, 3] 1.41421 0.707107 0.5
// MATH-NEXT: 8 F64 [1, 3] 0.479426 0.909297 -0.756802
// MATH-NEXT: 9 F64 [1, 3] 0.707107 1.41421 2
func.func @math(%x: !rows, %y: !rows) -> (!rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows) {
  %0 = math.absf %y : !rows
  %1 = math.cos %x : !rows
  %2 = math.erf %x : !rows
  %3 = math.exp %x : !rows
  %4 = math.fma %x, %y, %x : !rows
  %5 = math.log %x : !rows
  %6 = math.powf %x, %y : !rows
  %7 = math.rsqrt %x : !rows
  %8 = math.sin %x : !rows
  %9 = math.sqrt %x : !rows
  %10 = math.tanh %x : !rows
  return %0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10 : !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows, !rows
}

// Maximum and minimum keep a NaN, maxnum and minnum drop it.
// RUN: %tensors write %t.nan x=F32[1,3]:nan,1,nan y=F32[1,3]:1,nan,nan
// RUN: rondo-interp %s --inputs=%t.nan --outputs=%t.out --entry=arith && %tensors print %t.out | FileCheck --match-full-lines %s --check-prefix=NAN
// NAN: 5 F64 [1, 3] nan nan nan
// NAN: 6 F64 [1, 3] nan nan nan
// NAN: 7 F64 [1, 3] 1 1 nan
// NAN: 8 F64 [1, 3] 1 1 nan

// Constants, and a function without arguments or rows.
// RUN: rondo-interp %s --outputs=%t.out --entry=constants && %tensors print %t.out | FileCheck --match-full-lines %s --check-prefix=CONSTANTS
// CONSTANTS: 0 F64 [2, 2] 1.5 2 3 4
// CONSTANTS: 1 F64 [] 0.75
// CONSTANTS: 2 I64 [] -7
func.func @constants() -> (tensor<2x2xf32>, f32, index) {
  %0 = arith.constant dense<[[1.0, 2.0], [3.0, 4.0]]> : tensor<2x2xf32>
  %1 = arith.constant dense<[[0.5, 0.0], [0.0, 0.0]]> : tensor<2x2xf32>
  %2 = arith.addf %0, %1 : tensor<2x2xf32>
  %3 = arith.constant 0.75 : f32
  %4 = arith.constant -7 : index
  return %2, %3, %4 : tensor<2x2xf32>, f32, index
}

// With f64, 1 + 2^-30 differs from 1; rounded to f32 after the sum, it does not.
// RUN: %tensors write %t.sum x=F32[1,1]:1 y=F64[1,1]:9.313225746154785e-10
// RUN: rondo-interp %s --inputs=%t.sum --outputs=%t.out --entry=rounding && %tensors print %t.out | FileCheck --match-full-lines %s --check-prefix=F64
// RUN: rondo-interp %s --inputs=%t.sum --outputs=%t.out --entry=rounding --precision=f32 && %tensors print %t.out | FileCheck --match-full-lines %s --check-prefix=F32
// F64: 0 F64 [1, 1] 1
// F32: 0 F32 [1, 1] 0
func.func @rounding(%x: tensor<?x1xf32>, %y: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %sum = arith.addf %x, %y : tensor<?x1xf32>
  %rest = arith.subf %sum, %x : tensor<?x1xf32>
  %part = arith.divf %rest, %y : tensor<?x1xf32>
  return %part : tensor<?x1xf32>
}
