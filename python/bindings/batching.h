// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The part of llmir._runtime that runs many requests over one engine.
#ifndef LLMIR_PYTHON_BINDINGS_BATCHING_H
#define LLMIR_PYTHON_BINDINGS_BATCHING_H

#include <nanobind/nanobind.h>

/// Adds `BatchingEngine`, after `Model` and `SamplingConfig`.
void registerBatching(nanobind::module_ &m);

#endif // LLMIR_PYTHON_BINDINGS_BATCHING_H
