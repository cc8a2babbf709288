// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The functions of the table: each cuts its work into pieces for the pool and
// hands them to the kernels. How it is cut never changes a result, so it is
// free to follow the shape and the number of threads.
#include "llmir/runtime/context.h"

#include "float_mode.h"
#include "function_memory.h"
#include "kernels/kernels.h"
#include "kv_layout.h"
#include "llmir/runtime/packing.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace llmir::runtime;
using kernels::AppendArgs;
using kernels::AttentionArgs;
using kernels::AttentionItem;
using kernels::AttentionKernels;
using kernels::LinearArgs;
using kernels::LinearKernels;
using kernels::LinearRows;
using kernels::RopeArgs;

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

struct AttentionWork {
  AttentionItem item;
  int64_t merge; ///< That it is a part of; or -1.
  int64_t cost;
};

/// An item whose partitions are computed apart.
struct AttentionMerge {
  AttentionItem item;
  int64_t partials; ///< Where they begin.
  int64_t left;     ///< How many are not done yet.
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
  /// 0, 1, 2, ...: the places of what lies in order.
  const int32_t *firstNumbers(int64_t count) {
    for (int64_t i = numbers.size(); i < count; ++i)
      numbers.push_back(int32_t(i));
    return numbers.data();
  }

  Buffer packedRows, partials, keysAndValues;
  std::vector<int32_t> numbers;
  std::vector<Buffer> threadScratch;
  std::vector<AttentionWork> work, largeWork;
  std::vector<AttentionMerge> merges;
  FunctionCall *call = nullptr; ///< Of a function, while it runs.
};

