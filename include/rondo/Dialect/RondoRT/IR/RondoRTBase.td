//===- RondoRTBase.td - the rondo_rt dialect, its types and attributes -----===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDORT_IR_RONDORTBASE
#define RONDO_DIALECT_RONDORT_IR_RONDORTBASE

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def RondoRT_Dialect : Dialect {
  let name = "rondo_rt";
  let cppNamespace = "::rondo::rt";
  let summary = "execution of a recursive transformer: schedule, bodies, stages, tiles";
  let description = [{
    What is left of a model once loops have become a table: bodies of code that
    the schedule executes, cut into *stages*. A stage is one parallel region
    between two barriers of the thread team. From phase `tiled` on the inside of
    a stage is written for *one row*: values are vectors of 32 lanes (one
    *chunk* of a row, or the outputs of one weight *panel*).
  }];
  // Activation kinds and effects are those of the model level.
  let dependentDialects = ["::rondo::RondoDialect"];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

//===----------------------------------------------------------------------===//
// Enums
//===----------------------------------------------------------------------===//

class RondoRT_Enum<string enumName, string enumSummary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<enumName, enumSummary, cases> {
  let cppNamespace = "::rondo::rt";
  let genSpecializedAttr = 0;
}

def RondoRT_BodyKind : RondoRT_Enum<"BodyKind", "which part of a step a body is", [
  I32EnumAttrCase<"Prelude", 0, "prelude">,
  I32EnumAttrCase<"Block", 1, "block">,
  I32EnumAttrCase<"Coda", 2, "coda">]>;
def RondoRT_BodyKindAttr : EnumAttr<RondoRT_Dialect, RondoRT_BodyKind, "body_kind">;

def RondoRT_RowFormat : RondoRT_Enum<"RowFormat", "how an activation row is kept for a contraction", [
  I32EnumAttrCase<"F32", 0, "f32">,
  I32EnumAttrCase<"BF16AsF32", 1, "bf16_as_f32">,
  I32EnumAttrCase<"BF16Pair", 2, "bf16_pair">,
  I32EnumAttrCase<"Int8Group", 3, "int8_group">]>;
def RondoRT_RowFormatAttr : EnumAttr<RondoRT_Dialect, RondoRT_RowFormat, "row_format">;

def RondoRT_PanelFormat : RondoRT_Enum<"PanelFormat", "how a panel of 32 outputs is stored", [
  I32EnumAttrCase<"F32", 0, "f32">,
  I32EnumAttrCase<"F16", 1, "f16">,
  I32EnumAttrCase<"BF16Pair", 2, "bf16_pair">,
  I32EnumAttrCase<"Q8_0", 3, "q8_0">,
  I32EnumAttrCase<"Q4_0", 4, "q4_0">,
  I32EnumAttrCase<"Q4_1", 5, "q4_1">]>;
def RondoRT_PanelFormatAttr : EnumAttr<RondoRT_Dialect, RondoRT_PanelFormat, "panel_format">;

def RondoRT_LayoutKind : RondoRT_Enum<"LayoutKind", "order of the lanes of a row", [
  I32EnumAttrCase<"Flat", 0, "flat">,
  I32EnumAttrCase<"Heads", 1, "heads">,
  I32EnumAttrCase<"RopeHalf", 2, "rope_half">,
  I32EnumAttrCase<"RopeInterleaved", 3, "rope_interleaved">]>;

def RondoRT_CacheSide : RondoRT_Enum<"CacheSide", "which half of a KV slot", [
  I32EnumAttrCase<"Key", 0, "key">,
  I32EnumAttrCase<"Value", 1, "value">]>;
def RondoRT_CacheSideAttr : EnumAttr<RondoRT_Dialect, RondoRT_CacheSide, "cache_side">;

//===----------------------------------------------------------------------===//
// Attributes and types
//===----------------------------------------------------------------------===//

def RondoRT_LayoutAttr : AttrDef<RondoRT_Dialect, "Layout"> {
  let mnemonic = "layout";
  let summary = "where the elements of a logical row stand in its physical lanes";
  let description = [{
    - `flat`: element i in lane i, padded to a multiple of 32 lanes;
    - `heads`: each head padded to a multiple of 32 lanes;
    - `rope_half`, `rope_interleaved`: as `heads`, but the two members of a
      rotated pair stand 16 lanes apart in the same chunk of 32: lane j holds the
      first and lane 16 + j the second member of pair 16 p + j of chunk p.
      `rotary` is the number of rotated pairs; the rest of the head follows.
  }];
  let parameters = (ins EnumParameter<RondoRT_LayoutKind>:$kind, "int64_t":$width,
                        DefaultValuedParameter<"int64_t", "1">:$heads,
                        DefaultValuedParameter<"int64_t", "0">:$rotary);
  let assemblyFormat = "`<` $kind `,` $width (`heads` `(` $heads^ `)`)? (`rotary` `(` $rotary^ `)`)? `>`";
  let extraClassDeclaration = [{
    /// Lanes of the physical row, a multiple of 32.
    int64_t getLanes() const;
    /// Lanes of one head (of the whole row for `flat`).
    int64_t getHeadLanes() const;
    /// For each physical lane the logical element it holds, or -1 for padding.
    ::llvm::SmallVector<int32_t> getLaneMap() const;
  }];
}

def RondoRT_RowsType : TypeDef<RondoRT_Dialect, "PackedRows"> {
  let mnemonic = "packed_rows";
  let summary = "activation rows in the form a contraction reads";
}

//===----------------------------------------------------------------------===//
// Operand types
//===----------------------------------------------------------------------===//

def RondoRT_Chunk : Type<
    CPred<"$_self == ::mlir::VectorType::get({32}, ::mlir::Float32Type::get($_self.getContext()))">,
    "vector<32xf32>", "::mlir::VectorType">,
    BuildableType<"::mlir::VectorType::get({32}, $_builder.getF32Type())">;
def RondoRT_Rows : AnyTypeOf<[AnyRankedTensor, AnyMemRef]>;

class RondoRT_Op<string opMnemonic, list<Trait> traits = []>
    : Op<RondoRT_Dialect, opMnemonic, traits>;

#endif // RONDO_DIALECT_RONDORT_IR_RONDORTBASE
