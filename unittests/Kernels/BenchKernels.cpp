//===- BenchKernels.cpp - Speed of the emitted kernels --------------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//   rondo-bench-kernels [rounds = 7] [K = 576] [megabytes = 256]
//                       [part of a kernel's name]
//
// Per format pair: GB/s of weights streamed from memory by 2 threads, beside a
// plain read of as many bytes just before; and GFLOP/s of one thread on panels
// that fit L2, beside an FMA loop. Best of many short windows, as a shared
// machine is quiet for milliseconds only.
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "KernelReference.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <atomic>
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

/// Where two threads meet; spins, as both have a core in a useful run.
class Barrier {
public:
  void wait() {
    int64_t mine = arrived.fetch_add(1) / kThreads + 1;
    while (arrived.load() < mine * kThreads)
      std::this_thread::yield();
  }

private:
  std::atomic<int64_t> arrived = 0;
};

/// Seconds of each call `work(call, thread)`, made by all threads together.
static std::vector<double>
timeCalls(int calls, const std::function<void(int, int)> &work) {
  Barrier barrier;
  std::vector<double> seconds(calls);
  auto run = [&](int t) {
    flushDenormals();
    for (int call = 0; call < calls; ++call) {
      barrier.wait();
      double start = now();
      work(call, t);
      barrier.wait();
      if (t == 0)
        seconds[call] = now() - start;
    }
  };
  std::vector<std::thread> threads;
  for (int t = 1; t < kThreads; ++t)
    threads.emplace_back(run, t);
  run(0);
  for (std::thread &thread : threads)
    thread.join();
  return seconds;
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
  constexpr int64_t kIterations = 400000;
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

/// GB/s of weights streamed by all threads.
struct StreamRate {
  double kernel, read; ///< best windows
  double ratio;        ///< median over pairs of neighbouring windows
};

/// Cuts the panels into windows of about 8 MB, which the walk over the others
/// has evicted from the caches; reads one and contracts the next, in turn.
static StreamRate measureStream(const Workload &load, int rounds) {
  int64_t size = panelBytes(load.spec.panel, load.k);
  int64_t perThread = (8 << 20) / kThreads / size;
  int windows = load.panels / (perThread * kThreads) / 2 * 2;
  std::vector<double> seconds =
      timeCalls(rounds * windows, [&](int call, int t) {
        // Odd rounds shift by one, so that both kinds visit all windows.
        int64_t window = (call + call / windows) % windows;
        int64_t first = (window * kThreads + t) * perThread;
        if (call % 2)
          runPanels(load, first, first + perThread);
        else
          readAll(load.weights + first * size, perThread * size);
      });
  double bytes = perThread * kThreads * size * 1e-9;
  StreamRate rate{0, 0, 0};
  std::vector<double> ratios;
  for (size_t i = 0; i + 1 < seconds.size(); i += 2) {
    rate.read = std::max(rate.read, bytes / seconds[i]);
    rate.kernel = std::max(rate.kernel, bytes / seconds[i + 1]);
    ratios.push_back(seconds[i] / seconds[i + 1]);
  }
  std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2,
                   ratios.end());
  rate.ratio = ratios[ratios.size() / 2];
  return rate;
}

/// GFLOP/s of one thread; few panels, many visits.
static double measureCompute(Workload load) {
  int64_t size = panelBytes(load.spec.panel, load.k);
  load.panels = std::max<int64_t>(1, (256 << 10) / size);
  double flops = 2.0 * load.spec.rows * kPanelWidth * load.k * load.panels;
  int64_t visits = static_cast<int64_t>(3e7 / flops) + 1;
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
  llvm::outs() << llvm::formatv("{0,-34}", kernelName(load.spec));
  for (int rows : {1, 2, 4}) {
    load.spec.rows = rows;
    load.kernel = jit.get<KernelFunction>(kernelName(load.spec));
    StreamRate rate = measureStream(load, rounds);
    llvm::outs() << llvm::formatv(" {0}: {1:F1}/{2:F1} {3:F2}", rows,
                                  rate.kernel, rate.read, rate.ratio);
  }
  double peak = 0, best = 0;
  llvm::outs() << " |";
  for (int rows = 1; rows <= maximum; ++rows, best = 0) {
    load.spec.rows = rows;
    load.kernel = jit.get<KernelFunction>(kernelName(load.spec));
    for (int round = 0; round < 10 * rounds; ++round) {
      best = std::max(best, measureCompute(load));
      peak = std::max(peak, measurePeak());
    }
    llvm::outs() << llvm::formatv(" {0:F1}", best);
  }
  llvm::outs() << llvm::formatv(" of {0:F1}\n", peak);
  llvm::outs().flush();
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 7;
  int64_t k = argc > 2 ? atoi(argv[2]) : 576;
  int64_t bytes = (argc > 3 ? atoll(argv[3]) : 256) << 20;
  llvm::StringRef filter = argc > 4 ? argv[4] : "";
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
      "K {0}, {1} MB; rows: GB/s of weights / of a plain read, median ratio "
      "| GFLOP/s of one thread by rows, of an FMA loop\n",
      k, bytes >> 20);
  uint8_t *weights = allocate(bytes);
  for (Pair pair : kPairs)
    if (llvm::StringRef(kernelName({pair.panel, pair.row, 1})).contains(filter))
      benchmark(jit, pair, maxRows(pair.panel, pair.row, features), weights,
                bytes, k, rounds);
  return EXIT_SUCCESS;
}
