/* SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 * The border between compiled models and the runtime, in C. A compiled model is
 * a shared object without undefined symbols: everything it needs reaches it
 * through the table of functions below, and everything it works on through the
 * arguments of one step. Nothing else crosses: no C++ type, no exception, no
 * allocation.
 *
 * Any change to this file changes LLMIR_ABI_VERSION. An artifact names the
 * version it was built for and is refused by a runtime of another one.
 */
#ifndef LLMIR_RUNTIME_ABI_H
#define LLMIR_RUNTIME_ABI_H

#include <stdint.h>

/* Names in C's style: NOLINTBEGIN(readability-identifier-naming) */

#ifdef __cplusplus
extern "C" {
#endif

#define LLMIR_ABI_VERSION 5
#define LLMIR_MAX_RANK 4
#define LLMIR_MAX_ARRAY_RANK 8

/* The symbols that compiled code exports: the version, and one of the others,
 * as it is a model's step or a function. const int32_t llmir_abi_version; void
 * llmir_step(const llmir_runtime *, const llmir_step_args *); void
 * llmir_function(const llmir_runtime *, const llmir_function_args *);
 */
#define LLMIR_STEP_SYMBOL "llmir_step"
#define LLMIR_FUNCTION_SYMBOL "llmir_function"
#define LLMIR_ABI_VERSION_SYMBOL "llmir_abi_version"

typedef enum llmir_dtype {
  LLMIR_F32 = 0,
  LLMIR_BF16 = 1,
  LLMIR_I32 = 2,
  LLMIR_F16 = 3,
  LLMIR_I8 = 4,
  LLMIR_I4 = 5, /* of KV caches */
} llmir_dtype;

/* The formats of packed weights (see packing.h for how they lie). In the first
 * three a weight is its numbers, and the input has their type. In the others it
 * is integers q with a scale s, and perhaps a zero point z, for each group of
 * inputs of an output: (q - z) * s. The format fixes what the input is rounded
 * to, for one row and for many: */
typedef enum llmir_weight_format {
  LLMIR_WEIGHT_F32 = 0,
  LLMIR_WEIGHT_BF16 = 1,
  LLMIR_WEIGHT_F16 = 2,
  LLMIR_WEIGHT_INT8 = 3, /* 8 bits; the input is rounded to bf16 */
  LLMIR_WEIGHT_INT4 = 4, /* 4 bits; the input is rounded to bf16 */
  LLMIR_WEIGHT_W8A8 = 5, /* 8 bits; the input to int8, a scale for each row */
  LLMIR_WEIGHT_W4A8 = 6, /* 4 bits; the input to int8, a scale for each row */
} llmir_weight_format;

/* The activations that a product's epilogue has. */
typedef enum llmir_activation {
  LLMIR_ACTIVATION_NONE = 0,
  LLMIR_ACTIVATION_SILU = 1,
  LLMIR_ACTIVATION_GELU = 2,      /* with the error function */
  LLMIR_ACTIVATION_GELU_TANH = 3, /* its approximation by tanh */
  LLMIR_ACTIVATION_RELU = 4,
} llmir_activation;

/* A strided view of a buffer. Strides are in elements; the last one is 1. */
typedef struct llmir_tensor {
  void *data;
  int32_t dtype; /* llmir_dtype */
  int32_t rank;
  int64_t sizes[LLMIR_MAX_RANK];
  int64_t strides[LLMIR_MAX_RANK];
} llmir_tensor;

/* The pools of a paged KV cache; the runtime's own. */
typedef struct llmir_kv_cache llmir_kv_cache;

/* The thread pool and whatever else a function of the table needs. */
typedef struct llmir_context llmir_context;

/* Works on rows [begin, end); called from several threads at once. */
typedef void (*llmir_rows_fn)(void *captures, int64_t begin, int64_t end);

/* What a product is made of besides its operands.
 *
 * The weight: its format, and of a quantized one the type of its scales (F32,
 * F16 or BF16), the inputs that share one (group_size, which divides K; 0 for a
 * whole row), and whether there are zero points.
 *
 * Before the product: with `norm`, the input x [T, K] is
 *   x * rsqrt(mean of x^2 over K + epsilon) * norm
 * in f32. Then it is rounded to what the format takes.
 *
 * After it, in f32, with sum[t, n] the product's sums:
 *   sum = sum + bias
 *   sum = activation(sum)                       unless `gated`
 *   sum[t, n] = activation(gate[t, n]) * up[t, n]   if `gated`
 *   out = sum, or out + sum if `accumulate`
 * With `gated` the weight has two of the output's panels for each one: those of
 * the gate and of the up projection by turns. Its bias, [2 N], is that of all
 * gates and then of all ups. */
typedef struct llmir_linear_params {
  int32_t format; /* llmir_weight_format */
  int32_t scales; /* llmir_dtype */
  int64_t group_size;
  int32_t asymmetric;
  int32_t activation; /* llmir_activation */
  int32_t gated;
  float epsilon;
  const llmir_tensor *norm; /* [K], f32, bf16 or f16; or null */
  const llmir_tensor *bias; /* [N], f32, bf16 or f16; or null */
  int64_t accumulate;       /* Whether the sums are added to the output. */
} llmir_linear_params;

/* How scores are made of a query and the keys it sees. The query is rounded to
 * `query_dtype` first, F32 or BF16, to nearest even. It sees the keys j with
 * position - window < j <= position, of which the first only if window is not
 * 0. A score is, in this order,
 *
 *   s = scale * (query . key)
 *
 *   s = softcap * tanh(s / softcap), unless softcap is 0
 *
 *   s = s + alibi_slopes[h] * (j - position), if there are slopes
 *
 * A sink is one more score of each head, which has no value: it takes part in
 * the softmax and adds nothing to the output.
 *
 * Of attention over given keys there may also be a mask, which comes after the
 * slopes: in f32 it is added to the score, and where one of bytes is 0 the key
 * is not seen. Without `causal` a query sees all keys, and there is no window.
 */
typedef struct llmir_attention_params {
  float scale;
  float softcap;                    /* 0 or more */
  int64_t window;                   /* 0 or more */
  const llmir_tensor *sinks;        /* [H], f32; or null */
  const llmir_tensor *alibi_slopes; /* [H], f32; or null */
  const llmir_tensor *mask; /* [B or 1, H or 1, T, S], f32 or I8; or null */
  int32_t query_dtype;      /* llmir_dtype */
  int32_t causal;
} llmir_attention_params;

/* The runtime's functions. Each runs on the whole thread pool and returns when
 * its work is done. Shapes: T new tokens, S sequences, K inputs, N outputs, H
 * heads, D = head_dim. */
typedef struct llmir_runtime {
  int32_t version; /* LLMIR_ABI_VERSION */
  int32_t reserved;
  llmir_context *context;

  /* Calls `fn` over [0, rows), split in any way. A row takes about the time of
   * loading or storing `row_elements` numbers: little is not split at all. */
  void (*parallel_for)(llmir_context *context, llmir_rows_fn fn, void *captures,
                       int64_t rows, int64_t row_elements);

  /* out[t, n] = epilogue(sum_k prologue(x)[t, k] * w[n, k]).
   * x: [T, K]; f32, bf16 or f16, of the weight's type if that is a float's and
   * there is no norm. w: in panels, as `params->format` has them (see
   * packing.h); of a quantized one, [panels, bytes of a panel], I8. out: [T,
   * N], f32; bf16 or f16 if nothing is accumulated. The sum is in f32, of
   * integers within a group in i32, and so is the epilogue. Its order and
   * roundings depend on the weight's format and the level of the CPU alone (AMX
   * sums the even and the odd products of 32 k apart; the portable level does
   * not fuse a product with its sum), and never on T, the row, the rest of the
   * batch or the threads: on one machine a row's result is the same bits in any
   * company. */
  void (*linear)(llmir_context *context, const llmir_tensor *x,
                 const llmir_tensor *w, const llmir_linear_params *params,
                 const llmir_tensor *out);

  /* Stores token t's keys and values at slots[t] = block * block_size + offset.
   * keys, values: [T, H, D], f32 or the cache's dtype; rounded to the cache's
   * dtype, to nearest even (in f16, what is too large becomes infinite). For a
   * cache of integers they are f32, and each head of each token is quantized
   * for itself, as llm.quantize defines it: to I8 symmetric, to I4 with a zero
   * point, both with a scale in f16. slots: [T], i32. */
  void (*append_kv)(llmir_context *context, llmir_kv_cache *cache,
                    int64_t layer, const llmir_tensor *keys,
                    const llmir_tensor *values, const llmir_tensor *slots);

  /* Causal attention of each new token over its sequence's cached context.
   * Sequence s owns rows row_starts[s] .. row_starts[s + 1] of the query, its
   * last tokens: row r sees positions 0 .. context_lens[s] - (row_starts[s + 1]
   * - r), inclusive, and of these what the window leaves. Position p lies in
   * block block_table[s, p / block_size]; of a block that no row sees, the
   * entry may be anything. query: [T, H, D], f32. out: [T, H, D], f32, bf16 or
   * f16. block_table: [S, W], context_lens: [S], row_starts: [S + 1], all i32.
   */
  void (*paged_attention)(llmir_context *context, llmir_kv_cache *cache,
                          int64_t layer, const llmir_tensor *query,
                          const llmir_tensor *block_table,
                          const llmir_tensor *context_lens,
                          const llmir_tensor *row_starts,
                          const llmir_attention_params *params,
                          const llmir_tensor *out);

  /* Rotates the query and the keys of token t by row positions[t] of the table,
   * as llm.rope defines it: with half = R / 2, and for i < half,
   *   rotated[i]        = x[i] * cos[i] - x[i + half] * sin[i]
   *   rotated[i + half] = x[i + half] * cos[i] + x[i] * sin[i]
   * each product and sum rounded by itself; what lies beyond R stays. The query
   * goes to `rotated`, the keys and the values where append_kv would store
   * them. query: [T, H, D] and keys: [T, KV heads, D], both f32, bf16 or f16.
   * values: as append_kv takes them. table: [S, 2, half], f32, the cosines of a
   * position and then the sines. positions, slots: [T], i32. rotated: [T, H,
   * D], f32. */
  void (*rope_append_kv)(llmir_context *context, llmir_kv_cache *cache,
                         int64_t layer, const llmir_tensor *query,
                         const llmir_tensor *keys, const llmir_tensor *values,
                         const llmir_tensor *table,
                         const llmir_tensor *positions,
                         const llmir_tensor *slots,
                         const llmir_tensor *rotated);

  /* Attention of given queries over given keys and values, as llm.attention
   * defines it: a query that sees no key yields 0 where there are sinks, and
   * NaN where there are none. query: [B, T, H, D], keys and values: [B, S, KV
   * heads, D], all f32; the queries are the last T of the S positions. out: [B,
   * T, H, D], f32, bf16 or f16. */
  void (*attention)(llmir_context *context, const llmir_tensor *query,
                    const llmir_tensor *keys, const llmir_tensor *values,
                    const llmir_attention_params *params,
                    const llmir_tensor *out);

  /* What follows is a function's, and not a step's; it is called by the thread
   * that called the function, and may leave it without returning.
   *
   * Memory until it is released, or until the function is over; 64-byte
   * aligned, and not cleared. */
  void *(*allocate)(llmir_context *context, int64_t bytes);
  void (*release)(llmir_context *context, void *data);
  /* Memory for the function's result number `result`, which the caller keeps.
   */
  void *(*allocate_result)(llmir_context *context, int64_t result,
                           int64_t bytes);
  /* Ends the function, with a message that stays where it is, if `holds` is 0.
   */
  void (*check)(llmir_context *context, int64_t holds, const char *message);
} llmir_runtime;

/* One step over a ragged batch: the new tokens of any number of sequences laid
 * end to end. */
typedef struct llmir_step_args {
  int64_t num_tokens;          /* T, 1 .. the artifact's max_batch_tokens */
  int64_t num_sequences;       /* S */
  int64_t num_logits;          /* R, the rows whose logits are asked for */
  int64_t block_table_width;   /* W */
  const int32_t *token_ids;    /* [T] */
  const int32_t *positions;    /* [T], each token's place in its sequence */
  const int32_t *slots;        /* [T], where its keys and values go */
  const int32_t *block_table;  /* [S, W] */
  const int32_t *context_lens; /* [S], with this step's tokens */
  const int32_t *row_starts;   /* [S + 1] */
  const int32_t *logit_rows;   /* [R] */
  const void *weights;         /* the artifact's weights, mapped */
  void *arena;                 /* the artifact's arena_bytes, 64-byte aligned */
  llmir_kv_cache *cache;
  float *logits; /* out: [R, vocabulary] */
} llmir_step_args;

typedef void (*llmir_step_fn)(const llmir_runtime *runtime,
                              const llmir_step_args *args);

/* A tensor at the border of a function: its elements in row-major order, with
 * nothing between them. The element type and the rank are known to both sides;
 * a boolean is a byte, 0 or 1. */
typedef struct llmir_array {
  void *data;
  int64_t sizes[LLMIR_MAX_ARRAY_RANK];
} llmir_array;

/* One call of a function of tensors. */
typedef struct llmir_function_args {
  const llmir_array *inputs; /* Nobody writes to these. */
  llmir_array *results;      /* Filled; the memory is of allocate_result. */
  const void *weights;
} llmir_function_args;

typedef void (*llmir_function_fn)(const llmir_runtime *runtime,
                                  const llmir_function_args *args);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(readability-identifier-naming) */

#endif /* LLMIR_RUNTIME_ABI_H */
