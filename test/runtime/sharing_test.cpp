// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sequences that share blocks: their logits are those of the same tokens
// alone, bit for bit, and every block has exactly the owners that it should
// have. The compiled model attends to its cache, so what is lost or overwritten
// shows.
#include "llmir/runtime/engine.h"
#include "test_artifact.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

using Tokens = std::vector<int32_t>;
using Logits = std::vector<float>;

class SharingTest : public ArtifactTest {
protected:
  void SetUp() override {
    ArtifactTest::SetUp();
    useCode("attention");
  }

  void setLength(int64_t length) {
    std::string text = std::to_string(length);
    changeManifest("\"max_model_len\": 20", "\"max_model_len\": " + text);
    changeManifest("\"max_seq_len\": 20", "\"max_seq_len\": " + text);
  }

  static Tokens prompt(size_t length, int32_t seed) {
    std::minstd_rand random(seed + 1);
    Tokens tokens(length);
    for (int32_t &token : tokens)
      token = int32_t(random() % 16);
    return tokens;
  }

  /// The logits after `tokens`, which follow what the sequence has.
  static Logits run(Engine &engine, Sequence &sequence, const Tokens &tokens) {
    Logits logits;
    int64_t most = engine.model().manifest().maxBatchTokens;
    for (size_t at = 0; at < tokens.size(); at += most)
      logits =
          engine.step({{&sequence, tokens.data() + at,
                        std::min(most, int64_t(tokens.size() - at)), false}});
    return logits;
  }
  /// The same of a sequence that shares nothing.
  static Logits alone(Engine &engine, const Tokens &tokens) {
    auto sequence = engine.newSequence();
    return run(engine, *sequence, tokens);
  }
  static Tokens joined(Tokens tokens, const Tokens &more) {
    tokens.insert(tokens.end(), more.begin(), more.end());
    return tokens;
  }
};

} // namespace

TEST_F(SharingTest, AForkAppendsToACopy) {
  for (const char *dtype : {"f32", "bf16", "f16", "i8", "i4"}) {
    SCOPED_TRACE(dtype);
    writeManifest();
    changeManifest("\"dtype\": \"f32\", \"layers\"",
                   "\"dtype\": \"" + std::string(dtype) + "\", \"layers\"");
    Engine engine(load(), 1, 12), other(load(), 1, 12);
    Tokens start = prompt(6, 1), left = prompt(5, 2), right = prompt(7, 3);
    auto a = engine.newSequence();
    run(engine, *a, start);
    auto b = engine.fork(*a);
    EXPECT_EQ(b->length(), 6);
    EXPECT_EQ(b->blockTable(), a->blockTable());
    EXPECT_EQ(engine.numFreeBlocks(), 10);
    // One to begin, and a copy; the other then has the old one for itself.
    EXPECT_EQ(engine.blocksNeeded(*a, 5), 2);
    EXPECT_EQ(engine.blocksNeeded(*a, 0), 0);
    int32_t shared = a->blockTable()[1];
    Logits logits = run(engine, *a, left);
    EXPECT_EQ(logits, alone(other, joined(start, left)));
    EXPECT_NE(a->blockTable()[1], shared);
    EXPECT_EQ(b->blockTable()[1], shared);
    EXPECT_EQ(engine.blocks().useCount(shared), 1);
    EXPECT_EQ(engine.blocks().useCount(a->blockTable()[0]), 2);
    EXPECT_EQ(engine.blocksNeeded(*b, 2), 0);
    EXPECT_EQ(run(engine, *b, right), alone(other, joined(start, right)));
    EXPECT_EQ(b->blockTable()[1], shared);
    EXPECT_EQ(engine.numFreeBlocks(), 12 - 6);
    a.reset();
    // What the first has left is whole.
    EXPECT_EQ(run(engine, *b, {3}),
              alone(other, joined(joined(start, right), {3})));
    b.reset();
    EXPECT_EQ(engine.numFreeBlocks(), 12);
  }
}

