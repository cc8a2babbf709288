// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The Python module llmir._runtime: what a serving machine needs, and the
// packing and checksums that the compiler uses. It links the runtime only.
#include "batching.h"
#include "function.h"
#include "kv_cache.h"
#include "llmir/runtime/checksum.h"
#include "llmir/runtime/cpu_features.h"
#include "llmir/runtime/engine.h"
#include "llmir/runtime/limits.h"
#include "llmir/runtime/memory_estimator.h"
#include "llmir/runtime/packing.h"
#include "llmir/runtime/sampler.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <mutex>
#include <optional>

namespace nb = nanobind;
using namespace nb::literals;
using namespace llmir::runtime;

namespace {

/// An engine with its lock: a step releases the GIL, and another thread may
/// then find the engine at work. Sequences share the lock, since closing one
/// gives blocks back.
struct PyEngine {
  PyEngine(std::shared_ptr<Model> model, int threads, int64_t numBlocks,
           bool prefixCache)
      : mutex(std::make_shared<std::mutex>()) {
    if (threads < 0)
      throw std::invalid_argument("threads must be 0 or more, not " +
                                  std::to_string(threads));
    engine = std::make_shared<Engine>(std::move(model), unsigned(threads),
                                      numBlocks);
    if (prefixCache)
      engine->enablePrefixCache();
  }

  std::shared_ptr<std::mutex> mutex;
  std::shared_ptr<Engine> engine;
};

struct PySequence {
  PySequence(const PyEngine &owner, std::unique_ptr<Sequence> sequence)
      : mutex(owner.mutex), sequence(std::move(sequence)) {}
  PySequence(PySequence &&) = default;
  ~PySequence() {
    if (sequence)
      close();
  }
  // Never waits for the lock with the GIL held: the holder may need the GIL.
  void close() {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(*mutex);
    sequence->close();
  }

  std::shared_ptr<std::mutex> mutex;
  std::unique_ptr<Sequence> sequence;
};

using Logits = nb::ndarray<nb::numpy, float, nb::ndim<2>>;
using Bytes =
    nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableBytes =
    nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix =
    nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using LogitRow =
    nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

/// As an array [T, K] that owns the rows.
Logits makeRows(ObservedRows observed) {
  size_t width = observed.inputs;
  auto *kept = new std::vector<float>(std::move(observed.rows));
  nb::capsule owner(kept, [](void *p) noexcept {
    delete static_cast<std::vector<float> *>(p);
  });
  return Logits(kept->data(), {width ? kept->size() / width : 0, width}, owner);
}

/// As tuples (token id, log probability, rank).
std::vector<std::tuple<int32_t, float, int32_t>>
listLogprobs(const TokenLogprob *logprobs, size_t count) {
  std::vector<std::tuple<int32_t, float, int32_t>> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i)
    result.emplace_back(logprobs[i].id, logprobs[i].logprob, logprobs[i].rank);
  return result;
}

Logits makeLogits(int64_t rows, int64_t vocab) {
  float *data = new float[size_t(rows) * vocab];
  nb::capsule owner(data,
                    [](void *p) noexcept { delete[] static_cast<float *>(p); });
  return Logits(data, {size_t(rows), size_t(vocab)}, owner);
}

/// A sequence of another engine is guarded by that engine's lock: this engine
/// must not even look at it.
[[noreturn]] void refuseForeign() {
  throw std::invalid_argument("the sequence is one of another engine");
}

/// Runs `work` on the items of a batch and on room for their logits, without
/// the GIL.
template <typename Work>
Logits runStep(PyEngine &self, nb::sequence items, Work work) {
  // The sequences live until the step is over, whatever other threads do to
  // `items` while it runs.
  std::vector<nb::object> alive;
  std::vector<StepItem> batch;
  std::vector<std::vector<int32_t>> ids;
  size_t count = nb::len(items);
  alive.reserve(count);
  batch.reserve(count);
  ids.reserve(count);
  for (nb::handle entry : items) {
    if (!nb::isinstance<nb::sequence>(entry) || nb::len(entry) != 3)
      throw std::invalid_argument(
          "an item of a step is (sequence, token ids, all_logits)");
    PySequence *sequence = nullptr;
    alive.push_back(entry[0]);
    if (!nb::try_cast(alive.back(), sequence) || !sequence)
      throw std::invalid_argument("an item of a step starts with a Sequence");
    if (sequence->mutex != self.mutex)
      refuseForeign();
    std::vector<int32_t> tokens;
    if (!nb::try_cast(entry[1], tokens))
      throw std::invalid_argument(
          "the token ids of a step's item must be a list of integers");
    ids.push_back(std::move(tokens));
    batch.push_back({sequence->sequence.get(), ids.back().data(),
                     int64_t(ids.back().size()), nb::cast<bool>(entry[2])});
  }
  const Manifest &manifest = self.engine->model().manifest();
  int64_t rows = Engine::countLogits(batch.data(), batch.size());
  // What the engine will refuse must not ask for memory first.
  rows = std::min(rows, manifest.maxBatchTokens);
  Logits logits = makeLogits(rows, manifest.vocabSize);
  {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(*self.mutex);
    work(batch.data(), batch.size(), logits.data());
  }
  return logits;
}

