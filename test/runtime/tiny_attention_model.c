/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * A compiled model by hand whose logits depend on every token before: it stores
 * keys and values made of a token's id and position, attends to the cache with
 * the runtime's kernels, and mixes what comes out. So a block that is lost,
 * shared or stale shows in the tokens.
 */
#include "llmir/runtime/abi.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT const int32_t llmir_abi_version = LLMIR_ABI_VERSION;

enum { vocabulary = 16, layers = 2, heads = 2, head_dim = 4 };

/* Numbers between -1 and 1 that look random. */
static float noise(uint32_t a, uint32_t b) {
  uint32_t x = a * 2654435761u ^ (b + 1) * 2246822519u;
  x ^= x >> 15;
  x *= 3266489917u;
  x ^= x >> 13;
  return (float)(x & 0xffff) / 32768.0f - 1.0f;
}

static llmir_tensor floats(float *data, int64_t rows, int64_t columns) {
  llmir_tensor t = {data, LLMIR_F32, 3, {rows, columns, head_dim}, {0}};
  t.strides[0] = columns * head_dim;
  t.strides[1] = head_dim;
  t.strides[2] = 1;
  return t;
}

static llmir_tensor integers(const int32_t *data, int64_t rows,
                             int64_t columns) {
  llmir_tensor t = {
      (void *)data, LLMIR_I32, columns ? 2 : 1, {rows, columns}, {0}};
  t.strides[0] = columns ? columns : 1;
  t.strides[1] = 1;
  return t;
}

EXPORT void llmir_step(const llmir_runtime *runtime,
                       const llmir_step_args *args) {
  int64_t tokens = args->num_tokens;
  float *keys = args->arena, *values = keys + tokens * head_dim;
  float *query = values + tokens * head_dim,
        *out = query + tokens * heads * head_dim;
  llmir_tensor slots = integers(args->slots, tokens, 0);
  llmir_tensor table =
      integers(args->block_table, args->num_sequences, args->block_table_width);
  llmir_tensor lens = integers(args->context_lens, args->num_sequences, 0);
  llmir_tensor starts = integers(args->row_starts, args->num_sequences + 1, 0);
  llmir_attention_params params = {
      .scale = 2.0f, .query_dtype = LLMIR_F32, .causal = 1};
  float mixed[vocabulary];
  for (int64_t i = 0; i < args->num_logits; ++i)
    for (int j = 0; j < vocabulary; ++j)
      args->logits[i * vocabulary + j] = 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t t = 0; t < tokens; ++t) {
      uint32_t id = (uint32_t)args->token_ids[t] + 100 * (uint32_t)layer;
      uint32_t position = (uint32_t)args->positions[t];
      for (uint32_t d = 0; d < head_dim; ++d) {
        keys[t * head_dim + d] = noise(id, 7 * position + d);
        values[t * head_dim + d] = noise(id + 50, 11 * position + d);
        for (uint32_t h = 0; h < heads; ++h)
          query[(t * heads + h) * head_dim + d] =
              noise(id + 20 * h, 13 * position + d);
      }
    }
    llmir_tensor k = floats(keys, tokens, 1), v = floats(values, tokens, 1);
    llmir_tensor q = floats(query, tokens, heads),
                 o = floats(out, tokens, heads);
    runtime->append_kv(runtime->context, args->cache, layer, &k, &v, &slots);
    runtime->paged_attention(runtime->context, args->cache, layer, &q, &table,
                             &lens, &starts, &params, &o);
    for (int64_t i = 0; i < args->num_logits; ++i) {
      const float *row = out + (int64_t)args->logit_rows[i] * heads * head_dim;
      for (uint32_t j = 0; j < vocabulary; ++j) {
        mixed[j] = 0;
        for (uint32_t d = 0; d < heads * head_dim; ++d)
          mixed[j] += row[d] * noise(j + 31 * (uint32_t)layer, d + 3);
        args->logits[i * vocabulary + j] += 8 * mixed[j];
      }
    }
  }
}
