//===- HelperTest.cpp - Emitted vector math, row makers, gathers ----------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Functions against double precision within the errors that Kernels.h
// promises, with equal bits for every vector length; roundings, quantisation
// and gathers bit for bit against scalar code. Exit status 1 on a difference.
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"
#include "KernelReference.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

using namespace mlir;
using namespace rondo::cpu;

namespace {

using EmitFunction = Value (*)(OpBuilder &, Location, Value);
using MapFunction = void (*)(const void *in, void *out);

/// A helper from f32 to f32 with its definition and error bound.
struct MathCase {
  const char *name;
  EmitFunction emit;
  double (*exact)(double);
  double low, high;   ///< range of the error bound
  double maxAbsolute; ///< largest absolute error, or
  double maxUlps;     ///< largest error in units of the last place
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x / (1 + std::exp(-x)); }

constexpr MathCase kMath[] = {
    {"exp", emitExp, std::exp, -87, 88, 0, 2},
    {"tanh", emitTanh, std::tanh, -20, 20, 1e-6, 0},
    {"erf", emitErf, std::erf, -6, 6, 1e-6, 0},
    {"sigmoid", emitSigmoid, sigmoid, -80, 80, 0, 4},
    {"silu", emitSilu, silu, -80, 80, 0, 4},
};

/// Vector lengths; 0 stands for a number.
constexpr int kLengths[] = {0, 3, 8, 16, 32};
constexpr int kMaxLength = 32;

/// Builds functions `name(in, out)` in one module and compiles them.
class HelperModule {
public:
  HelperModule() {
    loadKernelDialects(context);
    module = ModuleOp::create(UnknownLoc::get(&context));
  }

  void add(StringRef name,
           llvm::function_ref<void(OpBuilder &, Location, ValueRange)> body,
           int extraArguments = 0) {
    Location loc = UnknownLoc::get(&context);
    OpBuilder b = OpBuilder::atBlockEnd(module->getBody());
    Type ptr = LLVM::LLVMPointerType::get(&context);
    SmallVector<Type> types = {ptr, ptr};
    types.append(extraArguments, b.getI64Type());
    auto function =
        func::FuncOp::create(b, loc, name, b.getFunctionType(types, {}));
    b.setInsertionPointToStart(function.addEntryBlock());
    body(b, loc, function.getArguments());
    func::ReturnOp::create(b, loc);
  }

  /// out[0..length) = emit(in[0..length)), one value of that length.
  void addMap(StringRef name, EmitFunction emit, int length) {
    add(name, [&](OpBuilder &b, Location loc, ValueRange args) {
      Type type = b.getF32Type();
      if (length)
        type = VectorType::get(length, type);
      Value x = LLVM::LoadOp::create(b, loc, type, args[0], /*alignment=*/4);
      LLVM::StoreOp::create(b, loc, emit(b, loc, x), args[1], /*alignment=*/2);
    });
  }

