//===- Remarks.h - what passes did and declined -----------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Passes report through MLIR's remark engine, one sentence a remark, under the
// pass's name as category. Nothing is formatted unless the tool asks for the
// category (rondo-opt --remarks-filter=<regex>).
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_DIALECT_RONDO_TRANSFORMS_REMARKS_H
#define RONDO_DIALECT_RONDO_TRANSFORMS_REMARKS_H

#include "mlir/IR/Operation.h"
#include "mlir/IR/Remarks.h"

namespace rondo {

/// Says that `pass` changed something at `op`; `format` is llvm::formatv's.
template <typename... Args>
void remarkApplied(mlir::Operation *op, llvm::StringRef pass,
                   const char *format, Args &&...args) {
  mlir::remark::passed(op->getLoc(),
                       mlir::remark::RemarkOpts::name(pass).category(pass))
      << mlir::remark::add(format, std::forward<Args>(args)...);
}

/// Says what `pass` left alone at `op`, and why.
template <typename... Args>
void remarkDeclined(mlir::Operation *op, llvm::StringRef pass,
                    const char *format, Args &&...args) {
  mlir::remark::missed(op->getLoc(),
                       mlir::remark::RemarkOpts::name(pass).category(pass))
      << mlir::remark::add(format, std::forward<Args>(args)...);
}

/// Says what `pass` found out about `op`.
template <typename... Args>
void remarkFound(mlir::Operation *op, llvm::StringRef pass, const char *format,
                 Args &&...args) {
  mlir::remark::analysis(op->getLoc(),
                         mlir::remark::RemarkOpts::name(pass).category(pass))
      << mlir::remark::add(format, std::forward<Args>(args)...);
}

} // namespace rondo

#endif // RONDO_DIALECT_RONDO_TRANSFORMS_REMARKS_H