namespace {

int64_t roundUp(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

/// Less than this many bytes of weights or elements are not worth a fork.
constexpr int64_t serialWork = 16384;

/// Less than this many bytes of weights are read in one run.
constexpr int64_t runBytes = 524288;

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

/// The panels of one tile of rows, cut into runs for the pool. Each thread has
/// a part, and as many runs, each half of what is left of it: memory is read
/// fastest in long runs, and whoever is done early finds a short one.
class Runs {
public:
  /// Runs of `panels` or more, if they can be.
  Runs(int64_t outputs, int64_t perOutput, int64_t threads, int64_t panels)
      : outputs(outputs), perOutput(perOutput), threads(threads),
        leastPanels(std::max(panels, 2 * perOutput)) {
    // The last part is the longest.
    int64_t left = partBegin(threads) - partBegin(threads - 1);
    for (; left > 0; ++perThread)
      left -= length(left);
  }

  int64_t count() const { return threads * perThread; }

  /// Panels [first, second) of a run; a part may have fewer runs than others.
  std::pair<int64_t, int64_t> at(int64_t run) const {
    int64_t thread = run / perThread;
    int64_t begin = partBegin(thread), left = partBegin(thread + 1) - begin;
    for (int64_t i = run % perThread; i > 0; --i) {
      int64_t before = length(left);
      begin += before;
      left -= before;
    }
    return {begin, begin + length(left)};
  }

private:
  int64_t partBegin(int64_t thread) const {
    return outputs * thread / threads * perOutput;
  }
  int64_t length(int64_t left) const {
    return left < 2 * leastPanels ? left : left / 2 / perOutput * perOutput;
  }

  int64_t outputs, perOutput, threads, leastPanels, perThread = 0;
};

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
  while (blockPanels > perOutput && (items() < threads * 8 || uneven()))
    blockPanels /= 2;
  while (blockTiles > 2 && items() < threads * 4)
    blockTiles = (blockTiles + 1) / 2;
  bool serial = panels * args.panelBytes * args.tiles < serialWork;
  if (serial)
    blockPanels = panels, blockTiles = args.tiles;
  else if (args.tiles == 1)
    blockPanels = kernel.blockPanels;

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

  if (args.tiles == 1 && !serial) {
    Runs runs(panels / perOutput, perOutput, threads,
              runBytes / args.panelBytes);
    pool.forRanges(
        runs.count(), 1, [&](unsigned thread, int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i)
            if (auto [panel, panelEnd] = runs.at(i); panel < panelEnd)
              kernel.run(args, 0, 1, panel, panelEnd, context->scratch(thread));
        });
    return;
  }
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

void appendKV(llmir_context *context, llmir_kv_cache *cache, int64_t layer,
              const llmir_tensor *keys, const llmir_tensor *values,
              const llmir_tensor *slots) noexcept {
  FlushDenormals flush;
  AppendArgs args = {cache, layer, keys, values,
                     static_cast<const int32_t *>(slots->data)};
  int64_t tokens = keys->sizes[0];
  int64_t perToken = 2 * cache->kvHeads * cache->headDim;
  int64_t grain =
      std::max(context->pool.evenGrain(tokens), serialWork / perToken + 1);
  context->pool.forRanges(tokens, grain,
                          [&](unsigned, int64_t begin, int64_t end) {
                            context->table.attention.append(args, begin, end);
                          });
}

void ropeAppendKV(llmir_context *context, llmir_kv_cache *cache, int64_t layer,
                  const llmir_tensor *query, const llmir_tensor *keys,
                  const llmir_tensor *values, const llmir_tensor *table,
                  const llmir_tensor *positions, const llmir_tensor *slots,
                  const llmir_tensor *rotated) noexcept {
  FlushDenormals flush;
  const AttentionKernels &kernel = context->table.attention;
  RopeArgs args = {
      {cache, layer, keys, values, static_cast<const int32_t *>(slots->data)},
      query,
      table,
      static_cast<const int32_t *>(positions->data),
      rotated};
  int64_t tokens = keys->sizes[0];
  int64_t perToken = 2 * (query->sizes[1] + cache->kvHeads) * cache->headDim;
  int64_t grain =
      std::max(context->pool.evenGrain(tokens), serialWork / perToken + 1);
  context->reserveThreads(
      kernel.ropeScratchFloats(cache->kvHeads, cache->headDim));
  context->pool.forRanges(
      tokens, grain, [&](unsigned thread, int64_t begin, int64_t end) {
        kernel.ropeAppend(args, begin, end, context->scratch(thread));
      });
}

int64_t kvHeadsOf(const AttentionItem &item) {
  return item.kvHeadEnd - item.kvHeadBegin;
}
int64_t vectorsOf(const AttentionItem &item) {
  return (item.vectorEnd - item.vectorBegin) * kvHeadsOf(item);
}
int64_t partitionsOf(const AttentionItem &item) {
  return item.partitionEnd - item.partitionBegin;
}

/// Cuts one sequence's rows into items that end in the same chunk; all do where
/// every row sees the whole context.
void planSequence(std::vector<AttentionWork> &work, AttentionItem item,
                  int64_t rowBegin, int64_t rowEnd, int64_t contextLen,
                  const AttentionArgs &args, int64_t kvHeads) {
  constexpr int64_t chunk = kernels::chunkPositions;
  constexpr int64_t most = kernels::itemVectors;
  int64_t window = args.window, groupHeads = args.groupHeads;
  int64_t before = contextLen - (rowEnd - rowBegin);
  // The later rows see more: they go first, so that the last items are short.
  for (int64_t end = contextLen; end > before;) {
    int64_t begin = end - 1 - (end - 1 - before) % chunk;
    if (args.causal)
      begin = std::max(before, (end - 1) / chunk * chunk);
    item.firstRow = rowBegin + begin - before;
    item.firstPosition = begin;
    int64_t chunks = ((args.causal ? end : contextLen) - 1) / chunk + 1;
    int64_t perPartition = kernels::partitionPositions / chunk;
    item.partitionEnd = (chunks - 1) / perPartition + 1;
    // Few vectors of many heads, or many of one.
    int64_t vectors = (end - begin) * groupHeads;
    int64_t pieces = (vectors - 1) / most + 1;
    int64_t heads = std::clamp<int64_t>(most / vectors, 1, kvHeads);
    for (int64_t head = 0; head < kvHeads; head += heads)
      for (int64_t piece = 0; piece < pieces; ++piece) {
        item.kvHeadBegin = head;
        item.kvHeadEnd = std::min(head + heads, kvHeads);
        item.vectorBegin = piece * vectors / pieces;
        item.vectorEnd = (piece + 1) * vectors / pieces;
        int64_t row = begin + item.vectorBegin / groupHeads;
        int64_t low = window > 0 ? std::max<int64_t>(0, row - window + 1) : 0;
        item.partitionBegin = low / kernels::partitionPositions;
        work.push_back({item, -1, vectorsOf(item) * (chunks - low / chunk)});
      }
    end = begin;
  }
}

/// Sequence `s` of a tensor of several.
llmir_tensor sequenceOf(const llmir_tensor &tensor, int64_t s) {
  llmir_tensor result = tensor;
  result.data = static_cast<float *>(tensor.data) + s * tensor.strides[0];
  result.rank = 3;
  std::copy_n(tensor.sizes + 1, 3, result.sizes);
  std::copy_n(tensor.strides + 1, 3, result.strides);
  return result;
}

/// Cuts items that would keep one thread busy while the others are done: by
/// partitions, to be merged, and then by heads.
void splitItems(llmir_context *context, int64_t headDim, int64_t cost) {
  std::vector<AttentionWork> &work = context->work;
  int64_t threads = context->pool.threads();
  auto isLarge = [&](const AttentionWork &w) {
    return w.cost * 4 * threads > cost &&
           (partitionsOf(w.item) > 1 || kvHeadsOf(w.item) > 1);
  };
  std::vector<AttentionWork> &large = context->largeWork;
  large.clear();
  std::copy_if(work.begin(), work.end(), std::back_inserter(large), isLarge);
  work.erase(std::remove_if(work.begin(), work.end(), isLarge), work.end());
  int64_t floats = 0;
  for (const AttentionWork &w : large) {
    int64_t partitions = partitionsOf(w.item), heads = kvHeadsOf(w.item);
    // The context may end soon after a partition begins.
    int64_t whole = std::max<int64_t>(partitions - 1, 1);
    int64_t pieces =
        std::min(heads, (w.cost / whole * 2 * threads + cost - 1) / cost);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      AttentionWork part = w;
      part.item.kvHeadBegin = w.item.kvHeadBegin + piece * heads / pieces;
      part.item.kvHeadEnd = w.item.kvHeadBegin + (piece + 1) * heads / pieces;
      if (partitions == 1) {
        work.push_back(part);
        continue;
      }
      part.merge = context->merges.size();
      context->merges.push_back({part.item, floats, partitions});
      floats += partitions * context->table.attention.partialFloats(
                                 headDim, vectorsOf(part.item));
      AttentionItem item = part.item;
      for (int64_t p = item.partitionBegin; p < item.partitionEnd; ++p) {
        part.item.partitionBegin = p;
        part.item.partitionEnd = p + 1;
        work.push_back(part);
      }
    }
  }
  float *partials = context->partials.reserve<float>(floats);
  for (AttentionWork &w : work)
    if (w.merge >= 0) {
      const AttentionMerge &merge = context->merges[w.merge];
      w.item.partial = partials + merge.partials +
                       (w.item.partitionBegin - merge.item.partitionBegin) *
                           context->table.attention.partialFloats(
                               headDim, vectorsOf(w.item));
    }
}