TEST_F(SharingTest, ForksInOneStep) {
  Engine engine(load(), 1, 12), other(load(), 1, 12);
  Tokens start = prompt(6, 1);
  auto a = engine.newSequence();
  run(engine, *a, start);
  auto b = engine.fork(*a), c = engine.fork(*b);
  a.reset();
  Tokens first = prompt(3, 4), second = prompt(3, 5);
  Logits logits = engine.step(
      {{b.get(), first.data(), 3, false}, {c.get(), second.data(), 3, false}});
  Logits expected = alone(other, joined(start, first));
  Logits more = alone(other, joined(start, second));
  expected.insert(expected.end(), more.begin(), more.end());
  EXPECT_EQ(logits, expected);
  // The first block, and two of each.
  EXPECT_EQ(engine.numFreeBlocks(), 12 - 5);
}

TEST_F(SharingTest, AFullLastBlockIsNotCopied) {
  Engine engine(load(), 1, 12), other(load(), 1, 12);
  auto a = engine.newSequence();
  run(engine, *a, prompt(8, 1));
  auto b = engine.fork(*a);
  EXPECT_EQ(engine.blocksNeeded(*b, 1), 1);
  EXPECT_EQ(run(engine, *b, {5}), alone(other, joined(prompt(8, 1), {5})));
  EXPECT_EQ(b->blockTable()[1], a->blockTable()[1]);
  EXPECT_EQ(engine.numFreeBlocks(), 12 - 3);
  // Truncated into a block that the other has, it may not write there.
  engine.truncate(*b, 5);
  EXPECT_EQ(engine.numFreeBlocks(), 12 - 2);
  EXPECT_EQ(engine.blocksNeeded(*b, 1), 1);
  Tokens begin = prompt(8, 1);
  begin.resize(5);
  EXPECT_EQ(run(engine, *b, {6}), alone(other, joined(begin, {6})));
  EXPECT_NE(b->blockTable()[1], a->blockTable()[1]);
  EXPECT_EQ(run(engine, *a, {7}), alone(other, joined(prompt(8, 1), {7})));
}

TEST_F(SharingTest, NoRoomForACopy) {
  Engine engine(load(), 1, 3);
  Tokens ids = prompt(10, 1);
  auto a = engine.newSequence();
  run(engine, *a, ids);
  auto b = engine.fork(*a);
  std::vector<int32_t> blocks = b->blockTable();
  EXPECT_EQ(engine.blocksNeeded(*b, 1), 1);
  EXPECT_THROW(run(engine, *b, {1}), std::runtime_error);
  EXPECT_EQ(b->blockTable(), blocks);
  EXPECT_EQ(b->length(), 10);
  EXPECT_EQ(engine.blocks().useCount(blocks[2]), 2);
  a->close();
  EXPECT_EQ(engine.blocksNeeded(*b, 1), 0);
  run(engine, *b, {1});
  EXPECT_EQ(b->blockTable(), blocks);
}

TEST_F(SharingTest, ForksOfAWindow) {
  changeManifest("\"bos_token_id\": 0", "\"kv_cache_window\": 6");
  Engine engine(load(), 1, 8);
  auto a = engine.newSequence();
  run(engine, *a, prompt(9, 1));
  run(engine, *a, {1});
  ASSERT_EQ(a->blockTable()[0], -1);
  auto b = engine.fork(*a);
  EXPECT_EQ(b->blockTable()[0], -1);
  EXPECT_EQ(engine.numFreeBlocks(), 6);
  // Only a block that nobody else has comes back when it is passed.
  run(engine, *a, prompt(4, 2));
  EXPECT_EQ(engine.numFreeBlocks(), 8 - 4);
  EXPECT_EQ(engine.blocksNeeded(*a, 1), 0);
  run(engine, *a, {1});
  EXPECT_EQ(a->blockTable()[1], -1);
  EXPECT_EQ(engine.numFreeBlocks(), 4);
  run(engine, *b, prompt(4, 3));
  EXPECT_EQ(engine.blocksNeeded(*b, 1), -1);
  run(engine, *b, {1});
  EXPECT_EQ(engine.numFreeBlocks(), 4);
  engine.truncate(*b, 0);
  a->close();
  EXPECT_EQ(engine.numFreeBlocks(), 8);
}

