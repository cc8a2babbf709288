// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Random numbers by position: Philox4x32-10 of Salmon, Moraes, Dror and Shaw,
// "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). A function of a key
// and a counter and nothing else, so a token's number does not depend on how
// many were drawn before, or for whom.
#ifndef LLMIR_RUNTIME_PHILOX_H
#define LLMIR_RUNTIME_PHILOX_H

#include <array>
#include <cstdint>

namespace llmir::runtime {

inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                      std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t(0xD2511F53u) * counter[0];
    uint64_t b = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b),
               uint32_t(a >> 32) ^ counter[3] ^ key[1], uint32_t(a)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return counter;
}

/// A number in [0, 1) for token `token` of output `index` of a request.
inline double uniform(uint64_t seed, uint32_t index, uint64_t token) {
  std::array<uint32_t, 4> words =
      philox({uint32_t(token), uint32_t(token >> 32), index, 0},
             {uint32_t(seed), uint32_t(seed >> 32)});
  // 53 random bits make a double.
  return double((uint64_t(words[1]) << 32 | words[0]) >> 11) * 0x1p-53;
}

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_PHILOX_H
