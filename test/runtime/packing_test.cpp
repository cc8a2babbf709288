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
  EXPECT_EQ(packedShape({LLMIR_WEIGHT_F32}, 33, 7),
            (std::vector<int64_t>{2, 7, 32}));
  EXPECT_EQ(packedShape({LLMIR_WEIGHT_BF16}, 33, 7),
            (std::vector<int64_t>{2, 16, 32, 2}));
  EXPECT_EQ(packedShape({LLMIR_WEIGHT_BF16}, 64, 64),
            (std::vector<int64_t>{2, 32, 32, 2}));
  EXPECT_EQ(packedShape({LLMIR_WEIGHT_F16}, 33, 7),
            (std::vector<int64_t>{2, 7, 32}));
  EXPECT_EQ(packedBytes({LLMIR_WEIGHT_F16}, 33, 7), 2 * 7 * 32 * 2);
  EXPECT_EQ(packedBytes({LLMIR_WEIGHT_F32}, 33, 7), 2 * 7 * 32 * 4);
  EXPECT_EQ(packedBytes({LLMIR_WEIGHT_BF16}, 33, 7), 2 * 32 * 32 * 2);
  EXPECT_THROW(packedShape({LLMIR_WEIGHT_F32}, 0, 7), std::invalid_argument);
  EXPECT_THROW(packedShape({LLMIR_WEIGHT_F32}, 7, -1), std::invalid_argument);
  EXPECT_THROW(packedShape({llmir_weight_format(7)}, 7, 7),
               std::invalid_argument);
  EXPECT_THROW(
      packedBytes({LLMIR_WEIGHT_F32}, int64_t(1) << 40, int64_t(1) << 40),
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
          WeightFormat format = formatOf(to);
          int64_t bytes = packedBytes(format, n, k);
          std::vector<char> packed(bytes + 1, 0x55);
          packPanels(from, format, src.bytes.data(), n, k, packed.data(),
                     &pool);
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
            packPanels(from, format, src.bytes.data(), n, k, p, p + 1,
                       pieces.data() + p * (bytes / panels));
          packed.resize(bytes);
          ASSERT_EQ(pieces, packed);
        }
}

TEST(Packing, ShapesOfIntegers) {
  // Numbers, scales and zero points of the groups, up to whole cache lines.
  auto shape = [](WeightFormat format, int64_t n, int64_t k) {
    return packedShape(format, n, k);
  };
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(shape({LLMIR_WEIGHT_INT8, LLMIR_F32}, 33, 7),
            (Shape{2, 32 * 32 + 32 * 4}));
  EXPECT_EQ(shape({LLMIR_WEIGHT_INT4, LLMIR_F16, 32}, 64, 96),
            (Shape{2, int64_t(3) * (32 * 16 + 64)}));
  EXPECT_EQ(shape({LLMIR_WEIGHT_W4A8, LLMIR_BF16, 64, true}, 1, 64),
            (Shape{1, 32 * 32 + 64 + 32 + 32}));
  auto refused = [&](WeightFormat format, int64_t k) {
    EXPECT_THROW(packedShape(format, 32, k), std::invalid_argument);
    EXPECT_THROW(packedBytes(format, 32, k), std::invalid_argument);
  };
  refused({LLMIR_WEIGHT_INT8, LLMIR_I32}, 64);
  refused({LLMIR_WEIGHT_INT8, LLMIR_F16, 48}, 96);
  refused({LLMIR_WEIGHT_INT8, LLMIR_F16, -32}, 96);
  refused({LLMIR_WEIGHT_INT8, LLMIR_F16, 64}, 96);
  refused({LLMIR_WEIGHT_INT8, LLMIR_F16, 1024}, 2048);
  refused({LLMIR_WEIGHT_W8A8, LLMIR_F16}, 65537);
  EXPECT_NO_THROW(packedShape({LLMIR_WEIGHT_INT8, LLMIR_F16}, 32, 65537));
  EXPECT_NO_THROW(packedShape({LLMIR_WEIGHT_W8A8, LLMIR_F16}, 32, 65536));
  for (int kind = LLMIR_WEIGHT_F32; kind <= LLMIR_WEIGHT_W4A8; ++kind)
    EXPECT_EQ(parseWeightKind(weightKindName(llmir_weight_format(kind))), kind);
  EXPECT_THROW(parseWeightKind("int2"), std::invalid_argument);
}

