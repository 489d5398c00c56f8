//===- DumpKernels.cpp - Prints emitted kernels as MLIR -------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//   rondo-dump-kernels [--avx512] [--avx512bf16] [--avx512vnni] [--export]
//                      [panel row rows]...
//
// Formats are spelled as in kernel names; --export makes the kernels visible to
// a linker. For FileCheck tests of the IR and,
// through mlir-translate and llc, of the assembly.
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "rondo/Target/CPU/Kernels.h"

#include "llvm/Support/raw_ostream.h"

#include <cstdlib>
#include <optional>

using namespace rondo::cpu;
using llvm::StringRef;

static std::optional<PanelFormat> parsePanel(StringRef name) {
  for (int i = 0; i <= static_cast<int>(PanelFormat::Q4_1); ++i) {
    auto panel = static_cast<PanelFormat>(i);
    KernelSpec spec{panel, RowFormat::F32, 1};
    if (kernelName(spec) == ("rondo_kernel_" + name + "_f32_r1").str())
      return panel;
  }
  return std::nullopt;
}

static std::optional<RowFormat> parseRow(StringRef name) {
  for (int i = 0; i <= static_cast<int>(RowFormat::Int8Group); ++i) {
    auto row = static_cast<RowFormat>(i);
    KernelSpec spec{PanelFormat::F32, row, 1};
    if (kernelName(spec) == ("rondo_kernel_f32_" + name + "_r1").str())
      return row;
  }
  return std::nullopt;
}

namespace {

struct Options {
  MachineFeatures features;
  bool exported = false;
};

} // namespace

/// Consumes leading flags.
static Options parseOptions(llvm::ArrayRef<StringRef> &args) {
  Options options;
  MachineFeatures &features = options.features;
  for (; !args.empty() && args.front().starts_with("--");
       args = args.drop_front()) {
    features.avx512 |= args.front() == "--avx512";
    features.avx512bf16 |= args.front() == "--avx512bf16";
    features.avx512vnni |= args.front() == "--avx512vnni";
    options.exported |= args.front() == "--export";
  }
  return options;
}

int main(int argc, char **argv) {
  llvm::SmallVector<StringRef> words(argv + 1, argv + argc);
  llvm::ArrayRef<StringRef> args = words;
  Options options = parseOptions(args);
  mlir::MLIRContext context;
  loadKernelDialects(context);
  mlir::OwningOpRef<mlir::ModuleOp> module(
      mlir::ModuleOp::create(mlir::UnknownLoc::get(&context)));
  for (; args.size() >= 3; args = args.drop_front(3)) {
    auto panel = parsePanel(args[0]);
    auto row = parseRow(args[1]);
    int rows = 0;
    if (!panel || !row || args[2].getAsInteger(10, rows) || rows < 1 ||
        rows > maxRows(*panel, *row, options.features)) {
      llvm::errs() << "no kernel '" << args[0] << " " << args[1] << " "
                   << args[2] << "'\n";
      return EXIT_FAILURE;
    }
    getOrCreateKernel(*module, {*panel, *row, rows}, options.features);
  }
  if (options.exported)
    exportKernels(*module);
  module->print(llvm::outs());
  return EXIT_SUCCESS;
}
