//===- RondoRouteOps.td - which rows a visit computes ----------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDOROUTEOPS
#define RONDO_DIALECT_RONDO_IR_RONDOROUTEOPS

include "rondo/Dialect/Rondo/IR/RondoBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Rondo_RouteOp : Rondo_Op<"route", [
    Pure, AllTypesMatch<["record", "next"]>,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "decide which rows a visit computes, or how many visits a row gets";
  let description = [{
    The router of Mixture-of-Recursions (Bae et al., arXiv 2507.10524, section 2.2)
    as its authors' code has it. Every row has a *record* [depth, weight, score,
    taken]: the last visit that computes it, the weight of what that visit adds,
    the router's output, and 1 if the rule takes the row, else 0. A row without a
    visit has depth -1. The visit d is the side index that is executed. A gate is
    `alpha * function(score)`.

    `top_k`: candidates are the rows of depth d - 1. Of each cohort, the rows of one
    sequence in the step, the k candidates with the largest gates are taken, k =
    max(1, floor(capacities[d] * N)) in f64 with N rows in the cohort; of equal
    gates the one of the lower position. Scope: `cohort`.

    `threshold`: takes the candidates whose score is at least `threshold`, and all
    of them at visit 0. Scope: `row`.

    Taken rows get depth d and their gate as weight, or 1 if `additive`; others keep
    depth and weight. The score of a row that is no candidate is NaN.

    `choice`: the column c of a row's scores with the largest `gate + biases[c]`, the
    first of equal ones, is its depth, once for all visits; its gate is the weight,
    or 1 if `additive`. `softmax` is over all columns. The third number of the record
    is that of column 0. All rows are taken. Scope: `row`.

    Rules:
    - (route_c1) it stands inside a `rondo.block`;
    - (route_c2) the record has four columns;
    - (route_c3) `top_k` and `threshold` read one score of each row, `choice` one for
      each visit, at most 32;
    - (route_c4) `capacities` stand with `top_k` alone, there is at least one, and each
      is above 0 and not above 1; `threshold` stands with the rule of its name alone;
    - (route_c5) `biases` stand with `choice` alone and name a `rondo.param` of rank 1
      with a value for each column; `softmax` stands with `choice` alone.

    Example:
    ```mlir
    rondo.param @router layers(1) depths(2) : tensor<1x64xf32> from ["r.0", "r.1"]
    rondo.block @enter(%x: tensor<?x64xf32>, %record: tensor<?x4xf32>)
        -> (tensor<?x64xf32>, tensor<?x4xf32>) {
      %s = rondo.linear %x, [@router] arithmetic(exact) : tensor<?x64xf32> -> tensor<?x1xf32>
      %next = rondo.route top_k %s, %record sigmoid alpha 0.1 capacities [1.0, 0.5]
        : tensor<?x1xf32>, tensor<?x4xf32>
      %y = rondo.select_rows %x by %next places dense : tensor<?x64xf32>, tensor<?x4xf32>
      rondo.yield %y, %next : tensor<?x64xf32>, tensor<?x4xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_RouteRuleAttr:$rule, Rondo_Rows:$scores, Rondo_Rows:$record,
                       Rondo_RouteFunctionAttr:$function, F32Attr:$alpha, UnitAttr:$additive,
                       OptionalAttr<Rondo_CapacitiesAttr>:$capacities,
                       OptionalAttr<F32Attr>:$threshold,
                       OptionalAttr<FlatSymbolRefAttr>:$biases);
  let results = (outs Rondo_Rows:$next);
  let assemblyFormat = [{
    `` $rule $scores `,` $record custom<Keyword>($function) `alpha` $alpha (`additive` $additive^)?
    (`capacities` custom<Capacities>($capacities)^)? (`threshold` $threshold^)? (`biases` $biases^)?
    attr-dict `:` type($scores) `,` type($record)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Whether rows of one sequence are decided together.
    bool isCohort() { return getRule() == RouteRule::TopK; }
  }];
}

def Rondo_SelectRowsOp : Rondo_Op<"select_rows", [
    Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "the rows that a visit computes, one after the other";
  let description = [{
    The rows whose record has a depth of at least the side index that is executed,
    in their order. They keep their positions, so rope turns them as it would have.

    `places` says where in the KV slots of the visit a row stands. `dense`: after
    the rows of its sequence that were computed there before it, so that it attends
    to these alone and to itself (recursion-wise KV). `kept`: at its position, as
    without routing, for visits that read the keys and values of a visit of all
    rows (shared KV).

    The result and what is computed from it alone are *selected rows*; they end in
    `rondo.merge_rows`.

    Rules:
    - (select_rows_c1) it stands inside a `rondo.block`;
    - (select_rows_c2) the record has four columns.

    Becomes an order-preserving compaction at phase `step`. See `rondo.route` for an
    example.
  }];
  let arguments = (ins Rondo_Rows:$input, Rondo_Rows:$record, Rondo_PlacesAttr:$places);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    $input `by` $record `places` custom<Keyword>($places) attr-dict `:` type($input) `,` type($record)
  }];
  let hasVerifier = 1;
}

def Rondo_MergeRowsOp : Rondo_Op<"merge_rows", [
    Pure, AllTypesMatch<["rows", "input", "result"]>]> {
  let summary = "put rows that a visit computed back among all rows";
  let description = [{
    `rows` are selected rows, or as many as `input` has. A row of `input` that has
    one among them becomes, with the weight w of its record,

        add      input + w * row
        replace  row

    and others stay as they are. Where `rows` are all rows, those count that the
    last `rondo.route` took.

    Rules:
    - (merge_rows_c1) it stands inside a `rondo.block`, or behind all loops;
    - (merge_rows_c2) the record has four columns.

    Example:
    ```mlir
    rondo.block @leave(%y: tensor<?x64xf32>, %x: tensor<?x64xf32>, %record: tensor<?x4xf32>)
        -> tensor<?x64xf32> {
      %z = rondo.merge_rows add %y into %x by %record : tensor<?x64xf32>, tensor<?x4xf32>
      rondo.yield %z : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_MergeKindAttr:$kind, Rondo_Rows:$rows, Rondo_Rows:$input,
                       Rondo_Rows:$record, UnitAttr:$selected);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    `` $kind (`selected` $selected^)? $rows `into` $input `by` $record attr-dict
    `:` type($input) `,` type($record)
  }];
  let hasVerifier = 1;
}

#endif // RONDO_DIALECT_RONDO_IR_RONDOROUTEOPS
