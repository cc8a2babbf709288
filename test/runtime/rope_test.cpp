// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotating and appending at once, at every dispatch level: the same bits as a
// rotation number by number and an append after it.
#include "test_support.h"

#include "kernels/kernels.h"
#include "llmir/runtime/kv_cache.h"

#include <algorithm>
#include <numeric>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

struct Shape {
  int64_t heads, kvHeads, headDim, rotated, blockSize;
};

/// Whole heads and parts of them, which no vector divides, and head_dims beyond
/// what an append converts at once.
const Shape shapes[] = {{1, 1, 2, 2, 1},    {4, 2, 64, 64, 16},
                        {6, 2, 20, 20, 16}, {3, 3, 80, 32, 32},
                        {5, 1, 24, 10, 8},  {2, 2, 128, 96, 16},
                        {8, 4, 33, 2, 16},  {2, 1, 320, 320, 16}};

/// New tokens, whose heads are parts of one row, as a merged product has them,
/// and a table that is part of a wider one.
struct Problem {
  Problem(Shape shape, int64_t tokens, llmir_dtype rows, llmir_dtype values)
      : shape(shape), tokens(tokens),
        columns((shape.heads + shape.kvHeads) * shape.headDim),
        rows(rows, {tokens, columns + 3}),
        values(values, {tokens, shape.kvHeads, shape.headDim}),
        table(LLMIR_F32, {maxPosition, 2, shape.rotated / 2 + 3}),
        positions(LLMIR_I32, {tokens}), slots(LLMIR_I32, {tokens}) {
    std::mt19937_64 random(shape.headDim + tokens);
    this->rows.randomize(random, 2);
    this->values.randomize(random);
    table.randomize(random, 0.7f);
    std::vector<int32_t> order(maxPosition);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    // Runs of slots as a prompt has them, in blocks of any order.
    std::vector<int32_t> blocks(numBlocks());
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    for (int64_t t = 0; t < tokens; ++t) {
      positions.data<int32_t>()[t] = order[t];
      int64_t at = t + shape.blockSize / 2;
      slots.data<int32_t>()[t] =
          int32_t(blocks[at / shape.blockSize] * shape.blockSize +
                  at % shape.blockSize);
    }
  }

  int64_t numBlocks() const { return tokens / shape.blockSize + 2; }

  std::unique_ptr<KVPool> makeCache(llmir_dtype dtype) const {
    KVCacheConfig config;
    config.dtype = dtype;
    config.layers = 2;
    config.kvHeads = shape.kvHeads;
    config.headDim = shape.headDim;
    config.blockSize = shape.blockSize;
    config.numBlocks = numBlocks();
    return std::make_unique<KVPool>(config);
  }

  /// `count` heads of every row, from column `first` on.
  llmir_tensor heads(int64_t first, int64_t count) {
    llmir_tensor result = rows.view();
    result.data = rows.bytes.data() + first * dtypeBytes(rows.dtype);
    result.rank = 3;
    result.sizes[1] = count;
    result.sizes[2] = shape.headDim;
    result.strides[1] = shape.headDim;
    result.strides[2] = 1;
    return result;
  }
  llmir_tensor query() { return heads(1, shape.heads); }
  llmir_tensor keys() {
    return heads(1 + shape.heads * shape.headDim, shape.kvHeads);
  }

  llmir_tensor tableView() {
    llmir_tensor result = table.view();
    result.sizes[2] = shape.rotated / 2;
    return result;
  }

  /// What some heads become, number by number.
  Tensor rotate(int64_t first, int64_t count) const {
    Tensor result(LLMIR_F32, {tokens, count, shape.headDim});
    int64_t half = shape.rotated / 2, d = shape.headDim;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t h = 0; h < count; ++h) {
        auto x = [&](int64_t i) {
          return rows.at(t * (columns + 3) + first + h * d + i);
        };
        int64_t position = positions.data<int32_t>()[t];
        int64_t cosines = position * 2 * (half + 3);
        int64_t sines = cosines + half + 3;
        for (int64_t i = 0; i < d; ++i) {
          volatile float straight = x(i), crossed = 0;
          if (i < 2 * half) {
            straight = x(i) * table.at(cosines + i % half);
            crossed = x((i + half) % (2 * half)) * table.at(sines + i % half);
          }
          result.set((t * count + h) * d + i,
                     i < half ? straight - crossed : straight + crossed);
        }
      }
    return result;
  }

  Shape shape;
  int64_t tokens, columns;
  static constexpr int64_t maxPosition = 100;
  Tensor rows, values, table, positions, slots;
};

