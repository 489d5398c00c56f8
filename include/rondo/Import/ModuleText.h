//===- ModuleText.h - the text of a module that is to be parsed -*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_IMPORT_MODULETEXT_H
#define RONDO_IMPORT_MODULETEXT_H

#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBuffer.h"

namespace rondo {

/// Text of a file, or of standard input for `-`, that the parser can take.
llvm::Expected<std::unique_ptr<llvm::MemoryBuffer>>
openModuleText(llvm::StringRef path);

} // namespace rondo

#endif // RONDO_IMPORT_MODULETEXT_H
