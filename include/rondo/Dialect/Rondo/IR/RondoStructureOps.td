//===- RondoStructureOps.td - parameters, blocks, loops -------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDOSTRUCTUREOPS
#define RONDO_DIALECT_RONDO_IR_RONDOSTRUCTUREOPS

include "rondo/Dialect/Rondo/IR/RondoBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Rondo_ParamOp : Rondo_Op<"param", [
    Symbol, HasParent<"::mlir::ModuleOp">,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "a weight of the checkpoint, named by its archive keys";
  let description = [{
    Declares a parameter: its shape, storage type and where its values are.
    Values are never inline. With `layers(N)` it is a stack of N equally shaped
    tensors; an operation that names it uses the entry of the layer that is
    executed (see `rondo.apply`). With `depths(R)` it is a *side parameter*: each
    layer has R entries, and an operation uses the one of the side index that is
    executed; a key may then be `unit`: there is no tensor, and the entry is zero.
    Keys are listed layer by layer, in each depth by depth. `stored as` names the
    element type that the values are converted to when they are packed
    (`rondoc --weights`). `part` says which part of each tensor the parameter is; it
    is the whole one otherwise. `plus` adds a low-rank delta to each entry when it is
    packed: A and B are taken at the entry's layer and depth, from the checkpoint's own
    values; the sum is formed in f64, rounded to f32 and then to the stored type.

    Rules:
    - (param_c1) the shape is static, of rank 1 or 2, and without zeros;
    - (param_c2) the element type, and that of `stored as`, is f32, bf16, f16 or
      a block type of this dialect;
    - (param_c3) there is one key for each entry: one, or one for each layer and
      depth;
    - (param_c4) `layers` and `depths` are at least 1;
    - (param_c5) the last dimension of a block type is a multiple of 32;
    - (param_c6) a key is `unit` only with `depths`, and not all are;
    - (param_c7) a `part` of a matrix is one of a matrix, and lies inside the tensor;
      its columns begin at a block if the type has blocks;
    - (param_c8) `plus` is for a matrix [out, in] without `unit` keys and names other `rondo.param`s, A
      [rank, in] and B [out, rank], each with one layer or as many as this one, and
      one depth or as many.

    Introduced by the importers; removed when weights are packed (phase `tiled`).

    Example:
    ```mlir
    rondo.param @q layers(2) : tensor<64x64xbf16> from ["l.0.q", "l.1.q"]
    rondo.param @final_norm : tensor<64xf32> from ["norm"]
    rondo.param @q.a layers(2) depths(2) : tensor<8x64xf32>
      from [unit, "l.0.q.a.1", unit, "l.1.q.a.1"]
    rondo.param @up : tensor<128x64xbf16> from ["gate_up"]
      part #rondo.part<of = [256, 64], first = 128, run = 128, step = 128>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<AnyRankedTensor>:$type,
                       Rondo_KeysAttr:$keys, OptionalAttr<I64Attr>:$layers,
                       OptionalAttr<I64Attr>:$depths, OptionalAttr<TypeAttr>:$storage,
                       OptionalAttr<Rondo_PartAttr>:$part, OptionalAttr<Rondo_LoRAAttr>:$plus);
  let assemblyFormat = [{
    $sym_name (`layers` `(` $layers^ `)`)? (`depths` `(` $depths^ `)`)? `:` $type
    (`stored` `as` $storage^)? `from` $keys (`part` $part^)? (`plus` $plus^)? attr-dict
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Type of the values in the bundle: `storage`, or that of the checkpoint.
    ::mlir::Type getStoredType();
    /// Shape and storage type of one entry.
    ::mlir::RankedTensorType getTensorType();
    /// Shape of the tensors that the keys name.
    ::llvm::ArrayRef<int64_t> getSourceShape();
    /// Layers of the stack; 1 for a parameter without.
    int64_t getLayerCount();
    /// Entries of each layer; 1 for a parameter that does not vary by depth.
    int64_t getDepthCount();
    int64_t getEntryCount() { return getLayerCount() * getDepthCount(); }
    /// The entry that an execution of `layer` and `side` uses.
    int64_t getEntry(int64_t layer, int64_t side);
    /// Keys of `layer`, one for each depth.
    ::llvm::ArrayRef<::mlir::Attribute> getLayerKeys(int64_t layer);
  }];
}

def Rondo_BlockOp : Rondo_Op<"block", [
    Symbol, IsolatedFromAbove, HasParent<"::mlir::ModuleOp">,
    SingleBlockImplicitTerminator<"YieldOp"> /*block_c1*/]> {
  let summary = "a stack of operations that executions share";
  let description = [{
    Syntax:

    ```
    operation ::= `rondo.block` $sym_name `(` (%name `:` type (`,` %name `:` type)*)? `)`
                  (`->` result-types)? (`caches` `(` $caches `)`)?
                  (`attributes` attr-dict)? region
    ```

    One body of code with one set of parameter names. `rondo.apply` executes it
    for a layer, a depth and a KV slot; inside, parameters with layers and KV
    caches are taken for that execution. `caches(N)` is the number of KV slots
    that one execution owns, numbered from 0 inside the block.

    Rules:
    - (block_c1) the region has one block, ended by `rondo.yield`;
    - (block_c2) arguments and yielded values have the type of rows;
    - (block_c3) a cache named inside is below `caches`, which is not negative.

    Introduced by the importers; becomes `rondo_rt.body` at phase `step`.

    Example:
    ```mlir
    rondo.block @double(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %y = arith.addf %x, %x : tensor<?x64xf32>
      rondo.yield %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
                       TypeAttrOf<FunctionType>:$function_type,
                       DefaultValuedAttr<I64Attr, "0">:$caches);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;       // block_c3
  let hasRegionVerifier = 1; // block_c2
  let extraClassDeclaration = [{
    /// The terminator's operands.
    ::mlir::OperandRange getYieldedValues();
  }];
}

def Rondo_ApplyOp : Rondo_Op<"apply", [
    AttrSizedOperandSegments,
    DeclareOpInterfaceMethods<SymbolUserOpInterface> /*apply_c1, apply_c2, apply_c4*/]> {
  let summary = "execute a block for a layer, a depth and a KV slot";
  let description = [{
    Affine maps take the induction variables of the enclosing loops to the
    layer (entry of stacked parameters), the side index (entry of parameters
    that vary by depth) and the first KV slot of this execution. They are
    written as expressions over `d0`, `d1`, ..., the indices after `at`.

    Rules:
    - (apply_c1) the symbol names a `rondo.block`;
    - (apply_c2) operand and result types are those of the block;
    - (apply_c3) each map has one result and as many dimensions as `at` has indices;
    - (apply_c4) the layer and the side index stay inside every parameter of the
      block that is stacked or varies by depth;
    - (apply_c5) it does not stand inside a `rondo.block`;
    - (apply_c6) the maps divide (`floordiv`, `ceildiv`, `mod`) by positive numbers only.

    Flattened into the schedule at phase `step`. Effects: those of the block;
    treated as reading and writing KV state.

    Example:
    ```mlir
    rondo.block @b(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      rondo.yield %x : tensor<?x64xf32>
    }
    func.func @model(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
      %y = rondo.loop %d to 3 carries(%h = %x) : tensor<?x64xf32> {
        %z = rondo.apply @b(%h) at(%d) layer(0) side(d0) slot(d0)
             : (tensor<?x64xf32>) -> tensor<?x64xf32>
        rondo.yield %z : tensor<?x64xf32>
      }
      return %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$block, Variadic<Rondo_Rows>:$inputs,
                       Variadic<Index>:$indices, AffineMapAttr:$layer,
                       AffineMapAttr:$side, AffineMapAttr:$slot);
  let results = (outs Variadic<Rondo_Rows>:$outputs);
  let assemblyFormat = [{
    $block `(` $inputs `)` (`at` `(` $indices^ `)`)?
    `layer` `(` custom<DepthMap>($layer, ref($indices)) `)`
    `side` `(` custom<DepthMap>($side, ref($indices)) `)`
    `slot` `(` custom<DepthMap>($slot, ref($indices)) `)`
    attr-dict `:` functional-type($inputs, $outputs)
  }];
  let hasVerifier = 1; // apply_c3, apply_c5, apply_c6
}

def Rondo_LoopOp : Rondo_Op<"loop", [
    RecursiveMemoryEffects,
    DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>,
    SingleBlockImplicitTerminator<"YieldOp"> /*loop_c1*/]> {
  let summary = "run a region a bounded number of times over carried state";
  let description = [{
    Syntax:

    ```
    operation ::= `rondo.loop` %index `to` $count
                  (`carries` `(` %name `=` $init (`,` %name `=` $init)* `)` `:` types)?
                  (`attributes` attr-dict)? region
    ```

    The loop over depth, or over the layers of a block. Loops nest; the depth of
    an execution is the tuple of induction values. The trip count is static.

    Rules:
    - (loop_c1) the region has one block, ended by `rondo.yield`;
    - (loop_c2) the first region argument is the induction value, the others,
      the carried values, the yielded values and the results agree in number and type;
    - (loop_c3) the count is at least 1.

    Introduced by the importers; flattened into the schedule at phase `step`.
    See `rondo.apply` for an example.
  }];
  let arguments = (ins I64Attr:$count, Variadic<Rondo_Rows>:$inits);
  let results = (outs Variadic<Rondo_Rows>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;       // loop_c2 (but for yielded values), loop_c3
  let hasRegionVerifier = 1; // loop_c2 (yielded values)
  let extraClassDeclaration = [{
    /// The induction value: 0, 1, ..., count - 1.
    ::mlir::BlockArgument getInductionVar();
    /// The region's arguments for the carried values, in order.
    ::llvm::MutableArrayRef<::mlir::BlockArgument> getCarriedArgs();
    /// The terminator's operands.
    ::mlir::OperandRange getYieldedValues();
  }];
}

def Rondo_YieldOp : Rondo_Op<"yield", [
    Pure, Terminator, ReturnLike, ParentOneOf<["BlockOp", "LoopOp"]>]> {
  let summary = "end of a block or of one iteration";
  let description = [{
    Hands values to the enclosing `rondo.block` or `rondo.loop`; their rules
    (block_c2, loop_c2) say which.
  }];
  let arguments = (ins Variadic<Rondo_Rows>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ /*nothing to yield*/ }]>];
}

#endif // RONDO_DIALECT_RONDO_IR_RONDOSTRUCTUREOPS
