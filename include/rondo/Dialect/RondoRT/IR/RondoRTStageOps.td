//===- RondoRTStageOps.td - stages and what is inside them ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDORT_IR_RONDORTSTAGEOPS
#define RONDO_DIALECT_RONDORT_IR_RONDORTSTAGEOPS

include "rondo/Dialect/RondoRT/IR/RondoRTBase.td"
include "rondo/Dialect/Rondo/IR/RondoBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def RondoRT_KV : Resource<"::rondo::KVStateResource">;
def RondoRT_Trace : Resource<"::rondo::TraceResource">;

def RondoRT_StageOp : RondoRT_Op<"stage", [
    HasParent<"BodyOp">, RecursiveMemoryEffects, NoRegionArguments,
    SingleBlockImplicitTerminator<"YieldOp"> /*stage_c1*/]> {
  let summary = "one parallel region between two barriers";
  let description = [{
    Phase `step`: holds `rondo` operations on rows. Phase `tiled`: is written for
    one row: scalar statistics, `rondo_rt.reduce`, `rondo_rt.pack` (the
    *prologue*, once for each row), then `rondo_rt.tile` operations, whose units
    are divided among the threads; or one `rondo_rt.attend`, `rondo_rt.route` or
    `rondo_rt.select_rows`, or some `rondo_rt.embed`. Phase `buffers`: results are gone, tiles store to buffers.

    Rules:
    - (stage_c1) the region has one block, ended by `rondo_rt.yield`;
    - (stage_c2) yielded values and results agree in number and type.
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name (`->` type($results)^)? attr-dict-with-keyword $body";
  let hasVerifier = 1;
}

def RondoRT_YieldOp : RondoRT_Op<"yield", [
    Pure, Terminator, ReturnLike,
    ParentOneOf<["StageOp", "ReduceOp", "PackOp", "TileOp"]>]> {
  let summary = "end of a region of a stage";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ /* no operands */ }]>];
}

//===----------------------------------------------------------------------===//
// Prologue: once for each row
//===----------------------------------------------------------------------===//

def RondoRT_ReduceOp : RondoRT_Op<"reduce", [
    RecursiveMemoryEffects, SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "sum over all elements of a row";
  let description = [{
    The region maps a chunk index to 32 lanes. Lanes are added chunk by chunk in
    ascending order, then across lanes by halving (32, 16, ... 1): a fixed order.
    Lanes that `layout` pads do not count.
  }];
  let arguments = (ins RondoRT_LayoutAttr:$layout);
  let results = (outs F32:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`layout` $layout attr-dict-with-keyword $body";
}

def RondoRT_SumLanesOp : RondoRT_Op<"sum_lanes", [Pure]> {
  let summary = "sum of the 32 lanes of a chunk";
  let description = [{Lanes are added by halving (32, 16, ... 1): a fixed order.}];
  let arguments = (ins RondoRT_Chunk:$value);
  let results = (outs F32:$result);
  let assemblyFormat = "$value attr-dict";
}

def RondoRT_PackOp : RondoRT_Op<"pack", [
    RecursiveMemoryEffects, SingleBlockImplicitTerminator<"YieldOp">]> {
  let summary = "bring a row into the form a contraction reads";
  let description = [{
    The region maps a chunk index to 32 lanes; padding lanes become 0. It may be
    the product of rows that an earlier pack of the stage made: then every thread
    computes it for the rows that it packs. `scratch` (bytes in the thread's
    scratch, for few rows), `shared` (bytes in the arena, for many rows) and
    `outputs` (bytes in the thread's scratch, for products of a block of rows) are
    set at phase `buffers`.
  }];
  let arguments = (ins RondoRT_LayoutAttr:$layout, RondoRT_RowFormatAttr:$format,
                       OptionalAttr<I64Attr>:$scratch, OptionalAttr<I64Attr>:$shared,
                       OptionalAttr<I64Attr>:$outputs);
  let results = (outs RondoRT_RowsType:$result);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `layout` $layout `format` `(` custom<Keyword>($format) `)` (`scratch` `(` $scratch^ `)`)?
    (`shared` `(` $shared^ `)`)? (`outputs` `(` $outputs^ `)`)? attr-dict-with-keyword $body
  }];
}

