// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The functions of the table: each cuts its work into pieces for the pool and
// hands them to the kernels. How it is cut never changes a result, so it is
// free to follow the shape and the number of threads.
#include "llmir/runtime/context.h"

#include "float_mode.h"
#include "kernels/kernels.h"
#include "llmir/runtime/packing.h"
#include "narrow_floats.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace llmir::runtime;
using kernels::AttentionArgs;
using kernels::AttentionItem;
using kernels::AttentionKernels;
using kernels::LinearArgs;
using kernels::LinearKernels;
using kernels::LinearRows;

namespace {

/// Memory that grows and stays. The content does not survive growth.
class Buffer {
public:
  Buffer() = default;
  Buffer(Buffer &&other) noexcept
      : data(std::exchange(other.data, nullptr)),
        size(std::exchange(other.size, 0)) {}
  ~Buffer() { std::free(data); }

  template <typename T> T *reserve(int64_t count) {
    size_t bytes = (size_t(count) * sizeof(T) + 63) / 64 * 64;
    if (bytes > size) {
      std::free(data);
      size = std::max(bytes, size + size / 2) / 64 * 64;
      data = std::aligned_alloc(64, size);
      if (!data)
        throw std::bad_alloc();
    }
    return static_cast<T *>(data);
  }

private:
  void *data = nullptr;
  size_t size = 0;
};

/// An item of the first phase of attention, or the merge of the second.
struct AttentionWork {
  AttentionItem item;
  int64_t partitions;
  int64_t cost;
};

const kernels::Table &kernelsOf(CpuLevel level) {
  // Asking is also what makes the operating system provide the registers.
  if (!supportsCpuLevel(level))
    throw std::invalid_argument("this CPU lacks the level '" +
                                std::string(cpuLevelName(level)) + "'");
#if defined(__x86_64__)
  switch (level) {
  case CpuLevel::Amx:
    return kernels::amx::table();
  case CpuLevel::Avx512Bf16:
    return kernels::avx512_bf16::table();
  case CpuLevel::Avx512:
    return kernels::avx512::table();
  case CpuLevel::Avx2:
    return kernels::avx2::table();
  case CpuLevel::Portable:
    break;
  }
#else
  (void)level;
#endif
  return kernels::portable::table();
}

} // namespace

struct llmir_context {
  llmir_context(unsigned threads, CpuLevel level)
      : pool(threads), level(level), table(kernelsOf(level)),
        threadScratch(pool.threads()) {}

  /// Makes every thread's scratch large enough, before they start.
  void reserveThreads(int64_t floats) {
    for (Buffer &buffer : threadScratch)
      buffer.reserve<float>(floats);
  }
  float *scratch(unsigned thread) {
    return threadScratch[thread].reserve<float>(0);
  }

  ThreadPool pool;
  CpuLevel level;
  const kernels::Table &table;
  Buffer packedRows, partials;
  std::vector<Buffer> threadScratch;
  std::vector<AttentionWork> work, merges;
};

