//===- RondoRTOps.td - the rondo_rt dialect, all operations -----------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDORT_IR_RONDORTOPS
#define RONDO_DIALECT_RONDORT_IR_RONDORTOPS

include "rondo/Dialect/RondoRT/IR/RondoRTModuleOps.td"
include "rondo/Dialect/RondoRT/IR/RondoRTStageOps.td"

#endif // RONDO_DIALECT_RONDORT_IR_RONDORTOPS
