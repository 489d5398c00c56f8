//===- RondoLayerOps.td - linear, norm, rope, attention, KV state ---------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDOLAYEROPS
#define RONDO_DIALECT_RONDO_IR_RONDOLAYEROPS

include "rondo/Dialect/Rondo/IR/RondoBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Rondo_KVState : Resource<"::rondo::KVStateResource">;
def Rondo_TraceState : Resource<"::rondo::TraceResource">;

def Rondo_RowIdsOp : Rondo_Op<"row_ids", [Pure]> {
  let summary = "an id of each row that is no token";
  let description = [{
    `position`: where the row stands in its sequence, from 0. `token_type`: the type
    that the caller gives each token (`token_type_ids`), 0 if it gives none. Models
    look these up in tables as they look up tokens.

    Rules:
    - (row_ids_c1) the field is not `token`: tokens are the model's argument.

    Example:
    ```mlir
    rondo.param @positions : tensor<512x64xf32> from ["p"]
    func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %i = rondo.row_ids position : tensor<?xi32>
      %p = rondo.embed %i, @positions : tensor<?xi32> -> tensor<?x64xf32>
      %y = arith.addf %x, %p : tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_RowFieldAttr:$field);
  let results = (outs Rondo_Tokens:$result);
  let assemblyFormat = "`` $field attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Rondo_EmbedOp : Rondo_Op<"embed", [
    Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "rows of an embedding table, one for each token";
  let description = [{
    `result[i, :] = scale * table[tokens[i], :]`, widened to f32. The ids are the
    model's tokens, or what `rondo.row_ids` gives.

    Rules:
    - (embed_c1) the symbol names a `rondo.param` of rank 2 without layers;
    - (embed_c2) the result's width is the table's second dimension.

    Example:
    ```mlir
    rondo.param @table : tensor<100x64xf32> from ["embed"]
    func.func @model(%t: tensor<?xi32>) -> tensor<?x64xf32> {
      %x = rondo.embed %t, @table : tensor<?xi32> -> tensor<?x64xf32>
      return %x : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_Tokens:$tokens, FlatSymbolRefAttr:$table,
                       DefaultValuedAttr<F32Attr, "1.0f">:$scale);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    $tokens `,` $table (`scale` $scale^)? attr-dict `:` type($tokens) `->` type($result)
  }];
}

