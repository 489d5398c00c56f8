//===- KernelJIT.h - Runs emitted kernels in this process -------*- C++ -*-===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Lowers a module of kernels with the passes that Kernels.h promises, compiles
// it at -O3 for the host and looks functions up by name.
//
//===----------------------------------------------------------------------===//

#ifndef RONDO_UNITTESTS_KERNELS_KERNELJIT_H
#define RONDO_UNITTESTS_KERNELS_KERNELJIT_H

#include "mlir/IR/BuiltinOps.h"

#include "llvm/ADT/StringRef.h"

#include <memory>

namespace llvm::orc {
class LLJIT;
} // namespace llvm::orc

namespace rondo::cpu {

/// Dialects and translations that kernels need.
void loadKernelDialects(mlir::MLIRContext &context);

/// Makes the kernels of `module` visible to a linker: they are private.
void exportKernels(mlir::ModuleOp module);

/// Runs the lowering of Kernels.h on `module`.
mlir::LogicalResult lowerKernels(mlir::ModuleOp module);

/// Replaces the AVX-512 dot product intrinsics by what they are defined to
/// compute, so that the wide kernels run on any machine.
void replaceDotIntrinsics(mlir::ModuleOp module);

/// A compiled module.
class KernelJIT {
public:
  /// Consumes `module` (not yet lowered). Exits with a message on failure.
  explicit KernelJIT(mlir::ModuleOp module);
  ~KernelJIT();

  /// The address of an exported function; exits if there is none.
  void *lookup(llvm::StringRef name);

  template <typename Function> Function get(llvm::StringRef name) {
    return reinterpret_cast<Function>(lookup(name));
  }

private:
  std::unique_ptr<llvm::orc::LLJIT> jit;
};

/// The signature of every kernel; strides in bytes.
using KernelFunction = void (*)(const void *x, int64_t xStride, const void *w,
                                int64_t wStride, int64_t k, float *y,
                                int64_t yStride);

} // namespace rondo::cpu

#endif // RONDO_UNITTESTS_KERNELS_KERNELJIT_H
