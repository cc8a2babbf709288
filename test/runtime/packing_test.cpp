// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The layout of packed weights, element by element.
#include "test_support.h"

#include "llmir/runtime/checksum.h"

#include <algorithm>
#include <cmath>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

TEST(Packing, Shapes) {
  EXPECT_EQ(packedShape(LLMIR_F32, 33, 7), (std::vector<int64_t>{2, 7, 32}));
  EXPECT_EQ(packedShape(LLMIR_BF16, 33, 7),
            (std::vector<int64_t>{2, 16, 32, 2}));
  EXPECT_EQ(packedShape(LLMIR_BF16, 64, 64),
            (std::vector<int64_t>{2, 32, 32, 2}));
  EXPECT_EQ(packedShape(LLMIR_F16, 33, 7), (std::vector<int64_t>{2, 7, 32}));
  EXPECT_EQ(packedBytes(LLMIR_F16, 33, 7), 2 * 7 * 32 * 2);
  EXPECT_EQ(packedBytes(LLMIR_F32, 33, 7), 2 * 7 * 32 * 4);
  EXPECT_EQ(packedBytes(LLMIR_BF16, 33, 7), 2 * 32 * 32 * 2);
  EXPECT_THROW(packedShape(LLMIR_F32, 0, 7), std::invalid_argument);
  EXPECT_THROW(packedShape(LLMIR_F32, 7, -1), std::invalid_argument);
  EXPECT_THROW(packedShape(LLMIR_I32, 7, 7), std::invalid_argument);
  EXPECT_THROW(packedBytes(LLMIR_F32, int64_t(1) << 40, int64_t(1) << 40),
               std::invalid_argument);
  EXPECT_EQ(parseDtype("f16"), LLMIR_F16);
  EXPECT_THROW(parseDtype("f64"), std::invalid_argument);
}

TEST(Packing, EveryElement) {
  std::mt19937_64 random(1);
  ThreadPool pool(3);
  for (int64_t n : {1, 31, 32, 33, 100})
    for (int64_t k : {1, 2, 5, 31, 32, 33, 64, 130, 257})
      for (llmir_dtype from : floatTypes)
        for (llmir_dtype to : floatTypes) {
          Tensor src(from, {n, k});
          src.randomize(random);
          int64_t bytes = packedBytes(to, n, k);
          std::vector<char> packed(bytes + 1, 0x55);
          packPanels(from, to, src.bytes.data(), n, k, packed.data(), &pool);
          ASSERT_EQ(packed[bytes], 0x55);

          int64_t kp = (k + 31) / 32 * 32, panels = (n + 31) / 32;
          for (int64_t row = 0; row < panels * 32; ++row)
            for (int64_t i = 0; i < (to == LLMIR_BF16 ? kp : k); ++i) {
              float value = row < n && i < k ? src.at(row * k + i) : 0;
              int64_t panel = row / 32, column = row % 32;
              if (to == LLMIR_F32) {
                const float *p = reinterpret_cast<float *>(packed.data());
                ASSERT_EQ(p[(panel * k + i) * 32 + column], value);
              } else if (to == LLMIR_F16) {
                const uint16_t *p = reinterpret_cast<uint16_t *>(packed.data());
                ASSERT_EQ(p[(panel * k + i) * 32 + column], toF16(value));
              } else {
                const uint16_t *p = reinterpret_cast<uint16_t *>(packed.data());
                ASSERT_EQ(
                    p[((panel * kp / 2 + i / 2) * 32 + column) * 2 + i % 2],
                    toBF16(value));
              }
            }

          // Panel by panel gives the same.
          std::vector<char> pieces(bytes);
          for (int64_t p = 0; p < panels; ++p)
            packPanels(from, to, src.bytes.data(), n, k, p, p + 1,
                       pieces.data() + p * (bytes / panels));
          packed.resize(bytes);
          ASSERT_EQ(pieces, packed);
        }
}

TEST(Packing, RoundsToNearestEvenAndKeepsNaN) {
  float src[4] = {1 + 0x1p-8f, 1 + 0x1p-7f + 0x1p-8f, NAN, -INFINITY};
  std::vector<uint16_t> packed(packedBytes(LLMIR_BF16, 4, 1) / 2);
  packPanels(LLMIR_F32, LLMIR_BF16, src, 4, 1, packed.data());
  EXPECT_EQ(fromBF16(packed[0]), 1.0f);
  EXPECT_EQ(fromBF16(packed[2]), 1 + 0x1p-6f);
  EXPECT_TRUE(std::isnan(fromBF16(packed[4])));
  EXPECT_EQ(fromBF16(packed[6]), -INFINITY);
}

TEST(Packing, RefusesPanelsOutOfRange) {
  float src[4] = {};
  std::vector<char> packed(packedBytes(LLMIR_F32, 2, 2));
  EXPECT_THROW(packPanels(LLMIR_F32, LLMIR_F32, src, 2, 2, 0, 2, packed.data()),
               std::invalid_argument);
  EXPECT_THROW(
      packPanels(LLMIR_F32, LLMIR_F32, src, 2, 2, -1, 1, packed.data()),
      std::invalid_argument);
}

TEST(Checksum, KnownValues) {
  // From the xxHash specification: XXH3 of nothing.
  EXPECT_EQ(xxh3("", 0), "2d06800538d394c2");
  EXPECT_NE(xxh3("a", 1), xxh3("b", 1));
  EXPECT_THROW(xxh3File("/nonexistent/file"), std::runtime_error);
}

TEST(CpuFeatures, LevelsFollowTheFeatures) {
  std::vector<std::string> features = hostFeatures();
  EXPECT_TRUE(std::is_sorted(features.begin(), features.end()));
  auto has = [&](const char *name) {
    return std::binary_search(features.begin(), features.end(), name);
  };
#if defined(__x86_64__)
  EXPECT_TRUE(has("sse2"));
  EXPECT_TRUE(has("64bit"));
#endif
  EXPECT_TRUE(supportsCpuLevel(CpuLevel::Portable));
  EXPECT_EQ(supportsCpuLevel(CpuLevel::Avx2),
            has("avx2") && has("fma") && has("f16c"));
}

TEST(CpuFeatures, LevelFromTheEnvironment) {
  ASSERT_EQ(setenv("LLMIR_CPU_LEVEL", "portable", 1), 0);
  EXPECT_EQ(selectCpuLevel(), CpuLevel::Portable);
  ASSERT_EQ(setenv("LLMIR_CPU_LEVEL", "avx3", 1), 0);
  EXPECT_THROW(selectCpuLevel(), std::runtime_error);
  if (!supportsCpuLevel(CpuLevel::Amx)) {
    ASSERT_EQ(setenv("LLMIR_CPU_LEVEL", "amx", 1), 0);
    EXPECT_THROW(selectCpuLevel(), std::runtime_error);
  }
  unsetenv("LLMIR_CPU_LEVEL");
  EXPECT_EQ(selectCpuLevel(), testedLevels().back());
}
