/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * A compiled function by hand: y = x + weight, by way of a buffer.
 */
#include "llmir/runtime/abi.h"

#ifndef TINY_FUNCTION_VERSION
#define TINY_FUNCTION_VERSION LLMIR_ABI_VERSION
#endif

#define EXPORT __attribute__((visibility("default")))

EXPORT const int32_t llmir_abi_version = TINY_FUNCTION_VERSION;

struct Captures {
  const float *x;
  float *y;
  float weight;
};

static void add(void *captures, int64_t begin, int64_t end) {
  struct Captures *c = (struct Captures *)captures;
  for (int64_t i = begin; i < end; ++i)
    c->y[i] = c->x[i] + c->weight;
}

EXPORT void llmir_function(const llmir_runtime *runtime,
                           const llmir_function_args *args) {
  int64_t n = args->inputs[0].sizes[0];
  runtime->check(runtime->context, n == args->inputs[1].sizes[0],
                 "the sizes differ");
  float *buffer = (float *)runtime->allocate(runtime->context, n * 4);
  const float *x = (const float *)args->inputs[0].data;
  for (int64_t i = 0; i < n; ++i)
    buffer[i] = x[i];
  float *y = (float *)runtime->allocate_result(runtime->context, 0, n * 4);
  struct Captures captures = {buffer, y, *(const float *)args->weights};
  runtime->parallel_for(runtime->context, add, &captures, n, 2);
  runtime->release(runtime->context, buffer);
  args->results[0].data = y;
  args->results[0].sizes[0] = n;
}