/// What the parameters say, but for the cache and where things are.
AttentionArgs argsOf(const llmir_attention_params &params) {
  AttentionArgs args{};
  args.queryDtype = params.query_dtype;
  args.scale = params.scale;
  args.softcap = params.softcap;
  args.window = params.window;
  args.causal = true;
  auto ofHeads = [](const llmir_tensor *tensor) {
    return tensor ? static_cast<const float *>(tensor->data) : nullptr;
  };
  args.sinks = ofHeads(params.sinks);
  args.slopes = ofHeads(params.alibi_slopes);
  return args;
}

/// Computes what has been planned.
void runPlanned(llmir_context *context, const AttentionArgs &args) {
  ThreadPool &pool = context->pool;
  const AttentionKernels &kernel = context->table.attention;
  std::vector<AttentionWork> &work = context->work;
  context->merges.clear();
  int64_t headDim = args.cache->headDim, cost = 0;
  for (const AttentionWork &w : work)
    cost += w.cost;
  bool serial = cost * headDim < serialWork / 16;
  if (pool.threads() > 1 && !serial)
    splitItems(context, headDim, cost);

  context->reserveThreads(kernel.scratchFloats(headDim));
  pool.forRanges(
      work.size(), serial ? int64_t(work.size()) : 1,
      [&](unsigned thread, int64_t begin, int64_t end) {
        float *scratch = context->scratch(thread);
        for (int64_t i = begin; i < end; ++i) {
          kernel.run(args, work[i].item, scratch);
          if (work[i].merge < 0)
            continue;
          // The last one of the partitions merges them all.
          AttentionMerge &merge = context->merges[work[i].merge];
          if (__atomic_sub_fetch(&merge.left, 1, __ATOMIC_ACQ_REL) == 0)
            kernel.merge(args, merge.item,
                         context->partials.reserve<float>(0) + merge.partials,
                         partitionsOf(merge.item), scratch);
        }
      });
}