//===----------------------------------------------------------------------===//
// Tiles: units divided among the threads
//===----------------------------------------------------------------------===//

def RondoRT_TileOp : RondoRT_Op<"tile", [
    RecursiveMemoryEffects, SingleBlockImplicitTerminator<"YieldOp"> /*tile_c1*/]> {
  let summary = "what is done for each unit of a row";
  let description = [{
    The region takes the unit's number and is executed for every row and each of
    `units`. A unit is `panels` chunks of 32 lanes. Yielded vectors (`panels` of
    them for each result, in order) are the chunks of the results. `scratch` (bytes
    in the thread's scratch, for the outputs of contractions before the epilogue)
    is set at phase `buffers`.

    Rules:
    - (tile_c1) the region has one block, ended by `rondo_rt.yield`;
    - (tile_c2) it yields `panels` vectors for each result.
  }];
  let arguments = (ins I64Attr:$units, I64Attr:$panels, OptionalAttr<I64Attr>:$scratch);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    `units` `(` $units `)` `panels` `(` $panels `)` (`scratch` `(` $scratch^ `)`)? (`->` type($results)^)?
    attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
}

def RondoRT_LoadOp : RondoRT_Op<"load", []> {
  let summary = "one chunk of the row from a buffer";
  let description = [{Chunk `index * panels + panel` of the row.}];
  let arguments = (ins RondoRT_Rows:$source, Index:$index,
                       DefaultValuedAttr<I64Attr, "1">:$panels,
                       DefaultValuedAttr<I64Attr, "0">:$panel);
  let results = (outs RondoRT_Chunk:$result);
  let assemblyFormat = [{
    $source `[` $index (`*` $panels^)? (`+` $panel^)? `]` attr-dict `:` type($source)
  }];
}

def RondoRT_StoreOp : RondoRT_Op<"store", []> {
  let summary = "one chunk of the row to a buffer";
  let arguments = (ins RondoRT_Chunk:$value, AnyMemRef:$target, Index:$index,
                       DefaultValuedAttr<I64Attr, "1">:$panels,
                       DefaultValuedAttr<I64Attr, "0">:$panel);
  let assemblyFormat = [{
    $value `,` $target `[` $index (`*` $panels^)? (`+` $panel^)? `]` attr-dict `:` type($target)
  }];
}

def RondoRT_LoadVectorOp : RondoRT_Op<"load_vector", [
    Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "one chunk of a norm weight or bias";
  let description = [{
    Rules:
    - (load_vector_c1) the symbol names a `rondo_rt.vector`.
  }];
  let arguments = (ins FlatSymbolRefAttr:$vector, Index:$index,
                       DefaultValuedAttr<I64Attr, "1">:$panels,
                       DefaultValuedAttr<I64Attr, "0">:$panel);
  let results = (outs RondoRT_Chunk:$result);
  let assemblyFormat = "$vector `[` $index (`*` $panels^)? (`+` $panel^)? `]` attr-dict";
}

def RondoRT_ContractOp : RondoRT_Op<"contract", [
    Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "packed rows times one panel of weights";
  let description = [{
    Panel `first + unit * stride + panel` of the packed weights of the layer that
    is executed.

    Rules:
    - (contract_c1) the symbol names a `rondo_rt.packed`.
  }];
  let arguments = (ins RondoRT_RowsType:$rows, FlatSymbolRefAttr:$weights, Index:$unit,
                       I64Attr:$first, I64Attr:$stride, I64Attr:$panel);
  let results = (outs RondoRT_Chunk:$result);
  let assemblyFormat = [{
    $rows `,` $weights `[` $first `+` $unit `*` $stride `+` $panel `]` attr-dict
  }];
}

def RondoRT_RotateOp : RondoRT_Op<"rotate", [
    Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "rotary embedding of one chunk of a head";
  let description = [{
    The chunk is number `(unit * panels + panel) mod chunks` of its head.

    Rules:
    - (rotate_c1) the symbol names a `rondo_rt.rope_table`.
  }];
  let arguments = (ins RondoRT_Chunk:$value, FlatSymbolRefAttr:$table, Index:$unit,
                       I64Attr:$panels, I64Attr:$panel);
  let results = (outs RondoRT_Chunk:$result);
  let assemblyFormat = [{
    $value `,` $table `[` $unit `*` $panels `+` $panel `]` attr-dict
  }];
}

def RondoRT_ActivateOp : RondoRT_Op<"activate", [Pure]> {
  let summary = "an elementwise nonlinearity of one chunk";
  let arguments = (ins Rondo_ActivationKindAttr:$kind, RondoRT_Chunk:$value);
  let results = (outs RondoRT_Chunk:$result);
  let assemblyFormat = "`` $kind $value attr-dict";
}

def RondoRT_AppendOp : RondoRT_Op<"append", [MemoryEffects<[MemWrite<RondoRT_KV>]>]> {
  let summary = "write one chunk of keys or values to the row's place in a KV slot";
  let arguments = (ins RondoRT_CacheSideAttr:$side, RondoRT_Chunk:$value, I64Attr:$cache,
                       Index:$unit, I64Attr:$panels, I64Attr:$panel);
  let assemblyFormat = [{
    `` $side $value `cache` `(` $cache `)` `[` $unit `*` $panels `+` $panel `]` attr-dict
  }];
}

def RondoRT_TraceOp : RondoRT_Op<"trace", [MemoryEffects<[MemWrite<RondoRT_Trace>]>]> {
  let summary = "write one chunk to a trace point";
  let description = [{
    Point `point` after the first trace point of the execution (`fixed`: after
    point 0), `width` floats of each row.
  }];
  let arguments = (ins RondoRT_Chunk:$value, I64Attr:$point, I64Attr:$width,
                       UnitAttr:$fixed, Index:$index);
  let assemblyFormat = [{
    $value `point` `(` $point `)` `width` `(` $width `)` (`fixed` $fixed^)? `[` $index `]` attr-dict
  }];
}

//===----------------------------------------------------------------------===//
// Stages of their own
//===----------------------------------------------------------------------===//

def RondoRT_AttendOp : RondoRT_Op<"attend", [MemoryEffects<[MemRead<RondoRT_KV>]>]> {
  let summary = "softmax attention of the rows over a KV slot";
  let description = [{
    As `rondo.attend`; the query is in a head layout of `head_lanes` lanes a
    head, the result flat. Positions are reduced in chunks of a KV page, each
    with its own maximum and sum, and chunks are merged in ascending order: the
    bits of a row depend on nothing but its own sequence.
  }];
  let arguments = (ins RondoRT_Rows:$query, Optional<AnyMemRef>:$target, I64Attr:$cache,
                       I64Attr:$heads, I64Attr:$kv_heads, I64Attr:$head_dim, F32Attr:$scale,
                       OptionalAttr<I64Attr>:$window, OptionalAttr<I64Attr>:$scratch,
                       OptionalAttr<I64Attr>:$shared);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    $query (`into` $target^)? `cache` `(` $cache `)` `heads` `(` $heads `)` `kv_heads` `(` $kv_heads `)`
    `head_dim` `(` $head_dim `)` `scale` $scale (`window` `(` $window^ `)`)?
    (`scratch` `(` $scratch^ `)`)? (`shared` `(` $shared^ `)`)?
    attr-dict `:` type($query) (`,` type($target)^)? (`->` type($result)^)?
  }];
}

