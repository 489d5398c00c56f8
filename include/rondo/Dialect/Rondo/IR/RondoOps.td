//===- RondoOps.td - the rondo dialect, all operations --------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_IR_RONDOOPS
#define RONDO_DIALECT_RONDO_IR_RONDOOPS

include "rondo/Dialect/Rondo/IR/RondoStructureOps.td"
include "rondo/Dialect/Rondo/IR/RondoLayerOps.td"
include "rondo/Dialect/Rondo/IR/RondoExitOps.td"
include "rondo/Dialect/Rondo/IR/RondoRouteOps.td"

#endif // RONDO_DIALECT_RONDO_IR_RONDOOPS
