// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The `lora` dialect and what its op must be.

#include "Lora.h"

#include "mlir/IR/OpImplementation.h"

using namespace mlir;

#include "LoraDialect.cpp.inc"

#define GET_OP_CLASSES
#include "LoraOps.cpp.inc"

void lora::LoraDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "LoraOps.cpp.inc"
      >();
}

void lora::LinearOp::constrainInputs(llmir::llm::InputConstraints &inputs) {
  inputs.equal(inputs.size(getResult(), 0), inputs.size(getInput(), 0));
  inputs.equal(inputs.size(getInput(), 1), inputs.size(getWeight(), 1));
  inputs.equal(inputs.size(getDown(), 1), inputs.size(getWeight(), 1));
  inputs.equal(inputs.size(getUp(), 0), inputs.size(getWeight(), 0));
  inputs.equal(inputs.size(getUp(), 1), inputs.size(getDown(), 0));
}

LogicalResult lora::LinearOp::verify() {
  int64_t inputs = getInput().getType().getDimSize(1);
  int64_t outputs = getWeight().getType().getDimSize(0);
  int64_t rank = getDown().getType().getDimSize(0);
  auto expect = [&](StringRef name, Value matrix, int64_t rows,
                    int64_t columns) -> LogicalResult {
    auto type = cast<TensorType>(matrix.getType());
    if (type.getDimSize(0) == rows && type.getDimSize(1) == columns)
      return success();
    return emitOpError() << name << " must be " << rows << " x " << columns
                         << ", not " << type;
  };
  if (failed(expect("weight", getWeight(), outputs, inputs)) ||
      failed(expect("down", getDown(), rank, inputs)) ||
      failed(expect("up", getUp(), outputs, rank)))
    return failure();
  return expect("result", getResult(), getInput().getType().getDimSize(0),
                outputs);
}