TEST_F(SharingTest, WhatCannotBeShared) {
  Engine engine(load(), 1, 8), other(load(), 1, 8);
  engine.enablePrefixCache();
  Tokens ids = prompt(8, 1);
  auto a = engine.newSequence(), foreign = other.newSequence();
  run(engine, *a, ids);
  a->close();
  EXPECT_THROW(engine.fork(*a), std::invalid_argument);
  EXPECT_THROW(engine.fork(*foreign), std::invalid_argument);
  EXPECT_THROW(engine.remember(*a, ids.data(), 8), std::invalid_argument);
  EXPECT_THROW(engine.remember(*foreign, ids.data(), 8), std::invalid_argument);
  EXPECT_EQ(engine.fork(*engine.newSequence())->length(), 0);
  // Without a cache nothing is known, and nothing is kept.
  EXPECT_EQ(other.prefixCache(), nullptr);
  run(other, *foreign, ids);
  other.remember(*foreign, ids.data(), 8);
  EXPECT_EQ(other.newSequence(ids.data(), 8)->length(), 0);
  foreign.reset();
  EXPECT_EQ(other.numFreeBlocks(), 8);
}

TEST_F(SharingTest, APrefixIsComputedOnce) {
  for (const char *dtype : {"f32", "bf16", "f16", "i8", "i4"}) {
    SCOPED_TRACE(dtype);
    writeManifest();
    setLength(1100);
    changeManifest("\"max_batch_tokens\": 12", "\"max_batch_tokens\": 64");
    changeManifest("\"arena_bytes\": 4096", "\"arena_bytes\": 8192");
    changeManifest("\"dtype\": \"f32\", \"layers\"",
                   "\"dtype\": \"" + std::string(dtype) + "\", \"layers\"");
    Engine engine(load(), 1, 250 + 200), other(load(), 1, 275);
    engine.enablePrefixCache();
    Tokens prefix = prompt(1000, 1);
    std::vector<std::unique_ptr<Sequence>> sequences;
    int64_t computed = 0;
    for (int i = 0; i < 100; ++i) {
      Tokens ids = joined(prefix, prompt(5, 2 + i));
      sequences.push_back(engine.newSequence(ids.data(), ids.size()));
      Sequence &sequence = *sequences.back();
      Tokens rest(ids.begin() + sequence.length(), ids.end());
      computed += rest.size();
      Logits logits = run(engine, sequence, rest);
      if (i % 33 == 0)
        EXPECT_EQ(logits, alone(other, ids));
      engine.remember(sequence, ids.data(), ids.size());
    }
    EXPECT_EQ(computed, 1000 + 100 * 5);
    // A block of 4 and one of 1 of each one's own.
    EXPECT_EQ(engine.numFreeBlocks(), 0);
    EXPECT_EQ(engine.blocks().useCount(sequences[0]->blockTable()[249]), 101);
    PrefixCacheStatistics counts = engine.prefixCache()->statistics();
    EXPECT_EQ(counts.lookups, 100);
    EXPECT_EQ(counts.askedTokens, 100 * 1005);
    EXPECT_EQ(counts.hitTokens, 99 * 1000);
    EXPECT_EQ(counts.cachedBlocks, 250 + 100);
    sequences.clear();
    EXPECT_EQ(engine.numFreeBlocks(), 100);
    EXPECT_EQ(engine.numAvailableBlocks(), 450);
  }
}

