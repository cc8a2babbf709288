// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Interfaces that ops of the `llm` dialect implement, and that those of other
// dialects can.

#ifndef LLMIR_DIALECT_LLM_LLMINTERFACES_TD
#define LLMIR_DIALECT_LLM_LLMINTERFACES_TD

include "mlir/IR/OpBase.td"

def LLM_InputConstraintsOpInterface
    : OpInterface<"InputConstraintsOpInterface"> {
  let cppNamespace = "::llmir::llm";
  let description = [{
    What an op needs of its operands besides their types: sizes that are equal,
    indices within a table, blocks of a cache that belong to sequences. A program
    is run on random inputs by following these needs to its arguments, through
    calls too (`llmir verify`). An op without the interface says nothing.
  }];
  let methods = [
    InterfaceMethod<[{
      States what the operands must be, and how the sizes of the results follow
      from theirs. Only what types leave open matters: equal sizes may be
      stated again.
    }], "void", "constrainInputs", (ins "::llmir::llm::InputConstraints &":$inputs)>
  ];
}

def LLM_CostOpInterface : OpInterface<"CostOpInterface"> {
  let cppNamespace = "::llmir::llm";
  let description = [{
    What an op costs: the bytes that it moves and the operations that it takes. An
    op without an answer of its own reads its operands and writes its results.
    Weights are counted with the sizes that their file has, without padding.
  }];
  let methods = [
    InterfaceMethod<[{
        Returns the cost of one run of the op, of which dynamic sizes are those of
        a batch.
      }],
      "::llmir::llm::Cost", "getCost",
      (ins "const ::llmir::llm::Batch &":$batch), "", [{
        return ::llmir::llm::costOfTensors($_op, batch);
      }]>
  ];
}

#endif // LLMIR_DIALECT_LLM_LLMINTERFACES_TD