std::vector<char> contents(KVPool &cache) {
  const llmir_kv_cache *handle = cache.handle();
  return {handle->pool, handle->pool + handle->poolBytes};
}

/// Compares with a rotation number by number, and an append after it.
void expectRotationAndThenAppend(Context &context, const Shape &shape,
                                 llmir_dtype held, llmir_dtype rows,
                                 int64_t tokens) {
  const llmir_runtime &runtime = context.runtime();
  // Values come in f32, or as a cache of floats has them.
  bool isInteger = held == LLMIR_I8 || held == LLMIR_I4;
  Problem problem(shape, tokens, rows,
                  isInteger || rows == LLMIR_F32 ? LLMIR_F32 : held);
  llmir_tensor v = problem.values.view(), slots = problem.slots.view();
  Tensor keys = problem.rotate(1 + shape.heads * shape.headDim, shape.kvHeads);
  llmir_tensor k = keys.view();
  auto expected = problem.makeCache(held);
  runtime.append_kv(runtime.context, expected->handle(), 1, &k, &v, &slots);

  auto cache = problem.makeCache(held);
  Tensor rotated(LLMIR_F32, {tokens, shape.heads, shape.headDim});
  llmir_tensor query = problem.query(), out = rotated.view(),
               table = problem.tableView(),
               positions = problem.positions.view();
  k = problem.keys();
  runtime.rope_append_kv(runtime.context, cache->handle(), 1, &query, &k, &v,
                         &table, &positions, &slots, &out);
  ASSERT_EQ(rotated.bytes, problem.rotate(1, shape.heads).bytes)
      << "queries of head_dim " << shape.headDim << ", " << tokens
      << " tokens of type " << rows;
  ASSERT_EQ(contents(*cache), contents(*expected))
      << "keys of head_dim " << shape.headDim << ", " << tokens
      << " tokens of type " << rows << " in a cache of type " << held;
}

class RopeTest : public ::testing::TestWithParam<CpuLevel> {};

} // namespace

TEST_P(RopeTest, IsRotationAndThenAppend) {
  Context one(1, GetParam()), three(3, GetParam());
  for (const Shape &shape : shapes)
    for (llmir_dtype held :
         {LLMIR_F32, LLMIR_BF16, LLMIR_F16, LLMIR_I8, LLMIR_I4})
      for (llmir_dtype rows : floatTypes)
        for (int64_t tokens : {1, 37, 100})
          expectRotationAndThenAppend(tokens == 100 ? three : one, shape, held,
                                      rows, tokens);
}

TEST_P(RopeTest, WritesRowsThatLieApart) {
  Problem problem({2, 1, 20, 16, 16}, 5, LLMIR_F32, LLMIR_F32);
  Context context(1, GetParam());
  const llmir_runtime &runtime = context.runtime();
  auto cache = problem.makeCache(LLMIR_BF16);
  Tensor rotated(LLMIR_F32, {5, 2, 32}), blank = rotated;
  llmir_tensor query = problem.query(), k = problem.keys(),
               v = problem.values.view(), table = problem.tableView(),
               positions = problem.positions.view(),
               slots = problem.slots.view(), out = rotated.view();
  out.sizes[2] = 20;
  runtime.rope_append_kv(runtime.context, cache->handle(), 0, &query, &k, &v,
                         &table, &positions, &slots, &out);
  Tensor expected = problem.rotate(1, 2);
  for (int64_t i = 0; i < rotated.count(); ++i) {
    int64_t row = i / 32, column = i % 32;
    ASSERT_EQ(rotated.at(i),
              column < 20 ? expected.at(row * 20 + column) : blank.at(i));
  }
}

INSTANTIATE_TEST_SUITE_P(Levels, RopeTest, ::testing::ValuesIn(testedLevels()),
                         [](const auto &info) {
                           return levelLabel(info.param);
                         });
