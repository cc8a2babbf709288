// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The named pipelines, each with one options struct. llmir-opt, Python and the
// tests all run these.

#ifndef LLMIR_PIPELINES_PIPELINES_H
#define LLMIR_PIPELINES_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace llmir {

struct CPUPipelineOptions : mlir::PassPipelineOptions<CPUPipelineOptions> {
  Option<int64_t> maxBatchTokens{
      *this, "max-batch-tokens",
      llvm::cl::desc("The most tokens that one step takes"),
      llvm::cl::init(512)};
};

/// `llm-optimize`: the passes that stay in the dialect.
void buildOptimizePipeline(mlir::OpPassManager &manager);

/// `llm-to-linalg`: the reference meaning, on tensors.
void buildLinalgPipeline(mlir::OpPassManager &manager);

/// `llm-to-buffers`: an optimized step on buffers, planned and vectorized.
void buildBuffersPipeline(mlir::OpPassManager &manager,
                          const CPUPipelineOptions &options);

/// `llm-to-llvm`: what `llm-to-buffers` leaves, in the LLVM dialect.
void buildLLVMPipeline(mlir::OpPassManager &manager);

/// `llm-cpu-pipeline`: from the importer's program to the LLVM dialect, by the
/// pipelines above.
void buildCPUPipeline(mlir::OpPassManager &manager,
                      const CPUPipelineOptions &options);

void registerPipelines();

} // namespace llmir

#endif // LLMIR_PIPELINES_PIPELINES_H
