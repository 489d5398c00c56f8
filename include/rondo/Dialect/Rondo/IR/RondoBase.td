//===- RondoBase.td - the rondo dialect, its types and enums --------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDOBASE
#define RONDO_DIALECT_RONDO_IR_RONDOBASE

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def Rondo_Dialect : Dialect {
  let name = "rondo";
  let cppNamespace = "::rondo";
  let summary = "recursive transformers: loops over depth, shared blocks, KV state";
  let description = [{
    Model-level operations on tensors whose first dimension is a dynamic number
    of *rows* (one token at one depth). Rows carry a position and a sequence
    implicitly: the runtime's row descriptors. Elementwise arithmetic stays in
    `arith`; this dialect holds only what upstream lacks.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
}

//===----------------------------------------------------------------------===//
// Types: block-quantized storage, as element types of parameters
//===----------------------------------------------------------------------===//

class Rondo_Type<string cppName, string typeMnemonic>
    : TypeDef<Rondo_Dialect, cppName> {
  let mnemonic = typeMnemonic;
}

def Rondo_Q8_0 : Rondo_Type<"Q8_0", "q8_0"> {
  let summary = "groups of 32 weights: f16 scale, signed 8-bit codes";
  let description = [{Value is `code * scale` (GGUF block format Q8_0).}];
}
def Rondo_Q4_0 : Rondo_Type<"Q4_0", "q4_0"> {
  let summary = "groups of 32 weights: f16 scale, unsigned 4-bit codes minus 8";
  let description = [{Value is `(code - 8) * scale` (GGUF block format Q4_0).}];
}
def Rondo_Q4_1 : Rondo_Type<"Q4_1", "q4_1"> {
  let summary = "groups of 32 weights: f16 scale and minimum, unsigned 4-bit codes";
  let description = [{Value is `code * scale + minimum` (GGUF block format Q4_1).}];
}

//===----------------------------------------------------------------------===//
// Enums
//===----------------------------------------------------------------------===//

class Rondo_Enum<string enumName, string enumSummary, list<I32EnumAttrCase> cases>
    : I32EnumAttr<enumName, enumSummary, cases> {
  let cppNamespace = "::rondo";
  let genSpecializedAttr = 0;
}
class Rondo_EnumAttr<EnumInfo info, string attrMnemonic>
    : EnumAttr<Rondo_Dialect, info, attrMnemonic>;

def Rondo_Arithmetic : Rondo_Enum<"Arithmetic", "arithmetic mode of a contraction", [
  I32EnumAttrCase<"Exact", 0, "exact">,
  I32EnumAttrCase<"BF16Dot", 1, "bf16_dot">,
  I32EnumAttrCase<"Int8Dynamic", 2, "int8_dynamic">]>;
def Rondo_ArithmeticAttr : Rondo_EnumAttr<Rondo_Arithmetic, "arithmetic">;

def Rondo_NormKind : Rondo_Enum<"NormKind", "kind of normalization", [
  I32EnumAttrCase<"RMS", 0, "rms">,
  I32EnumAttrCase<"Layer", 1, "layer">]>;
def Rondo_NormKindAttr : Rondo_EnumAttr<Rondo_NormKind, "norm_kind">;

def Rondo_ActivationKind : Rondo_Enum<"ActivationKind", "elementwise nonlinearity", [
  I32EnumAttrCase<"SiLU", 0, "silu">,
  I32EnumAttrCase<"Sigmoid", 1, "sigmoid">,
  I32EnumAttrCase<"GeLU", 2, "gelu">,
  I32EnumAttrCase<"GeLUTanh", 3, "gelu_tanh">,
  I32EnumAttrCase<"ReLU", 4, "relu">,
  I32EnumAttrCase<"Tanh", 5, "tanh">]>;
def Rondo_ActivationKindAttr : Rondo_EnumAttr<Rondo_ActivationKind, "activation_kind">;

def Rondo_RopePairs : Rondo_Enum<"RopePairs", "which dimensions of a head rotate together", [
  I32EnumAttrCase<"Half", 0, "half">,
  I32EnumAttrCase<"Interleaved", 1, "interleaved">]>;
def Rondo_RopePairsAttr : Rondo_EnumAttr<Rondo_RopePairs, "rope_pairs">;

def Rondo_Mask : Rondo_Enum<"Mask", "which positions of its sequence a row may see", [
  I32EnumAttrCase<"Causal", 0, "causal">,
  I32EnumAttrCase<"Full", 1, "full">]>;
def Rondo_MaskAttr : Rondo_EnumAttr<Rondo_Mask, "mask">;

def Rondo_InputInit : Rondo_Enum<"InputInit", "rows of an input that nobody gives", [
  I32EnumAttrCase<"Given", 0, "given">,
  I32EnumAttrCase<"Zeros", 1, "zeros">,
  I32EnumAttrCase<"Normal", 2, "normal">]>;

def Rondo_TraceForm : Rondo_Enum<"TraceForm", "what a trace file keeps of rows", [
  I32EnumAttrCase<"Rows", 0, "rows">,
  I32EnumAttrCase<"Numbers", 1, "numbers">,
  I32EnumAttrCase<"Integers", 2, "integers">,
  I32EnumAttrCase<"Present", 3, "present">,
  I32EnumAttrCase<"Positions", 4, "positions">]>;
def Rondo_TraceFormAttr : Rondo_EnumAttr<Rondo_TraceForm, "trace_form">;

def Rondo_ExitRule : Rondo_Enum<"ExitRule", "what ends the visits of a row", [
  I32EnumAttrCase<"Cumulative", 0, "cumulative">]>;
def Rondo_ExitRuleAttr : Rondo_EnumAttr<Rondo_ExitRule, "exit_rule">;

def Rondo_ExitScope : Rondo_Enum<"ExitScope", "what exits together", [
  I32EnumAttrCase<"Row", 0, "row">]>;
def Rondo_ExitScopeAttr : Rondo_EnumAttr<Rondo_ExitScope, "exit_scope">;

def Rondo_KVAfterExit : Rondo_Enum<"KVAfterExit", "what a row leaves in the KV slots behind its exit", [
  I32EnumAttrCase<"Ghost", 0, "ghost">]>;
def Rondo_KVAfterExitAttr : Rondo_EnumAttr<Rondo_KVAfterExit, "kv_after_exit">;

def Rondo_RouteRule : Rondo_Enum<"RouteRule", "what decides which rows a visit computes", [
  I32EnumAttrCase<"TopK", 0, "top_k">,
  I32EnumAttrCase<"Threshold", 1, "threshold">,
  I32EnumAttrCase<"Choice", 2, "choice">]>;
def Rondo_RouteRuleAttr : Rondo_EnumAttr<Rondo_RouteRule, "route_rule">;

def Rondo_RouteFunction : Rondo_Enum<"RouteFunction", "what a router's output goes through", [
  I32EnumAttrCase<"Identity", 0, "identity">,
  I32EnumAttrCase<"Sigmoid", 1, "sigmoid">,
  I32EnumAttrCase<"Tanh", 2, "tanh">,
  I32EnumAttrCase<"Softmax", 3, "softmax">]>;
def Rondo_RouteFunctionAttr : Rondo_EnumAttr<Rondo_RouteFunction, "route_function">;

def Rondo_Places : Rondo_Enum<"Places", "where selected rows stand in the KV slots of a visit", [
  I32EnumAttrCase<"Dense", 0, "dense">,
  I32EnumAttrCase<"Kept", 1, "kept">]>;
def Rondo_PlacesAttr : Rondo_EnumAttr<Rondo_Places, "places">;

def Rondo_MergeKind : Rondo_Enum<"MergeKind", "what a computed row does to the row it comes from", [
  I32EnumAttrCase<"Add", 0, "add">,
  I32EnumAttrCase<"Replace", 1, "replace">]>;
def Rondo_MergeKindAttr : Rondo_EnumAttr<Rondo_MergeKind, "merge_kind">;

def Rondo_RowField : Rondo_Enum<"RowField", "an id that the descriptor of a row gives", [
  I32EnumAttrCase<"Token", 0, "token">,
  I32EnumAttrCase<"Position", 1, "position">,
  I32EnumAttrCase<"TokenType", 2, "token_type">]>;
def Rondo_RowFieldAttr : Rondo_EnumAttr<Rondo_RowField, "row_field">;

/// Archive keys; `unit` where there is no tensor.
def Rondo_KeysAttr : TypedArrayAttrBase<AnyAttrOf<[StrAttr, UnitAttr]>, "archive keys">;

def Rondo_LoRAAttr : AttrDef<Rondo_Dialect, "LoRA"> {
  let mnemonic = "lora";
  let summary = "low-rank delta of a matrix";
  let description = [{
    Adds `scale * B (A x)` to the product of a matrix with x (Hu et al.,
    arXiv 2106.09685, equation 3). `A` is [rank, in], `B` is [out, rank].
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$a, "::mlir::FlatSymbolRefAttr":$b,
                        "::mlir::FloatAttr":$scale);
  let assemblyFormat = "`<` $a `,` $b `,` `scale` `=` $scale `>`";
}

def Rondo_PartAttr : AttrDef<Rondo_Dialect, "Part"> {
  let mnemonic = "part";
  let summary = "which part of a stored tensor a parameter is";
  let description = [{
    `of` is the stored tensor's shape. Row i of a matrix is row
    `first + i / run * step + i % run` of the tensor, from column `column` on: runs
    of `run` rows that begin `step` rows apart. So parameters share a tensor that a
    checkpoint fuses: q, k and v one after another or head by head, gate and up, a
    matrix for two inputs. A vector counts elements of the flattened tensor as rows.

    Rules:
    - (part_c1) `of` has 1 to 4 dimensions of at least 1 and less than 2^62
      elements;
    - (part_c2) `run` and `step` are at least 1, `first` and `column` at least 0, and
      all are below 2^31.
  }];
  let parameters = (ins ArrayRefParameter<"int64_t">:$of, "int64_t":$first, "int64_t":$run,
                        "int64_t":$step, DefaultValuedParameter<"int64_t", "0">:$column);
  let assemblyFormat = [{
    `<` `of` `=` `[` $of `]` `,` `first` `=` $first `,` `run` `=` $run `,` `step` `=` $step
    (`,` `column` `=` $column^)? `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    int64_t getElementCount() const;
    /// Row of the stored tensor that row `row` of the parameter is.
    int64_t getSourceRow(int64_t row) const {
      return getFirst() + row / getRun() * getStep() + row % getRun();
    }
  }];
}

def Rondo_InputAttr : AttrDef<Rondo_Dialect, "Input"> {
  let mnemonic = "input";
  let summary = "what a model takes beside tokens";
  let description = [{
    Stands as `rondo.input` on an argument of the model function: a row of it
    belongs to the position of its token, such as the state that a recurrence starts
    from. The runtime fills it before the prelude, with rows that the caller gives
    under this name. If there are none, `init` decides: `given` is an error, `zeros`
    are zeros, `normal` draws from a normal distribution of mean 0 and standard
    deviation `deviation`, cut off at three deviations, as a function of seed,
    position and column alone (docs/Inputs.md).

    Rules:
    - (input_c1) the name is not empty;
    - (input_c2) `deviation` is there with `normal` only, is of f64, finite and above 0;
    - (input_c3) it stands on an argument of a function that has the type of rows;
    - (input_c4) arguments of a function have inputs of different names.

    Example:
    ```mlir
    func.func @model(%tokens: tensor<?xi32>,
                     %s: tensor<?x64xf32> {rondo.input = #rondo.input<"initial_state", init = zeros>})
        -> tensor<?x64xf32> {
      return %s : tensor<?x64xf32>
    }
    ```
  }];
  let parameters = (ins StringRefParameter<"what files of inputs call it">:$name,
                        EnumParameter<Rondo_InputInit>:$init,
                        OptionalParameter<"::mlir::FloatAttr">:$deviation);
  let assemblyFormat = "`<` $name `,` `init` `=` $init (`,` `deviation` `=` $deviation^)? `>`";
  let genVerifyDecl = 1;
}

def Rondo_OutputAttr : AttrDef<Rondo_Dialect, "Output"> {
  let mnemonic = "output";
  let summary = "what a result of the model is called";
  let description = [{
    Stands on a result of `@model` as `rondo.output`. A model that returns `logits`
    and nothing else needs none. `first` says that of each sequence only the row of
    position 0 is kept, as a vector.

    Rules:
    - (output_c1) the name is not empty;
    - (output_c2) it stands on a result whose type is that of rows.
  }];
  let parameters = (ins "::mlir::StringAttr":$name, DefaultValuedParameter<"bool", "false">:$first);
  let assemblyFormat = "`<` $name (`,` `first` `=` $first^)? `>`";
  let genVerifyDecl = 1;
}

/// Angular frequencies, radians a position. Elements rather than a dense array:
/// the text of a dense array does not keep all bits of its values.
def Rondo_FrequenciesAttr : FloatElementsAttr<32>;
/// Shares of rows, one for each visit; elements for the same reason.
def Rondo_CapacitiesAttr : FloatElementsAttr<64>;

//===----------------------------------------------------------------------===//
// Operand types
//===----------------------------------------------------------------------===//

/// [rows, width], rows dynamic.
def Rondo_Rows : Type<And<[
    IsRankedTensorTypePred,
    CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).getRank() == 2">,
    CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).isDynamicDim(0)">,
    CPred<"!::llvm::cast<::mlir::RankedTensorType>($_self).isDynamicDim(1)">,
    CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).getElementType().isF32()">]>,
  "f32 tensor of a dynamic number of rows", "::mlir::RankedTensorType">;
/// [rows] token ids.
def Rondo_Tokens : Type<And<[
    IsRankedTensorTypePred,
    CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).getRank() == 1">,
    CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).isDynamicDim(0)">,
    CPred<"::llvm::cast<::mlir::RankedTensorType>($_self).getElementType().isInteger(32)">]>,
  "i32 tensor of a dynamic number of token ids", "::mlir::RankedTensorType">;

class Rondo_Op<string opMnemonic, list<Trait> traits = []>
    : Op<Rondo_Dialect, opMnemonic, traits>;

#endif // RONDO_DIALECT_RONDO_IR_RONDOBASE
