// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loops that do nothing but what they measure, one for each kind of
// instruction, run by threads that start together.
#include "llmir/runtime/limits.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace llmir::runtime;

namespace {

using Clock = std::chrono::steady_clock;

/// Work for one thread. The result only keeps it alive.
using Work = uint64_t (*)(const char *data, size_t bytes);

/// Reads with whatever the compiler makes of it.
uint64_t readPlain(const char *data, size_t bytes) {
  uint64_t result = 0;
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, data + i, 8);
    result ^= word;
  }
  return result;
}

#if defined(__x86_64__)

bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw");
}
bool hasBf16() { return hasAvx512() && __builtin_cpu_supports("avx512bf16"); }
bool hasVnni() { return hasAvx512() && __builtin_cpu_supports("avx512vnni"); }
bool hasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

// Reads. Memory answers fastest when several pages are asked at once, so each
// thread walks four places of its part together, and fetches ahead.
constexpr int streams = 4;
constexpr size_t ahead = 4096;

__attribute__((target("avx512f"))) uint64_t readAvx512(const char *data,
                                                       size_t bytes) {
  size_t stride = bytes / streams & ~size_t(255);
  __m512i sum[streams] = {};
  for (size_t i = 0; i < stride; i += 256)
    for (int s = 0; s < streams; ++s)
      for (size_t j = 0; j < 4; ++j) {
        const char *at = data + s * stride + i + j * 64;
        _mm_prefetch(at + ahead, _MM_HINT_T0);
        sum[s] = _mm512_xor_si512(sum[s], _mm512_load_si512(at));
      }
  uint64_t result = 0;
  for (__m512i part : sum)
    result ^= uint64_t(_mm512_reduce_add_epi64(part));
  return result;
}

__attribute__((target("avx2"))) uint64_t readAvx2(const char *data,
                                                  size_t bytes) {
  size_t stride = bytes / streams & ~size_t(255);
  __m256i sum[streams] = {};
  for (size_t i = 0; i < stride; i += 256)
    for (int s = 0; s < streams; ++s)
      for (size_t j = 0; j < 8; ++j) {
        const char *at = data + s * stride + i + j * 32;
        if (j % 2 == 0)
          _mm_prefetch(at + ahead, _MM_HINT_T0);
        sum[s] = _mm256_xor_si256(
            sum[s], _mm256_load_si256(reinterpret_cast<const __m256i *>(at)));
      }
  uint64_t result = 0;
  for (__m256i part : sum)
    result ^= uint64_t(_mm256_extract_epi64(part, 0));
  return result;
}

// Multiply-adds. As many independent sums as hide the latency and leave
// registers for the factors; the empty statement keeps the compiler from
// computing anything beforehand.
constexpr int sums = 20, sumsAvx2 = 12;
constexpr int64_t rounds = 2000000;

__attribute__((target("avx512f"))) uint64_t multiplyF32(const char *, size_t) {
  __m512 sum[sums] = {}, a = _mm512_set1_ps(1e-3f), b = _mm512_set1_ps(1e-3f);
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
    for (__m512 &s : sum)
      s = _mm512_fmadd_ps(a, b, s);
  }
  float result = 0;
  for (__m512 s : sum)
    result += _mm512_reduce_add_ps(s);
  return uint64_t(result);
}

__attribute__((target("avx2,fma"))) uint64_t multiplyF32Avx2(const char *,
                                                             size_t) {
  __m256 sum[sumsAvx2] = {}, a = _mm256_set1_ps(1e-3f),
         b = _mm256_set1_ps(1e-3f);
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
    for (__m256 &s : sum)
      s = _mm256_fmadd_ps(a, b, s);
  }
  float result = 0;
  for (__m256 s : sum)
    result += _mm256_cvtss_f32(s);
  return uint64_t(result);
}

__attribute__((target("avx512f,avx512bf16"))) uint64_t
multiplyBf16(const char *, size_t) {
  __m512 sum[sums] = {};
  __m512bh a = __m512bh(_mm512_set1_epi16(0x3a83)); // 0.001
  __m512bh b = a;
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
    for (__m512 &s : sum)
      s = _mm512_dpbf16_ps(s, a, b);
  }
  float result = 0;
  for (__m512 s : sum)
    result += _mm512_reduce_add_ps(s);
  return uint64_t(result);
}

__attribute__((target("avx512f,avx512vnni"))) uint64_t
multiplyInt8(const char *, size_t) {
  __m512i sum[sums] = {}, a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
    for (__m512i &s : sum)
      s = _mm512_dpbusd_epi32(s, a, b);
  }
  int64_t result = 0;
  for (__m512i s : sum)
    result += _mm512_reduce_add_epi32(s);
  return uint64_t(result);
}

#endif

/// Seconds that `threads` threads take together, from the moment all of them
/// have started until the last one is done.
double timeTogether(unsigned threads, Work work, const char *data,
                    size_t bytes) {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  size_t part = bytes / threads & ~size_t(4095);
  auto run = [&](unsigned index) {
    ++ready;
    while (!go.load(std::memory_order_acquire)) {
    }
    uint64_t result = work(data ? data + index * part : nullptr, part);
    // The result counts for nothing, and must be computed all the same.
    asm volatile("" : : "r"(result));
  };
  std::vector<std::thread> others;
  for (unsigned index = 1; index < threads; ++index)
    others.emplace_back(run, index);
  while (ready.load() != threads - 1) {
  }
  Clock::time_point begin = Clock::now();
  go.store(true, std::memory_order_release);
  run(0);
  for (std::thread &thread : others)
    thread.join();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

Work reader() {
#if defined(__x86_64__)
  if (hasAvx512())
    return readAvx512;
  if (hasAvx2())
    return readAvx2;
#endif
  return readPlain;
}

/// The loop of a multiplier, and its operations.
std::pair<Work, double> multiplication(Multiplier multiplier) {
#if defined(__x86_64__)
  switch (multiplier) {
  case Multiplier::F32:
    if (hasAvx512())
      return {multiplyF32, 2.0 * 16 * sums * rounds};
    if (hasAvx2())
      return {multiplyF32Avx2, 2.0 * 8 * sumsAvx2 * rounds};
    break;
  case Multiplier::BF16:
    if (hasBf16())
      return {multiplyBf16, 2.0 * 32 * sums * rounds};
    break;
  case Multiplier::Int8:
    if (hasVnni())
      return {multiplyInt8, 2.0 * 64 * sums * rounds};
    break;
  }
#else
  (void)multiplier;
#endif
  return {nullptr, 0};
}

} // namespace

Bandwidth::Bandwidth(int64_t bytes) : bytes(bytes) {
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw std::runtime_error("there is no memory of " + std::to_string(bytes) +
                             " bytes to read");
  data = static_cast<char *>(memory);
  // Written once, so that every page is one of its own.
  std::memset(data, 1, bytes);
}

Bandwidth::~Bandwidth() { munmap(data, bytes); }

double Bandwidth::measure(unsigned threads) const {
  return double(bytes) / timeTogether(threads, reader(), data, bytes);
}

double llmir::runtime::measurePeak(Multiplier multiplier, unsigned threads) {
  auto [work, operations] = multiplication(multiplier);
  if (!work)
    return 0;
  return operations * threads / timeTogether(threads, work, nullptr, 0);
}
