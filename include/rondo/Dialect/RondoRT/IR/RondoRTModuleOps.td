//===- RondoRTModuleOps.td - schedule, bodies, packed weights ---------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDORT_IR_RONDORTMODULEOPS
#define RONDO_DIALECT_RONDORT_IR_RONDORTMODULEOPS

include "rondo/Dialect/RondoRT/IR/RondoRTBase.td"
include "rondo/Dialect/Rondo/IR/RondoBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def RondoRT_ScheduleOp : RondoRT_Op<"schedule", [HasParent<"::mlir::ModuleOp">]> {
  let summary = "the table of executions";
  let description = [{
    One entry of each array for each execution of a body: which body (its
    number), layer, side index, first KV slot and first trace point (-1: none).
    `visits` are the first executions of the visits of a block, and the total.

    Rules:
    - (schedule_c1) the arrays have equal length;
    - (schedule_c2) `visits` starts with 0, ascends and ends with that length;
    - (schedule_c3) each entry fits the fields of `rondo_rt_execution`.

    Made at phase `step`; written to the bundle as data.

    Example:
    ```mlir
    rondo_rt.schedule bodies [0, 0] layers [0, 1] sides [0, 0] slots [0, 1]
      traces [-1, -1] visits [0, 2]
    ```
  }];
  let arguments = (ins DenseI64ArrayAttr:$bodies, DenseI64ArrayAttr:$layers,
                       DenseI64ArrayAttr:$sides, DenseI64ArrayAttr:$slots,
                       DenseI64ArrayAttr:$traces, DenseI64ArrayAttr:$visits);
  let assemblyFormat = [{
    `bodies` $bodies `layers` $layers `sides` $sides `slots` $slots
    `traces` $traces `visits` $visits attr-dict
  }];
  let hasVerifier = 1;
}

