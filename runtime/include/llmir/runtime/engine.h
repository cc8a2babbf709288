// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs a loaded model over sequences: owns the KV cache, the arena and the
// threads, checks a batch before anything of it happens, and calls the compiled
// step. Which sequences to run together is up to the caller.
#ifndef LLMIR_RUNTIME_ENGINE_H
#define LLMIR_RUNTIME_ENGINE_H

#include "llmir/runtime/context.h"
#include "llmir/runtime/kv_cache.h"
#include "llmir/runtime/memory.h"
#include "llmir/runtime/model.h"
#include "llmir/runtime/prefix_cache.h"
#include "llmir/runtime/trace.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace llmir::runtime {

/// A sequence of tokens whose keys and values are in the cache. Not to be used
/// from two threads at once, nor while its engine steps.
class Sequence {
public:
  ~Sequence();
  Sequence(const Sequence &) = delete;
  Sequence &operator=(const Sequence &) = delete;

  int64_t length() const { return cachedTokens; }
  /// -1 stands for a block that was given back, since no token sees it again.
  /// Other sequences may have the same blocks; a step gives a sequence its own
  /// copy of a shared one before it appends to it.
  const std::vector<int32_t> &blockTable() const { return blocks; }
  bool closed() const { return allocator == nullptr; }
  /// Gives the blocks back; the sequence cannot run again.
  void close();

private:
  friend class Engine;
  Sequence(std::shared_ptr<BlockAllocator> allocator, int64_t maxBlocks);
  void shrink(size_t numBlocks);
  void forget(size_t numBlocks);

  std::shared_ptr<BlockAllocator> allocator;
  std::vector<int32_t> blocks;
  /// How many of the first blocks were given back.
  size_t passedBlocks = 0;
  int64_t cachedTokens = 0;
  uint64_t lastStep = 0;
};

struct StepItem {
  Sequence *sequence = nullptr;
  const int32_t *tokenIds = nullptr;
  int64_t numTokens = 0;
  /// Logits of every token, rather than of the last one only.
  bool wantAllLogits = false;
};

/// Not to be used from two threads at once.
class Engine {
public:
  /// `threads` = 0 means all CPUs. `numBlocks` = 0 means room for at least one
  /// sequence of the greatest length and at most eight, by free memory; where
  /// tokens see a window only, such a sequence needs no more blocks than those
  /// of a window and of a step. Throws
  /// std::runtime_error if weights, cache and arena are more than the memory
  /// that is available.
  explicit Engine(std::shared_ptr<const Model> model, unsigned threads = 0,
                  int64_t numBlocks = 0);
  ~Engine();
  Engine(const Engine &) = delete;
  Engine &operator=(const Engine &) = delete;

  std::unique_ptr<Sequence> newSequence();
  /// A new sequence that has the longest prefix of these tokens that the prefix
  /// cache knows, but not the last token: `length()` says how many there are.
  std::unique_ptr<Sequence> newSequence(const int32_t *tokens, int64_t count);
  /// A second sequence of the same tokens, which shares the blocks of the
  /// first. Throws std::invalid_argument for one that is closed or of another
  /// engine.
  std::unique_ptr<Sequence> fork(const Sequence &sequence);

  /// From now on `remember` keeps blocks, and steps evict them when they need
  /// blocks.
  void enablePrefixCache();
  /// Null if it was not enabled.
  PrefixCache *prefixCache() { return prefixes.get(); }
  /// Enters the full blocks of a sequence into the prefix cache, if there is
  /// one, so that they outlive it. `tokens` are those that it was given from
  /// its start, or the first of them. Blocks that are cached already take the
  /// place of its own. Of a window, what was given back before the first call
  /// cannot be entered, nor what follows it. Throws std::invalid_argument for a
  /// sequence that is closed or of another engine.
  void remember(Sequence &sequence, const int32_t *tokens, int64_t count);

  /// How many rows of logits these items ask for.
  static int64_t countLogits(const StepItem *items, size_t count);

  /// Appends each item's tokens to its sequence and writes the logits, [rows,
  /// vocabulary] in item order, to `logits`. Throws std::invalid_argument for a
  /// bad item and std::runtime_error if the items need more blocks than are
  /// available; then nothing has changed.
  void step(const StepItem *items, size_t count, float *logits);
  std::vector<float> step(const std::vector<StepItem> &items);

  /// As `step`, with the time of every call of compiled code into the runtime.
  std::vector<TracedCall> tracedStep(const StepItem *items, size_t count,
                                     float *logits);

  /// As `step`, with what some weights are multiplied by, in the order of
  /// `weights`: their places in the artifact's file.
  std::vector<ObservedRows> observedStep(const StepItem *items, size_t count,
                                         float *logits,
                                         const std::vector<int64_t> &weights);

  /// Forgets the tokens from `length` on. Where tokens see a window only, what
  /// lies behind it is gone: back to the length before the last step, and to 0,
  /// is always possible. Throws std::invalid_argument otherwise.
  void truncate(Sequence &sequence, int64_t length);

  const Model &model() const { return *loaded; }
  unsigned threads() const;
  MemoryUse memory() const;
  int64_t numBlocks() const { return allocator->numBlocks(); }
  int64_t numFreeBlocks() const { return allocator->numFreeBlocks(); }
  /// Who has which blocks.
  const BlockAllocator &blocks() const { return *allocator; }
  /// The free blocks and those that only the prefix cache has.
  int64_t numAvailableBlocks() const {
    return allocator->numFreeBlocks() + allocator->numOnlyCached();
  }
  /// How many further blocks a sequence needs for `numTokens` more tokens, a
  /// copy of a shared last one included: less than none if its window has
  /// passed more blocks than these tokens need. A step takes no more of the
  /// available blocks than the sum over its items.
  int64_t blocksNeeded(const Sequence &sequence, int64_t numTokens) const;

private:
  size_t blocksPassed(int64_t length) const;
  void checkOwn(const Sequence &sequence, const char *what) const;
  bool appendsToShared(const Sequence &sequence) const;
  void allocateBlocks(int64_t count, std::vector<int32_t> &blocks);
  void reserveBlocks(Sequence &sequence, int64_t numTokens);
  void validate(const StepItem *items, size_t count);
  void run(const StepItem *items, size_t count, float *logits,
           const llmir_runtime &runtime);

  std::shared_ptr<const Model> loaded;
  Context context;
  std::shared_ptr<BlockAllocator> allocator;
  std::unique_ptr<KVPool> cache;
  std::unique_ptr<PrefixCache> prefixes;
  struct Arena;
  std::unique_ptr<Arena> arena;
  int64_t tableWidth = 0;
  uint64_t stepCount = 0;
  std::vector<int32_t> tokenIds, positions, slots, blockTable;
  std::vector<int32_t> contextLens, rowStarts, logitRows;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_ENGINE_H
