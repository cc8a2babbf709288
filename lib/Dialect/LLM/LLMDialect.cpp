// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The dialect with its types and attributes, and their verifiers.

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace llmir::llm;

#include "llmir/Dialect/LLM/LLMDialect.cpp.inc"
#include "llmir/Dialect/LLM/LLMEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "llmir/Dialect/LLM/LLMAttributes.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "llmir/Dialect/LLM/LLMTypes.cpp.inc"

void LLMDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "llmir/Dialect/LLM/LLMAttributes.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "llmir/Dialect/LLM/LLMTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "llmir/Dialect/LLM/LLMOps.cpp.inc"
      >();
}

LogicalResult
PagedKVCacheType::verify(function_ref<InFlightDiagnostic()> emitError,
                         FloatType elementType, int64_t layers, int64_t kvHeads,
                         int64_t headDim, int64_t blockSize,
                         int64_t maxSeqLen) {
  struct {
    StringRef name;
    int64_t value;
  } sizes[] = {{"layers", layers},
               {"kv_heads", kvHeads},
               {"head_dim", headDim},
               {"block_size", blockSize},
               {"max_seq_len", maxSeqLen}};
  for (auto [name, value] : sizes)
    if (value <= 0)
      return emitError() << name << " must be positive, but is " << value;
  if (!llvm::isPowerOf2_64(blockSize))
    return emitError() << "block_size must be a power of two, but is "
                       << blockSize;
  return success();
}

LogicalResult
RopeScalingAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                        RopeScalingKind kind, FloatAttr factor,
                        FloatAttr lowFreqFactor, FloatAttr highFreqFactor,
                        int64_t originalMaxPosition) {
  if (factor.getValueAsDouble() < 1.0)
    return emitError() << "factor must be at least 1, but is "
                       << factor.getValueAsDouble();
  bool hasBands = lowFreqFactor || highFreqFactor || originalMaxPosition;
  if (kind != RopeScalingKind::llama3) {
    if (hasBands)
      return emitError() << "only llama3 scaling takes frequency bands";
    return success();
  }
  if (!lowFreqFactor || !highFreqFactor || originalMaxPosition <= 0)
    return emitError() << "llama3 scaling needs low_freq_factor, "
                          "high_freq_factor and a positive "
                          "original_max_position";
  if (highFreqFactor.getValueAsDouble() <= lowFreqFactor.getValueAsDouble())
    return emitError() << "high_freq_factor must be above low_freq_factor";
  return success();
}
