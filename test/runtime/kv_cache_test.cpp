// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The block allocator, against a model of it, and the limits of the cache.
#include "llmir/runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <set>

using namespace llmir::runtime;

TEST(BlockAllocator, AllOrNothing) {
  BlockAllocator allocator(4);
  std::vector<int32_t> blocks;
  EXPECT_TRUE(allocator.allocate(3, blocks));
  EXPECT_EQ(blocks.size(), 3u);
  EXPECT_FALSE(allocator.allocate(2, blocks));
  EXPECT_EQ(blocks.size(), 3u);
  EXPECT_EQ(allocator.numFreeBlocks(), 1);
  EXPECT_TRUE(allocator.allocate(0, blocks));
  EXPECT_TRUE(allocator.allocate(1, blocks));
  EXPECT_EQ(std::set<int32_t>(blocks.begin(), blocks.end()),
            (std::set<int32_t>{0, 1, 2, 3}));
  EXPECT_FALSE(allocator.allocate(1, blocks));
}

TEST(BlockAllocator, SharedBlocksAndMistakes) {
  BlockAllocator allocator(2);
  std::vector<int32_t> blocks;
  ASSERT_TRUE(allocator.allocate(1, blocks));
  int32_t block = blocks[0];
  allocator.retain(block);
  EXPECT_EQ(allocator.useCount(block), 2);
  allocator.release(block);
  EXPECT_EQ(allocator.numFreeBlocks(), 1);
  allocator.release(block);
  EXPECT_EQ(allocator.numFreeBlocks(), 2);
  EXPECT_THROW(allocator.release(block), std::invalid_argument);
  EXPECT_THROW(allocator.retain(block), std::invalid_argument);
  EXPECT_THROW(allocator.release(2), std::invalid_argument);
  EXPECT_THROW(allocator.release(-1), std::invalid_argument);
  EXPECT_THROW(allocator.useCount(2), std::invalid_argument);
  EXPECT_EQ(allocator.numFreeBlocks(), 2);
  EXPECT_THROW(BlockAllocator(0), std::invalid_argument);
}

TEST(BlockAllocator, RandomUse) {
  std::mt19937_64 random(1);
  BlockAllocator allocator(50);
  std::vector<int32_t> held; // With repetitions.
  for (int i = 0; i < 20000; ++i) {
    switch (random() % 3) {
    case 0: {
      int64_t count = random() % 8, free = allocator.numFreeBlocks();
      std::vector<int32_t> got;
      ASSERT_EQ(allocator.allocate(count, got), count <= free);
      ASSERT_EQ(int64_t(got.size()), count <= free ? count : 0);
      for (int32_t block : got)
        ASSERT_EQ(std::count(held.begin(), held.end(), block), 0);
      held.insert(held.end(), got.begin(), got.end());
      break;
    }
    case 1:
      if (!held.empty()) {
        held.push_back(held[random() % held.size()]);
        allocator.retain(held.back());
      }
      break;
    default:
      for (int n = random() % 8; n > 0 && !held.empty(); --n) {
        std::swap(held[random() % held.size()], held.back());
        allocator.release(held.back());
        held.pop_back();
      }
    }
    ASSERT_EQ(allocator.numFreeBlocks(),
              50 - int64_t(std::set<int32_t>(held.begin(), held.end()).size()));
  }
}

/// Of a head's keys and values, for blocks that a step reads.
TEST(KVPool, IntegersTakeLess) {
  KVCacheConfig config;
  config.headDim = 64;
  for (int64_t blockSize : {16, 32, 64}) {
    config.blockSize = blockSize;
    auto bytes = [&](llmir_dtype dtype) {
      config.dtype = dtype;
      return double(KVPool::bytesPerBlock(config));
    };
    double int8 = bytes(LLMIR_I8) / bytes(LLMIR_BF16);
    double int4 = bytes(LLMIR_I4) / bytes(LLMIR_BF16);
    std::cout << "blocks of " << blockSize << ", head_dim 64, against bf16: "
              << "int8 " << int8 << ", int4 " << int4 << "\n";
    EXPECT_LE(int8, 0.54);
    EXPECT_LE(int4, 0.30);
  }
}

TEST(KVPool, SizeAndLimits) {
  KVCacheConfig config;
  config.dtype = LLMIR_BF16;
  config.layers = 3;
  config.kvHeads = 2;
  config.headDim = 64;
  config.blockSize = 16;
  config.numBlocks = 5;
  KVPool cache(config);
  EXPECT_EQ(cache.bytes(), 3 * 5 * 2 * (2 * 64 * 16 * 2));
  EXPECT_EQ(KVPool::bytesPerBlock(config) * 5, cache.bytes());
  auto refused = [&](auto change) {
    KVCacheConfig bad = config;
    change(bad);
    EXPECT_THROW(KVPool{bad}, std::invalid_argument);
  };
  refused([](KVCacheConfig &c) { c.blockSize = 12; });
  refused([](KVCacheConfig &c) { c.blockSize = 0; });
  refused([](KVCacheConfig &c) { c.headDim = 0; });
  refused([](KVCacheConfig &c) { c.kvHeads = -1; });
  refused([](KVCacheConfig &c) { c.layers = 0; });
  refused([](KVCacheConfig &c) { c.dtype = LLMIR_I32; });
  refused([](KVCacheConfig &c) { c.numBlocks = int64_t(1) << 31; });
  refused([](KVCacheConfig &c) { c.numBlocks = int64_t(1) << 28; });
}