TEST_F(SharingTest, StepsEvictWhatTheyNeed) {
  Engine engine(load(), 1, 6), other(load(), 1, 6);
  engine.enablePrefixCache();
  Tokens first = prompt(16, 1), second = prompt(12, 2);
  auto a = engine.newSequence();
  run(engine, *a, first);
  engine.remember(*a, first.data(), 16);
  EXPECT_EQ(engine.numAvailableBlocks(), 2);
  auto b = engine.newSequence();
  EXPECT_THROW(engine.step({{b.get(), second.data(), 12, false}}),
               std::runtime_error);
  EXPECT_EQ(engine.prefixCache()->statistics().cachedBlocks, 4);
  a->close();
  EXPECT_EQ(engine.numFreeBlocks(), 2);
  EXPECT_EQ(engine.numAvailableBlocks(), 6);
  EXPECT_EQ(run(engine, *b, second), alone(other, second));
  // The end of the prefix has gone, and no more than that.
  EXPECT_EQ(engine.prefixCache()->statistics().evictedBlocks, 1);
  auto c = engine.newSequence(first.data(), 16);
  EXPECT_EQ(c->length(), 12);
  Tokens rest(first.begin() + 12, first.end());
  EXPECT_THROW(run(engine, *c, rest), std::runtime_error);
  b->close();
  EXPECT_EQ(run(engine, *c, rest), alone(other, first));
  // Truncated into a block of the cache, it leaves that as it is.
  engine.truncate(*c, 5);
  Tokens begin(first.begin(), first.begin() + 5);
  EXPECT_EQ(run(engine, *c, {9}), alone(other, joined(begin, {9})));
  c = engine.newSequence(first.data(), 16);
  EXPECT_EQ(c->length(), 12);
  EXPECT_EQ(run(engine, *c, rest), alone(other, first));
}

TEST_F(SharingTest, OutputsAreEnteredOnlyAsFarAsTheyAreComputed) {
  Engine engine(load(), 1, 8);
  engine.enablePrefixCache();
  Tokens ids = prompt(12, 1);
  auto a = engine.newSequence();
  run(engine, *a, Tokens(ids.begin(), ids.begin() + 7));
  engine.remember(*a, ids.data(), 12);
  EXPECT_EQ(engine.newSequence(ids.data(), 12)->length(), 4);
  engine.remember(*a, ids.data(), 3);
  EXPECT_EQ(engine.prefixCache()->statistics().cachedBlocks, 1);
}

TEST_F(SharingTest, PrefixesOfAWindow) {
  changeManifest("\"bos_token_id\": 0", "\"kv_cache_window\": 6");
  Engine engine(load(), 1, 6);
  engine.enablePrefixCache();
  Tokens ids = prompt(20, 1);
  auto a = engine.newSequence();
  auto more = [&](size_t begin, size_t end) {
    run(engine, *a, Tokens(ids.begin() + begin, ids.begin() + end));
  };
  more(0, 9);
  engine.remember(*a, ids.data(), 9);
  more(9, 13);
  EXPECT_EQ(a->blockTable()[0], -1);
  EXPECT_EQ(engine.numFreeBlocks(), 2);
  EXPECT_EQ(engine.numAvailableBlocks(), 3);
  engine.remember(*a, ids.data(), 13);
  EXPECT_EQ(engine.prefixCache()->statistics().cachedBlocks, 3);
  // What is passed goes to the cache when it was entered, and is available.
  EXPECT_EQ(engine.blocksNeeded(*a, 1), -1);
  // One that starts from there has what it sees.
  auto b = engine.newSequence(ids.data(), 14);
  EXPECT_EQ(b->length(), 12);
  EXPECT_EQ(b->blockTable()[0], -1);
  EXPECT_EQ(b->blockTable()[2], a->blockTable()[2]);
  b->close();
  a->close();
  // Nothing can be entered once the beginning is gone.
  engine.prefixCache()->evict(6);
  EXPECT_EQ(engine.numFreeBlocks(), 6);
  a = engine.newSequence();
  more(0, 9);
  more(9, 12);
  engine.remember(*a, ids.data(), 12);
  EXPECT_EQ(engine.prefixCache()->statistics().cachedBlocks, 0);
}

namespace {

struct RandomSharing : SharingTest {
  struct Running {
    Tokens tokens;
    std::unique_ptr<Sequence> sequence;
  };

  /// Counts the owners of every block anew.
  void check(Engine &engine) {
    std::map<int32_t, int32_t> owners;
    int64_t free = 0, cached = 0, onlyCached = 0;
    for (Running &each : running) {
      ASSERT_EQ(each.sequence->length(), int64_t(each.tokens.size()));
      ASSERT_EQ(each.sequence->blockTable().size(),
                (each.tokens.size() + 3) / 4);
      for (int32_t block : each.sequence->blockTable())
        ++owners[block];
    }
    for (int32_t block = 0; block < engine.numBlocks(); ++block) {
      bool isCached = engine.blocks().isCached(block);
      int32_t uses = owners[block] + isCached;
      ASSERT_EQ(engine.blocks().useCount(block), uses) << "block " << block;
      free += uses == 0;
      cached += isCached;
      onlyCached += isCached && uses == 1;
    }
    ASSERT_EQ(engine.numFreeBlocks(), free);
    ASSERT_EQ(engine.numAvailableBlocks(), free + onlyCached);
    ASSERT_EQ(engine.prefixCache()->statistics().cachedBlocks, cached);
  }

