// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The prefix cache, against a model of it that searches all prefixes.
#include "llmir/runtime/prefix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

using namespace llmir::runtime;

namespace {

using Tokens = std::vector<int32_t>;
using Blocks = std::vector<int32_t>;

/// Blocks of 2 tokens, and sequences that are made and dropped by hand.
class PrefixCacheTest : public ::testing::Test {
protected:
  explicit PrefixCacheTest(int64_t numBlocks = 12)
      : allocator(std::make_shared<BlockAllocator>(numBlocks)),
        cache(std::make_unique<PrefixCache>(allocator, 2)) {}

  /// The table of a sequence that was computed alone.
  Blocks compute(const Tokens &tokens) {
    Blocks blocks;
    EXPECT_TRUE(allocator->allocate((tokens.size() + 1) / 2, blocks));
    return blocks;
  }
  void insert(const Tokens &tokens, Blocks &blocks) {
    cache->insert(tokens.data(), tokens.size(), blocks);
  }
  /// Computed, cached and over.
  Blocks leave(const Tokens &tokens) {
    Blocks blocks = compute(tokens);
    insert(tokens, blocks);
    release(blocks);
    return blocks;
  }
  Blocks match(const Tokens &tokens) {
    Blocks blocks;
    int64_t length = cache->match(tokens.data(), tokens.size(), blocks);
    EXPECT_EQ(length, 2 * int64_t(blocks.size()));
    return blocks;
  }
  /// How many tokens of a prompt are there; nothing is kept.
  size_t cached(const Tokens &tokens) {
    Blocks blocks = match(tokens);
    release(blocks);
    return 2 * blocks.size();
  }
  void release(const Blocks &blocks) {
    for (int32_t block : blocks)
      if (block >= 0)
        allocator->release(block);
  }
  bool pin(const Tokens &tokens) {
    return cache->pin(tokens.data(), tokens.size());
  }
  bool unpin(const Tokens &tokens) {
    return cache->unpin(tokens.data(), tokens.size());
  }

  std::shared_ptr<BlockAllocator> allocator;
  std::unique_ptr<PrefixCache> cache;
};

} // namespace

TEST_F(PrefixCacheTest, MatchesFullBlocksButNotTheLastToken) {
  Blocks blocks = leave({1, 2, 3, 4, 5});
  // The last block was not full.
  EXPECT_EQ(allocator->numFreeBlocks(), 10);
  EXPECT_EQ(allocator->numOnlyCached(), 2);
  EXPECT_EQ(match({1, 2, 3, 4, 9}), Blocks(blocks.begin(), blocks.begin() + 2));
  EXPECT_EQ(allocator->useCount(blocks[0]), 2);
  EXPECT_EQ(allocator->numOnlyCached(), 0);
  EXPECT_EQ(cached({1, 2, 3, 4}), 2u);
  EXPECT_EQ(cached({1, 2, 3}), 2u);
  EXPECT_EQ(cached({1, 2}), 0u);
  EXPECT_EQ(cached({}), 0u);
  EXPECT_EQ(cached({1, 3, 3, 4, 5}), 0u);
  EXPECT_EQ(cached({1, 2, 4, 3, 5}), 2u);
  EXPECT_EQ(cached({3, 4, 5}), 0u);
  PrefixCacheStatistics counts = cache->statistics();
  EXPECT_EQ(counts.lookups, 8);
  EXPECT_EQ(counts.askedTokens, 5 + 4 + 3 + 2 + 0 + 5 + 5 + 3);
  EXPECT_EQ(counts.hitTokens, 4 + 2 + 2 + 2);
  EXPECT_EQ(counts.cachedBlocks, 2);
  EXPECT_EQ(counts.evictedBlocks, 0);
}

TEST_F(PrefixCacheTest, GivesItsBlocksBackAtTheEnd) {
  leave({1, 2, 3, 4});
  ASSERT_TRUE(pin({1, 2}));
  Blocks held = match({1, 2, 3});
  cache.reset();
  EXPECT_EQ(allocator->numFreeBlocks(), 11);
  EXPECT_EQ(allocator->useCount(held[0]), 1);
  EXPECT_FALSE(allocator->isCached(held[0]));
}