def RondoRT_EmbedOp : RondoRT_Op<"embed", [
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "rows of a packed embedding table";
  let description = [{
    Lane `id mod 32` of panel `id / 32`, widened to f32, times `scale`; the id is the
    row's token, or the field of its descriptor that `by` names.

    Rules:
    - (embed_c1) the symbol names a `rondo_rt.packed`.
  }];
  let arguments = (ins FlatSymbolRefAttr:$table,
                       DefaultValuedAttr<Rondo_RowFieldAttr, "::rondo::RowField::Token">:$field,
                       I64Attr:$width, F32Attr:$scale, Optional<AnyMemRef>:$target);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    $table (`by` $field^)? `width` `(` $width `)` `scale` $scale (`into` $target^ `:` type($target))?
    attr-dict (`->` type($result)^)?
  }];
}

//===----------------------------------------------------------------------===//
// Routing
//===----------------------------------------------------------------------===//

def RondoRT_RouteOp : RondoRT_Op<"route", [
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "records of rows that a router decides about";
  let description = [{
    As `rondo.route`. `biases` name a `rondo_rt.vector`. `shared` (bytes in the
    arena, for the gates of all rows) is set at phase `buffers`.

    Rules:
    - (route_c1) the symbol names a `rondo_rt.vector`.
  }];
  let arguments = (ins Rondo_RouteRuleAttr:$rule, RondoRT_Rows:$scores, RondoRT_Rows:$record,
                       Optional<AnyMemRef>:$target, I64Attr:$columns,
                       Rondo_RouteFunctionAttr:$function, F32Attr:$alpha, UnitAttr:$additive,
                       OptionalAttr<Rondo_CapacitiesAttr>:$capacities,
                       OptionalAttr<F32Attr>:$threshold,
                       OptionalAttr<FlatSymbolRefAttr>:$biases, OptionalAttr<I64Attr>:$shared);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    `` $rule $scores `,` $record (`into` $target^)? `columns` `(` $columns `)`
    custom<Keyword>($function) `alpha` $alpha (`additive` $additive^)? (`capacities` custom<Capacities>($capacities)^)?
    (`threshold` $threshold^)? (`biases` $biases^)? (`shared` `(` $shared^ `)`)?
    attr-dict `:` type($scores) `,` type($record) (`,` type($target)^)? (`->` type($result)^)?
  }];
}

