// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The part of llmir._runtime that is a KV cache for its own sake.
#ifndef LLMIR_PYTHON_BINDINGS_KV_CACHE_H
#define LLMIR_PYTHON_BINDINGS_KV_CACHE_H

#include <nanobind/nanobind.h>

/// Adds `PagedKVCache` and what tells the size of one.
void registerKVCache(nanobind::module_ &m);

#endif // LLMIR_PYTHON_BINDINGS_KV_CACHE_H