TEST_F(PrefixCacheTest, HoldsEqualBlocksOnce) {
  Tokens tokens = {1, 2, 3, 4, 5, 6};
  Blocks first = compute(tokens), second = compute(tokens);
  insert({1, 2, 3, 4}, first);
  insert(tokens, second);
  EXPECT_EQ(second[0], first[0]);
  EXPECT_EQ(second[1], first[1]);
  EXPECT_NE(second[2], first[2]);
  EXPECT_EQ(allocator->numFreeBlocks(), 12 - 4);
  EXPECT_EQ(allocator->useCount(first[0]), 3);
  EXPECT_EQ(allocator->useCount(first[2]), 1);
  EXPECT_EQ(allocator->useCount(second[2]), 2);
}

TEST_F(PrefixCacheTest, EvictsWhatWasUsedLongestAgo) {
  leave({1, 1, 2, 2, 3, 3});
  leave({1, 1, 4, 4});
  leave({5, 5});
  EXPECT_EQ(cached({1, 1, 2, 2, 3, 3, 0}), 6u);
  EXPECT_EQ(allocator->numOnlyCached(), 5);
  // The ends before the beginnings.
  EXPECT_EQ(cache->evict(1), 1); // 4 4
  EXPECT_EQ(cache->evict(0), 0);
  EXPECT_EQ(cache->evict(2), 2); // 5 5, and 3 3
  EXPECT_EQ(cache->statistics().cachedBlocks, 2);
  EXPECT_EQ(cached({5, 5, 0}), 0u);
  EXPECT_EQ(cached({1, 1, 4, 4, 0}), 2u);
  EXPECT_EQ(cached({1, 1, 2, 2, 3, 3, 0}), 4u);
  Blocks held = match({1, 1, 0});
  EXPECT_EQ(cache->evict(100), 1); // 2 2; the rest is in use
  EXPECT_EQ(cache->evict(100), 0);
  release(held);
  EXPECT_EQ(cache->evict(100), 1);
  EXPECT_EQ(allocator->numFreeBlocks(), 12);
  EXPECT_EQ(cache->statistics().evictedBlocks, 5);
}

TEST_F(PrefixCacheTest, WhatCannotBeFoundAnyMoreIsNotKept) {
  // A sequence that was cached from its second block on only, since another
  // one had cached the first.
  Blocks first = compute({1, 1}), second = compute({1, 1, 2, 2});
  Blocks twin = second;
  for (int32_t block : twin)
    allocator->retain(block);
  insert({1, 1}, first);
  insert({1, 1, 2, 2}, second);
  release(first);
  release(second);
  EXPECT_EQ(allocator->useCount(first[0]), 1);
  EXPECT_EQ(allocator->useCount(twin[1]), 2);
  EXPECT_EQ(cache->evict(5), 1);
  EXPECT_EQ(cache->statistics().cachedBlocks, 0);
  EXPECT_EQ(allocator->useCount(twin[0]), 1);
  EXPECT_EQ(allocator->useCount(twin[1]), 1);
  EXPECT_FALSE(allocator->isCached(twin[1]));
  // It can be cached again.
  insert({1, 1, 2, 2}, twin);
  EXPECT_EQ(cached({1, 1, 2, 2, 0}), 4u);
}

TEST_F(PrefixCacheTest, PinsKeepBlocks) {
  EXPECT_FALSE(pin({1, 1, 2, 2}));
  leave({1, 1, 2, 2, 3, 3});
  EXPECT_FALSE(pin({1, 1, 4, 4}));
  EXPECT_FALSE(pin({1}));
  EXPECT_FALSE(unpin({1, 1}));
  EXPECT_TRUE(pin({1, 1, 2, 2, 9}));
  EXPECT_TRUE(pin({1, 1, 2, 2}));
  EXPECT_TRUE(pin({1, 1}));
  EXPECT_EQ(allocator->numOnlyCached(), 1);
  EXPECT_EQ(cache->evict(100), 1);
  EXPECT_EQ(cached({1, 1, 2, 2, 3, 3}), 4u);
  EXPECT_TRUE(unpin({1, 1, 2, 2}));
  EXPECT_TRUE(unpin({1, 1, 2, 2}));
  EXPECT_FALSE(unpin({1, 1, 2, 2}));
  EXPECT_EQ(cache->evict(100), 1);
  EXPECT_TRUE(unpin({1, 1}));
  EXPECT_EQ(cache->evict(100), 1);
  EXPECT_EQ(allocator->numFreeBlocks(), 12);
}

