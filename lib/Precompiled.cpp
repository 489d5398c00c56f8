//===- Precompiled.cpp - owner of the precompiled header ------------------===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// CMake compiles a precompiled header as part of one target, which needs a
// source file.
//
//===----------------------------------------------------------------------===//
#include "rondo/Precompiled.h"
