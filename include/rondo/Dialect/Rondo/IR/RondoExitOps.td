//===- RondoExitOps.td - where the visits of a row end ---------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDOEXITOPS
#define RONDO_DIALECT_RONDO_IR_RONDOEXITOPS

include "rondo/Dialect/Rondo/IR/RondoBase.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Rondo_FillOp : Rondo_Op<"fill", [Pure]> {
  let summary = "the same constants for each of some rows";
  let description = [{
    `result[i, :] = values`, for as many rows as `like` has; the numbers in `like`
    are not read.

    Rules:
    - (fill_c1) there is one value for each column of the result;
    - (fill_c2) there are at most 32.

    Example:
    ```mlir
    func.func @f(%x: tensor<?x64xf32>) -> tensor<?x3xf32> {
      %y = rondo.fill [-1.0, 0.0, 1.0] like %x : tensor<?x64xf32> -> tensor<?x3xf32>
      return %y : tensor<?x3xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_FrequenciesAttr:$values, Rondo_Rows:$like);
  let results = (outs Rondo_Rows:$result);
  let assemblyFormat = [{
    custom<Frequencies>($values) `like` $like attr-dict `:` type($like) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Rondo_ExitOp : Rondo_Op<"exit", [
    Pure, AllTypesMatch<["state", "chosen", "nextChosen"]>,
    AllTypesMatch<["record", "nextRecord"]>]> {
  let summary = "at the end of a visit, take the state of rows that have not exited";
  let description = [{
    A model with early exits reads out, of each row, the state that the visit left
    where the row exits. The loop over visits carries, beside the state, the rows
    chosen so far and a *record* [depth, cumulative, survival] of each: the number
    of the visit whose state was chosen, the probability of having exited, and that
    of not having exited. Before the first visit it is [-1, 0, 1].

    `cumulative` (Ouro, arXiv 2510.25741, section 3): a row has exited when
    `cumulative >= threshold`. Unless it has,

        chosen = state, depth = depth + 1

    and then, for every row, with `p = sigmoid(gate)`,

        cumulative = cumulative + p * survival, survival = survival * (1 - p)

    so that the last visit is chosen if no gate before it let the row go; its own
    gate does not count. All of it is f32, in this order. The threshold is below 1:
    a threshold of 1 means all visits, and is no exit.

    `scope(row)`: every row exits by itself. `after(ghost)`: a row that has exited
    runs its other visits like any, and leaves keys and values there for the rows
    that attend to it; only what is read out differs.

    Rules:
    - (exit_c1) the gate has one column, the record three;
    - (exit_c2) the threshold is above 0 and below 1.

    Example:
    ```mlir
    func.func @f(%x: tensor<?x64xf32>, %g: tensor<?x1xf32>) -> tensor<?x64xf32> {
      %record = rondo.fill [-1.0, 0.0, 1.0] like %x : tensor<?x64xf32> -> tensor<?x3xf32>
      %y, %next = rondo.exit cumulative %x, %g, %x, %record threshold 5.0e-1 scope(row) after(ghost)
        : tensor<?x64xf32>, tensor<?x1xf32>, tensor<?x3xf32>
      return %y : tensor<?x64xf32>
    }
    ```
  }];
  let arguments = (ins Rondo_ExitRuleAttr:$rule, Rondo_Rows:$state, Rondo_Rows:$gate,
                       Rondo_Rows:$chosen, Rondo_Rows:$record, F32Attr:$threshold,
                       Rondo_ExitScopeAttr:$scope, Rondo_KVAfterExitAttr:$after);
  let results = (outs Rondo_Rows:$nextChosen, Rondo_Rows:$nextRecord);
  let assemblyFormat = [{
    `` $rule $state `,` $gate `,` $chosen `,` $record `threshold` $threshold
    `scope` `(` custom<Keyword>($scope) `)` `after` `(` custom<Keyword>($after) `)`
    attr-dict `:` type($state) `,` type($gate) `,` type($record)
  }];
  let hasVerifier = 1;
}

#endif // RONDO_DIALECT_RONDO_IR_RONDOEXITOPS
