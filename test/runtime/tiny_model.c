/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * A compiled model by hand, for the loader and the engine. Its "logits" echo
 * what the step was told: the token, position, slot and sequence of each asked
 * row, its context length and first block, the first byte of the weights, and
 * so on.
 */
#include "llmir/runtime/abi.h"

#ifndef TINY_MODEL_VERSION
#define TINY_MODEL_VERSION LLMIR_ABI_VERSION
#endif

#define EXPORT __attribute__((visibility("default")))

EXPORT const int32_t llmir_abi_version = TINY_MODEL_VERSION;

#ifndef TINY_MODEL_WITHOUT_STEP

enum { vocabulary = 16 };

struct Captures {
  const llmir_step_args *args;
};

static void echo(void *captures, int64_t begin, int64_t end) {
  const llmir_step_args *args = ((struct Captures *)captures)->args;
  for (int64_t i = begin; i < end; ++i) {
    float *logits = args->logits + i * vocabulary;
    int32_t row = args->logit_rows[i];
    int32_t sequence = 0;
    while (args->row_starts[sequence + 1] <= row)
      ++sequence;
    const int32_t *table =
        args->block_table + sequence * args->block_table_width;
    for (int j = 0; j < vocabulary; ++j)
      logits[j] = 0;
    logits[0] = (float)args->token_ids[row];
    logits[1] = (float)args->positions[row];
    logits[2] = (float)args->slots[row];
    logits[3] = (float)sequence;
    logits[4] = (float)args->context_lens[sequence];
    logits[5] = (float)table[0];
    logits[6] = (float)((const unsigned char *)args->weights)[0];
    logits[7] = (float)args->num_tokens;
    logits[8] = (float)args->num_sequences;
    logits[9] = (float)args->num_logits;
    logits[10] = (float)((intptr_t)args->arena % 64);
    /* The step's own memory: written, then read. */
    ((float *)args->arena)[row] = logits[0] + 1;
    logits[11] = ((float *)args->arena)[row];
  }
}

EXPORT void llmir_step(const llmir_runtime *runtime,
                       const llmir_step_args *args) {
  struct Captures captures = {args};
  runtime->parallel_for(runtime->context, echo, &captures, args->num_logits,
                        /*row_elements=*/2);
}

#endif
