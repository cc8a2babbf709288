// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A KV cache of integers without a model: what it saves, and what it costs in
// numbers like those of a model.

#include "llmir/runtime/paged_cache.h"

#include <cmath>
#include <cstdio>
#include <exception>
#include <random>
#include <vector>

using namespace llmir::runtime;

static double relativeError(const std::vector<float> &found,
                            const std::vector<float> &exact) {
  double error = 0, size = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    error += std::pow(double(found[i]) - exact[i], 2);
    size += std::pow(double(exact[i]), 2);
  }
  return std::sqrt(error / size);
}

static void run(llmir_dtype dtype, const char *name) {
  KVCacheConfig config;
  config.dtype = dtype;
  config.layers = 4;
  config.kvHeads = 8;
  config.headDim = 64;
  config.blockSize = 16;
  config.numBlocks = 64;
  QuantizedPagedKVCache cache(config);

  int64_t tokens = 1000;
  std::vector<float> keys(tokens * config.kvHeads * config.headDim);
  std::vector<float> values(keys.size());
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (std::vector<float> *rows : {&keys, &values})
    for (float &number : *rows)
      number = normal(random);
  // Quantized as it comes, each head of each token for itself.
  cache.appendKV(keys.data(), values.data(), {{/*sequence=*/1, tokens}});
  std::vector<float> foundKeys(keys.size()), foundValues(keys.size());
  cache.lookupKV(1, foundKeys.data(), foundValues.data());

  std::printf("%s: %.3f times less than bf16 (%.3f of it), scales included; "
              "relative error of keys %.4f, of values %.4f\n",
              name, cache.getCompressionRatio(),
              1 / cache.getCompressionRatio(), relativeError(foundKeys, keys),
              relativeError(foundValues, values));
}

int main() {
  try {
    run(LLMIR_I8, "int8");
    run(LLMIR_I4, "int4");
  } catch (const std::exception &error) {
    std::fprintf(stderr, "quantized: %s\n", error.what());
    return 1;
  }
  return 0;
}
