// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The cache of sequences with NumPy's arrays. What comes in is read where it
// lies, whatever the strides of tokens and heads are. What goes out is written
// to arrays of the caller: blocks hold keys by dimension and narrow numbers in
// pairs, as attention reads them, so that no array could show them in place.
#include "kv_cache.h"

#include "llmir/runtime/packing.h"
#include "llmir/runtime/paged_cache.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <mutex>
#include <stdexcept>

namespace nb = nanobind;
using namespace nb::literals;
using namespace llmir::runtime;

namespace {

using Rows = nb::ndarray<nb::ro, nb::ndim<3>, nb::device::cpu>;
using Output = nb::ndarray<nb::c_contig, nb::device::cpu>;

KVCacheConfig makeConfig(int64_t layers, int64_t kvHeads, int64_t headDim,
                         int64_t blockSize, int64_t numBlocks,
                         const std::string &dtype) {
  KVCacheConfig config;
  config.layers = layers;
  config.kvHeads = kvHeads;
  config.headDim = headDim;
  config.blockSize = blockSize;
  config.numBlocks = numBlocks;
  config.dtype = dtype == "i8"   ? LLMIR_I8
                 : dtype == "i4" ? LLMIR_I4
                                 : parseDtype(dtype);
  return config;
}

llmir_dtype dtypeOf(const char *what, nb::dlpack::dtype dtype) {
  if (dtype == nb::dtype<float>())
    return LLMIR_F32;
  if (dtype.code == uint8_t(nb::dlpack::dtype_code::Float) && dtype.bits == 16)
    return LLMIR_F16;
  throw std::invalid_argument(std::string(what) +
                              " must be of float32 or float16");
}

std::string shapeText(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (int64_t size : sizes)
    text += (text.empty() ? "[" : ", ") + std::to_string(size);
  return text + "]";
}

/// A cache with its lock: calls release the GIL, and another thread may then
/// find the cache at work.
class PyCache {
public:
  PyCache(int64_t layers, int64_t kvHeads, int64_t headDim, int64_t blockSize,
          int64_t numBlocks, const std::string &dtype, int64_t maxSeqLen,
          int threads) {
    if (threads < 0)
      throw std::invalid_argument("threads must be 0 or more, not " +
                                  std::to_string(threads));
    KVCacheConfig config =
        makeConfig(layers, kvHeads, headDim, blockSize, numBlocks, dtype);
    PagedKVCacheOptions options;
    options.maxSeqLen = maxSeqLen;
    options.threads = unsigned(threads);
    nb::gil_scoped_release release;
    cache = std::make_unique<PagedKVCache>(config, options);
  }

  /// Without the GIL, and alone.
  template <class Work> auto with(Work work) {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(mutex);
    return work(*cache);
  }

  bool append(const Rows &keys, const Rows &values,
              const std::vector<int64_t> &seqIds,
              const std::vector<int64_t> &counts, int64_t layer) {
    if (seqIds.size() != counts.size())
      throw std::invalid_argument("there are " + std::to_string(seqIds.size()) +
                                  " sequences and " +
                                  std::to_string(counts.size()) + " counts");
    std::vector<KVSpan> spans;
    int64_t tokens = 0;
    for (size_t i = 0; i < seqIds.size(); ++i) {
      spans.push_back({seqIds[i], counts[i]});
      if (__builtin_add_overflow(tokens, counts[i], &tokens))
        throw std::invalid_argument("the counts are too large to add");
    }
    KVInput k = inputOf("keys", keys, tokens);
    KVInput v = inputOf("values", values, tokens);
    return with([&](PagedKVCache &cache) {
      return cache.appendKV(k, v, spans, layer);
    });
  }

  void lookup(int64_t seqId, int64_t layer, int64_t begin, const Output &keys,
              const Output &values) {
    int64_t tokens = keys.ndim() == 3 ? int64_t(keys.shape(0)) : 0;
    checkOutput("keys", keys, {tokens, heads(), headDim()});
    checkOutput("values", values, {tokens, heads(), headDim()});
    KVOutput k(keys.data(), dtypeOf("keys", keys.dtype()));
    KVOutput v(values.data(), dtypeOf("values", values.dtype()));
    with([&](PagedKVCache &cache) {
      cache.lookupKV(seqId, k, v, layer, begin, begin + tokens);
    });
  }

  void gather(const std::vector<int64_t> &seqIds, int64_t layer,
              const Output &keys, const Output &values) {
    int64_t count = seqIds.size();
    int64_t tokens = keys.ndim() == 4 ? int64_t(keys.shape(1)) : 0;
    checkOutput("keys", keys, {count, tokens, heads(), headDim()});
    checkOutput("values", values, {count, tokens, heads(), headDim()});
    KVOutput k(keys.data(), dtypeOf("keys", keys.dtype()));
    KVOutput v(values.data(), dtypeOf("values", values.dtype()));
    with([&](PagedKVCache &cache) {
      cache.gatherKV(seqIds, tokens, k, v, layer);
    });
  }

  std::vector<int32_t> blockTable(int64_t seqId) {
    return with([&](PagedKVCache &cache) { return cache.blockTable(seqId); });
  }

  nb::dict stats() {
    PagedKVCacheStats stats =
        with([](PagedKVCache &cache) { return cache.stats(); });
    nb::dict result;
    result["sequences"] = stats.sequences;
    result["blocks"] = stats.blocks;
    result["used_blocks"] = stats.usedBlocks;
    result["free_blocks"] = stats.freeBlocks;
    result["shared_blocks"] = stats.sharedBlocks;
    result["copied_blocks"] = stats.copiedBlocks;
    result["bytes_per_block"] = stats.bytesPerBlock;
    result["bytes"] = stats.bytes;
    result["used_bytes"] = stats.usedBytes;
    return result;
  }

private:
  int64_t heads() const { return cache->config().kvHeads; }
  int64_t headDim() const { return cache->config().headDim; }

