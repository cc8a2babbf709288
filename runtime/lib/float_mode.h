// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Denormals become zero while the runtime computes, in every thread: they cost
// hundreds of cycles, and a result must not depend on which thread made it.
#ifndef LLMIR_RUNTIME_LIB_FLOAT_MODE_H
#define LLMIR_RUNTIME_LIB_FLOAT_MODE_H

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace llmir::runtime {

/// Flushes denormals in this thread as long as it lives.
class FlushDenormals {
public:
#if defined(__x86_64__)
  FlushDenormals() : saved(_mm_getcsr()) { _mm_setcsr(saved | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved); }
#elif defined(__aarch64__)
  FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved | (uint64_t(1) << 24)));
  }
  ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(saved)); }
#else
  FlushDenormals() {}
  ~FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals &) = delete;
  FlushDenormals &operator=(const FlushDenormals &) = delete;

private:
#if defined(__x86_64__)
  unsigned saved;
#elif defined(__aarch64__)
  uint64_t saved;
#endif
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_LIB_FLOAT_MODE_H
