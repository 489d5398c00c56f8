//===- BenchKernels.cpp - Speed of the emitted kernels --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//   bench-kernels [rounds = 7] [K = 576] [megabytes = 256]
//
// Per format pair: GB/s of weights streamed from memory by 2 threads with 1
// and 4 rows, beside a plain read of the same bytes in the same round, and
// GFLOP/s of one thread with all rows of a tile on a panel set that fits L2,
// beside an FMA loop. Best of `rounds`.
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "KernelReference.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <immintrin.h>
#include <sys/mman.h>
#include <thread>

using namespace rondo::cpu;

namespace {

constexpr int kThreads = 2;

struct Pair {
  PanelFormat panel;
  RowFormat row;
};

constexpr Pair kPairs[] = {{PanelFormat::F32, RowFormat::F32},
                           {PanelFormat::F16, RowFormat::F32},
                           {PanelFormat::BF16, RowFormat::F32},
                           {PanelFormat::BF16Pair, RowFormat::F32},
                           {PanelFormat::BF16Pair, RowFormat::BF16AsF32},
                           {PanelFormat::Q8_0, RowFormat::F32},
                           {PanelFormat::Q4_0, RowFormat::F32},
                           {PanelFormat::Q4_1, RowFormat::F32},
                           {PanelFormat::Q8_0, RowFormat::Int8Group},
                           {PanelFormat::Q4_0, RowFormat::Int8Group},
                           {PanelFormat::Q4_1, RowFormat::Int8Group}};

/// What one kernel runs on.
struct Workload {
  KernelFunction kernel;
  KernelSpec spec;
  int64_t k;
  const uint8_t *weights;
  int64_t panels;
  const uint8_t *x;
};

} // namespace

static double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/// Seconds that `work(thread)` takes on all threads at once.
static double timeThreads(const std::function<void(int)> &work) {
  double start = now();
  std::vector<std::thread> threads;
  for (int t = 1; t < kThreads; ++t)
    threads.emplace_back(work, t);
  work(0);
  for (std::thread &thread : threads)
    thread.join();
  return now() - start;
}

/// Reads bytes the cheapest way; the result only keeps the loads alive.
static void readAll(const uint8_t *begin, int64_t bytes) {
  __m256i sum[4] = {};
  for (const uint8_t *p = begin, *end = begin + bytes / 128 * 128; p != end;
       p += 128)
    for (int i = 0; i < 4; ++i)
      sum[i] = _mm256_xor_si256(
          sum[i],
          _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p + 32 * i)));
  __m256i all = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]),
                                 _mm256_xor_si256(sum[2], sum[3]));
  volatile int sink = _mm256_extract_epi32(all, 0);
  (void)sink;
}

/// GFLOP/s of independent fma chains.
static double measurePeak() {
  __m256 sums[12];
  for (__m256 &sum : sums)
    sum = _mm256_set1_ps(1.0f);
  __m256 a = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(0.001f);
  constexpr int64_t kIterations = 4000000;
  double start = now();
  for (int64_t i = 0; i < kIterations; ++i)
    for (__m256 &sum : sums) {
      sum = _mm256_fmadd_ps(sum, a, c);
      asm volatile("" : "+x"(sum));
    }
  return kIterations * 12 * 16 / (now() - start) * 1e-9;
}

static void runPanels(const Workload &load, int64_t begin, int64_t end) {
  alignas(64) float y[8 * kPanelWidth];
  int64_t size = panelBytes(load.spec.panel, load.k);
  int64_t xStride = rowBytes(load.spec.row, load.k);
  for (int64_t panel = begin; panel < end; ++panel)
    load.kernel(load.x, xStride, load.weights + panel * size,
                lineBytes(load.spec.panel), load.k, y, 4 * kPanelWidth);
}

/// GB/s of weights with all threads, each on one contiguous range of panels.
static double measureStream(const Workload &load) {
  double seconds = timeThreads([&](int t) {
    flushDenormals();
    runPanels(load, load.panels * t / kThreads,
              load.panels * (t + 1) / kThreads);
  });
  return load.panels * panelBytes(load.spec.panel, load.k) / seconds * 1e-9;
}

static double measureRead(const uint8_t *begin, int64_t bytes) {
  return bytes / timeThreads([&](int t) {
           readAll(begin + bytes / kThreads * t, bytes / kThreads);
         }) *
         1e-9;
}