def RondoRT_SelectRowsOp : RondoRT_Op<"select_rows", []> {
  let summary = "the rows that a visit computes, one after the other";
  let description = [{
    As `rondo.select_rows`. Leaves a context of the selected rows, their
    descriptors and their numbers in the arena, at the module's attribute
    `rondo_rt.selection`; bodies that are `selected` run with it.
  }];
  let arguments = (ins RondoRT_Rows:$source, RondoRT_Rows:$record, Optional<AnyMemRef>:$target,
                       Rondo_PlacesAttr:$places);
  let results = (outs Optional<AnyRankedTensor>:$result);
  let assemblyFormat = [{
    $source `by` $record (`into` $target^)? `places` custom<Keyword>($places)
    attr-dict `:` type($source) `,` type($record) (`,` type($target)^)? (`->` type($result)^)?
  }];
}

def RondoRT_IsSelectedOp : RondoRT_Op<"is_selected", []> {
  let summary = "whether the last selection has the row";
  let results = (outs I1:$result);
  let assemblyFormat = "attr-dict";
}

def RondoRT_LoadSelectedOp : RondoRT_Op<"load_selected", []> {
  let summary = "one chunk of what selected rows left for the row";
  let description = [{
    Chunk `index * panels + panel` of the selected row that the row is; of any row if
    the selection does not have it.
  }];
  let arguments = (ins RondoRT_Rows:$source, Index:$index,
                       DefaultValuedAttr<I64Attr, "1">:$panels,
                       DefaultValuedAttr<I64Attr, "0">:$panel);
  let results = (outs RondoRT_Chunk:$result);
  let assemblyFormat = [{
    $source `[` $index (`*` $panels^)? (`+` $panel^)? `]` attr-dict `:` type($source)
  }];
}

def RondoRT_BufferOp : RondoRT_Op<"buffer", [Pure]> {
  let summary = "rows at a fixed place of the arena";
  let description = [{
    `memref<?xNxf32>`, N a multiple of 32, at `offset` bytes from the arena's
    start. Introduced at phase `buffers`. With `logits` it is a part of the runtime's
    logits buffer, whose rows are the output rows: each holds all results of the
    model, and `offset` is where this one begins in it.
  }];
  let arguments = (ins I64Attr:$offset, UnitAttr:$logits);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "`offset` `(` $offset `)` (`logits` $logits^)? attr-dict `:` type($result)";
}

#endif // RONDO_DIALECT_RONDORT_IR_RONDORTSTAGEOPS
