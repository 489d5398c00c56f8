//===- rondo-opt.cpp - run passes of Rondo and of upstream on IR ----------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The workbench of tests and of researchers. The only file that may register
// all of upstream: the InitAll headers take long to compile.
//
//===----------------------------------------------------------------------===//

#include "rondo/Conversion/Passes.h"
#include "rondo/Dialect/Rondo/IR/Rondo.h"
#include "rondo/Dialect/Rondo/Transforms/Passes.h"
#include "rondo/Dialect/RondoRT/IR/RondoRT.h"
#include "rondo/Dialect/RondoRT/Transforms/Passes.h"
#include "rondo/Pipelines/Pipelines.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::registerAllPasses();
  rondo::registerRondoPasses();
  rondo::registerRondoConversionPasses();
  rondo::rt::registerRondoRTPasses();
  rondo::registerRondoPipelinesPasses();
  rondo::registerPipelines();

  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  registry.insert<rondo::RondoDialect, rondo::rt::RondoRTDialect>();

  return mlir::asMainReturnCode(
      mlir::MlirOptMain(argc, argv, "Rondo optimizer driver\n", registry));
}
