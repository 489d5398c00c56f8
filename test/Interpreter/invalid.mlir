// Tests what the interpreter says of operations and values that it cannot execute, each at its place.

// RUN: %tensors write %t.weights w=F32[1,1]:1e6 table=F32[2,1]:1,2 q=F32[1,32]:1e30,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0 \
// RUN:   n=F32[1,32]:inf,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
// RUN: %tensors write %t.x x=F32[2,1]:1,2
// RUN: %tensors write %t.x2 x=F32[1,2]:1,2
// RUN: %tensors write %t.x32 x=F32[1,32]:0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0
// RUN: %tensors write %t.tokens tokens=I32[2]:1,2
// RUN: %tensors write %t.late x=F32[1,1]:1 positions=I32[1]:3 sequences=I32[1]:5
// RUN: %tensors write %t.steps x=F32[2,1]:1,2 steps=I32[2]:0,1
// RUN: %tensors write %t.none
// DEFINE: %{entry} =
// DEFINE: %{in} =
// DEFINE: %{run} = %status 1 rondo-interp %s --archive=%t.weights --inputs=%t.%{in} --outputs=%t.out --entry=%{entry} 2>&1

rondo.param @table : tensor<2x1xf32> from ["table"]
// OVERFLOW: invalid.mlir:[[#@LINE+1]]:1: error: 'rondo.param' op cannot be stored as 'f16': tensor 'w' holds values beyond its range; store it as f32 or bf16
rondo.param @w : tensor<1x1xf32> stored as f16 from ["w"]
// SCALE: invalid.mlir:[[#@LINE+1]]:1: error: 'rondo.param' op cannot be stored as '!rondo.q8_0': tensor 'q' holds values beyond its range; store it as f32 or bf16
rondo.param @q : tensor<1x32xf32> stored as !rondo.q8_0 from ["q"]
// FINITE: invalid.mlir:[[#@LINE+1]]:1: error: 'rondo.param' op cannot be stored as '!rondo.q8_0': tensor 'n' holds values that are not finite; store it as f32 or bf16
rondo.param @n : tensor<1x32xf32> stored as !rondo.q8_0 from ["n"]

