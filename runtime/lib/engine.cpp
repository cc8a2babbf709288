// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One step: check everything, reserve blocks, describe the batch in ragged
// arrays, run the compiled code. The arrays have their greatest size from the
// start, so that a step allocates nothing.
#include "llmir/runtime/engine.h"

#include "float_mode.h"
#include "llmir/runtime/memory_estimator.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <utility>

namespace llmir::runtime {

Sequence::Sequence(std::shared_ptr<BlockAllocator> allocator, int64_t maxBlocks)
    : allocator(std::move(allocator)) {
  blocks.reserve(maxBlocks);
}

Sequence::~Sequence() { close(); }

void Sequence::shrink(size_t numBlocks) {
  for (; blocks.size() > numBlocks; blocks.pop_back())
    if (blocks.back() >= 0)
      allocator->release(blocks.back());
  passedBlocks = std::min(passedBlocks, numBlocks);
}

/// Gives the first blocks back. Their places in the table stay.
void Sequence::forget(size_t numBlocks) {
  for (; passedBlocks < numBlocks; ++passedBlocks) {
    allocator->release(blocks[passedBlocks]);
    blocks[passedBlocks] = -1;
  }
}

void Sequence::close() {
  if (!allocator)
    return;
  shrink(0);
  cachedTokens = 0;
  allocator.reset();
}

/// The memory in which compiled code keeps its intermediate values.
struct Engine::Arena {
  explicit Arena(int64_t bytes) : bytes(bytes) {
    if (bytes == 0)
      return;
    data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
      throw std::runtime_error("there is no memory for an arena of " +
                               std::to_string(bytes) + " bytes");
  }
  ~Arena() {
    if (bytes)
      munmap(data, bytes);
  }
  Arena(const Arena &) = delete;