void pagedAttention(llmir_context *context, llmir_kv_cache *cache,
                    int64_t layer, const llmir_tensor *query,
                    const llmir_tensor *blockTable,
                    const llmir_tensor *contextLens,
                    const llmir_tensor *rowStarts,
                    const llmir_attention_params *params,
                    const llmir_tensor *out) noexcept {
  FlushDenormals flush;
  AttentionArgs args = argsOf(*params);
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

  std::vector<AttentionWork> &work = context->work;
  work.clear();
  const int32_t *lens = static_cast<const int32_t *>(contextLens->data);
  const int32_t *starts = static_cast<const int32_t *>(rowStarts->data);
  for (int64_t s = 0; s < contextLens->sizes[0]; ++s) {
    AttentionItem item{};
    item.blockTable = static_cast<const int32_t *>(blockTable->data) +
                      s * blockTable->strides[0];
    planSequence(work, item, starts[s], starts[s + 1], lens[s], args,
                 cache->kvHeads);
  }
  runPlanned(context, args);
}

/// What queries that see no key yield.
void fillUnseeing(const AttentionArgs &args, const llmir_tensor &out,
                  int64_t sequence, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t head = 0; head < out.sizes[2]; ++head)
      for (int64_t i = 0; i < out.sizes[3]; ++i) {
        int64_t at = sequence * out.strides[0] + row * out.strides[1] +
                     head * out.strides[2] + i;
        // A quiet NaN begins alike in all three types.
        if (out.dtype == LLMIR_F32)
          static_cast<uint32_t *>(out.data)[at] = args.sinks ? 0 : 0x7fc00000;
        else
          static_cast<uint16_t *>(out.data)[at] = args.sinks ? 0
                                                  : out.dtype == LLMIR_F16
                                                      ? 0x7e00
                                                      : 0x7fc0;
      }
}