def Rondo_LinearOp : Rondo_Op<"linear", [
    Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "one or more matrices times the same rows";
  let description = [{
    `result_i = input * weight_i^T (+ bias_i) (+ scale_i * (input * A_i^T) * B_i^T)`;
    weights are stored [out, in]. Several weights share one pass over the input
    (fused projections). Low-rank deltas, which mostly vary by depth, are stated
    here and become linears of their own in `rondo-lower-lora`. The
    arithmetic mode says how products are formed: `exact` uses f32 activations
    and accumulation; `bf16_dot` rounds the activations to bf16; `int8_dynamic`
    quantizes them in groups of 32. It is absent until `rondo-select-arithmetic`.

    Rules:
    - (linear_c1) there is at least one weight and one result for each;
    - (linear_c2) each weight names a `rondo.param` of rank 2 whose second
      dimension is the input's width and whose first is the result's;
    - (linear_c3) `biases`, if present, has one entry for each weight: a
      `rondo.param` of rank 1 of the result's width, or `unit` for none;
    - (linear_c4) `bf16_dot` needs bf16 weights, `int8_dynamic` a block type;
    - (linear_c5) outside of a block, where there is no layer, parameters are
      not stacked and do not vary by depth;
    - (linear_c6) `lora`, if present, has one entry for each weight: `unit`, or a
      `#rondo.lora` of two `rondo.param`s, A [rank, in] and B [out, rank].

    Example:
    ```mlir
    rondo.param @gate : tensor<128x64xbf16> from ["g"]
    rondo.param @up : tensor<128x64xbf16> from ["u"]
    func.func @f(%x: tensor<?x64xf32>) -> tensor<?x128xf32> {
      %g, %u = rondo.linear %x, [@gate, @up] arithmetic(bf16_dot)
        : tensor<?x64xf32> -> tensor<?x128xf32>, tensor<?x128xf32>
      %y = arith.mulf %g, %u : tensor<?x128xf32>
      return %y : tensor<?x128xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_Rows:$input,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "array of parameter names">:$weights,
                       OptionalAttr<ArrayAttr>:$biases, OptionalAttr<ArrayAttr>:$lora,
                       OptionalAttr<Rondo_ArithmeticAttr>:$arithmetic);
  let results = (outs Variadic<Rondo_Rows>:$outputs);
  let assemblyFormat = [{
    $input `,` $weights (`bias` $biases^)? (`lora` $lora^)? (`arithmetic` `(` custom<Mode>($arithmetic)^ `)`)?
    attr-dict `:` type($input) `->` type($outputs)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Whether linears alone read the results, as those of A in `B (A x)`.
    bool feedsLinears();
  }];
}

def Rondo_NormOp : Rondo_Op<"norm", [
    Pure, AllTypesMatch<["input", "result"]>,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "RMS or layer normalization of each row, or of each head";
  let description = [{
    `rms`: `x * rsqrt(mean(x^2) + eps) * weight`; `layer` subtracts the mean
    first and adds `bias`. Statistics are f32. Without a weight the factor is 1;
    with `plus c` it is `weight + c` (Gemma stores weights minus one).
    With `heads(N)` a row is N vectors of equal width, each normalized alone by
    the same weight.

    Rules:
    - (norm_c1) `eps` is positive;
    - (norm_c2) weight and bias, if present, are `rondo.param`s of rank 1 and of
      the normalized width;
    - (norm_c3) the width is a multiple of `heads`;
    - (norm_c4) `rms` has no bias; `plus` needs a weight;
    - (norm_c5) outside of a block, where there is no layer, parameters are not
      stacked and do not vary by depth.

    Example:
    ```mlir
    rondo.param @w : tensor<64xf32> from ["norm"]
    func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %y = rondo.norm rms %x, @w eps 1.0e-5 : tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_NormKindAttr:$kind, Rondo_Rows:$input,
                       OptionalAttr<FlatSymbolRefAttr>:$weight, OptionalAttr<F32Attr>:$plus,
                       OptionalAttr<FlatSymbolRefAttr>:$bias, F32Attr:$eps,
                       OptionalAttr<I64Attr>:$heads);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    `` $kind $input (`,` $weight^)? (`plus` $plus^)? (`bias` $bias^)? `eps` $eps
    (`heads` `(` $heads^ `)`)? attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Rondo_ScaleOp : Rondo_Op<"scale", [
    Pure, AllTypesMatch<["input", "result"]>,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "rows times a number, or times a vector of parameters";
  let description = [{
    `result[i, j] = factor * input[i, j] * weight[j]`, each factor if present: a
    learned diagonal or step encoding, which may vary by depth, or a constant.

    Rules:
    - (scale_c1) there is a weight, a factor, or both;
    - (scale_c2) the weight, if present, is a `rondo.param` of rank 1 and of the
      rows' width;
    - (scale_c3) outside of a block, where there is no layer, it is not stacked
      and does not vary by depth.

    Example:
    ```mlir
    rondo.param @encoding layers(1) depths(2) : tensor<64xf32> from ["d.0", "d.1"]
    rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %y = rondo.scale %x, @encoding by 0.5 : tensor<?x64xf32>
      rondo.yield %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_Rows:$input, OptionalAttr<FlatSymbolRefAttr>:$weight,
                       OptionalAttr<F32Attr>:$factor);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    $input (`,` $weight^)? (`by` $factor^)? attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Rondo_ActivationOp : Rondo_Op<"activation", [
    Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "an elementwise nonlinearity";
  let description = [{
    `silu`: x * sigmoid(x); `gelu`: the erf form; `gelu_tanh`: the tanh form.

    Example:
    ```mlir
    func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %y = rondo.activation silu %x : tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_ActivationKindAttr:$kind, Rondo_Rows:$input);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = "`` $kind $input attr-dict `:` type($result)";
}

def Rondo_RopeOp : Rondo_Op<"rope", [
    Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "rotary position embedding of each head";
  let description = [{
    Rotates pairs of dimensions of every head by `position * frequency`. The
    frequencies are f32 values of `frequencies`, one for each rotated pair;
    dimensions past `2 * pairs` pass through. `half` pairs i with i + pairs,
    `interleaved` pairs 2i with 2i + 1.

    Rules:
    - (rope_c1) the width is a multiple of `heads`;
    - (rope_c2) there is at least one frequency and not more than half a head.

    Example:
    ```mlir
    func.func @f(%q: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %r = rondo.rope half %q heads(2) frequencies [1.0, 1.0e-2] : tensor<?x8xf32>
      return %r : tensor<?x8xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_RopePairsAttr:$pairs, Rondo_Rows:$input, I64Attr:$heads,
                       Rondo_FrequenciesAttr:$frequencies);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    `` $pairs $input `heads` `(` $heads `)` `frequencies` custom<Frequencies>($frequencies)
    attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Rondo_AppendOp : Rondo_Op<"append", [
    MemoryEffects<[MemWrite<Rondo_KVState>]>, SameTypeOperands /*append_c1*/]> {
  let summary = "write keys and values of the rows to a KV cache";
  let description = [{
    Every row writes its key and value at its position of its sequence, before
    any row of the same step attends to that cache. The cache is the block's
    number `cache`; the execution's slot makes it a physical slot.

    Rules:
    - (append_c1) key and value have the same type;
    - (append_c2) their width is a multiple of `heads`;
    - (append_c3) it stands inside a `rondo.block` or `rondo_rt.stage`, and
      `cache` is below the block's `caches`.

    Example:
    ```mlir
    rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> caches(1) {
      rondo.append %x, %x cache(0) heads(2) : tensor<?x64xf32>
      %y = rondo.attend %x cache(0) heads(2) kv_heads(2) scale 1.0 causal : tensor<?x64xf32>
      rondo.yield %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_Rows:$key, Rondo_Rows:$value, I64Attr:$cache, I64Attr:$heads);
  let assemblyFormat = [{
    $key `,` $value `cache` `(` $cache `)` `heads` `(` $heads `)` attr-dict `:` type($key)
  }];
  let hasVerifier = 1;
}

def Rondo_AttendOp : Rondo_Op<"attend", [
    MemoryEffects<[MemRead<Rondo_KVState>]>, AllTypesMatch<["query", "result"]>]> {
  let summary = "softmax attention over a KV cache";
  let description = [{
    `softmax(scale * q k^T) v` for each of `heads` query heads over the positions
    of its sequence that the row may see; query head h reads KV head
    `h / (heads / kv_heads)`. `causal` sees positions up to the row's own (its
    descriptor's `visible`); `window(W)` of them the last W. Scope: `row`. `full`
    sees all positions of the sequence. Scope: `cohort`, which is all rows of one
    sequence: they are computed in one step, so that all have appended before any
    attends.

    Rules:
    - (attend_c1) `heads` is a multiple of `kv_heads`;
    - (attend_c2) the width is a multiple of `heads`;
    - (attend_c3) `window`, if present, is at least 1;
    - (attend_c4) it stands inside a `rondo.block` or `rondo_rt.stage`, and
      `cache` is below the block's `caches`;
    - (attend_c5) a `full` mask has no window.

    See `rondo.append` for an example.
  }];
  let arguments = (ins Rondo_Rows:$query, I64Attr:$cache, I64Attr:$heads, I64Attr:$kv_heads,
                       F32Attr:$scale, Rondo_MaskAttr:$mask, OptionalAttr<I64Attr>:$window);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    $query `cache` `(` $cache `)` `heads` `(` $heads `)` `kv_heads` `(` $kv_heads `)`
    `scale` $scale `` $mask (`window` `(` $window^ `)`)?
    attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Rondo_TraceOp : Rondo_Op<"trace", [MemoryEffects<[MemWrite<Rondo_TraceState>]>]> {
  let summary = "keep rows for a reader outside";
  let description = [{
    Marks a value that a trace file may hold, under `name`. Each execution is
    one point, and points of one name are numbered in their order; what runs once
    in a step may be marked `single` and has no number. Removed unless trace
    points are kept. The file holds [rows, width] numbers, or of each row only that
    of `column`, the first one if it is absent: as f32 [rows] (`numbers`), rounded to
    i64 [rows] (`integers`), as f32 of those rows alone where it is not NaN
    (`present`), or as i64 positions of the rows where it is not 0 (`positions`).

    Rules:
    - (trace_c1) `column` is one of the value, below 32, and stands with forms of one
      number.

    Example:
    ```mlir
    func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      rondo.trace "hidden" %x : tensor<?x64xf32>
      return %x : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins StrAttr:$name, Rondo_Rows:$value, UnitAttr:$single,
                       DefaultValuedAttr<Rondo_TraceFormAttr, "::rondo::TraceForm::Rows">:$form,
                       DefaultValuedAttr<I64Attr, "0">:$column);
  let assemblyFormat = [{
    (`single` $single^)? $name $value (`as` `` $form^)? (`column` `(` $column^ `)`)?
    attr-dict `:` type($value)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Numbers that are kept of each row.
    int64_t getWidth();
  }];
}

#endif // RONDO_DIALECT_RONDO_IR_RONDOLAYEROPS