  KVInput inputOf(const char *what, const Rows &rows, int64_t tokens) const {
    llmir_dtype dtype = dtypeOf(what, rows.dtype());
    int64_t found[3];
    for (int dim = 0; dim < 3; ++dim)
      found[dim] = int64_t(rows.shape(dim));
    if (found[0] != tokens || found[1] != heads() || found[2] != headDim())
      throw std::invalid_argument(std::string(what) + " are " +
                                  shapeText({found[0], found[1], found[2]}) +
                                  ", and should be " +
                                  shapeText({tokens, heads(), headDim()}));
    // A stride of 0 says something else to the cache.
    bool isRepeated = (rows.stride(0) == 0 && found[0] > 1) ||
                      (rows.stride(1) == 0 && found[1] > 1);
    if (isRepeated || (rows.stride(2) != 1 && found[2] > 1))
      throw std::invalid_argument("the numbers of a head of " +
                                  std::string(what) + " must lie side by side");
    return KVInput(rows.data(), dtype, rows.stride(0), rows.stride(1));
  }

  static void checkOutput(const char *what, const Output &output,
                          std::initializer_list<int64_t> sizes) {
    bool fits = output.ndim() == sizes.size();
    for (size_t dim = 0; fits && dim < sizes.size(); ++dim)
      fits = int64_t(output.shape(dim)) == sizes.begin()[dim];
    if (!fits)
      throw std::invalid_argument("the array for " + std::string(what) +
                                  " must be " + shapeText(sizes));
  }

  std::mutex mutex;
  std::unique_ptr<PagedKVCache> cache;
};

} // namespace

void registerKVCache(nb::module_ &m) {
  nb::class_<PyCache>(m, "PagedKVCache", "Keys and values of sequences.")
      .def(nb::init<int64_t, int64_t, int64_t, int64_t, int64_t,
                    const std::string &, int64_t, int>(),
           "num_layers"_a, "num_heads"_a, "head_dim"_a, "block_size"_a,
           "num_blocks"_a, "dtype"_a, "max_seq_len"_a, "threads"_a,
           "`dtype` is f32, bf16, f16, i8 or i4; `threads` = 0 means all "
           "CPUs.\n\nRaises ValueError for what is out of range, and "
           "RuntimeError if there is not enough memory.")
      .def("append", &PyCache::append, "keys"_a, "values"_a, "seq_ids"_a,
           "counts"_a, "layer"_a,
           "Appends rows [tokens, heads, head_dim], so many of each sequence; "
           "False if there are too few free blocks.")
      .def("lookup", &PyCache::lookup, "seq_id"_a, "layer"_a, "begin"_a,
           "keys"_a, "values"_a,
           "Fills arrays [tokens, heads, head_dim] from position `begin` on.")
      .def("gather", &PyCache::gather, "seq_ids"_a, "layer"_a, "keys"_a,
           "values"_a,
           "Fills arrays [sequences, tokens, heads, head_dim], with zeros "
           "behind each sequence.")
      .def(
          "allocate",
          [](PyCache &self, int64_t seqId, int64_t tokens) {
            return self.with([&](PagedKVCache &cache) {
              return cache.allocate(seqId, tokens);
            });
          },
          "seq_id"_a, "num_tokens"_a)
      .def(
          "fork",
          [](PyCache &self, int64_t from, int64_t to) {
            self.with([&](PagedKVCache &cache) { cache.fork(from, to); });
          },
          "seq_id"_a, "new_seq_id"_a)
      .def(
          "free",
          [](PyCache &self, int64_t seqId) {
            self.with([&](PagedKVCache &cache) { cache.free(seqId); });
          },
          "seq_id"_a)
      .def(
          "truncate",
          [](PyCache &self, int64_t seqId, int64_t length) {
            self.with(
                [&](PagedKVCache &cache) { cache.truncate(seqId, length); });
          },
          "seq_id"_a, "length"_a)
      .def(
          "release_before",
          [](PyCache &self, int64_t seqId, int64_t position) {
            self.with([&](PagedKVCache &cache) {
              cache.releaseBefore(seqId, position);
            });
          },
          "seq_id"_a, "position"_a)
      .def(
          "length",
          [](PyCache &self, int64_t seqId, int64_t layer) {
            return self.with([&](PagedKVCache &cache) {
              return cache.length(seqId, layer);
            });
          },
          "seq_id"_a, "layer"_a)
      .def(
          "first_position",
          [](PyCache &self, int64_t seqId) {
            return self.with([&](PagedKVCache &cache) {
              return cache.firstPosition(seqId);
            });
          },
          "seq_id"_a)
      .def("block_table", &PyCache::blockTable, "seq_id"_a)
      .def_prop_ro("sequence_ids",
                   [](PyCache &self) {
                     return self.with([](PagedKVCache &cache) {
                       return cache.sequenceIds();
                     });
                   })
      .def_prop_ro("stats", &PyCache::stats);

  m.def(
      "kv_block_bytes",
      [](int64_t layers, int64_t kvHeads, int64_t headDim, int64_t blockSize,
         int64_t numBlocks, const std::string &dtype) {
        return KVPool::bytesPerBlock(
            makeConfig(layers, kvHeads, headDim, blockSize, numBlocks, dtype));
      },
      "num_layers"_a, "num_heads"_a, "head_dim"_a, "block_size"_a,
      "num_blocks"_a, "dtype"_a,
      "What a block of such a KV cache takes, in bytes.\n\nRaises ValueError "
      "for what is out of range.");
}
