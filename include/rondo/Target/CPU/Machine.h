//===- Machine.h - the CPU that code is compiled for ------------*- C++ -*-===//
//
// Part of Rondo, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// `--target=cpu:...` as data, and its form in the IR, `rondo.target`. The
// instruction sets are those the runtime can check before it runs a bundle
// (RONDO_RT_CPU_*): code uses no others, whatever the named CPU has beside
// them. The CPU's name only tunes.
//
//===----------------------------------------------------------------------===//
#ifndef RONDO_TARGET_CPU_MACHINE_H
#define RONDO_TARGET_CPU_MACHINE_H

#include "mlir/IR/BuiltinAttributes.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class Function;
class TargetMachine;
} // namespace llvm

namespace rondo::cpu {

/// A CPU as the compiler sees it. Invariant: `features` includes
/// RONDO_RT_CPU_X86_64_V3, the floor.
struct Machine {
  /// LLVM's name of the CPU to tune for, such as `znver3` or `x86-64-v3`.
  std::string cpu;
  /// RONDO_RT_CPU_* bits that code may use.
  uint64_t features = 0;
};

/// The machine that `text`, the value of `--target`, names: `cpu`,
/// `cpu:native`, `cpu:x86-64-v3`, `cpu:x86-64-v4` or `cpu:NAME`. Another kind
/// of target, an unknown name and a CPU below x86-64-v3 are errors that say
/// what to write instead.
llvm::Expected<Machine> parseTarget(llvm::StringRef text);

/// The machine that runs the compiler.
llvm::Expected<Machine> getNativeMachine();

/// Names of `features`, in ascending order of bits: `x86-64-v3`, `avx512`,
/// `avx512-vnni`, `avx512-bf16`.
std::vector<std::string> getFeatureNames(uint64_t features);

/// `machine` as the dictionary `rondo.target`.
mlir::DictionaryAttr getTargetAttr(mlir::MLIRContext *ctx,
                                   const Machine &machine);

/// The machine of a `rondo.target` dictionary.
llvm::Expected<Machine> getMachine(mlir::DictionaryAttr target);

/// LLVM's CPU whose instruction set is the base of `machine`: `x86-64-v3` or
/// `x86-64-v4`.
llvm::StringRef getBaseCPU(const Machine &machine);

/// LLVM's feature string of what `machine` has beside its base.
std::string getFeatureString(const Machine &machine);

/// Makes LLVM compile `function` for `machine`.
void setTargetAttributes(llvm::Function &function, const Machine &machine);

/// A code generator of position-independent code for `machine`;
/// `optimization` is 0 to 3.
llvm::Expected<std::unique_ptr<llvm::TargetMachine>>
createTargetMachine(const Machine &machine, int optimization);

} // namespace rondo::cpu

#endif // RONDO_TARGET_CPU_MACHINE_H
