// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading a KV cache back as plain numbers. Attention never needs that: it goes
// over the blocks as they lie. People who use a cache alone do.
#ifndef LLMIR_RUNTIME_LIB_KV_READER_H
#define LLMIR_RUNTIME_LIB_KV_READER_H

#include "kernels/kernels.h"

namespace llmir::runtime {

/// Writes the keys, or else the values, of one head at one position: headDim
/// numbers, which are exactly what the stored ones stand for. `head` is where
/// the head begins in its block, `inside` the position in the block.
void readHead(const llmir_kv_cache &cache, bool isKeys, const char *head,
              int64_t inside, float *to);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_KV_READER_H
