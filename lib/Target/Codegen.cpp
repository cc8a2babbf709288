// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Machine code for a compiled step. LLVM optimizes loops that are vectors
// already, so its own vectorizers, which would pick narrower ones, are off.

#include "llmir/Target/Codegen.h"

#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"

using namespace llvm;

/// What every CPU of the architecture has.
#if defined(__x86_64__)
static constexpr StringLiteral kBaseCPU = "x86-64";
#else
static constexpr StringLiteral kBaseCPU = "generic";
#endif

std::string llmir::hostCPU() {
  StringRef name = sys::getHostCPUName();
  if (!name.empty() && name != "generic" && name != "(unknown)" &&
      !name.starts_with("x86-64"))
    return name.str();
  StringMap<bool> features;
  sys::getHostCPUFeatures(features);
  if (features.lookup("avx512vl"))
    return "x86-64-v4";
  return features.lookup("avx2") ? "x86-64-v3" : "x86-64";
}

static Error makeError(const Twine &message) {
  return createStringError(inconvertibleErrorCode(), message);
}

static Expected<std::unique_ptr<TargetMachine>>
createTargetMachine(const llmir::CodegenOptions &options) {
  InitializeNativeTarget();
  InitializeNativeTargetAsmPrinter();
  std::string triple = sys::getDefaultTargetTriple(), message;
  const Target *target = TargetRegistry::lookupTarget(triple, message);
  if (!target)
    return makeError(message);
  TargetOptions targetOptions;
  // Results must not depend on which operations LLVM happens to fuse.
  targetOptions.AllowFPOpFusion = FPOpFusion::Strict;
  // Only the features say what may be used: a CPU's name would imply some that
  // a virtual machine hides.
  std::unique_ptr<TargetMachine> machine(target->createTargetMachine(
      triple, kBaseCPU, options.features, targetOptions, Reloc::PIC_,
      std::nullopt, CodeGenOptLevel::Aggressive));
  if (!machine)
    return makeError("LLVM cannot generate code for " + Twine(triple));
  if (!machine->getMCSubtargetInfo()->isCPUStringValid(options.tuneCPU))
    return makeError("LLVM does not know the CPU " + Twine(options.tuneCPU));
  return machine;
}

static void optimize(Module &module, TargetMachine &machine) {
  PipelineTuningOptions tuning;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager graph;
  ModuleAnalysisManager modules;
  PassBuilder builder(&machine, tuning);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graph, modules);
  builder.buildPerModuleDefaultPipeline(OptimizationLevel::O2)
      .run(module, modules);
}

Expected<std::string> llmir::generateCode(mlir::ModuleOp source,
                                          const CodegenOptions &options,
                                          CodegenOutput output) {
  Expected<std::unique_ptr<TargetMachine>> machine =
      createTargetMachine(options);
  if (!machine)
    return machine.takeError();
  LLVMContext context;
  std::unique_ptr<Module> module = mlir::translateModuleToLLVMIR(
      source, context, source.getName().value_or("model"));
  if (!module)
    return makeError("the module is not all in the LLVM dialect");
  module->setDataLayout((*machine)->createDataLayout());
  module->setTargetTriple((*machine)->getTargetTriple().str());
  for (Function &function : *module) {
    function.addFnAttr("target-cpu", kBaseCPU);
    function.addFnAttr("tune-cpu", options.tuneCPU);
    function.addFnAttr("target-features", options.features);
    // 512-bit vectors where the CPU has them: the code around kernels is wide.
    function.addFnAttr("prefer-vector-width", "512");
    function.addFnAttr("frame-pointer", "all");
  }
  optimize(*module, **machine);

  SmallString<0> text;
  raw_svector_ostream stream(text);
  if (output == CodegenOutput::LLVMIR) {
    module->print(stream, nullptr);
    return text.str().str();
  }
  legacy::PassManager manager;
  CodeGenFileType type = output == CodegenOutput::Assembly
                             ? CodeGenFileType::AssemblyFile
                             : CodeGenFileType::ObjectFile;
  if ((*machine)->addPassesToEmitFile(manager, stream, nullptr, type))
    return makeError("LLVM cannot emit this kind of file for the target");
  manager.run(*module);
  return text.str().str();
}