namespace {

std::vector<WeightFormat> integerFormats(int64_t k) {
  std::vector<WeightFormat> formats;
  for (llmir_weight_format kind : {LLMIR_WEIGHT_INT8, LLMIR_WEIGHT_INT4,
                                   LLMIR_WEIGHT_W8A8, LLMIR_WEIGHT_W4A8})
    for (llmir_dtype scales : floatTypes)
      for (int64_t group : {0, 32, 64, 128})
        for (bool asymmetric : {false, true})
          if (group == 0 || k % group == 0)
            formats.push_back({kind, scales, group, asymmetric});
  return formats;
}

} // namespace

TEST(Packing, IntegersLieAsDescribed) {
  // Whatever the numbers are: the unpacked weight is near the plain one, each
  // number in its place and its scale beside it.
  std::mt19937_64 random(2);
  ThreadPool pool(3);
  for (int64_t n : {1, 33, 100})
    for (int64_t k : {1, 31, 32, 96, 128, 256})
      for (const WeightFormat &format : integerFormats(k)) {
        Tensor src(k == 96    ? LLMIR_BF16
                   : k == 128 ? LLMIR_F16
                              : LLMIR_F32,
                   {n, k});
        src.randomize(random);
        // A column of its own size, a group of zeros.
        for (int64_t i = 0; i < k; ++i)
          src.set(i, i < 32 ? 0 : src.at(i) * 30);
        int64_t bytes = packedBytes(format, n, k);
        std::vector<char> packed(bytes + 1, 0x55);
        packPanels(src.dtype, format, src.bytes.data(), n, k, packed.data(),
                   &pool);
        ASSERT_EQ(packed[bytes], 0x55);
        Unpacked unpacked(format, packed.data(), n, k);
        bool eight = unpacked.bits == 8;
        for (int64_t row = 0; row < n; ++row)
          for (int64_t begin = 0; begin < k; begin += unpacked.inputs) {
            int64_t end = std::min(k, begin + unpacked.inputs);
            float most = 0, low = 0, high = 0;
            for (int64_t i = begin; i < end; ++i) {
              float value = src.at(row * k + i);
              most = std::max(most, std::abs(value));
              low = std::min(low, value);
              high = std::max(high, value);
            }
            double scale = unpacked.scale(row, begin);
            if (format.asymmetric)
              ASSERT_EQ(scale, stored(format.scales,
                                      (high - low) / (eight ? 255 : 15)));
            else if (eight)
              ASSERT_EQ(scale, stored(format.scales, most / 127));
            double zero =
                format.asymmetric && scale != 0
                    ? std::nearbyint(std::min(double(-low / float(scale)),
                                              eight ? 255.0 : 15.0))
                    : 0;
            for (int64_t i = begin; i < end; ++i) {
              float value = src.at(row * k + i);
              // As llm.quantize has it, in f32.
              float quotient = scale == 0 ? 0 : value / float(scale);
              double q = std::nearbyint(quotient) + zero;
              q = format.asymmetric ? std::clamp(q, 0.0, eight ? 255.0 : 15.0)
                                    : std::clamp(q, eight ? -127.0 : -8.0,
                                                 eight ? 127.0 : 7.0);
              ASSERT_EQ(unpacked.integer(row, i), q - zero)
                  << weightKindName(format.kind) << " n " << n << " k " << k
                  << " group " << format.groupSize << " at " << row << ", "
                  << i;
            }
          }

        // Panel by panel gives the same, and another thread's share too.
        int64_t panels = (n + 31) / 32;
        std::vector<char> pieces(bytes);
        for (int64_t p = 0; p < panels; ++p)
          packPanels(src.dtype, format, src.bytes.data(), n, k, p, p + 1,
                     pieces.data() + p * (bytes / panels));
        packed.resize(bytes);
        ASSERT_EQ(pieces, packed);
      }
}

