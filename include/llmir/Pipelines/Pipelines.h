// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The named pipelines, each with one options struct. llmir-opt, Python and the
// tests all run these.

#ifndef LLMIR_PIPELINES_PIPELINES_H
#define LLMIR_PIPELINES_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace llmir {

struct RaisePipelineOptions : mlir::PassPipelineOptions<RaisePipelineOptions> {
  Option<bool> outlineLayers{
      *this, "outline-layers",
      llvm::cl::desc("Make one function of layers that are equal"),
      llvm::cl::init(true)};
};

/// The machine that fusions are chosen for.
struct FusePipelineOptions : mlir::PassPipelineOptions<FusePipelineOptions> {
  Option<double> bandwidth{
      *this, "bandwidth",
      llvm::cl::desc("The bytes that the machine reads or writes, in 10^9 a "
                     "second"),
      llvm::cl::init(50.0)};
  Option<double> peak{
      *this, "peak",
      llvm::cl::desc("The operations that it does, in 10^9 a second"),
      llvm::cl::init(500.0)};
  Option<double> call{
      *this, "call",
      llvm::cl::desc("What a call of a kernel takes besides, in microseconds"),
      llvm::cl::init(1.0)};
  Option<int64_t> tokens{
      *this, "tokens",
      llvm::cl::desc("The tokens of the step that is to be fast"),
      llvm::cl::init(1)};
};

struct OptimizePipelineOptions : FusePipelineOptions {
  Option<std::string> quantize{
      *this, "quantize",
      llvm::cl::desc("The format of the products' weights: none, or one of "
                     "--llm-quantize-weights"),
      llvm::cl::init("none")};
  Option<int64_t> quantizeGroupSize{
      *this, "quantize-group-size",
      llvm::cl::desc("The inputs that share a scale; 0 for whole rows, -1 for "
                     "what the format has"),
      llvm::cl::init(-1)};
  Option<bool> quantizeAsymmetric{
      *this, "quantize-asymmetric",
      llvm::cl::desc("Give groups a zero point as well"),
      llvm::cl::init(false)};
  Option<std::string> quantizeScales{
      *this, "quantize-scales",
      llvm::cl::desc("The type of the scales: auto, f32, f16 or bf16"),
      llvm::cl::init("auto")};
  Option<std::string> quantizeHead{
      *this, "quantize-head",
      llvm::cl::desc("The format of the product that makes the logits: auto, "
                     "which is that of the others, none, or a format"),
      llvm::cl::init("auto")};
  Option<std::string> quantizeEmbedding{
      *this, "quantize-embedding",
      llvm::cl::desc("The format of embeddings: none, int8 or int4"),
      llvm::cl::init("none")};
  ListOption<std::string> quantizeExclude{
      *this, "quantize-exclude",
      llvm::cl::desc("Patterns of the keys of weights that stay as they are")};
  Option<std::string> kvCacheDtype{
      *this, "kv-cache-dtype",
      llvm::cl::desc("What the KV cache holds: auto, which leaves it as it is, "
                     "or one of --llm-quantize-kv-cache"),
      llvm::cl::init("auto")};
};

struct BuffersPipelineOptions
    : mlir::PassPipelineOptions<BuffersPipelineOptions> {
  Option<int64_t> maxBatchTokens{
      *this, "max-batch-tokens",
      llvm::cl::desc("The most tokens that one step takes"),
      llvm::cl::init(512)};
};

/// Those of both.
struct CPUPipelineOptions : OptimizePipelineOptions {
  Option<int64_t> maxBatchTokens{
      *this, "max-batch-tokens",
      llvm::cl::desc("The most tokens that one step takes"),
      llvm::cl::init(512)};
};

/// `llm-raise`: from linalg, as exporters write it, to the dialect.
void buildRaisePipeline(mlir::OpPassManager &manager,
                        const RaisePipelineOptions &options);

/// `llm-fuse-attention`: q, k and v as one product, RoPE and the append as one
/// op, and the residual in the product after attention.
void buildFuseAttentionPipeline(mlir::OpPassManager &manager,
                                const FusePipelineOptions &options);

/// `llm-fuse-mlp`: gate and up as one product with the activation, and the
/// residual in the product after it.
void buildFuseMLPPipeline(mlir::OpPassManager &manager,
                          const FusePipelineOptions &options);

/// `llm-optimize`: the passes that stay in the dialect.
void buildOptimizePipeline(mlir::OpPassManager &manager,
                           const OptimizePipelineOptions &options);

/// `llm-to-linalg`: the reference meaning, on tensors.
void buildLinalgPipeline(mlir::OpPassManager &manager);

/// `llm-to-buffers`: an optimized step on buffers, planned and vectorized.
void buildBuffersPipeline(mlir::OpPassManager &manager,
                          const BuffersPipelineOptions &options);

/// `llm-to-llvm`: what `llm-to-buffers` leaves, in the LLVM dialect.
void buildLLVMPipeline(mlir::OpPassManager &manager);

/// `llm-cpu-pipeline`: from the importer's program to the LLVM dialect, by the
/// pipelines above.
void buildCPUPipeline(mlir::OpPassManager &manager,
                      const CPUPipelineOptions &options);

/// `llm-optimize-function`: the passes within the dialect, for a function of
/// tensors: no step, and no cache.
void buildOptimizeFunctionPipeline(mlir::OpPassManager &manager);

/// `llm-function-to-buffers`: such a function on buffers that the runtime gives
/// and takes back, vectorized.
void buildFunctionBuffersPipeline(mlir::OpPassManager &manager);

/// `llm-function-pipeline`: from a function of tensors to the LLVM dialect.
void buildFunctionPipeline(mlir::OpPassManager &manager);

void registerPipelines();

} // namespace llmir

#endif // LLMIR_PIPELINES_PIPELINES_H
