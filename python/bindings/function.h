// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The part of llmir._runtime that calls compiled functions of tensors.
#ifndef LLMIR_PYTHON_BINDINGS_FUNCTION_H
#define LLMIR_PYTHON_BINDINGS_FUNCTION_H

#include <nanobind/nanobind.h>

/// Adds `Function` and `FunctionRunner`.
void registerFunctions(nanobind::module_ &m);

#endif // LLMIR_PYTHON_BINDINGS_FUNCTION_H