Logits step(PyEngine &self, nb::sequence items) {
  return runStep(self, items,
                 [&](const StepItem *batch, size_t count, float *logits) {
                   self.engine->step(batch, count, logits);
                 });
}

nb::list tracedStep(PyEngine &self, nb::sequence items) {
  std::vector<TracedCall> calls;
  runStep(self, items, [&](const StepItem *batch, size_t count, float *logits) {
    calls = self.engine->tracedStep(batch, count, logits);
  });
  const char *const names[] = {"rows", "linear", "append_kv", "paged_attention",
                               "rope_append_kv"};
  nb::list result;
  for (const TracedCall &call : calls)
    result.append(nb::make_tuple(names[call.kind], call.seconds));
  return result;
}

nb::tuple observedStep(PyEngine &self, nb::sequence items,
                       const std::vector<int64_t> &weights) {
  std::vector<ObservedRows> observed;
  Logits logits = runStep(
      self, items, [&](const StepItem *batch, size_t count, float *logits) {
        observed = self.engine->observedStep(batch, count, logits, weights);
      });
  nb::list rows;
  for (ObservedRows &each : observed)
    rows.append(makeRows(std::move(each)));
  return nb::make_tuple(logits, rows);
}

int64_t sequenceLength(const PySequence &self) {
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  return self.sequence->length();
}

PySequence newSequence(PyEngine &self,
                       const std::optional<std::vector<int32_t>> &prompt) {
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  return {self, prompt
                    ? self.engine->newSequence(prompt->data(), prompt->size())
                    : self.engine->newSequence()};
}

PySequence forkSequence(PyEngine &self, const PySequence &sequence) {
  if (sequence.mutex != self.mutex)
    refuseForeign();
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  return {self, self.engine->fork(*sequence.sequence)};
}

void rememberSequence(PyEngine &self, PySequence &sequence,
                      const std::vector<int32_t> &tokens) {
  if (sequence.mutex != self.mutex)
    refuseForeign();
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  self.engine->remember(*sequence.sequence, tokens.data(), tokens.size());
}

bool pinPrefix(PyEngine &self, const std::vector<int32_t> &tokens) {
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  PrefixCache *cache = self.engine->prefixCache();
  return cache && cache->pin(tokens.data(), tokens.size());
}

bool unpinPrefix(PyEngine &self, const std::vector<int32_t> &tokens) {
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  PrefixCache *cache = self.engine->prefixCache();
  return cache && cache->unpin(tokens.data(), tokens.size());
}

nb::object prefixStatistics(PyEngine &self) {
  std::optional<PrefixCacheStatistics> counts;
  {
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(*self.mutex);
    if (PrefixCache *cache = self.engine->prefixCache())
      counts = cache->statistics();
  }
  if (!counts)
    return nb::none();
  nb::dict result;
  result["lookups"] = counts->lookups;
  result["asked_tokens"] = counts->askedTokens;
  result["hit_tokens"] = counts->hitTokens;
  result["cached_blocks"] = counts->cachedBlocks;
  result["evicted_blocks"] = counts->evictedBlocks;
  return result;
}

void truncateSequence(PyEngine &self, PySequence &sequence, int64_t length) {
  if (sequence.mutex != self.mutex)
    refuseForeign();
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  self.engine->truncate(*sequence.sequence, length);
}

int64_t numFreeBlocks(PyEngine &self) {
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  return self.engine->numFreeBlocks();
}

int64_t numAvailableBlocks(PyEngine &self) {
  nb::gil_scoped_release release;
  std::lock_guard<std::mutex> lock(*self.mutex);
  return self.engine->numAvailableBlocks();
}