  KernelJIT compile() { return KernelJIT(*module); }

private:
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

} // namespace

static std::string lengthName(StringRef name, int length) {
  return llvm::formatv("{0}_{1}", name, length);
}

static uint32_t bitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

static int report(StringRef what, int failed) {
  llvm::outs() << what << ": " << failed << " failures\n";
  return failed;
}

//===----------------------------------------------------------------------===//
// Math
//===----------------------------------------------------------------------===//

/// Whether `actual` is near enough to `exact`.
static bool isClose(const MathCase &test, float actual, double exact) {
  double error = std::fabs(actual - exact);
  if (test.maxAbsolute)
    return error <= test.maxAbsolute;
  double ulp = std::ldexp(1.0, std::ilogb(exact == 0 ? 1e-38 : exact) - 23);
  return error <= test.maxUlps * ulp;
}

static int testAccuracy(const MathCase &test, MapFunction map) {
  constexpr int kSteps = 400000;
  int failed = 0;
  double worst = 0;
  float in[kMaxLength], out[kMaxLength];
  for (int step = 0; step < kSteps; step += kMaxLength) {
    for (int i = 0; i < kMaxLength; ++i)
      in[i] = test.low + (test.high - test.low) * (step + i) / kSteps;
    map(in, out);
    for (int i = 0; i < kMaxLength; ++i) {
      double exact = test.exact(in[i]);
      failed += !isClose(test, out[i], exact);
      double scale = test.maxAbsolute ? 1 : std::fabs(exact) * 0x1p-23;
      worst = std::max(worst, std::fabs(out[i] - exact) / scale);
    }
  }
  llvm::outs() << test.name << ": worst error "
               << llvm::formatv("{0:E2}", worst)
               << (test.maxAbsolute ? "" : " x 2^-23 relative") << "\n";
  return failed;
}

/// Special values, and equal bits for all lengths.
static int testLengths(const MathCase &test, KernelJIT &jit) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float in[kMaxLength] = {0.0f,   -0.0f, kInfinity, -kInfinity, NAN,
                          1.0f,   -1.0f, 88.7f,     89.5f,      -103.0f,
                          -200.f, 1e30f, -1e30f,    1e-30f,     1e-40f};
  Random rng(7);
  for (int i = 15; i < kMaxLength; ++i)
    in[i] = 30 * rng.uniform();
  float expected[kMaxLength], actual[kMaxLength];
  jit.get<MapFunction>(lengthName(test.name, kMaxLength))(in, expected);
  int failed = 0;
  for (int length : kLengths) {
    auto map = jit.get<MapFunction>(lengthName(test.name, length));
    int step = std::max(length, 1);
    for (int i = 0; i + step <= kMaxLength; i += step) {
      map(in + i, actual + i);
      failed += std::memcmp(actual + i, expected + i, 4 * step) != 0;
    }
  }
  for (int i : {0, 1, 11, 12}) { // zeros and huge numbers
    float exact = static_cast<float>(test.exact(in[i]));
    failed += expected[i] != exact && std::fabs(expected[i] - exact) > 1e-6;
  }
  return failed + !std::isnan(expected[4]);
}

static int testMath(KernelJIT &jit) {
  int failed = 0;
  for (const MathCase &test : kMath) {
    failed += testAccuracy(
        test, jit.get<MapFunction>(lengthName(test.name, kMaxLength)));
    failed += testLengths(test, jit);
  }
  return report("math", failed);
}

//===----------------------------------------------------------------------===//
// Rounding and quantising
//===----------------------------------------------------------------------===//

static uint16_t roundReference(uint32_t bits) {
  if ((bits & 0x7fffffff) > 0x7f800000)
    return bits >> 16 | 0x40;
  uint32_t rest = bits & 0xffff, high = bits >> 16;
  return high + (rest > 0x8000 || (rest == 0x8000 && (high & 1)));
}

static int testRounding(KernelJIT &jit) {
  auto round = jit.get<MapFunction>("round"),
       truncate = jit.get<MapFunction>("truncate");
  uint32_t in[8] = {0x7f800000, 0xff800000, 0x7f800001, 0xffffffff,
                    0x7f7fffff, 0x80000001, 0x00008000, 0x00018000};
  Random rng(3);
  int failed = 0;
  for (int trial = 0; trial < 200000; ++trial) {
    uint32_t wide[8];
    uint16_t narrow[8];
    round(in, wide);
    truncate(in, narrow);
    for (int i = 0; i < 8; ++i) {
      uint16_t expected = roundReference(in[i]);
      failed += narrow[i] != expected;
      failed += wide[i] != static_cast<uint32_t>(expected) << 16;
      in[i] = rng.next() << 1 ^ rng.next();
      if (trial % 3 == 0)
        in[i] = (in[i] & 0xffff0000) | 0x8000; // ties
    }
  }
  return report("bf16 rounding", failed);
}