/// GFLOP/s of one thread; few panels, many visits.
static double measureCompute(Workload load) {
  int64_t size = panelBytes(load.spec.panel, load.k);
  load.panels = std::max<int64_t>(1, (256 << 10) / size);
  double flops = 2.0 * load.spec.rows * kPanelWidth * load.k * load.panels;
  int64_t visits = static_cast<int64_t>(3e8 / flops) + 1;
  double start = now();
  for (int64_t i = 0; i < visits; ++i)
    runPanels(load, 0, load.panels);
  return flops * visits / (now() - start) * 1e-9;
}

static uint8_t *allocate(int64_t bytes) {
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    exit(EXIT_FAILURE);
  madvise(memory, bytes, MADV_HUGEPAGE);
  return static_cast<uint8_t *>(memory);
}

/// Fills `bytes` at `weights` with copies of a few random panels.
static void fillWeights(uint8_t *weights, int64_t bytes, PanelFormat format,
                        int64_t k) {
  Random rng(1);
  Bytes panel =
      makePanel(format, k / lineElements(format), DataKind::Normal, rng);
  for (int64_t at = 0; at + static_cast<int64_t>(panel.size()) <= bytes;
       at += panel.size())
    std::copy(panel.begin(), panel.end(), weights + at);
}

static void benchmark(KernelJIT &jit, Pair pair, int maximum, uint8_t *weights,
                      int64_t bytes, int64_t k, int rounds) {
  fillWeights(weights, bytes, pair.panel, k);
  Random rng(2);
  Bytes x = makeRow(pair.row, 8 * k, DataKind::Normal, rng);
  Workload load{nullptr, {pair.panel, pair.row, 1},         k,
                weights, bytes / panelBytes(pair.panel, k), x.data()};
  double read = 0, peak = 0;
  double stream[9] = {}, compute[9] = {};
  for (int round = 0; round < rounds; ++round) {
    read = std::max(read, measureRead(weights, bytes));
    peak = std::max(peak, measurePeak());
    for (int rows = 1; rows <= maximum; ++rows) {
      load.spec.rows = rows;
      load.kernel = jit.get<KernelFunction>(kernelName(load.spec));
      compute[rows] = std::max(compute[rows], measureCompute(load));
      if (rows == 1 || rows == 2 || rows == 4)
        stream[rows] = std::max(stream[rows], measureStream(load));
    }
  }
  load.spec.rows = 1;
  llvm::outs() << llvm::formatv("{0,-26} read {1:F1} |", kernelName(load.spec),
                                read);
  for (int rows : {1, 2, 4})
    llvm::outs() << llvm::formatv(" {0}: {1:F1} ({2:F2})", rows, stream[rows],
                                  stream[rows] / read);
  llvm::outs() << llvm::formatv(" | peak {0:F1} |", peak);
  for (int rows = 1; rows <= maximum; ++rows)
    llvm::outs() << llvm::formatv(" {0:F1}", compute[rows]);
  llvm::outs() << llvm::formatv(" ({0:F2})\n", compute[maximum] / peak);
  llvm::outs().flush();
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 7;
  int64_t k = argc > 2 ? atoi(argv[2]) : 576;
  int64_t bytes = (argc > 3 ? atoll(argv[3]) : 256) << 20;
  flushDenormals();

  MachineFeatures features;
  mlir::MLIRContext context;
  loadKernelDialects(context);
  mlir::OwningOpRef<mlir::ModuleOp> module(
      mlir::ModuleOp::create(mlir::UnknownLoc::get(&context)));
  for (Pair pair : kPairs)
    for (int rows = 1; rows <= maxRows(pair.panel, pair.row, features); ++rows)
      getOrCreateKernel(*module, {pair.panel, pair.row, rows}, features);
  exportKernels(*module);
  KernelJIT jit(*module);

  llvm::outs() << llvm::formatv(
      "K {0}, {1} MB; GB/s of weights by rows (of read) | GFLOP/s, one "
      "thread, by rows (of peak)\n",
      k, bytes >> 20);
  uint8_t *weights = allocate(bytes);
  for (Pair pair : kPairs)
    benchmark(jit, pair, maxRows(pair.panel, pair.row, features), weights,
              bytes, k, rounds);
  return EXIT_SUCCESS;
}
