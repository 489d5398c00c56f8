//===- Import.cpp - checkpoints and modules to phase `input` --------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#include "rondo/Import/Import.h"
#include "GGUF.h"
#include "Record.h"
#include "Support.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;
using namespace rondo;

void rondo::loadImportDialects(MLIRContext &context) {
  context.loadDialect<RondoDialect, arith::ArithDialect, func::FuncDialect>();
}

bool rondo::isCheckpointPath(StringRef path) {
  if (llvm::sys::fs::is_directory(path) || path.ends_with(".gguf") ||
      path.ends_with(".safetensors"))
    return true;
  auto buffer =
      llvm::MemoryBuffer::getFileSlice(path, /*MapSize=*/4, /*Offset=*/0);
  return buffer && isGGUF((*buffer)->getBuffer());
}

llvm::Expected<Import> rondo::importCheckpoint(const ImportOptions &options,
                                               MLIRContext &context) {
  loadImportDialects(context);
  if (llvm::sys::fs::is_directory(options.path))
    return importHuggingFace(options, context);
  if (!llvm::sys::fs::exists(options.path))
    return importError("there is no file or folder " + quoted(options.path));
  if (StringRef(options.path).ends_with(".safetensors")) {
    llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>> file =
        mapFile(options.path);
    if (!file)
      return file.takeError();
    if (isBundle((*file)->getBuffer()))
      return bundleError(options.path);
    return importError(quoted(options.path) +
                       " holds weights only; give the folder with its "
                       "config.json");
  }
  return importGGUF(options, context);
}