TEST_F(PrefixCacheTest, BlocksThatWereGivenBack) {
  Tokens tokens = {1, 1, 2, 2, 3, 3};
  Blocks blocks = compute(tokens);
  insert({1, 1, 2, 2}, blocks);
  allocator->release(blocks[0]);
  blocks[0] = -1;
  // What is before the last block is known.
  insert(tokens, blocks);
  EXPECT_EQ(blocks[0], -1);
  EXPECT_EQ(cached({1, 1, 2, 2, 3, 3, 0}), 6u);
  Tokens others = {4, 4, 5, 5};
  Blocks other = compute(others);
  allocator->release(other[0]);
  other[0] = -1;
  insert(others, other);
  EXPECT_EQ(cached({4, 4, 5, 5, 0}), 0u);
  EXPECT_EQ(cache->statistics().cachedBlocks, 3);
}

TEST_F(PrefixCacheTest, Mistakes) {
  EXPECT_THROW(PrefixCache(allocator, 0), std::invalid_argument);
  Blocks blocks = compute({1, 1, 2, 2});
  insert({1, 1, 2, 2}, blocks);
  // Not the tokens of these blocks.
  EXPECT_THROW(insert({1, 1, 3, 3}, blocks), std::invalid_argument);
  EXPECT_THROW(insert({1, 1, 2, 2, 3, 3}, blocks), std::invalid_argument);
  Blocks free = {11}, none = {12};
  EXPECT_THROW(insert({3, 3}, free), std::invalid_argument);
  EXPECT_THROW(insert({3, 3}, none), std::invalid_argument);
  EXPECT_EQ(cache->statistics().cachedBlocks, 2);
  EXPECT_EQ(allocator->useCount(blocks[0]), 2);
  EXPECT_EQ(allocator->useCount(blocks[1]), 2);
}

TEST_F(PrefixCacheTest, DeepPrefixes) {
  // Nothing recurses over what may be a hundred thousand blocks.
  int64_t count = 1 << 17;
  auto many = std::make_shared<BlockAllocator>(count);
  PrefixCache deep(many, 1);
  Tokens tokens(count, 7);
  Blocks blocks;
  ASSERT_TRUE(many->allocate(count, blocks));
  deep.insert(tokens.data(), count, blocks);
  int32_t first = blocks[0];
  for (int32_t block : blocks)
    if (block != first)
      many->release(block);
  EXPECT_EQ(deep.evict(count / 2), count / 2);
  EXPECT_EQ(deep.evict(count), count / 2 - 1);
  EXPECT_EQ(many->numFreeBlocks(), count - 1);
}

namespace {

/// Every cached prefix with its block, and no tree.
struct ModelOfCache {
  struct Entry {
    int32_t block;
    int64_t used;
    int64_t pins = 0;
  };

  void use(const Tokens &tokens, size_t length) {
    ++now;
    for (size_t end = 2; end <= length; end += 2)
      entries.at(prefix(tokens, end)).used = now;
  }
  static Tokens prefix(const Tokens &tokens, size_t length) {
    return {tokens.begin(), tokens.begin() + length};
  }
  size_t longest(const Tokens &tokens, size_t most) const {
    size_t length = 0;
    while (length + 2 <= most && entries.count(prefix(tokens, length + 2)))
      length += 2;
    return length;
  }
  Blocks evict(int64_t count, const std::map<int32_t, int64_t> &owners) {
    Blocks freed;
    while (int64_t(freed.size()) < count) {
      const Tokens *oldest = nullptr;
      for (auto &[tokens, entry] : entries) {
        if (owners.at(entry.block) > 1)
          continue;
        if (!oldest || entry.used < entries.at(*oldest).used ||
            (entry.used == entries.at(*oldest).used &&
             tokens.size() > oldest->size()))
          oldest = &tokens;
      }
      if (!oldest)
        break;
      Tokens gone = *oldest;
      freed.push_back(entries.at(gone).block);
      for (auto at = entries.begin(); at != entries.end();)
        at = at->first.size() >= gone.size() &&
                     std::equal(gone.begin(), gone.end(), at->first.begin())
                 ? entries.erase(at)
                 : std::next(at);
    }
    return freed;
  }

  std::map<Tokens, Entry> entries;
  int64_t now = 0;
};

struct RandomUse : PrefixCacheTest {
  RandomUse() : PrefixCacheTest(24) {}

  struct Running {
    Tokens tokens;
    Blocks blocks;
  };

