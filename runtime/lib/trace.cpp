// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Compiled code hands the context back with every call and never looks inside,
// so the context of this table is the trace itself.
#include "llmir/runtime/trace.h"

#include "narrow_floats.h"

#include <cmath>
#include <cstddef>
#include <cstring>

using namespace llmir::runtime;

namespace {

Trace &traceOf(llmir_context *context) {
  return *reinterpret_cast<Trace *>(context);
}

void parallelFor(llmir_context *context, llmir_rows_fn fn, void *captures,
                 int64_t rows, int64_t rowElements) noexcept {
  Trace &trace = traceOf(context);
  auto begin = Trace::Clock::now();
  trace.traced().parallel_for(trace.traced().context, fn, captures, rows,
                              rowElements);
  trace.add(TracedCall::Rows, begin);
}

void linear(llmir_context *context, const llmir_tensor *x,
            const llmir_tensor *w, const llmir_linear_params *params,
            const llmir_tensor *out) noexcept {
  Trace &trace = traceOf(context);
  // Before the product, which may write its result over its input.
  trace.observe(*x, *w, *params);
  auto begin = Trace::Clock::now();
  trace.traced().linear(trace.traced().context, x, w, params, out);
  trace.add(TracedCall::Linear, begin);
}

void appendKV(llmir_context *context, llmir_kv_cache *cache, int64_t layer,
              const llmir_tensor *keys, const llmir_tensor *values,
              const llmir_tensor *slots) noexcept {
  Trace &trace = traceOf(context);
  auto begin = Trace::Clock::now();
  trace.traced().append_kv(trace.traced().context, cache, layer, keys, values,
                           slots);
  trace.add(TracedCall::Append, begin);
}

void pagedAttention(llmir_context *context, llmir_kv_cache *cache,
                    int64_t layer, const llmir_tensor *query,
                    const llmir_tensor *blockTable,
                    const llmir_tensor *contextLens,
                    const llmir_tensor *rowStarts,
                    const llmir_attention_params *params,
                    const llmir_tensor *out) noexcept {
  Trace &trace = traceOf(context);
  auto begin = Trace::Clock::now();
  trace.traced().paged_attention(trace.traced().context, cache, layer, query,
                                 blockTable, contextLens, rowStarts, params,
                                 out);
  trace.add(TracedCall::Attention, begin);
}

void ropeAppendKV(llmir_context *context, llmir_kv_cache *cache, int64_t layer,
                  const llmir_tensor *query, const llmir_tensor *keys,
                  const llmir_tensor *values, const llmir_tensor *table,
                  const llmir_tensor *positions, const llmir_tensor *slots,
                  const llmir_tensor *rotated) noexcept {
  Trace &trace = traceOf(context);
  auto begin = Trace::Clock::now();
  trace.traced().rope_append_kv(trace.traced().context, cache, layer, query,
                                keys, values, table, positions, slots, rotated);
  trace.add(TracedCall::RopeAppend, begin);
}

void attention(llmir_context *context, const llmir_tensor *query,
               const llmir_tensor *keys, const llmir_tensor *values,
               const llmir_attention_params *params,
               const llmir_tensor *out) noexcept {
  Trace &trace = traceOf(context);
  auto begin = Trace::Clock::now();
  trace.traced().attention(trace.traced().context, query, keys, values, params,
                           out);
  trace.add(TracedCall::Attention, begin);
}

/// Element i of a buffer of floats.
float elementOf(const llmir_tensor &tensor, int64_t i) {
  uint32_t bits;
  if (tensor.dtype == LLMIR_F32) {
    std::memcpy(&bits, static_cast<const char *>(tensor.data) + i * 4, 4);
  } else {
    uint16_t narrow;
    std::memcpy(&narrow, static_cast<const char *>(tensor.data) + i * 2, 2);
    bits = tensor.dtype == LLMIR_BF16 ? widenBF16(narrow) : widenF16(narrow);
  }
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

} // namespace

// A function that is not wrapped here would be given the wrong context.
static_assert(sizeof(llmir_runtime) ==
                  offsetof(llmir_runtime, parallel_for) + 10 * sizeof(void *),
              "every function of the table that a step calls is traced");

Trace::Trace(const llmir_runtime &traced) : inner(traced), table{} {
  table.version = inner.version;
  table.reserved = inner.reserved;
  table.context = reinterpret_cast<llmir_context *>(this);
  table.parallel_for = parallelFor;
  table.linear = linear;
  table.append_kv = appendKV;
  table.paged_attention = pagedAttention;
  table.rope_append_kv = ropeAppendKV;
  table.attention = attention;
}

void Trace::add(TracedCall::Kind kind, Clock::time_point begin) {
  std::chrono::duration<double> time = Clock::now() - begin;
  calls.push_back({kind, time.count()});
}

void Trace::observe(const llmir_tensor &x, const llmir_tensor &w,
                    const llmir_linear_params &params) {
  auto found = observed.find(w.data);
  if (found == observed.end())
    return;
  int64_t rows = x.sizes[0], inputs = x.sizes[1];
  auto &[width, kept] = found->second;
  width = inputs;
  kept.reserve(kept.size() + rows * inputs);
  for (int64_t r = 0; r < rows; ++r) {
    double squares = 0;
    for (int64_t k = 0; k < inputs; ++k) {
      kept.push_back(elementOf(x, r * x.strides[0] + k));
      squares += double(kept.back()) * kept.back();
    }
    if (!params.norm)
      continue;
    float *row = kept.data() + kept.size() - inputs;
    auto scale =
        float(1 / std::sqrt(squares / double(inputs) + params.epsilon));
    for (int64_t k = 0; k < inputs; ++k)
      row[k] *= scale * elementOf(*params.norm, k);
  }
}
