//===- KernelJIT.cpp - Runs emitted kernels in this process ---------------===//
//
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The conversion order is the one documented in Kernels.h; the code generator
// settings are those of `llc -O3 -mcpu=native`.
//
//===----------------------------------------------------------------------===//

#include "KernelJIT.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"

#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;

namespace rondo::cpu {

void loadKernelDialects(MLIRContext &context) {
  registerBuiltinDialectTranslation(context);
  registerLLVMDialectTranslation(context);
  context.loadDialect<arith::ArithDialect, cf::ControlFlowDialect,
                      func::FuncDialect, LLVM::LLVMDialect, scf::SCFDialect,
                      vector::VectorDialect>();
}

void exportKernels(ModuleOp module) {
  for (auto kernel : module.getOps<func::FuncOp>()) {
    kernel.setPublic();
    kernel->removeAttr("llvm.linkage");
  }
}

LogicalResult lowerKernels(ModuleOp module) {
  PassManager pm(module.getContext());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  return pm.run(module);
}

//===----------------------------------------------------------------------===//
// Portable dot products
//===----------------------------------------------------------------------===//

static Value splatLike(OpBuilder &b, Location loc, Value like, int64_t value) {
  auto type = cast<VectorType>(like.getType());
  return arith::ConstantOp::create(
      b, loc,
      DenseElementsAttr::get(
          type, Attribute(b.getIntegerAttr(type.getElementType(), value))));
}

/// vpdpbusd: sum + the four products of u8 in `w` and s8 in `x` per lane.
static Value emitByteDot(OpBuilder &b, Location loc, Value sum, Value w,
                         Value x) {
  Type ints = sum.getType();
  w = LLVM::BitcastOp::create(b, loc, ints, w);
  x = LLVM::BitcastOp::create(b, loc, ints, x);
  for (int byte = 0; byte < 4; ++byte) {
    Value wByte = arith::AndIOp::create(
        b, loc,
        arith::ShRUIOp::create(b, loc, w, splatLike(b, loc, w, 8 * byte)),
        splatLike(b, loc, w, 255));
    Value xByte = arith::ShRSIOp::create(
        b, loc,
        arith::ShLIOp::create(b, loc, x, splatLike(b, loc, x, 24 - 8 * byte)),
        splatLike(b, loc, x, 24));
    sum = arith::AddIOp::create(b, loc, sum,
                                arith::MulIOp::create(b, loc, wByte, xByte));
  }
  return sum;
}

/// vdpbf16ps: the odd products first, each by one fma.
static Value emitPairDot(OpBuilder &b, Location loc, Value sum, Value w,
                         Value x) {
  Type floats = sum.getType();
  Type ints = cast<VectorType>(floats).clone(b.getI32Type());
  auto half = [&](Value pairs, bool odd) -> Value {
    Value bits = LLVM::BitcastOp::create(b, loc, ints, pairs);
    if (odd)
      bits = arith::AndIOp::create(b, loc, bits,
                                   splatLike(b, loc, bits, 0xffff0000));
    else
      bits = arith::ShLIOp::create(b, loc, bits, splatLike(b, loc, bits, 16));
    return LLVM::BitcastOp::create(b, loc, floats, bits);
  };
  for (bool odd : {true, false})
    sum = LLVM::FMAOp::create(b, loc, TypeRange(floats),
                              ValueRange{half(w, odd), half(x, odd), sum});
  return sum;
}

void replaceDotIntrinsics(ModuleOp module) {
  module.walk([](LLVM::CallIntrinsicOp call) {
    OpBuilder b(call);
    ValueRange args = call.getArgs();
    Value result;
    if (call.getIntrin() == "llvm.x86.avx512.vpdpbusd.512")
      result = emitByteDot(b, call.getLoc(), args[0], args[1], args[2]);
    else if (call.getIntrin() == "llvm.x86.avx512bf16.dpbf16ps.512")
      result = emitPairDot(b, call.getLoc(), args[0], args[1], args[2]);
    if (!result)
      return;
    call.getResult(0).replaceAllUsesWith(result);
    call.erase();
  });
}

//===----------------------------------------------------------------------===//
// KernelJIT
//===----------------------------------------------------------------------===//

static void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder passes(&machine);
  passes.registerModuleAnalyses(modules);
  passes.registerCGSCCAnalyses(components);
  passes.registerFunctionAnalyses(functions);
  passes.registerLoopAnalyses(loops);
  passes.crossRegisterProxies(loops, functions, components, modules);
  passes.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3)
      .run(module, modules);
}

KernelJIT::KernelJIT(ModuleOp module) {
  llvm::ExitOnError check("kernel JIT: ");
  llvm::InitializeNativeTarget();
  llvm::InitializeNativeTargetAsmPrinter();
  if (failed(lowerKernels(module)))
    check(llvm::createStringError("lowering failed"));

  auto builder = check(llvm::orc::JITTargetMachineBuilder::detectHost());
  builder.setCodeGenOptLevel(llvm::CodeGenOptLevel::Aggressive);
  auto machine = check(builder.createTargetMachine());
  auto context = std::make_unique<llvm::LLVMContext>();
  auto code = translateModuleToLLVMIR(module, *context);
  if (!code)
    check(llvm::createStringError("translation failed"));
  code->setTargetTriple(machine->getTargetTriple());
  code->setDataLayout(machine->createDataLayout());
  optimize(*code, *machine);

  jit = check(llvm::orc::LLJITBuilder()
                  .setJITTargetMachineBuilder(std::move(builder))
                  .create());
  check(jit->addIRModule(
      llvm::orc::ThreadSafeModule(std::move(code), std::move(context))));
}

KernelJIT::~KernelJIT() = default;

void *KernelJIT::lookup(llvm::StringRef name) {
  llvm::ExitOnError check("kernel JIT: ");
  return check(jit->lookup(name)).toPtr<void *>();
}

} // namespace rondo::cpu