  const Logits &expected(Engine &other, const Tokens &tokens) {
    Logits &logits = known[tokens];
    if (logits.empty())
      logits = alone(other, tokens);
    return logits;
  }

  /// Some sequences take a few tokens each, if there is room.
  void step(Engine &engine, Engine &other) {
    std::vector<StepItem> items;
    std::vector<Tokens> more(running.size());
    int64_t room = 12, blocks = 0;
    for (size_t i = 0; i < running.size() && room > 0; ++i) {
      int64_t count = std::min({int64_t(random() % 6), room,
                                40 - int64_t(running[i].tokens.size())});
      if (count <= 0)
        continue;
      for (int64_t t = 0; t < count; ++t)
        more[i].push_back(random() % 4 == 0);
      items.push_back({running[i].sequence.get(), more[i].data(), count});
      blocks += engine.blocksNeeded(*running[i].sequence, count);
      room -= count;
    }
    if (items.empty())
      return;
    if (blocks > engine.numAvailableBlocks()) {
      EXPECT_THROW(engine.step(items), std::runtime_error);
      ++refused;
      return;
    }
    Logits logits = engine.step(items);
    size_t row = 0;
    for (size_t i = 0; i < running.size(); ++i) {
      if (more[i].empty())
        continue;
      running[i].tokens = joined(running[i].tokens, more[i]);
      ASSERT_EQ(
          Logits(logits.begin() + row * 16, logits.begin() + row * 16 + 16),
          expected(other, running[i].tokens));
      ++row;
    }
  }

  std::mt19937_64 random{11};
  std::vector<Running> running;
  std::map<Tokens, Logits> known;
  int64_t refused = 0;
};

} // namespace

TEST_F(RandomSharing, LogitsAndOwners) {
  setLength(40);
  Engine engine(load(), 1, 40), other(load(), 1, 10);
  engine.enablePrefixCache();
  for (int i = 0; i < 20000; ++i) {
    SCOPED_TRACE(i);
    Running *any =
        running.empty() ? nullptr : &running[random() % running.size()];
    switch (random() % 9) {
    case 0: {
      Tokens tokens(1 + random() % 24);
      for (int32_t &token : tokens)
        token = random() % 5 == 0;
      auto sequence = engine.newSequence(tokens.data(), tokens.size());
      tokens.resize(sequence->length());
      running.push_back({tokens, std::move(sequence)});
      break;
    }
    case 1:
      if (any && running.size() < 16) {
        auto sequence = engine.fork(*any->sequence);
        running.push_back({any->tokens, std::move(sequence)});
      }
      break;
    case 2:
      if (any) {
        any->tokens.resize(random() % (any->tokens.size() + 1));
        engine.truncate(*any->sequence, any->tokens.size());
      }
      break;
    case 3:
      if (any && (running.size() > 6 || random() % 4 == 0)) {
        std::swap(*any, running.back());
        running.pop_back();
      }
      break;
    case 4:
      if (any)
        engine.remember(*any->sequence, any->tokens.data(), any->tokens.size());
      break;
    default:
      step(engine, other);
    }
    check(engine);
    if (HasFatalFailure())
      return;
  }
  EXPECT_GT(refused, 50);
  PrefixCacheStatistics counts = engine.prefixCache()->statistics();
  EXPECT_GT(counts.hitTokens, 1000);
  EXPECT_GT(counts.evictedBlocks, 500);
  running.clear();
  EXPECT_EQ(engine.numAvailableBlocks(), 40);
  engine.prefixCache()->evict(40);
  EXPECT_EQ(engine.numFreeBlocks(), 40);
}