  int64_t bytes;
  void *data = nullptr;
};

static int64_t blocksFor(int64_t tokens, int64_t blockSize) {
  return (tokens + blockSize - 1) / blockSize;
}

/// The cache's config, after a look at the memory: a process that takes more
/// than there is would be killed in the middle of its work.
static KVCacheConfig cacheConfig(const Manifest &manifest, int64_t numBlocks) {
  ModelMemoryEstimator estimator(manifest);
  int64_t blockBytes = estimator.bytesPerBlock();
  int64_t one = estimator.numBlocks(1, manifest.maxModelLen);
  KVCacheConfig config = estimator.cacheConfig(numBlocks > 0 ? numBlocks : one);

  int64_t available = readMemory().available;
  int64_t weightBytes = manifest.files.at(weightsFile).bytes;
  int64_t fixed = weightBytes + manifest.arenaBytes;
  int64_t cacheBytes = 0, needed = 0;
  bool absurd =
      __builtin_mul_overflow(blockBytes, config.numBlocks, &cacheBytes) ||
      __builtin_add_overflow(fixed, cacheBytes, &needed);
  if (absurd || needed > available) {
    std::string tokens = std::to_string(config.numBlocks * config.blockSize);
    std::string advice = "use a machine with more";
    if (numBlocks > 0)
      advice = "ask for fewer blocks";
    else if (blockBytes <= available - fixed)
      advice = "compile it with a smaller --max-model-len, or " + advice;
    throw std::runtime_error(
        "the model needs " +
        (absurd ? std::string("more memory than can be counted")
                : formatBytes(needed) + " of memory") +
        " (weights " + formatBytes(weightBytes) + ", KV cache of " + tokens +
        " tokens " + (absurd ? "" : formatBytes(cacheBytes)) + ", arena " +
        formatBytes(manifest.arenaBytes) + "), and " + formatBytes(available) +
        " are available; " + advice);
  }
  if (numBlocks == 0)
    config.numBlocks =
        std::clamp((available - fixed) / 2 / blockBytes, one, 8 * one);
  return config;
}

Engine::Engine(std::shared_ptr<const Model> model, unsigned threads,
               int64_t numBlocks)
    : loaded(std::move(model)), context(threads) {
  // Blocks are numbered in 32 bits.
  if (numBlocks < 0 || numBlocks > std::numeric_limits<int32_t>::max())
    throw std::invalid_argument("an engine cannot have " +
                                std::to_string(numBlocks) + " blocks");
  const Manifest &manifest = loaded->manifest();
  KVCacheConfig config = cacheConfig(manifest, numBlocks);
  allocator = std::make_shared<BlockAllocator>(config.numBlocks);
  cache = std::make_unique<KVPool>(config);
  arena = std::make_unique<Arena>(manifest.arenaBytes);
  tableWidth = blocksFor(manifest.maxModelLen, config.blockSize);
  size_t tokens = manifest.maxBatchTokens;
  tokenIds.reserve(tokens);
  positions.reserve(tokens);
  slots.reserve(tokens);
  logitRows.reserve(tokens);
  contextLens.reserve(tokens);
  rowStarts.reserve(tokens + 1);
}

Engine::~Engine() = default;

MemoryUse Engine::memory() const {
  return {loaded->weightsBytes(), cache->bytes(), arena->bytes};
}

unsigned Engine::threads() const { return context.threads(); }

std::unique_ptr<Sequence> Engine::newSequence() {
  return std::unique_ptr<Sequence>(new Sequence(allocator, tableWidth));
}

std::unique_ptr<Sequence> Engine::newSequence(const int32_t *tokens,
                                              int64_t count) {
  std::unique_ptr<Sequence> sequence = newSequence();
  if (prefixes) {
    sequence->cachedTokens = prefixes->match(tokens, count, sequence->blocks);
    sequence->forget(blocksPassed(sequence->cachedTokens));
  }
  return sequence;
}

std::unique_ptr<Sequence> Engine::fork(const Sequence &sequence) {
  checkOwn(sequence, "forked");
  std::unique_ptr<Sequence> result = newSequence();
  result->blocks = sequence.blocks;
  for (int32_t block : result->blocks)
    if (block >= 0)
      allocator->retain(block);
  result->passedBlocks = sequence.passedBlocks;
  result->cachedTokens = sequence.cachedTokens;
  return result;
}

void Engine::enablePrefixCache() {
  if (!prefixes)
    prefixes =
        std::make_unique<PrefixCache>(allocator, cache->config().blockSize);
}

void Engine::remember(Sequence &sequence, const int32_t *tokens,
                      int64_t count) {
  checkOwn(sequence, "remembered");
  if (prefixes)
    prefixes->insert(tokens, std::min(count, sequence.cachedTokens),
                     sequence.blocks);
}

int64_t Engine::countLogits(const StepItem *items, size_t count) {
  int64_t rows = 0;
  for (size_t i = 0; i < count; ++i)
    rows += items[i].wantAllLogits ? items[i].numTokens : 1;
  return rows;
}

int64_t Engine::blocksNeeded(const Sequence &sequence,
                             int64_t numTokens) const {
  int64_t needed =
      blocksFor(sequence.cachedTokens + numTokens, cache->config().blockSize) -
      int64_t(sequence.blocks.size());
  if (numTokens > 0 && appendsToShared(sequence))
    ++needed;
  // A block that is passed becomes available if no other sequence has it.
  size_t passed = blocksPassed(sequence.cachedTokens);
  for (size_t i = sequence.passedBlocks; i < passed; ++i) {
    int32_t block = sequence.blocks[i];
    if (allocator->useCount(block) - allocator->isCached(block) == 1)
      --needed;
  }
  return needed;
}

/// Whether the next token goes to a block that others have too.
bool Engine::appendsToShared(const Sequence &sequence) const {
  return sequence.cachedTokens % cache->config().blockSize != 0 &&
         allocator->useCount(sequence.blocks.back()) > 1;
}

/// Appends blocks, of which there are enough.
void Engine::allocateBlocks(int64_t count, std::vector<int32_t> &blocks) {
  if (prefixes && count > allocator->numFreeBlocks())
    prefixes->evict(count - allocator->numFreeBlocks());
  allocator->allocate(count, blocks);
}

/// Makes room for tokens, which nobody else sees.
void Engine::reserveBlocks(Sequence &sequence, int64_t numTokens) {
  std::vector<int32_t> &blocks = sequence.blocks;
  if (appendsToShared(sequence)) {
    int32_t shared = blocks.back();
    blocks.pop_back();
    allocateBlocks(1, blocks);
    cache->copyBlock(shared, blocks.back());
    allocator->release(shared);
  }
  allocateBlocks(blocksNeeded(sequence, numTokens), blocks);
}

void Engine::checkOwn(const Sequence &sequence, const char *what) const {
  if (sequence.closed() || sequence.allocator != allocator)
    throw std::invalid_argument(
        "a sequence that is closed or of another engine cannot be " +
        std::string(what));
}

/// How many blocks the token after `length` others, and those behind it, do not
/// see.
size_t Engine::blocksPassed(int64_t length) const {
  int64_t window = loaded->manifest().cacheWindow;
  if (window == 0 || length < window)
    return 0;
  return (length - window + 1) / cache->config().blockSize;
}

void Engine::validate(const StepItem *items, size_t count) {
  const Manifest &manifest = loaded->manifest();
  auto refuse = [](size_t item, const std::string &what) {
    throw std::invalid_argument("item " + std::to_string(item) +
                                " of the step " + what);
  };
  if (count == 0)
    throw std::invalid_argument("a step needs at least one sequence");
  int64_t tokens = 0, blocks = 0;
  // A number of its own for this attempt: a sequence that carries it already
  // is there twice.
  ++stepCount;
  for (size_t i = 0; i < count; ++i) {
    const StepItem &item = items[i];
    if (!item.sequence)
      refuse(i, "has no sequence");
    Sequence &sequence = *item.sequence;
    if (sequence.closed())
      refuse(i, "has a sequence that is closed");
    if (sequence.allocator != allocator)
      refuse(i, "has a sequence of another engine");
    if (sequence.lastStep == stepCount)
      refuse(i, "has a sequence that is in the step already");
    sequence.lastStep = stepCount;
    if (item.numTokens < 1 || !item.tokenIds)
      refuse(i, "has no tokens");
    if (item.numTokens > manifest.maxModelLen - sequence.cachedTokens)
      refuse(i, "has " + std::to_string(item.numTokens) + " tokens after " +
                    std::to_string(sequence.cachedTokens) +
                    ", and the model's greatest length is " +
                    std::to_string(manifest.maxModelLen));
    tokens += item.numTokens;
    if (tokens > manifest.maxBatchTokens)
      throw std::invalid_argument(
          "a step has at most " + std::to_string(manifest.maxBatchTokens) +
          " tokens with this artifact; split the batch");
    for (int64_t t = 0; t < item.numTokens; ++t)
      if (item.tokenIds[t] < 0 || item.tokenIds[t] >= manifest.vocabSize)
        refuse(i, "has the token id " + std::to_string(item.tokenIds[t]) +
                      ", and the vocabulary has " +
                      std::to_string(manifest.vocabSize));
    blocks += blocksNeeded(sequence, item.numTokens);
  }
  if (blocks > numAvailableBlocks())
    throw std::runtime_error("the step needs " + std::to_string(blocks) +
                             " more blocks of the KV cache, and " +
                             std::to_string(numAvailableBlocks()) + " of " +
                             std::to_string(numBlocks()) + " are free");
}

void Engine::step(const StepItem *items, size_t count, float *logits) {
  run(items, count, logits, context.runtime());
}

std::vector<TracedCall> Engine::tracedStep(const StepItem *items, size_t count,
                                           float *logits) {
  Trace trace(context.runtime());
  run(items, count, logits, trace.runtime());
  return std::move(trace.calls);
}

std::vector<ObservedRows>
Engine::observedStep(const StepItem *items, size_t count, float *logits,
                     const std::vector<int64_t> &weights) {
  Trace trace(context.runtime());
  const char *begin = static_cast<const char *>(loaded->weights());
  for (int64_t weight : weights)
    trace.observed[begin + weight];
  run(items, count, logits, trace.runtime());
  std::vector<ObservedRows> result;
  for (int64_t weight : weights)
    result.push_back(std::move(trace.observed[begin + weight]));
  return result;
}

void Engine::run(const StepItem *items, size_t count, float *logits,
                 const llmir_runtime &runtime) {
  validate(items, count);
  // Grows with the number of sequences that run together, and stays.
  blockTable.resize(count * tableWidth);

  int64_t blockSize = cache->config().blockSize;
  tokenIds.clear();
  positions.clear();
  slots.clear();
  contextLens.clear();
  logitRows.clear();
  rowStarts.assign(1, 0);
  // What one sequence gives back another may need.
  for (size_t i = 0; i < count; ++i) {
    Sequence &sequence = *items[i].sequence;
    sequence.forget(blocksPassed(sequence.cachedTokens));
  }
  for (size_t i = 0; i < count; ++i) {
    Sequence &sequence = *items[i].sequence;
    int64_t tokens = items[i].numTokens;
    reserveBlocks(sequence, tokens);
    int32_t *table = blockTable.data() + i * tableWidth;
    // Nothing is read of a block that was given back.
    std::transform(sequence.blocks.begin(), sequence.blocks.end(), table,
                   [](int32_t block) { return std::max(block, 0); });
    std::fill(table + sequence.blocks.size(), table + tableWidth, 0);
    for (int64_t t = 0; t < tokens; ++t) {
      int64_t position = sequence.cachedTokens + t;
      if (items[i].wantAllLogits || t == tokens - 1)
        logitRows.push_back(int32_t(tokenIds.size()));
      tokenIds.push_back(items[i].tokenIds[t]);
      positions.push_back(int32_t(position));
      slots.push_back(
          int32_t(sequence.blocks[position / blockSize] * blockSize +
                  position % blockSize));
    }
    sequence.cachedTokens += tokens;
    contextLens.push_back(int32_t(sequence.cachedTokens));
    rowStarts.push_back(int32_t(tokenIds.size()));
  }

  llmir_step_args args{};
  args.num_tokens = tokenIds.size();
  args.num_sequences = count;
  args.num_logits = logitRows.size();
  args.block_table_width = tableWidth;
  args.token_ids = tokenIds.data();
  args.positions = positions.data();
  args.slots = slots.data();
  args.block_table = blockTable.data();
  args.context_lens = contextLens.data();
  args.row_starts = rowStarts.data();
  args.logit_rows = logitRows.data();
  args.weights = loaded->weights();
  args.arena = arena->data;
  args.cache = cache->handle();
  args.logits = logits;
  FlushDenormals flush;
  loaded->step()(&runtime, &args);
}

std::vector<float> Engine::step(const std::vector<StepItem> &items) {
  validate(items.data(), items.size());
  std::vector<float> logits(countLogits(items.data(), items.size()) *
                            loaded->manifest().vocabSize);
  step(items.data(), items.size(), logits.data());
  return logits;
}

void Engine::truncate(Sequence &sequence, int64_t length) {
  checkOwn(sequence, "truncated");
  if (length < 0 || length > sequence.cachedTokens)
    throw std::invalid_argument(
        "a sequence of " + std::to_string(sequence.cachedTokens) +
        " tokens cannot be truncated to " + std::to_string(length));
  if (length > 0 && blocksPassed(length) < sequence.passedBlocks)
    throw std::invalid_argument(
        "a sequence of " + std::to_string(sequence.cachedTokens) +
        " tokens cannot be truncated to " + std::to_string(length) +
        ": what a window of " + std::to_string(loaded->manifest().cacheWindow) +
        " positions sees there was given up already");
  sequence.shrink(blocksFor(length, cache->config().blockSize));
  sequence.cachedTokens = length;
}

} // namespace llmir::runtime
