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

#endif // LLMIR_DIALECT_LLM_LLMINTERFACES_TD
