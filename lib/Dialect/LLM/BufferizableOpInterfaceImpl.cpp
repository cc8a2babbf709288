// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Bufferization of `llm.call_kernel`: the only op of the dialect that tensors
// still reach when buffers are assigned.

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Bufferization/IR/BufferizableOpInterface.h"
#include "mlir/Dialect/Bufferization/IR/DstBufferizableOpInterfaceImpl.h"

using namespace mlir;
using namespace mlir::bufferization;
using namespace llmir::llm;

namespace {
struct CallKernelInterface
    : DstBufferizableOpInterfaceExternalModel<CallKernelInterface,
                                              CallKernelOp> {
  bool bufferizesToMemoryRead(Operation *op, OpOperand &operand,
                              const AnalysisState &) const {
    auto call = cast<CallKernelOp>(op);
    return !call.isDpsInit(&operand) || call.getAccumulate();
  }

  LogicalResult bufferize(Operation *op, RewriterBase &rewriter,
                          const BufferizationOptions &options) const {
    auto call = cast<CallKernelOp>(op);
    auto toBuffers = [&](ValueRange values, SmallVectorImpl<Value> &buffers) {
      for (Value value : values) {
        if (!isa<TensorType>(value.getType())) {
          buffers.push_back(value);
          continue;
        }
        FailureOr<Value> buffer = getBuffer(rewriter, value, options);
        if (failed(buffer))
          return failure();
        buffers.push_back(*buffer);
      }
      return success();
    };
    SmallVector<Value> inputs, outputs;
    if (failed(toBuffers(call.getInputs(), inputs)) ||
        failed(toBuffers(call.getOutputs(), outputs)))
      return failure();
    auto onBuffers = rewriter.create<CallKernelOp>(
        call.getLoc(), call.getKernel(), inputs, outputs);
    // All else is as it was, the numbers of inputs and outputs included.
    onBuffers.getProperties() = call.getProperties();
    replaceOpWithBufferizedValues(rewriter, op, outputs);
    return success();
  }
};
} // namespace

void llmir::llm::registerBufferizableOpInterfaceExternalModels(
    DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, LLMDialect *) {
    CallKernelOp::attachInterface<CallKernelInterface>(*context);
  });
}