void attention(llmir_context *context, const llmir_tensor *query,
               const llmir_tensor *keys, const llmir_tensor *values,
               const llmir_attention_params *params,
               const llmir_tensor *out) noexcept {
  FlushDenormals flush;
  int64_t sequences = query->sizes[0], rows = query->sizes[1];
  int64_t positions = keys->sizes[1];
  if (sequences <= 0 || rows <= 0 || query->sizes[2] <= 0 ||
      query->sizes[3] <= 0)
    return;
  AttentionArgs args = argsOf(*params);
  args.causal = params->causal != 0;
  args.contextLen = positions;
  // Of causal ones, the first rows may stand before all positions.
  int64_t unseeing =
      positions == 0 ? rows : std::max<int64_t>(0, rows - positions);
  if (!args.causal && positions > 0)
    unseeing = 0;
  for (int64_t s = 0; s < sequences; ++s)
    fillUnseeing(args, *out, s, unseeing);
  if (unseeing == rows)
    return;

  // Keys and values go where the kernels read them from: blocks in order.
  constexpr int64_t blockSize = kernels::chunkPositions;
  int64_t blocks = (positions - 1) / blockSize + 1;
  KVCacheConfig config;
  config.kvHeads = keys->sizes[2];
  config.headDim = keys->sizes[3];
  config.blockSize = blockSize;
  config.numBlocks = sequences * blocks;
  llmir_kv_cache cache = layOutCache(config);
  cache.pool = context->keysAndValues.reserve<char>(cache.poolBytes);
  const int32_t *numbers = context->firstNumbers(config.numBlocks * blockSize);
  int64_t perToken = 2 * cache.kvHeads * cache.headDim;
  int64_t tokens = sequences * positions;
  int64_t grain = std::max(context->pool.evenGrain(tokens),
                           serialWork / (perToken + 1) + 1);
  context->pool.forRanges(
      tokens, grain, [&](unsigned, int64_t begin, int64_t end) {
        while (begin < end) {
          int64_t s = begin / positions, first = begin % positions;
          int64_t last = std::min(positions, first + end - begin);
          llmir_tensor k = sequenceOf(*keys, s), v = sequenceOf(*values, s);
          AppendArgs append = {&cache, 0, &k, &v,
                               numbers + s * blocks * blockSize};
          context->table.attention.append(append, first, last);
          begin += last - first;
        }
      });

  args.cache = &cache;
  args.query = static_cast<const float *>(query->data);
  args.queryRowStride = query->strides[1];
  args.queryHeadStride = query->strides[2];
  args.out = out->data;
  args.outRowStride = out->strides[1];
  args.outHeadStride = out->strides[2];
  args.outDtype = out->dtype;
  args.groupHeads = query->sizes[2] / cache.kvHeads;
  // A size of 1 serves all.
  int64_t maskStride = 0;
  if (const llmir_tensor *mask = params->mask) {
    args.mask = {mask->data, mask->dtype, 0, 0, mask->strides[2]};
    maskStride = mask->sizes[0] == 1 ? 0 : mask->strides[0];
    args.mask.headStride = mask->sizes[1] == 1 ? 0 : mask->strides[1];
  }
  std::vector<AttentionWork> &work = context->work;
  work.clear();
  for (int64_t s = 0; s < sequences; ++s) {
    AttentionItem item{};
    item.blockTable = numbers + s * blocks;
    item.queryOffset = s * query->strides[0];
    item.outOffset = s * out->strides[0];
    item.maskOffset = s * maskStride;
    planSequence(work, item, unseeing, rows, positions, args, cache.kvHeads);
  }
  runPlanned(context, args);
}

// These leave the function by longjmp if there is no more: nothing that needs
// to be destroyed may be alive here.

void *allocate(llmir_context *context, int64_t bytes) {
  return context->call->allocate(bytes);
}

void release(llmir_context *context, void *data) {
  context->call->release(data);
}

void *allocateResult(llmir_context *context, int64_t result, int64_t bytes) {
  return context->call->allocateResult(result, bytes);
}

void check(llmir_context *context, int64_t holds, const char *message) {
  if (!holds)
    context->call->fail(message);
}

} // namespace

FunctionCall *Context::setCall(FunctionCall *call) {
  return std::exchange(impl->call, call);
}

Context::Context(unsigned threads, CpuLevel level)
    : impl(new llmir_context(threads, level)), table{} {
  table.version = LLMIR_ABI_VERSION;
  table.context = impl.get();
  table.parallel_for = parallelFor;
  table.linear = linear;
  table.append_kv = appendKV;
  table.paged_attention = pagedAttention;
  table.rope_append_kv = ropeAppendKV;
  table.attention = attention;
  table.allocate = allocate;
  table.release = release;
  table.allocate_result = allocateResult;
  table.check = check;
}

Context::~Context() = default;

ThreadPool &Context::pool() { return impl->pool; }

unsigned Context::threads() const { return impl->pool.threads(); }

CpuLevel Context::level() const { return impl->level; }