  /// The owners of every block: sequences, the cache and pins.
  std::map<int32_t, int64_t> owners() {
    std::map<int32_t, int64_t> result;
    for (Running &each : running)
      for (int32_t block : each.blocks)
        ++result[block];
    for (auto &[tokens, entry] : model.entries) {
      ++result[entry.block];
      for (size_t end = 2; end <= tokens.size(); end += 2)
        result[model.entries.at(ModelOfCache::prefix(tokens, end)).block] +=
            entry.pins;
    }
    return result;
  }
  void check() {
    std::map<int32_t, int64_t> expected = owners();
    int64_t onlyCached = 0;
    for (int32_t block = 0; block < 24; ++block)
      ASSERT_EQ(allocator->useCount(block),
                expected.count(block) ? expected[block] : 0);
    for (auto &[tokens, entry] : model.entries) {
      ASSERT_TRUE(allocator->isCached(entry.block));
      onlyCached += expected[entry.block] == 1;
    }
    ASSERT_EQ(allocator->numOnlyCached(), onlyCached);
    ASSERT_EQ(allocator->numFreeBlocks(), 24 - int64_t(expected.size()));
    ASSERT_EQ(cache->statistics().cachedBlocks, int64_t(model.entries.size()));
  }
  Tokens randomTokens() {
    Tokens tokens(1 + random() % 11);
    for (int32_t &token : tokens)
      token = random() % 5 == 0;
    return tokens;
  }

  void start() {
    Tokens tokens = randomTokens();
    size_t length = model.longest(tokens, tokens.size() - 1);
    Blocks blocks = match(tokens);
    model.use(tokens, length);
    ASSERT_EQ(2 * blocks.size(), length);
    for (size_t i = 0; i < blocks.size(); ++i)
      ASSERT_EQ(
          blocks[i],
          model.entries.at(ModelOfCache::prefix(tokens, 2 * i + 2)).block);
    running.push_back({tokens, blocks});
    int64_t more = (tokens.size() + 1) / 2 - blocks.size();
    if (more > allocator->numFreeBlocks())
      evict(more - allocator->numFreeBlocks());
    if (!allocator->allocate(more, running.back().blocks))
      stop(running.size() - 1);
  }
  void evict(int64_t count) {
    std::map<int32_t, int64_t> before = owners();
    Blocks freed = model.evict(count, before);
    ASSERT_EQ(cache->evict(count), int64_t(freed.size()));
    for (int32_t block : freed)
      ASSERT_EQ(allocator->useCount(block), 0);
  }
  void stop(size_t i) {
    release(running[i].blocks);
    running.erase(running.begin() + i);
  }
  void remember(Running &sequence) {
    size_t full = sequence.tokens.size() / 2;
    for (size_t i = 0; i < full; ++i) {
      auto found = model.entries.emplace(
          ModelOfCache::prefix(sequence.tokens, 2 * i + 2),
          ModelOfCache::Entry{sequence.blocks[i], 0});
      wanted.push_back(found.first->second.block);
    }
    model.use(sequence.tokens, 2 * full);
    insert(sequence.tokens, sequence.blocks);
    for (size_t i = 0; i < full; ++i)
      ASSERT_EQ(sequence.blocks[i], wanted[i]);
    wanted.clear();
  }
  void changePins() {
    Tokens tokens = randomTokens();
    size_t full = tokens.size() / 2 * 2;
    auto found = model.entries.find(ModelOfCache::prefix(tokens, full));
    bool known = full > 0 && found != model.entries.end();
    if (random() % 3 == 0) {
      ASSERT_EQ(pin(tokens), known);
      if (known) {
        ++found->second.pins;
        model.use(tokens, full);
      }
    } else {
      bool pinned = known && found->second.pins > 0;
      ASSERT_EQ(unpin(tokens), pinned);
      if (pinned)
        --found->second.pins;
    }
  }

  std::mt19937_64 random{7};
  std::vector<Running> running;
  ModelOfCache model;
  Blocks wanted;
};

} // namespace

TEST_F(RandomUse, AgainstAModel) {
  int64_t hits = 0;
  for (int i = 0; i < 40000; ++i) {
    SCOPED_TRACE(i);
    size_t any = running.empty() ? 0 : random() % running.size();
    switch (random() % 8) {
    case 0:
    case 1:
      start();
      break;
    case 2:
      if (!running.empty())
        stop(any);
      break;
    case 3: // A fork.
      if (!running.empty() && running.size() < 12) {
        running.push_back(running[any]);
        for (int32_t block : running.back().blocks)
          allocator->retain(block);
      }
      break;
    case 4:
      evict(random() % 3);
      break;
    case 5:
      changePins();
      break;
    default:
      if (!running.empty())
        remember(running[any]);
    }
    check();
    if (HasFatalFailure())
      return;
    hits = cache->statistics().hitTokens;
  }
  // The walk has gone everywhere.
  EXPECT_GT(hits, 5000);
  EXPECT_GT(cache->statistics().evictedBlocks, 1000);
  running.clear();
}
