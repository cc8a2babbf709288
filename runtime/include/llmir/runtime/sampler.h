// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Chooses the next token from a row of logits. The filters mean what they mean
// in Transformers and vLLM, and apply in the order of Transformers:
// temperature, then top-k, top-p and min-p. (vLLM applies min-p before top-k
// and top-p.) The random numbers are the same on every platform.
#ifndef LLMIR_RUNTIME_SAMPLER_H
#define LLMIR_RUNTIME_SAMPLER_H

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace llmir::runtime {

struct SamplingConfig {
  double temperature = 0; ///< 0 is greedy.
  int64_t topK = 0;       ///< 0 keeps all.
  double topP = 1;        ///< In (0, 1]; 1 keeps all.
  double minP = 0;        ///< In [0, 1]; 0 keeps all.
  uint64_t seed = 0;
};

class Sampler {
public:
  /// Throws std::invalid_argument for a setting out of range.
  explicit Sampler(const SamplingConfig &config);

  /// The id of the chosen token; greedy ties go to the lowest id. Throws
  /// std::invalid_argument if there is no logit, one is NaN or +inf, or all are
  /// -inf.
  int32_t sample(const float *logits, size_t vocabSize);

private:
  int32_t greedy(const float *logits, size_t vocabSize) const;

  SamplingConfig config;
  std::mt19937_64 engine;
  struct Candidate {
    float logit;
    int32_t id;
  };
  std::vector<Candidate> candidates;
  std::vector<double> weights;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_SAMPLER_H