namespace {

int64_t roundUp(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Less than this many bytes of weights or elements are not worth a fork.
constexpr int64_t serialWork = 16384;

// Nothing may be thrown into compiled code: without memory for scratch the
// functions below end the process, as noexcept has it.

void parallelFor(llmir_context *context, llmir_rows_fn fn, void *captures,
                 int64_t rows, int64_t rowElements) noexcept {
  FlushDenormals flush;
  int64_t grain = std::max(context->pool.evenGrain(rows),
                           serialWork / std::max<int64_t>(rowElements, 1));
  context->pool.forRanges(
      rows, grain,
      [=](unsigned, int64_t begin, int64_t end) { fn(captures, begin, end); });
}

/// The kernels of a product: those of its weight's format.
const LinearKernels &kernelsOf(const kernels::Table &table,
                               const llmir_linear_params &params) {
  return (params.group_size ? table.linearGroups : table.linear)[params.format];
}

/// A tensor that may be absent.
const void *dataOf(const llmir_tensor *tensor) {
  return tensor ? tensor->data : nullptr;
}
int32_t dtypeOf(const llmir_tensor *tensor) {
  return tensor ? tensor->dtype : int32_t(LLMIR_F32);
}

void linear(llmir_context *context, const llmir_tensor *x,
            const llmir_tensor *w, const llmir_linear_params *params,
            const llmir_tensor *out) noexcept {
  FlushDenormals flush;
  ThreadPool &pool = context->pool;
  const LinearKernels &kernel = kernelsOf(context->table, *params);
  // With a gate, panels go in pairs.
  int64_t perOutput = params->gated ? 2 : 1;
  int64_t panels = panelCount(out->sizes[1]) * perOutput;

  LinearRows rows;
  rows.x = x->data;
  rows.dtype = x->dtype;
  rows.stride = x->strides[0];
  rows.rows = x->sizes[0];
  rows.k = x->sizes[1];
  if (rows.rows <= 0 || panels <= 0)
    return;
  rows.units = roundUp(rows.k, kernel.kMultiple) / kernel.unitInputs;
  rows.tiles = (rows.rows - 1) / kernel.tileRows + 1;
  rows.norm = dataOf(params->norm);
  rows.normDtype = dtypeOf(params->norm);
  rows.epsilon = params->epsilon;
  rows.groups = params->group_size ? rows.k / params->group_size : 1;
  rows.asymmetric = params->asymmetric != 0;

  LinearArgs args;
  args.w = w->data;
  args.units = rows.units;
  args.panelBytes = w->strides[0] * dtypeBytes(llmir_dtype(w->dtype));
  args.rows = rows.rows;
  args.tiles = rows.tiles;
  args.k = rows.k;
  args.groupSize = params->group_size;
  args.scales = params->scales;
  args.asymmetric = params->asymmetric != 0;
  args.columns = out->sizes[1];
  args.out = out->data;
  args.outStride = out->strides[0];
  args.outDtype = out->dtype;
  args.accumulate = params->accumulate != 0;
  args.gated = params->gated != 0;
  args.activation = params->activation;
  args.bias = dataOf(params->bias);
  args.biasDtype = dtypeOf(params->bias);

  // Blocks of rows x panels: the rows and the sums stay in the second-level
  // cache, and there are enough blocks for the threads to end together.
  int64_t threads = pool.threads();
  auto countOf = [](int64_t n, int64_t block) { return (n - 1) / block + 1; };
  int64_t blockTiles =
      std::clamp<int64_t>(kernel.blockRows / kernel.tileRows, 1, args.tiles);
  blockTiles = countOf(args.tiles, countOf(args.tiles, blockTiles));
  int64_t blockPanels = kernel.blockPanels;
  auto items = [&] {
    return countOf(args.tiles, blockTiles) * countOf(panels, blockPanels);
  };
  // Threads that are equally fast end together, and otherwise nearly so.
  auto uneven = [&] {
    int64_t most = countOf(items(), threads) * blockTiles * blockPanels;
    return most * threads * 32 > args.tiles * panels * 33;
  };
  int64_t enough = threads * (args.tiles == 1 ? 16 : 8);
  while (blockPanels > perOutput && (items() < enough || uneven()))
    blockPanels /= 2;
  while (blockTiles > 2 && items() < threads * 4)
    blockTiles = (blockTiles + 1) / 2;
  if (panels * args.panelBytes * args.tiles < serialWork)
    blockPanels = panels, blockTiles = args.tiles;

  int64_t packedRows =
      kernel.rowPadding > 1 ? args.tiles * kernel.rowPadding : args.rows;
  char *packed = context->packedRows.reserve<char>(
      packedRows * (args.units * kernel.xUnitBytes +
                    rows.groups * kernel.xGroupBytes + kernel.xRowBytes));
  args.x = packed;
  context->reserveThreads(
      std::max(blockTiles * kernel.tileRows * blockPanels * panelColumns,
               (kernel.tileRows + 1) * roundUp(rows.k, 64)));
  auto pack = [&](unsigned thread, int64_t begin, int64_t end) {
    kernel.pack(rows, begin, end, packed, context->scratch(thread));
  };
  if (args.tiles == 1 || rows.rows * rows.k < serialWork)
    pack(0, 0, args.tiles);
  else
    pool.forRanges(args.tiles, pool.evenGrain(args.tiles), pack);

  int64_t rowBlocks = countOf(args.tiles, blockTiles);
  pool.forRanges(items(), 1, [&](unsigned thread, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t tile = i % rowBlocks * blockTiles;
      int64_t panel = i / rowBlocks * blockPanels;
      kernel.run(args, tile, std::min(tile + blockTiles, args.tiles), panel,
                 std::min(panel + blockPanels, panels),
                 context->scratch(thread));
    }
  });
}

/// Writes one token's heads, the first of them at `to`. Elements of a head are
/// `step` apart, and of the cache's type, `E`.
template <typename E, typename Step, typename Convert>
void appendToken(const llmir_kv_cache &cache, const char *from,
                 int64_t fromHeadBytes, char *to, Step step, Convert convert) {
  for (int64_t head = 0; head < cache.kvHeads; ++head) {
    E *at = reinterpret_cast<E *>(to + head * cache.headBytes);
    convert(from + head * fromHeadBytes,
            [=](int64_t i, E element) { at[i * step] = element; });
  }
}

/// Writes tokens [begin, end) of keys or of values, each of which has a type of
/// its own. `place` says where the first head of a slot begins.
template <typename Step, typename Place>
void appendTokens(const llmir_kv_cache &cache, const llmir_tensor &tensor,
                  const int32_t *slots, int64_t begin, int64_t end, Step step,
                  Place place) {
  int64_t bytes = dtypeBytes(llmir_dtype(tensor.dtype)), d = cache.headDim;
  for (int64_t t = begin; t < end; ++t) {
    const char *from =
        static_cast<char *>(tensor.data) + t * tensor.strides[0] * bytes;
    auto store = [&](auto example, auto convert) {
      appendToken<decltype(example)>(cache, from, tensor.strides[1] * bytes,
                                     place(slots[t]), step, convert);
    };
    auto round = [&](auto rounded) {
      store(uint16_t(), [=](const char *head, auto put) {
        for (int64_t i = 0; i < d; ++i)
          put(i, rounded(reinterpret_cast<const uint32_t *>(head)[i]));
      });
    };
    if (cache.dtype == LLMIR_F32)
      store(float(), [d](const char *head, auto put) {
        for (int64_t i = 0; i < d; ++i)
          put(i, reinterpret_cast<const float *>(head)[i]);
      });
    else if (tensor.dtype == cache.dtype)
      store(uint16_t(), [d](const char *head, auto put) {
        for (int64_t i = 0; i < d; ++i)
          put(i, reinterpret_cast<const uint16_t *>(head)[i]);
      });
    else if (cache.dtype == LLMIR_BF16)
      round([](uint32_t bits) { return roundToBF16(bits); });
    else
      round([](uint32_t bits) { return roundToF16(bits); });
  }
}

void appendKV(llmir_context *context, llmir_kv_cache *cache, int64_t layer,
              const llmir_tensor *keys, const llmir_tensor *values,
              const llmir_tensor *slots) noexcept {
  FlushDenormals flush;
  int64_t tokens = keys->sizes[0], d = cache->headDim, size = cache->blockSize;
  int64_t tile = std::min<int64_t>(size, 16);
  char *pool = cache->pool + layer * cache->layerBytes;
  const int32_t *slotOf = static_cast<const int32_t *>(slots->data);
  auto block = [=](int64_t slot) {
    return pool + slot / size * cache->blockBytes;
  };
  auto keyTile = [=](int64_t slot) {
    int64_t inside = slot % size;
    return block(slot) +
           (inside / tile * tile * d + inside % tile) * cache->elementBytes;
  };
  auto valueRow = [=](int64_t slot) {
    return block(slot) + cache->valuesOffset +
           slot % size * cache->headDimPadded * cache->elementBytes;
  };
  auto append = [&](unsigned, int64_t begin, int64_t end) {
    appendTokens(*cache, *keys, slotOf, begin, end, tile, keyTile);
    appendTokens(*cache, *values, slotOf, begin, end,
                 std::integral_constant<int64_t, 1>(), valueRow);
  };
  int64_t perToken = 2 * cache->kvHeads * d;
  int64_t grain =
      std::max(context->pool.evenGrain(tokens), serialWork / 4 / perToken + 1);
  context->pool.forRanges(tokens, grain, append);
}

/// Cuts one sequence's rows into items that end in the same chunk.
void planSequence(std::vector<AttentionWork> &work, AttentionItem item,
                  int64_t rowBegin, int64_t rowEnd, int64_t contextLen,
                  int64_t window, int64_t groupHeads, int64_t kvHeads) {
  constexpr int64_t chunk = kernels::chunkPositions;
  int64_t before = contextLen - (rowEnd - rowBegin);
  // The later rows see more: they go first, so that the last items are short.
  for (int64_t end = contextLen; end > before;) {
    int64_t begin = std::max(before, (end - 1) / chunk * chunk);
    item.firstRow = rowBegin + begin - before;
    item.firstPosition = begin;
    int64_t chunks = (end - 1) / chunk + 1;
    int64_t perPartition = kernels::partitionPositions / chunk;
    item.partitionEnd = (chunks - 1) / perPartition + 1;
    int64_t vectors = (end - begin) * groupHeads;
    for (int64_t head = 0; head < kvHeads; ++head)
      for (int64_t v = 0; v < vectors; v += kernels::itemVectors) {
        item.kvHead = head;
        item.vectorBegin = v;
        item.vectorEnd = std::min(v + kernels::itemVectors, vectors);
        int64_t low =
            window > 0
                ? std::max<int64_t>(0, begin + v / groupHeads - window + 1)
                : 0;
        item.partitionBegin = low / kernels::partitionPositions;
        work.push_back(
            {item, item.partitionEnd - item.partitionBegin,
             (item.vectorEnd - item.vectorBegin) * (chunks - low / chunk)});
      }
    end = begin;
  }
}

void pagedAttention(llmir_context *context, llmir_kv_cache *cache,
                    int64_t layer, const llmir_tensor *query,
                    const llmir_tensor *blockTable,
                    const llmir_tensor *contextLens,
                    const llmir_tensor *rowStarts,
                    const llmir_attention_params *params,
                    const llmir_tensor *out) noexcept {
  FlushDenormals flush;
  ThreadPool &pool = context->pool;
  const AttentionKernels &kernel = context->table.attention;
  AttentionArgs args;
  args.cache = cache;
  args.layer = layer;
  args.query = static_cast<const float *>(query->data);
  args.queryRowStride = query->strides[0];
  args.queryHeadStride = query->strides[1];
  args.out = out->data;
  args.outRowStride = out->strides[0];
  args.outHeadStride = out->strides[1];
  args.outDtype = out->dtype;
  args.groupHeads = query->sizes[1] / cache->kvHeads;
  args.scale = params->scale;
  args.softcap = params->softcap;
  args.window = params->window;
  auto ofHeads = [](const llmir_tensor *tensor) {
    return tensor ? static_cast<const float *>(tensor->data) : nullptr;
  };
  args.sinks = ofHeads(params->sinks);
  args.slopes = ofHeads(params->alibi_slopes);

  std::vector<AttentionWork> &work = context->work, &merges = context->merges;
  work.clear();
  merges.clear();
  const int32_t *lens = static_cast<const int32_t *>(contextLens->data);
  const int32_t *starts = static_cast<const int32_t *>(rowStarts->data);
  for (int64_t s = 0; s < contextLens->sizes[0]; ++s) {
    AttentionItem item{};
    item.blockTable = static_cast<const int32_t *>(blockTable->data) +
                      s * blockTable->strides[0];
    planSequence(work, item, starts[s], starts[s + 1], lens[s], args.window,
                 args.groupHeads, cache->kvHeads);
  }

  // Items that would keep one thread busy while the others are done go by
  // partitions, and are merged afterwards.
  int64_t cost = 0, partialFloats = 0;
  for (const AttentionWork &w : work)
    cost += w.cost;
  if (pool.threads() > 1) {
    auto split = [&](const AttentionWork &w) {
      return w.partitions > 1 && w.cost * 4 * pool.threads() > cost;
    };
    for (const AttentionWork &w : work)
      if (split(w)) {
        merges.push_back(w);
        partialFloats +=
            w.partitions *
            kernel.partialFloats(cache->headDim,
                                 w.item.vectorEnd - w.item.vectorBegin);
      }
    work.erase(std::remove_if(work.begin(), work.end(), split), work.end());
  }
  float *partial = context->partials.reserve<float>(partialFloats);
  for (AttentionWork &merge : merges) {
    merge.item.partial = partial;
    for (int64_t p = 0; p < merge.partitions; ++p) {
      AttentionWork part = merge;
      part.item.partitionBegin = merge.item.partitionBegin + p;
      part.item.partitionEnd = part.item.partitionBegin + 1;
      part.item.partial = partial;
      partial += kernel.partialFloats(
          cache->headDim, merge.item.vectorEnd - merge.item.vectorBegin);
      work.push_back(part);
    }
  }

  context->reserveThreads(kernel.scratchFloats(cache->headDim));
  int64_t grain =
      cost * cache->headDim < serialWork / 16 ? int64_t(work.size()) : 1;
  pool.forRanges(work.size(), grain,
                 [&](unsigned thread, int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i)
                     kernel.run(args, work[i].item, context->scratch(thread));
                 });
  pool.forRanges(
      merges.size(), 1, [&](unsigned thread, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          kernel.merge(args, merges[i].item, merges[i].item.partial,
                       merges[i].partitions, context->scratch(thread));
      });
}

} // namespace

Context::Context(unsigned threads, CpuLevel level)
    : impl(new llmir_context(threads, level)), table{} {
  table.version = LLMIR_ABI_VERSION;
  table.context = impl.get();
  table.parallel_for = parallelFor;
  table.linear = linear;
  table.append_kv = appendKV;
  table.paged_attention = pagedAttention;
}

Context::~Context() = default;

ThreadPool &Context::pool() { return impl->pool; }

unsigned Context::threads() const { return impl->pool.threads(); }

CpuLevel Context::level() const { return impl->level; }