static void quantizeReference(const float *x, uint8_t *group) {
  float amax = 0;
  for (int i = 0; i < kGroupSize; ++i)
    amax = std::max(amax, std::fabs(x[i]));
  float factor = amax >= 0x1p-120f ? 127.0f / amax : 0.0f;
  float scale = amax / 127.0f;
  int32_t sum = 0;
  for (int i = 0; i < kGroupSize; ++i) {
    int quant = static_cast<int>(std::nearbyint(x[i] * factor));
    group[i] = static_cast<uint8_t>(quant);
    sum += quant;
  }
  std::memcpy(group + Int8GroupLayout::kScale, &scale, 4);
  std::memcpy(group + Int8GroupLayout::kSum, &sum, 4);
}

static int testQuantize(KernelJIT &jit) {
  auto quantize = jit.get<MapFunction>("quantize");
  Random rng(5);
  int failed = 0;
  for (int round = 0; round < 20000; ++round) {
    float x[kGroupSize];
    float size = std::ldexp(1.0f, rng.below(250) - 125);
    for (float &value : x) {
      value = rng.uniform() * size;
      if (round % 4 == 1) // exact halves
        value = (rng.below(255) - 127) * 0.5f;
      if (round % 50 == 2)
        value = 0;
    }
    if (round % 4 == 1)
      x[rng.below(kGroupSize)] = 127.0f;
    uint8_t actual[40] = {}, expected[40] = {};
    quantize(x, actual);
    quantizeReference(x, expected);
    failed += std::memcmp(actual, expected, 40) != 0;
  }
  return report("quantising", failed);
}

//===----------------------------------------------------------------------===//
// Gathers
//===----------------------------------------------------------------------===//

constexpr PanelFormat kPanels[] = {PanelFormat::F32,  PanelFormat::F16,
                                   PanelFormat::BF16, PanelFormat::BF16Pair,
                                   PanelFormat::Q8_0, PanelFormat::Q4_0,
                                   PanelFormat::Q4_1};

static std::string gatherName(PanelFormat format) {
  return "gather_" + kernelName({format, RowFormat::F32, 1});
}

static int testGather(KernelJIT &jit) {
  using Gather = void (*)(const void *, float *, int64_t lane, int64_t k);
  int failed = 0;
  for (PanelFormat format : kPanels) {
    auto gather = jit.get<Gather>(gatherName(format));
    constexpr int64_t kLines = 5;
    int64_t elements = lineElements(format), k = kLines * elements;
    Random rng(11);
    Bytes panel = makePanel(format, kLines, DataKind::Extreme, rng);
    for (int lane = 0; lane < kPanelWidth; ++lane) {
      std::vector<float> actual(k + 1, -7.0f);
      gather(panel.data(), actual.data(), lane, k);
      for (int64_t i = 0; i < k; ++i) {
        float expected =
            widenWeight(format, panel.data() + i / elements * lineBytes(format),
                        i % elements, lane);
        failed += bitsOf(actual[i]) != bitsOf(expected);
      }
      failed += actual[k] != -7.0f;
    }
  }
  return report("gathers", failed);
}

static KernelJIT compileHelpers() {
  HelperModule helpers;
  for (const MathCase &test : kMath)
    for (int length : kLengths)
      helpers.addMap(lengthName(test.name, length), test.emit, length);
  helpers.addMap("round", emitRoundToBF16, 8);
  helpers.addMap("truncate", emitTruncateToBF16, 8);
  helpers.add("quantize", [](OpBuilder &b, Location loc, ValueRange args) {
    Type chunk = VectorType::get(kGroupSize, b.getF32Type());
    emitQuantizeGroup(
        b, loc, LLVM::LoadOp::create(b, loc, chunk, args[0], /*alignment=*/4),
        args[1]);
  });
  for (PanelFormat format : kPanels)
    helpers.add(
        gatherName(format),
        [&](OpBuilder &b, Location loc, ValueRange args) {
          emitGatherLane(b, loc, format, args[0], args[2], args[3], args[1]);
        },
        /*extraArguments=*/2);
  return helpers.compile();
}

int main() {
  flushDenormals();
  KernelJIT jit = compileHelpers();
  return testMath(jit) + testRounding(jit) + testQuantize(jit) +
             testGather(jit) !=
         0;
}
