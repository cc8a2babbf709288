// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Measures what this machine can do at most, so that a figure of an engine can
// be read as a share of it: bytes read from memory per second, and
// multiply-adds in registers. It answers one question a line on its standard
// input, and keeps its memory between them, so that a limit can be taken beside
// every run of an engine:
//
//     $ echo "bandwidth 2" | limits
//     {"avx512": true, ...}
//     47.1
//
// The questions are `bandwidth`, `f32`, `bf16` and `int8`, each with a number
// of threads. The answer is in 10^9 bytes or operations per second (a
// multiply-add is two operations), or `none` if the CPU has no such
// instruction.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <immintrin.h>
#include <iostream>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

/// More than any cache holds, and a large model's weights in size.
constexpr size_t bufferBytes = size_t(3) << 30;

/// Work for one thread; `part` of `parts`. The result only keeps it alive.
using Work = uint64_t (*)(const char *data, size_t bytes);

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
      for (int j = 0; j < 4; ++j) {
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
      for (int j = 0; j < 8; ++j) {
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
constexpr int sums = 20;
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
  constexpr int few = 12;
  __m256 sum[few] = {}, a = _mm256_set1_ps(1e-3f), b = _mm256_set1_ps(1e-3f);
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

/// Seconds that `threads` threads take together, from the moment all of them
/// have started until the last one is done.
double timeTogether(unsigned threads, Work work, const char *data,
                    size_t bytes) {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  static std::atomic<uint64_t> sink{0};
  size_t part = bytes / threads & ~size_t(4095);
  auto run = [&](unsigned index) {
    ++ready;
    while (!go.load(std::memory_order_acquire)) {
    }
    sink += work(data ? data + index * part : nullptr, part);
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

/// Memory that is there: written once, so that every page is its own.
const char *makeBuffer() {
  void *data = mmap(nullptr, bufferBytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    std::fprintf(stderr, "limits: there is no room for %zu bytes\n",
                 bufferBytes);
    std::exit(1);
  }
  std::memset(data, 1, bufferBytes);
  return static_cast<const char *>(data);
}

} // namespace

int main() {
  std::printf("{\"avx2\": %s, \"avx512\": %s, \"avx512_bf16\": %s, "
              "\"avx512_vnni\": %s}\n",
              hasAvx2() ? "true" : "false", hasAvx512() ? "true" : "false",
              hasBf16() ? "true" : "false", hasVnni() ? "true" : "false");
  std::fflush(stdout);
  const char *buffer = nullptr;
  std::string what;
  unsigned threads;
  while (std::cin >> what >> threads) {
    Work work = nullptr;
    double amount = 0; // operations of one thread
    if (what == "bandwidth") {
      work = hasAvx512() ? readAvx512 : hasAvx2() ? readAvx2 : nullptr;
    } else if (what == "f32" && hasAvx512()) {
      work = multiplyF32;
      amount = 2.0 * 16 * sums * rounds;
    } else if (what == "f32" && hasAvx2()) {
      work = multiplyF32Avx2;
      amount = 2.0 * 8 * 12 * rounds;
    } else if (what == "bf16" && hasBf16()) {
      work = multiplyBf16;
      amount = 2.0 * 32 * sums * rounds;
    } else if (what == "int8" && hasVnni()) {
      work = multiplyInt8;
      amount = 2.0 * 64 * sums * rounds;
    }
    if (!work || threads == 0 || threads > 1024) {
      std::puts("none");
    } else if (what == "bandwidth") {
      if (!buffer)
        buffer = makeBuffer();
      double seconds = timeTogether(threads, work, buffer, bufferBytes);
      std::printf("%.3f\n", double(bufferBytes) / seconds / 1e9);
    } else {
      double seconds = timeTogether(threads, work, nullptr, 0);
      std::printf("%.3f\n", amount * threads / seconds / 1e9);
    }
    std::fflush(stdout);
  }
  return 0;
}