def RondoRT_BodyOp : RondoRT_Op<"body", [
    Symbol, IsolatedFromAbove, HasParent<"::mlir::ModuleOp">,
    SingleBlockImplicitTerminator<"ReturnOp"> /*body_c1*/]> {
  let summary = "code that the schedule executes";
  let description = [{
    Reads and writes the model's *states*: rows that live from one body to the
    next. `inputs` and `outputs` name the state of each argument and returned
    value. A prelude takes the tokens as its one argument; a coda returns the
    model's results, whose names and widths are in the module's attribute
    `rondo_rt.outputs`. A body that is `selected` is executed for the rows that the
    last `rondo.select_rows` left, all others for all rows of the step.

    Rules:
    - (body_c1) the region has one block, ended by `rondo_rt.return`;
    - (body_c2) a block has one argument for each of `inputs` and returns one
      value for each of `outputs`, a prelude takes tokens, a coda returns at least
      one value.

    Introduced at phase `step`; becomes a function at phase `target`.

    Example:
    ```mlir
    rondo_rt.body @twice block 0 caches(0) inputs [0] outputs [0] {
    ^bb0(%x: tensor<?x64xf32>):
      %y = rondo_rt.stage "add" -> tensor<?x64xf32> {
        %z = arith.addf %x, %x : tensor<?x64xf32>
        rondo_rt.yield %z : tensor<?x64xf32>
      }
      rondo_rt.return %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, RondoRT_BodyKindAttr:$kind,
                       I64Attr:$number, I64Attr:$caches,
                       DenseI64ArrayAttr:$inputs, DenseI64ArrayAttr:$outputs,
                       UnitAttr:$selected);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name `` $kind $number `caches` `(` $caches `)` `inputs` $inputs `outputs` $outputs
    (`selected` $selected^)? attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
}

def RondoRT_ReturnOp : RondoRT_Op<"return", [
    Pure, Terminator, ReturnLike, HasParent<"BodyOp">]> {
  let summary = "end of a body";
  let arguments = (ins Variadic<AnyRankedTensor>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
  let builders = [OpBuilder<(ins), [{ /* no operands */ }]>];
}

def RondoRT_CopyOp : RondoRT_Op<"copy", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "the same rows in a state of their own";
  let description = [{
    Made when a state would otherwise be overwritten before its last use, for
    example when two carried values start from one.
  }];
  let arguments = (ins AnyRankedTensor:$input);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($result)";
}

def RondoRT_PackedOp : RondoRT_Op<"packed", [Symbol, HasParent<"::mlir::ModuleOp">]> {
  let summary = "matrices packed for one stage";
  let description = [{
    The weights that one stage streams, in the order in which it reads them.
    An entry (one for each of `layers`, in each one for each of `depths`) is a
    sequence of panels of 32 outputs by `k` inputs: unit u holds panels [u * unit_panels, (u + 1) * unit_panels) of
    each parameter in turn. `rows` are the layouts of the parameters' outputs:
    lane l of panel p is output lane map [32 p + l], zero for padding.

    `offset` (bytes from the start of the weight region) and `stride` (bytes from
    one entry to the next) are set at phase `buffers`.

    Rules:
    - (packed_c1) one layout for each parameter;
    - (packed_c2) parameters have equally many panels;
    - (packed_c3) `k` is a multiple of what one line of the format holds: 1, for
      bf16 2, for block types 32.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
                       TypedArrayAttrBase<FlatSymbolRefAttr, "parameter names">:$params,
                       ArrayAttr:$rows, RondoRT_PanelFormatAttr:$format, I64Attr:$k,
                       I64Attr:$layers, DefaultValuedAttr<I64Attr, "1">:$depths,
                       I64Attr:$unit_panels,
                       OptionalAttr<I64Attr>:$offset, OptionalAttr<I64Attr>:$stride);
  let assemblyFormat = [{
    $sym_name $params `rows` $rows `format` `(` custom<Keyword>($format) `)` `k` `(` $k `)` `layers` `(` $layers `)`
    (`depths` `(` $depths^ `)`)? `unit_panels` `(` $unit_panels `)`
    (`offset` `(` $offset^ `)`)? (`stride` `(` $stride^ `)`)? attr-dict
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Panels of parameter `index`.
    int64_t getPanels(unsigned index);
    /// Panels of one entry.
    int64_t getTotalPanels();
    /// Bytes of one panel.
    int64_t getPanelBytes();
    /// Bytes of one entry.
    int64_t getEntryBytes() { return getTotalPanels() * getPanelBytes(); }
  }];
}

def RondoRT_VectorOp : RondoRT_Op<"vector", [Symbol, HasParent<"::mlir::ModuleOp">]> {
  let summary = "a norm weight or bias, widened to f32 and laid out as its rows";
  let description = [{
    `layers` x `depths` entries of `layout` lanes, f32, padding zero. With
    `repeat(N)` the parameter is written N times in a row (a norm weight shared by
    N heads).
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, FlatSymbolRefAttr:$param,
                       RondoRT_LayoutAttr:$layout, I64Attr:$layers,
                       DefaultValuedAttr<I64Attr, "1">:$depths,
                       DefaultValuedAttr<I64Attr, "1">:$repeat,
                       OptionalAttr<I64Attr>:$offset, OptionalAttr<I64Attr>:$stride);
  let assemblyFormat = [{
    $sym_name $param `layout` $layout `layers` `(` $layers `)` (`depths` `(` $depths^ `)`)? (`repeat` `(` $repeat^ `)`)?
    (`offset` `(` $offset^ `)`)? (`stride` `(` $stride^ `)`)? attr-dict
  }];
}

def RondoRT_RopeTableOp : RondoRT_Op<"rope_table", [Symbol, HasParent<"::mlir::ModuleOp">]> {
  let summary = "cosines and sines of all positions";
  let description = [{
    For each position below `positions` and each chunk p of a head 16 cosines,
    then 16 sines, f32, of pair 16 p + j; pairs past the last frequency have
    cosine 1 and sine 0. The angle is the f32 product of position and frequency.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Rondo_FrequenciesAttr:$frequencies,
                       I64Attr:$positions, I64Attr:$chunks, OptionalAttr<I64Attr>:$offset);
  let assemblyFormat = [{
    $sym_name `frequencies` custom<Frequencies>($frequencies) `positions` `(` $positions `)` `chunks` `(` $chunks `)`
    (`offset` `(` $offset^ `)`)? attr-dict
  }];
}

#endif // RONDO_DIALECT_RONDORT_IR_RONDORTMODULEOPS