// REDEFINE: %{entry} = overflow
// REDEFINE: %{in} = x
// RUN: %{run} | FileCheck %s --check-prefix=OVERFLOW
func.func @overflow(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %y = rondo.linear %x, [@w] : tensor<?x1xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// REDEFINE: %{entry} = scale
// REDEFINE: %{in} = x32
// RUN: %{run} | FileCheck %s --check-prefix=SCALE
func.func @scale(%x: tensor<?x32xf32>) -> tensor<?x1xf32> {
  %y = rondo.linear %x, [@q] : tensor<?x32xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// REDEFINE: %{entry} = finite
// RUN: %{run} | FileCheck %s --check-prefix=FINITE
func.func @finite(%x: tensor<?x32xf32>) -> tensor<?x1xf32> {
  %y = rondo.linear %x, [@n] : tensor<?x32xf32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// REDEFINE: %{entry} = token
// REDEFINE: %{in} = tokens
// RUN: %{run} | FileCheck %s --check-prefix=TOKEN
func.func @token(%t: tensor<?xi32>) -> tensor<?x1xf32> {
  // TOKEN: invalid.mlir:[[#@LINE+1]]:8: error: 'rondo.embed' op token 2 of row 1 is not one of the 2 entries of 'table'; give ids of the model's vocabulary
  %y = rondo.embed %t, @table : tensor<?xi32> -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// REDEFINE: %{entry} = operation
// REDEFINE: %{in} = x
// RUN: %{run} | FileCheck %s --check-prefix=OPERATION
func.func @operation(%x: tensor<?x1xf32>) -> index {
  %zero = arith.constant 0 : index
  // OPERATION: invalid.mlir:[[#@LINE+1]]:12: error: 'tensor.dim' op is not interpreted; use the 'rondo' dialect, 'arith.constant' and elementwise 'arith' and 'math'
  %count = tensor.dim %x, %zero : tensor<?x1xf32>
  return %count : index
}

// REDEFINE: %{entry} = type
// REDEFINE: %{in} = none
// RUN: %{run} | FileCheck %s --check-prefix=TYPE
func.func @type() -> f64 {
  %one = arith.constant 1.0 : f64
  // TYPE: invalid.mlir:[[#@LINE+1]]:10: error: 'arith.addf' op is interpreted on f32 only, got 'f64'; use f32
  %sum = arith.addf %one, %one : f64
  return %sum : f64
}

// REDEFINE: %{entry} = constant
// RUN: %{run} | FileCheck %s --check-prefix=CONSTANT
func.func @constant() -> tensor<2xi32> {
  // CONSTANT: invalid.mlir:[[#@LINE+1]]:10: error: 'arith.constant' op is interpreted with a number or a dense tensor of floats only, got 'tensor<2xi32>'; give the value as an argument
  %two = arith.constant dense<[1, 2]> : tensor<2xi32>
  return %two : tensor<2xi32>
}

// REDEFINE: %{entry} = branch
// RUN: %{run} | FileCheck %s --check-prefix=BRANCH
func.func @branch() {
  // BRANCH: invalid.mlir:[[#@LINE+1]]:3: error: 'cf.br' op ends a block that is not interpreted; expected 'rondo.yield' or 'func.return'
  cf.br ^bb1
^bb1:
  return
}

rondo.block @read(%x: tensor<?x1xf32>) -> tensor<?x1xf32> caches(1) {
  // MISSING: invalid.mlir:[[#@LINE+1]]:8: error: 'rondo.attend' op position 0 of sequence 0 was not written to slot 4; put a 'rondo.append' to that slot in front, or give the rows of all positions
  %y = rondo.attend %x cache(0) heads(1) kv_heads(1) scale 1.0 causal : tensor<?x1xf32>
  rondo.yield %y : tensor<?x1xf32>
}

// REDEFINE: %{entry} = missing
// REDEFINE: %{in} = x
// RUN: %{run} | FileCheck %s --check-prefix=MISSING
func.func @missing(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %y = rondo.apply @read(%x) layer(0) side(0) slot(4) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

rondo.block @write_and_read(%x: tensor<?x1xf32>) -> tensor<?x1xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(1) : tensor<?x1xf32>
  // GAP: invalid.mlir:[[#@LINE+1]]:8: error: 'rondo.attend' op position 2 of sequence 5 was not written to slot 0;
  %y = rondo.attend %x cache(0) heads(1) kv_heads(1) scale 1.0 causal window(2) : tensor<?x1xf32>
  rondo.yield %y : tensor<?x1xf32>
}

// REDEFINE: %{entry} = gap
// REDEFINE: %{in} = late
// RUN: %{run} | FileCheck %s --check-prefix=GAP
func.func @gap(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %y = rondo.apply @write_and_read(%x) layer(0) side(0) slot(0) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

rondo.block @other_heads(%x: tensor<?x2xf32>) -> tensor<?x2xf32> caches(1) {
  rondo.append %x, %x cache(0) heads(1) : tensor<?x2xf32>
  // HEADS: invalid.mlir:[[#@LINE+1]]:8: error: 'rondo.attend' op expected 2 heads of 1 in slot 0, got 1 of 2; make 'heads' and widths agree with 'rondo.append'
  %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x2xf32>
  rondo.yield %y : tensor<?x2xf32>
}

// REDEFINE: %{entry} = heads
// REDEFINE: %{in} = x2
// RUN: %{run} | FileCheck %s --check-prefix=HEADS
func.func @heads(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
  %y = rondo.apply @other_heads(%x) layer(0) side(0) slot(0) : (tensor<?x2xf32>) -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
}

// REDEFINE: %{entry} = negative
// REDEFINE: %{in} = x
// RUN: %{run} | FileCheck %s --check-prefix=NEGATIVE
func.func @negative(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  %one = arith.constant 1 : index
  // NEGATIVE: invalid.mlir:[[#@LINE+1]]:8: error: 'rondo.apply' op expected a side index and a slot that are not negative, got 0 and -1; correct the maps of 'side' and 'slot'
  %y = rondo.apply @read(%x) at(%one) layer(0) side(0) slot(d0 * -1) : (tensor<?x1xf32>) -> tensor<?x1xf32>
  return %y : tensor<?x1xf32>
}

// REDEFINE: %{entry} = name
// RUN: %{run} | FileCheck %s --check-prefix=NAME
func.func @name(%x: tensor<?x1xf32>) -> tensor<?x1xf32> {
  // NAME: invalid.mlir:[[#@LINE+1]]:3: error: 'rondo.trace' op has a name that is not UTF-8 and cannot stand in a safetensors file; give it another name
  rondo.trace "\FF" %x : tensor<?x1xf32>
  return %x : tensor<?x1xf32>
}

// REDEFINE: %{entry} = whole
// REDEFINE: %{in} = steps
// RUN: %{run} | FileCheck %s --check-prefix=WHOLE
// WHOLE: invalid.mlir:[[#@LINE+1]]:1: error: has a result without rows, which 2 steps give several times; leave 'steps' out
func.func @whole(%x: tensor<?x1xf32>) -> f32 {
  %one = arith.constant 1.0 : f32
  return %one : f32
}