TEST(Packing, FourBitsAreAsGoodAsTheBestPeer) {
  // Q4_0 of llama.cpp: the largest number becomes -8.
  std::mt19937_64 random(3);
  constexpr int64_t n = 64, k = 4096;
  for (bool heavy : {false, true}) {
    Tensor src(LLMIR_F32, {n, k});
    std::student_t_distribution<float> tails(4);
    src.randomize(random);
    if (heavy)
      for (int64_t i = 0; i < n * k; ++i)
        src.set(i, tails(random));
    double peer = 0;
    for (int64_t group = 0; group < n * k; group += 32) {
      float extreme = 0;
      for (int64_t i = group; i < group + 32; ++i)
        if (std::abs(src.at(i)) > std::abs(extreme))
          extreme = src.at(i);
      double scale = stored(LLMIR_F16, extreme / -8);
      for (int64_t i = group; i < group + 32; ++i) {
        double q = std::min(
            15.0, std::floor(double(src.at(i)) / (extreme / -8) + 8.5));
        double error = (q - 8) * scale - src.at(i);
        peer += error * error;
      }
    }
    WeightFormat format{LLMIR_WEIGHT_INT4, LLMIR_F16, 32};
    std::vector<char> packed(packedBytes(format, n, k));
    packPanels(LLMIR_F32, format, src.bytes.data(), n, k, packed.data());
    Unpacked unpacked(format, packed.data(), n, k);
    double ours = 0;
    for (int64_t row = 0; row < n; ++row)
      for (int64_t i = 0; i < k; ++i) {
        double error = unpacked.integer(row, i) * unpacked.scale(row, i) -
                       src.at(row * k + i);
        ours += error * error;
      }
    // Squared, about a tenth less.
    EXPECT_LT(ours, 0.94 * peer);
  }
}

TEST(Packing, NaNStaysInItsGroup) {
  for (WeightFormat format :
       {WeightFormat{LLMIR_WEIGHT_INT8, LLMIR_F32, 32},
        WeightFormat{LLMIR_WEIGHT_INT4, LLMIR_F16, 32},
        WeightFormat{LLMIR_WEIGHT_W4A8, LLMIR_BF16, 32, true}}) {
    std::vector<float> src(64, 1);
    src[3] = NAN;
    std::vector<char> packed(packedBytes(format, 1, 64));
    packPanels(LLMIR_F32, format, src.data(), 1, 64, packed.data());
    Unpacked unpacked(format, packed.data(), 1, 64);
    EXPECT_TRUE(std::isnan(unpacked.scale(0, 0)));
    EXPECT_NEAR(unpacked.scale(0, 32) * unpacked.integer(0, 40), 1, 0.01);
  }
}

TEST(Packing, RoundsToNearestEvenAndKeepsNaN) {
  float src[4] = {1 + 0x1p-8f, 1 + 0x1p-7f + 0x1p-8f, NAN, -INFINITY};
  std::vector<uint16_t> packed(packedBytes({LLMIR_WEIGHT_BF16}, 4, 1) / 2);
  packPanels(LLMIR_F32, {LLMIR_WEIGHT_BF16}, src, 4, 1, packed.data());
  EXPECT_EQ(fromBF16(packed[0]), 1.0f);
  EXPECT_EQ(fromBF16(packed[2]), 1 + 0x1p-6f);
  EXPECT_TRUE(std::isnan(fromBF16(packed[4])));
  EXPECT_EQ(fromBF16(packed[6]), -INFINITY);
}

TEST(Packing, RefusesPanelsOutOfRange) {
  float src[4] = {};
  std::vector<char> packed(packedBytes({LLMIR_WEIGHT_F32}, 2, 2));
  EXPECT_THROW(
      packPanels(LLMIR_F32, {LLMIR_WEIGHT_F32}, src, 2, 2, 0, 2, packed.data()),
      std::invalid_argument);
  EXPECT_THROW(packPanels(LLMIR_F32, {LLMIR_WEIGHT_F32}, src, 2, 2, -1, 1,
                          packed.data()),
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
