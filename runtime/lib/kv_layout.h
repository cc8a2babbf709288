// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How a KV cache lies in memory, for those who have the memory already:
// attention over given keys and values lays these out as a cache would.
#ifndef LLMIR_RUNTIME_LIB_KV_LAYOUT_H
#define LLMIR_RUNTIME_LIB_KV_LAYOUT_H

#include "kernels/kernels.h"
#include "llmir/runtime/kv_cache.h"

namespace llmir::runtime {

/// The layout for a config, without the pool. Throws std::invalid_argument for
/// a config out of range.
llmir_kv_cache layOutCache(const KVCacheConfig &config);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_KV_LAYOUT_H