unsigned checkedThreads(int threads) {
  if (threads < 1 || threads > 1024)
    throw std::invalid_argument("threads must be 1 to 1024, not " +
                                std::to_string(threads));
  return unsigned(threads);
}

void checkBytes(const char *what, size_t found, int64_t expected) {
  if (int64_t(found) != expected)
    throw std::invalid_argument("the " + std::string(what) + " has " +
                                std::to_string(found) + " bytes and should " +
                                "have " + std::to_string(expected));
}

std::pair<double, double> pack(Bytes src, const std::string &srcDtype,
                               int64_t n, int64_t k, WritableBytes dst,
                               const WeightFormat &to, int64_t panelBegin,
                               int64_t panelEnd, int threads,
                               std::optional<Matrix> factors,
                               std::optional<LogitRow> importance) {
  llmir_dtype from = parseDtype(srcDtype);
  int64_t bytes = packedBytes(to, n, k);
  int64_t panels = panelCount(n);
  if (panelEnd < 0)
    panelEnd = panels;
  if (panelBegin < 0 || panelBegin > panelEnd || panelEnd > panels)
    throw std::invalid_argument("panels " + std::to_string(panelBegin) +
                                " to " + std::to_string(panelEnd) +
                                " are not among the " + std::to_string(panels) +
                                " of this weight");
  if (threads < 0)
    throw std::invalid_argument("threads must be 0 or more, not " +
                                std::to_string(threads));
  checkBytes("source", src.size(), n * k * dtypeBytes(from));
  checkBytes("destination", dst.size(),
             bytes / panels * (panelEnd - panelBegin));
  if (factors.has_value() != importance.has_value() ||
      (factors && (factors->shape(0) != factors->shape(1) ||
                   importance->size() != factors->shape(0))))
    throw std::invalid_argument("feedback takes factors, a square matrix, and "
                                "an importance for each of its rows");
  Feedback feedback{};
  if (factors)
    feedback = {factors->data(), importance->data(),
                int64_t(factors->shape(0))};
  const Feedback *given = factors ? &feedback : nullptr;
  const void *source = src.data();
  void *destination = dst.data();
  nb::gil_scoped_release release;
  PackingLoss loss;
  if (threads == 1) {
    loss = packPanels(from, to, source, n, k, panelBegin, panelEnd, destination,
                      nullptr, given);
  } else {
    ThreadPool pool{unsigned(threads)};
    loss = packPanels(from, to, source, n, k, panelBegin, panelEnd, destination,
                      &pool, given);
  }
  return {loss.differences, loss.weights};
}

} // namespace

