// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The dialect with its types and attributes, and the verifiers of its types.

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

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
                         Type elementType, int64_t layers, int64_t kvHeads,
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
    if (value <= 0 || value > std::numeric_limits<int32_t>::max())
      return emitError() << name << " must be positive and fit into 32 bits, "
                         << "but is " << value;
  if (!elementType.isF16() && !elementType.isBF16() && !elementType.isF32() &&
      !elementType.isF64() && !elementType.isSignlessInteger(8) &&
      !elementType.isSignlessInteger(4))
    return emitError()
           << "elements must be f16, bf16, f32, f64, i8 or i4, but are "
           << elementType;
  if (!llvm::isPowerOf2_64(blockSize))
    return emitError() << "block_size must be a power of two, but is "
                       << blockSize;
  return success();
}

QuantizedTensorType
PagedKVCacheType::getQuantizedType(ArrayRef<int64_t> shape) const {
  auto storage = llvm::cast<IntegerType>(getElementType());
  return QuantizedTensorType::get(
      getContext(), shape, storage, Float16Type::get(getContext()),
      /*axis=*/shape.size() - 1, /*group_size=*/0,
      /*asymmetric=*/storage.getWidth() == 4, Packing::none);
}
