// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The order of things between an imported program and machine code.

#include "llmir/Pipelines/Pipelines.h"

#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Bufferization/Transforms/OneShotAnalysis.h"
#include "mlir/Dialect/Bufferization/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/Passes.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;

static void addCleanup(OpPassManager &manager) {
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
}

void llmir::buildRaisePipeline(OpPassManager &manager,
                               const RaisePipelineOptions &options) {
  auto simplify = [&]() {
    manager.addNestedPass<func::FuncOp>(createSimplifySizes());
    addCleanup(manager);
  };
  addCleanup(manager);
  simplify();
  manager.addNestedPass<func::FuncOp>(createRaiseRope());
  manager.addNestedPass<func::FuncOp>(createRaiseAttention());
  addCleanup(manager);
  manager.addNestedPass<func::FuncOp>(createRaiseEmbedding());
  manager.addNestedPass<func::FuncOp>(createRaiseLinear());
  manager.addNestedPass<func::FuncOp>(createRaiseNorm());
  // The softcap of attention is a tanh.
  manager.addNestedPass<func::FuncOp>(createRaiseActivation());
  simplify();
  manager.addNestedPass<func::FuncOp>(createFlattenTokens());
  simplify();
  if (options.outlineLayers) {
    manager.addPass(createOutlineLayers());
    addCleanup(manager);
  }
}

static void addMergeProducts(OpPassManager &manager, StringRef which,
                             const llmir::FusePipelineOptions &options) {
  manager.addPass(llmir::llm::createLLMMergeProducts(
      {which.str(), options.bandwidth, options.peak, options.call,
       options.tokens}));
}

void llmir::buildFuseAttentionPipeline(OpPassManager &manager,
                                       const FusePipelineOptions &options) {
  addMergeProducts(manager, "plain", options);
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseRopeAppend(
      {options.bandwidth, options.peak, options.call, options.tokens}));
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseResidual());
}

void llmir::buildFuseMLPPipeline(OpPassManager &manager,
                                 const FusePipelineOptions &options) {
  // What surrounds a product, from the inside out: the residual is added to
  // what the activation makes.
  addMergeProducts(manager, "gated", options);
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseActivation());
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseResidual());
}

void llmir::buildOptimizePipeline(OpPassManager &manager,
                                  const OptimizePipelineOptions &options) {
  addCleanup(manager);
  manager.addPass(llm::createLLMVerifyCacheUses());
  manager.addPass(llm::createLLMOptimizeKVCache());
  if (options.kvCacheDtype != "auto")
    manager.addPass(llm::createLLMQuantizeKVCache({options.kvCacheDtype}));
  buildFuseAttentionPipeline(manager, options);
  buildFuseMLPPipeline(manager, options);
  // Products that would be merged have no norms yet.
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseNorm(
      {options.bandwidth, options.peak, options.call, options.tokens}));
  if (options.quantize != "none") {
    llm::LLMQuantizeWeightsOptions quantize;
    quantize.format = options.quantize;
    quantize.groupSize = options.quantizeGroupSize;
    quantize.asymmetric = options.quantizeAsymmetric;
    quantize.scales = options.quantizeScales;
    quantize.head = options.quantizeHead;
    quantize.embedding = options.quantizeEmbedding;
    SmallVector<std::string> exclude(options.quantizeExclude.begin(),
                                     options.quantizeExclude.end());
    quantize.exclude = exclude;
    manager.addPass(llm::createLLMQuantizeWeights(quantize));
  }
  manager.addPass(llm::createLLMPackParameters());
  addCleanup(manager);
}

void llmir::buildLinalgPipeline(OpPassManager &manager) {
  manager.addPass(llm::createLLMVerifyCacheUses());
  manager.addPass(createConvertLLMToLinalg());
  manager.addNestedPass<func::FuncOp>(createConvertElementwiseToLinalgPass());
  addCleanup(manager);
}

void llmir::buildBuffersPipeline(OpPassManager &manager,
                                 const BuffersPipelineOptions &options) {
  manager.addPass(llm::createLLMVerifyStep());
  manager.addPass(createConvertLLMToKernels());
  manager.addPass(createConvertLLMToLinalg({/*keepKernels=*/true}));
  manager.addNestedPass<func::FuncOp>(createConvertElementwiseToLinalgPass());
  // The sizes of what is made become those of arguments.
  manager.addNestedPass<func::FuncOp>(
      memref::createResolveRankedShapeTypeResultDimsPass());
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createAssignParameters());
  manager.addPass(createPassDestinations());

  bufferization::OneShotBufferizationOptions bufferize;
  bufferize.bufferizeFunctionBoundaries = true;
  bufferize.setFunctionBoundaryTypeConversion(
      bufferization::LayoutMapOption::IdentityLayoutMap);
  manager.addPass(bufferization::createOneShotBufferizePass(bufferize));
  manager.addPass(bufferization::createDropEquivalentBufferResultsPass());
  addCleanup(manager);
  // Copies of a buffer to itself show only once its views are common.
  manager.addPass(createCanonicalizerPass());
  manager.addNestedPass<func::FuncOp>(createVectorizeRows());
  addCleanup(manager);
  manager.addPass(createPlanArena({options.maxBatchTokens}));
  addCleanup(manager);
}