NB_MODULE(_runtime, m) {
  m.doc() = "The runtime of compiled models.";
  m.attr("ABI_VERSION") = LLMIR_ABI_VERSION;
  registerFunctions(m);
  registerKVCache(m);

  nb::class_<Model>(m, "Model", "A loaded artifact.")
      .def(
          "__init__",
          [](Model *self, const std::string &path, bool verify) {
            nb::gil_scoped_release release;
            new (self) Model(path, verify);
          },
          "path"_a, "verify"_a = false,
          "Loads the artifact in the directory `path`. `verify` also checks "
          "the checksum of the weights.\n\nRaises RuntimeError with one "
          "sentence if it is damaged or made for another machine or version.")
      .def_prop_ro(
          "manifest", [](const Model &self) { return self.manifest().text; },
          "manifest.json, as text.");

  nb::class_<ModelMemoryEstimator>(m, "ModelMemoryEstimator",
                                   "What a model takes, by its manifest.")
      .def(
          "__init__",
          [](ModelMemoryEstimator *self, const std::string &text,
             const std::string &path) {
            new (self) ModelMemoryEstimator(parseManifest(text, path));
          },
          "manifest"_a, "path"_a)
      .def(
          "estimate",
          [](const ModelMemoryEstimator &self, int64_t batchSize,
             int64_t seqLen) {
            MemoryUse use = self.estimate(batchSize, seqLen);
            return std::make_tuple(use.weights, use.cache, use.arena,
                                   self.numBlocks(batchSize, seqLen));
          },
          "batch_size"_a, "seq_len"_a,
          "The bytes of weights, cache and arena, and the blocks of the cache.")
      .def(
          "find_max_batch_size",
          [](const ModelMemoryEstimator &self, int64_t seqLen,
             std::optional<int64_t> bytes) {
            return self.findMaxBatchSize(
                seqLen, bytes ? *bytes : readMemory().available);
          },
          "seq_len"_a, "bytes"_a.none())
      .def(
          "find_max_seq_len",
          [](const ModelMemoryEstimator &self, int64_t batchSize,
             std::optional<int64_t> bytes) {
            return self.findMaxSeqLen(batchSize,
                                      bytes ? *bytes : readMemory().available);
          },
          "batch_size"_a, "bytes"_a.none());

  nb::class_<PySequence>(m, "Sequence",
                         "A sequence of tokens whose keys and values are in "
                         "its engine's cache.")
      .def_prop_ro("length", &sequenceLength,
                   "How many tokens the cache holds.")
      .def(
          "close", &PySequence::close,
          "Gives the blocks of the cache back. The sequence cannot run again.");

  nb::class_<PyEngine>(m, "Engine", "Runs a model over sequences.")
      .def(nb::init<std::shared_ptr<Model>, int, int64_t, bool>(), "model"_a,
           "threads"_a = 0, "num_blocks"_a = 0, "prefix_cache"_a = false,
           "`threads` = 0 means all CPUs. `num_blocks` = 0 means room for one "
           "to eight sequences of the greatest length, by free memory. With "
           "`prefix_cache`, what `remember` is given is kept for other "
           "sequences until its blocks are needed.")
      .def("new_sequence", &newSequence, "prompt"_a = nb::none(),
           "A new sequence: empty, or with what the prefix cache has of the "
           "token ids `prompt`, without the last one. Its `length` says how "
           "many tokens are there.")
      .def("fork", &forkSequence, "sequence"_a,
           "A second sequence of the same tokens. They share the blocks of "
           "the cache; one that appends to a shared block gets a copy.")
      .def("remember", &rememberSequence, "sequence"_a, "tokens"_a,
           "Enters the full blocks of a sequence into the prefix cache, if "
           "the engine has one. `tokens` are all those that it was given, or "
           "the first of them.")
      .def("pin_prefix", &pinPrefix, "tokens"_a,
           "Keeps the full blocks of a prompt in the prefix cache until "
           "`unpin_prefix`. False if they are not all there, or none is full.")
      .def("unpin_prefix", &unpinPrefix, "tokens"_a,
           "Takes back one `pin_prefix` of the same tokens; false if there is "
           "none.")
      .def_prop_ro(
          "prefix_statistics", &prefixStatistics,
          "What the prefix cache has done: `lookups`, the `asked_tokens` of "
          "their prompts and the `hit_tokens` that were there, "
          "`cached_blocks` and `evicted_blocks`; None without one.")
      .def("step", &step, "items"_a,
           "Appends tokens to sequences and returns logits, float32 [rows, "
           "vocab_size].\n\n`items` are (sequence, token ids, all_logits); the "
           "rows are each item's last token, or all its tokens, in the order "
           "of the items.\n\nRaises ValueError for a bad item and RuntimeError "
           "if the cache is full; then nothing has changed.")
      .def("traced_step", &tracedStep, "items"_a,
           "As `step`, for its times: (`rows`, `linear`, `append_kv`, "
           "`rope_append_kv` or `paged_attention`, seconds) of each call of "
           "compiled code into the runtime, in order.")
      .def("observed_step", &observedStep, "items"_a, "weights"_a,
           "As `step`, with what some weights are multiplied by: (logits, "
           "[float32 [tokens, inputs], ...]) in the order of `weights`, their "
           "places in the artifact's file. Of one that no product has, [0, "
           "0].")
      .def("truncate", &truncateSequence, "sequence"_a, "n"_a,
           "Forgets a sequence's tokens from position `n` on.")
      .def_prop_ro("num_free_blocks", &numFreeBlocks)
      .def_prop_ro("num_available_blocks", &numAvailableBlocks,
                   "The free blocks and those that only the prefix cache has.")
      .def_prop_ro("num_blocks",
                   [](PyEngine &self) { return self.engine->numBlocks(); })
      .def_prop_ro(
          "memory",
          [](PyEngine &self) {
            MemoryUse use = self.engine->memory();
            nb::dict result;
            result["weights"] = use.weights;
            result["cache"] = use.cache;
            result["arena"] = use.arena;
            return result;
          },
          "The bytes that the weights, the whole cache and the arena take.")
      .def_prop_ro("threads",
                   [](PyEngine &self) { return self.engine->threads(); });

  nb::class_<SamplingConfig>(m, "SamplingConfig",
                             "How the tokens of an output are chosen.")
      .def(
          "__init__",
          [](SamplingConfig *self, double temperature, int64_t topK,
             double topP, double minP, double repetitionPenalty,
             double presencePenalty, double frequencyPenalty,
             std::vector<std::pair<int32_t, float>> logitBias,
             std::vector<int32_t> allowedTokenIds,
             std::vector<std::vector<int32_t>> badWords, int64_t minTokens,
             std::vector<int32_t> stopTokenIds, std::optional<int64_t> logprobs,
             uint64_t seed) {
            new (self) SamplingConfig{temperature,
                                      topK,
                                      topP,
                                      minP,
                                      repetitionPenalty,
                                      presencePenalty,
                                      frequencyPenalty,
                                      std::move(logitBias),
                                      std::move(allowedTokenIds),
                                      std::move(badWords),
                                      minTokens,
                                      std::move(stopTokenIds),
                                      logprobs,
                                      seed};
          },
          nb::kw_only(), "temperature"_a = 0.0, "top_k"_a = 0, "top_p"_a = 1.0,
          "min_p"_a = 0.0, "repetition_penalty"_a = 1.0,
          "presence_penalty"_a = 0.0, "frequency_penalty"_a = 0.0,
          "logit_bias"_a = nb::list(), "allowed_token_ids"_a = nb::list(),
          "bad_words"_a = nb::list(), "min_tokens"_a = 0,
          "stop_token_ids"_a = nb::list(), "logprobs"_a = nb::none(),
          "seed"_a = 0,
          "`logit_bias` are pairs of a token id and a float, `bad_words` lists "
          "of token ids. Empty `allowed_token_ids` allow all. The order in "
          "which settings apply stands in sampler.h.")
      .def("check", &checkSampling, "vocab_size"_a,
           "Raises ValueError, with one sentence, for a setting out of range "
           "or an id that a vocabulary of this size lacks.");

  nb::class_<Sampler>(m, "Sampler", "Chooses the tokens of one output.")
      .def(nb::init<SamplingConfig, const std::vector<int32_t> &, uint32_t>(),
           "config"_a, "prompt"_a = nb::list(), "index"_a = 0,
           "`index` is the output's among those of its request.")
      .def(
          "sample",
          [](Sampler &self, LogitRow logits) {
            Token token = self.sample(logits.data(), logits.size());
            return std::make_pair(
                token.id, listLogprobs(token.logprobs, token.numLogprobs));
          },
          "logits"_a,
          "The token chosen from float32 logits [vocab_size], and a list of "
          "(token id, log probability, rank): its own and those of the "
          "likeliest ones, if the settings ask for any.");
  m.def(
      "logprobs",
      [](LogitRow logits, int32_t token, int64_t count) {
        std::vector<TokenLogprob> result;
        computeLogprobs(logits.data(), logits.size(), token, count, result);
        return listLogprobs(result.data(), result.size());
      },
      "logits"_a, "token"_a, "count"_a,
      "(token id, log probability, rank) of a token, and then of the `count` "
      "likeliest ones, -1 for all, from float32 logits [vocab_size].");

  registerBatching(m);

  nb::class_<WeightFormat>(m, "WeightFormat", "How a weight is stored.")
      .def(
          "__init__",
          [](WeightFormat *self, std::string_view kind, std::string_view scales,
             int64_t groupSize, bool asymmetric) {
            new (self) WeightFormat{parseWeightKind(kind), parseDtype(scales),
                                    groupSize, asymmetric};
          },
          "kind"_a, "scales"_a = "f32", "group_size"_a = 0,
          "asymmetric"_a = false,
          "`kind` is f32, bf16, f16, int8, int4, w8a8 or w4a8; the rest is of "
          "quantized weights: the type of their scales (f32, bf16 or f16), the "
          "inputs that share one (0 for a whole row), and whether there are "
          "zero points.")
      .def_prop_ro("kind",
                   [](const WeightFormat &self) {
                     return std::string(weightKindName(self.kind));
                   })
      .def_prop_ro("scales",
                   [](const WeightFormat &self) {
                     return std::string(dtypeName(self.scales));
                   })
      .def_ro("group_size", &WeightFormat::groupSize)
      .def_ro("asymmetric", &WeightFormat::asymmetric);

  nb::class_<Bandwidth>(m, "Bandwidth",
                        "Memory of some bytes, to see how fast it is read.")
      .def(
          "__init__",
          [](Bandwidth *self, int64_t bytes) {
            if (bytes < 1)
              throw std::invalid_argument("bytes must be positive");
            nb::gil_scoped_release release;
            new (self) Bandwidth(bytes);
          },
          "bytes"_a)
      .def(
          "measure",
          [](Bandwidth &self, int threads) {
            unsigned count = checkedThreads(threads);
            nb::gil_scoped_release release;
            return self.measure(count);
          },
          "threads"_a, "Reads it once with so many threads; bytes per second.");
  m.def(
      "measure_peak",
      [](const std::string &multiplier, int threads) {
        unsigned count = checkedThreads(threads);
        Multiplier kind = multiplier == "f32"    ? Multiplier::F32
                          : multiplier == "bf16" ? Multiplier::BF16
                                                 : Multiplier::Int8;
        if (multiplier != "f32" && multiplier != "bf16" && multiplier != "int8")
          throw std::invalid_argument("there is no multiplier '" + multiplier +
                                      "'; there are f32, bf16 and int8");
        nb::gil_scoped_release release;
        return measurePeak(kind, count);
      },
      "multiplier"_a, "threads"_a,
      "Operations per second of f32, bf16 or int8 dot products in registers; 0 "
      "if this CPU has no such instruction.");

  m.def(
      "pack_panels", &pack, "src"_a, "src_dtype"_a, "n"_a, "k"_a, "dst"_a,
      "format"_a, "panel_begin"_a = 0, "panel_end"_a = -1, "threads"_a = 1,
      "factors"_a = nb::none(), "importance"_a = nb::none(),
      "Packs a weight [n, k], given as bytes, into panels of 32 output "
      "columns, and quantizes it if the format says so. A range of panels "
      "writes only these, so that a large weight can be packed in pieces. With "
      "`factors`, float32 [inputs, inputs], and `importance`, float32 "
      "[inputs], "
      "inputs being k rounded up to 32, it is rounded by GPTQ, as `Feedback` "
      "of "
      "packing.h says. "
      "Returns what "
      "quantizing has changed: the sum of the squares of the differences, and "
      "that of the squares of the weights.");
  m.def("packed_shape", &packedShape, "format"_a, "n"_a, "k"_a,
        "The shape of a packed weight [n, k]; of a quantized one in bytes.");
  m.def("packed_bytes", &packedBytes, "format"_a, "n"_a, "k"_a,
        "The size of a packed weight [n, k].");

  m.def(
      "cpu_level", [] { return std::string(cpuLevelName(selectCpuLevel())); },
      "The level of kernels that engines use: the CPU's, or what "
      "LLMIR_CPU_LEVEL asks for.");
  m.def("cpu_levels", &cpuLevels,
        "Every level of kernels, lowest first: its name, and the features it "
        "needs beyond those of the levels before it.");
  m.def(
      "memory",
      [] {
        Memory memory = readMemory();
        return std::make_pair(memory.total, memory.available);
      },
      "The memory that this process may use at most, and what of it is "
      "available, in bytes.");
  m.def("format_bytes", &formatBytes, "bytes"_a,
        "A number of bytes for people, `1.5 GiB`.");
  m.def(
      "check_manifest",
      [](const std::string &text, const std::string &path) {
        parseManifest(text, path);
      },
      "text"_a, "path"_a,
      "Raises RuntimeError, with a sentence that names `path`, if the text is "
      "no manifest that the loader takes.");
  m.def("cpu_features", &hostFeatures,
        "What this CPU can do, by LLVM's names, sorted.");
  m.def(
      "xxh3",
      [](const std::string &path) {
        nb::gil_scoped_release release;
        return xxh3File(path);
      },
      "path"_a, "The XXH3 checksum of a file, 16 hexadecimal digits.");
  m.def(
      "xxh3", [](nb::bytes data) { return xxh3(data.data(), data.size()); },
      "data"_a, "The XXH3 checksum of bytes.");
  m.def(
      "xxh3",
      [](Bytes data) {
        nb::gil_scoped_release release;
        return xxh3(data.data(), data.size());
      },
      "data"_a, "The XXH3 checksum of an array of uint8 or another buffer.");
}
