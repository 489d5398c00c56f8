//===- ContractionTest.cpp - Emitted kernels against the definition -------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compares every kernel bit for bit with the scalar definition: all formats,
// all row counts, three machines (the AVX-512 ones with portable dot
// products), odd sizes, strides, extreme values. The data depends on fixed
// seeds only. Prints one line per machine; exit status 1 on a difference.
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "KernelReference.h"

#include "llvm/Support/raw_ostream.h"

#include <cstring>

using namespace rondo::cpu;

namespace {

struct Machine {
  const char *name;
  MachineFeatures features;
};

constexpr Machine kMachines[] = {
    {"x86-64-v3", {false, false, false}},
    {"x86-64-v4", {true, false, false}},
    {"x86-64-v4 with bf16 and vnni", {true, true, true}},
};

constexpr PanelFormat kPanels[] = {PanelFormat::F32,  PanelFormat::F16,
                                   PanelFormat::BF16, PanelFormat::BF16Pair,
                                   PanelFormat::Q8_0, PanelFormat::Q4_0,
                                   PanelFormat::Q4_1};

constexpr RowFormat kRows[] = {RowFormat::F32, RowFormat::BF16AsF32,
                               RowFormat::BF16Pair, RowFormat::Int8Group};

/// One call of one kernel.
struct Case {
  KernelSpec spec;
  int64_t lines;
  int64_t padding; ///< bytes between rows, lines and outputs
  DataKind kind;
};

} // namespace

static std::vector<KernelSpec> allSpecs(const MachineFeatures &features) {
  std::vector<KernelSpec> specs;
  for (PanelFormat panel : kPanels)
    for (RowFormat row : kRows)
      for (int rows = 1; rows <= maxRows(panel, row, features); ++rows)
        specs.push_back({panel, row, rows});
  for (PanelFormat panel : kPanels)
    for (RowFormat row : kRows)
      if (maxRows(panel, row, features) > 0)
        if (int turns = panelsInTurn(panel, row, features); turns > 1)
          specs.push_back({panel, row, 1, turns});
  return specs;
}

/// Copies `count` pieces of `size` bytes to a distance of `stride`.
static Bytes spread(const Bytes &dense, int64_t size, int64_t stride) {
  int64_t count = dense.size() / std::max<int64_t>(size, 1);
  Bytes result(count * stride, 0xee);
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(result.data() + i * stride, dense.data() + i * size, size);
  return result;
}

/// Number of wrong outputs, including bytes written outside of them.
static int runCase(KernelFunction kernel, const Case &test) {
  Random rng(test.lines * 131 + test.spec.rows);
  int64_t lineSize = lineBytes(test.spec.panel);
  int64_t k = test.lines * lineElements(test.spec.panel);
  int64_t rowSize = rowBytes(test.spec.row, k);
  int64_t wStride = lineSize + test.padding, xStride = rowSize + test.padding;
  int64_t yStride = 4 * kPanelWidth + test.padding;

  Bytes panels;
  for (int panel = 0; panel < test.spec.panels; ++panel) {
    Bytes one = spread(makePanel(test.spec.panel, test.lines, test.kind, rng),
                       lineSize, wStride);
    panels.insert(panels.end(), one.begin(), one.end());
  }
  Bytes rows;
  for (int row = 0; row < test.spec.rows; ++row) {
    Bytes one = makeRow(test.spec.row, k, test.kind, rng);
    one.resize(xStride, 0xee);
    rows.insert(rows.end(), one.begin(), one.end());
  }
  // Several rows or several panels, one output line for each.
  int outputs = test.spec.rows * test.spec.panels;
  Bytes actual(outputs * yStride, 0xdd), expected = actual;
  for (int i = 0; i < outputs; ++i)
    for (int lane = 0; lane < kPanelWidth; ++lane) {
      int row = test.spec.panels > 1 ? 0 : i, panel = i - row;
      float value = contract(test.spec, rows.data() + row * xStride,
                             panels.data() + panel * test.lines * wStride,
                             wStride, k, lane);
      std::memcpy(expected.data() + i * yStride + 4 * lane, &value, 4);
    }
  kernel(rows.data(), xStride, panels.data(), wStride, k,
         reinterpret_cast<float *>(actual.data()), yStride);
  int wrong = 0;
  for (size_t i = 0; i < actual.size(); i += 4)
    wrong += std::memcmp(actual.data() + i, expected.data() + i, 4) != 0;
  return wrong;
}

/// Runs all cases of one kernel; returns the number of failed ones.
static int testKernel(KernelFunction kernel, const KernelSpec &spec) {
  // Around the unrolling of 4 and the blocks of 15..256 lines.
  constexpr int64_t kPlain[] = {0, 1, 2, 3, 5, 64, 131, 515};
  constexpr int64_t kGroups[] = {0, 1, 2, 3, 18, 61};
  bool isPlain = lineElements(spec.panel) < kGroupSize;
  int failed = 0;
  for (int64_t lines : isPlain ? llvm::ArrayRef(kPlain) : kGroups)
    for (int64_t padding : {0, 20})
      for (DataKind kind : {DataKind::Normal, DataKind::Extreme}) {
        int wrong = runCase(kernel, {spec, lines, padding, kind});
        if (!wrong)
          continue;
        ++failed;
        llvm::errs() << kernelName(spec) << ": " << wrong << " of "
                     << spec.rows * spec.panels * kPanelWidth
                     << " outputs differ at " << lines << " lines, padding "
                     << padding << ", "
                     << (kind == DataKind::Normal ? "normal" : "extreme")
                     << " data\n";
      }
  return failed;
}

static int testMachine(const Machine &machine) {
  mlir::MLIRContext context;
  loadKernelDialects(context);
  mlir::OwningOpRef<mlir::ModuleOp> module(
      mlir::ModuleOp::create(mlir::UnknownLoc::get(&context)));
  std::vector<KernelSpec> specs = allSpecs(machine.features);
  for (const KernelSpec &spec : specs)
    getOrCreateKernel(*module, spec, machine.features);
  exportKernels(*module);
  replaceDotIntrinsics(*module);
  KernelJIT jit(*module);
  int failed = 0;
  for (const KernelSpec &spec : specs)
    failed += testKernel(jit.get<KernelFunction>(kernelName(spec)), spec);
  llvm::outs() << machine.name << ": " << specs.size() << " kernels, " << failed
               << " failed cases\n";
  return failed;
}

int main() {
  flushDenormals();
  int failed = 0;
  for (const Machine &machine : kMachines)
    failed += testMachine(machine);
  return failed != 0;
}