void llmir::buildLLVMPipeline(OpPassManager &manager) {
  manager.addPass(createOutlineRows());
  manager.addNestedPass<func::FuncOp>(createConvertLinalgToLoopsPass());
  manager.addNestedPass<func::FuncOp>(createLowerVectorMath());
  manager.addNestedPass<func::FuncOp>(createExpandBF16());
  manager.addPass(memref::createExpandStridedMetadataPass());
  manager.addPass(createLowerAffinePass());
  manager.addPass(createConvertSCFToCFPass());
  addCleanup(manager);
  manager.addPass(createConvertLLMToLLVM());
  manager.addPass(createReconcileUnrealizedCastsPass());
  addCleanup(manager);
}

void llmir::buildCPUPipeline(OpPassManager &manager,
                             const CPUPipelineOptions &options) {
  buildOptimizePipeline(manager, options);
  BuffersPipelineOptions buffers;
  buffers.maxBatchTokens = options.maxBatchTokens;
  buildBuffersPipeline(manager, buffers);
  buildLLVMPipeline(manager);
}

void llmir::buildOptimizeFunctionPipeline(OpPassManager &manager) {
  manager.addPass(createPrepareFunction());
  addCleanup(manager);
  manager.addPass(llm::createLLMMergeProducts());
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseActivation());
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseNorm());
  manager.addNestedPass<func::FuncOp>(llm::createLLMFuseResidual());
  manager.addPass(llm::createLLMPackParameters());
  addCleanup(manager);
}

void llmir::buildFunctionBuffersPipeline(OpPassManager &manager) {
  manager.addPass(createConvertLLMToKernels());
  manager.addPass(createConvertLLMToLinalg({/*keepKernels=*/true}));
  manager.addNestedPass<func::FuncOp>(createConvertElementwiseToLinalgPass());
  // One op for each chain of them, whatever they are called.
  manager.addNestedPass<func::FuncOp>(createLinalgGeneralizationPass());
  manager.addNestedPass<func::FuncOp>(createLinalgElementwiseOpFusionPass());
  manager.addNestedPass<func::FuncOp>(
      memref::createResolveRankedShapeTypeResultDimsPass());
  addCleanup(manager);
  manager.addNestedPass<func::FuncOp>(createStoreBooleans());
  manager.addPass(createAssignParameters());

  bufferization::OneShotBufferizationOptions bufferize;
  bufferize.bufferizeFunctionBoundaries = true;
  bufferize.allowReturnAllocsFromLoops = true;
  bufferize.setFunctionBoundaryTypeConversion(
      bufferization::LayoutMapOption::IdentityLayoutMap);
  manager.addPass(bufferization::createOneShotBufferizePass(bufferize));
  addCleanup(manager);
  manager.addNestedPass<func::FuncOp>(createReturnResults());
  manager.addNestedPass<func::FuncOp>(createReshapeBuffers());
  addCleanup(manager);
  manager.addNestedPass<func::FuncOp>(createVectorizeRows());
  addCleanup(manager);
  manager.addNestedPass<func::FuncOp>(createReleaseBuffers());
}

void llmir::buildFunctionPipeline(OpPassManager &manager) {
  // Its calls would be put in their places again.
  RaisePipelineOptions raise;
  raise.outlineLayers = false;
  buildRaisePipeline(manager, raise);
  buildOptimizeFunctionPipeline(manager);
  buildFunctionBuffersPipeline(manager);
  buildLLVMPipeline(manager);
}

void llmir::registerPipelines() {
  PassPipelineRegistration<RaisePipelineOptions>(
      "llm-raise", "Raise an exported program from linalg to the llm dialect",
      buildRaisePipeline);
  PassPipelineRegistration<FusePipelineOptions>(
      "llm-fuse-attention",
      "Make q, k and v one product, and RoPE and the append one op",
      buildFuseAttentionPipeline);
  PassPipelineRegistration<FusePipelineOptions>(
      "llm-fuse-mlp",
      "Make gate and up one product, with the activation and the residual",
      buildFuseMLPPipeline);
  PassPipelineRegistration<OptimizePipelineOptions>(
      "llm-optimize", "Optimize an imported program within the llm dialect",
      buildOptimizePipeline);
  PassPipelineRegistration<>(
      "llm-to-linalg", "Lower a program to its reference meaning in linalg",
      buildLinalgPipeline);
  PassPipelineRegistration<BuffersPipelineOptions>(
      "llm-to-buffers",
      "Lower an optimized program to planned buffers and vector code",
      buildBuffersPipeline);
  PassPipelineRegistration<>(
      "llm-to-llvm",
      "Lower planned buffers and vector code to the LLVM dialect",
      buildLLVMPipeline);
  PassPipelineRegistration<CPUPipelineOptions>(
      "llm-cpu-pipeline",
      "Lower a program to the LLVM dialect for the CPU: llm-optimize, "
      "llm-to-buffers and llm-to-llvm",
      buildCPUPipeline);
  PassPipelineRegistration<>(
      "llm-optimize-function",
      "Optimize a function of tensors within the llm dialect",
      buildOptimizeFunctionPipeline);
  PassPipelineRegistration<>(
      "llm-function-to-buffers",
      "Lower an optimized function to buffers and vector code",
      buildFunctionBuffersPipeline);
  PassPipelineRegistration<>(
      "llm-function-pipeline",
      "Lower a function of tensors to the LLVM dialect for the CPU: llm-raise, "
      "llm-optimize-function, llm-function-to-buffers and llm-to-llvm",
      buildFunctionPipeline);
}
