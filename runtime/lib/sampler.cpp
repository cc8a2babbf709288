// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sampling over a list of candidates that each filter shortens. The list is
// only sorted as far as a filter needs it: vocabularies have 100,000 entries
// and more, and few of them matter.
#include "llmir/runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace llmir::runtime {

Sampler::Sampler(const SamplingConfig &config)
    : config(config), engine(config.seed) {
  auto refuse = [](const char *what, const char *range, auto value) {
    throw std::invalid_argument(std::string(what) + " must be " + range +
                                ", not " + std::to_string(value));
  };
  if (!(config.temperature >= 0) || std::isinf(config.temperature))
    refuse("temperature", "0 or more", config.temperature);
  if (config.topK < 0)
    refuse("top_k", "0 or more", config.topK);
  if (!(config.topP > 0 && config.topP <= 1))
    refuse("top_p", "above 0 and at most 1", config.topP);
  if (!(config.minP >= 0 && config.minP <= 1))
    refuse("min_p", "from 0 to 1", config.minP);
}

int32_t Sampler::greedy(const float *logits, size_t vocabSize) const {
  size_t best = 0;
  for (size_t i = 1; i < vocabSize; ++i)
    if (logits[i] > logits[best])
      best = i;
  return int32_t(best);
}

int32_t Sampler::sample(const float *logits, size_t vocabSize) {
  if (vocabSize == 0 || vocabSize > size_t(std::numeric_limits<int32_t>::max()))
    throw std::invalid_argument("there are no logits to sample from");
  float most = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < vocabSize; ++i) {
    if (std::isnan(logits[i]))
      throw std::invalid_argument("the logit of token " + std::to_string(i) +
                                  " is NaN");
    most = std::max(most, logits[i]);
  }
  if (std::isinf(most))
    throw std::invalid_argument(most > 0 ? "a logit is infinite"
                                         : "every logit is -infinity");
  if (config.temperature == 0)
    return greedy(logits, vocabSize);

  candidates.clear();
  for (size_t i = 0; i < vocabSize; ++i)
    candidates.push_back({logits[i], int32_t(i)});
  auto likelier = [](const Candidate &a, const Candidate &b) {
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
  };

  // Candidates as likely as the k-th stay, as in Transformers and vLLM.
  size_t topK = size_t(config.topK);
  if (topK > 0 && topK < candidates.size()) {
    std::nth_element(candidates.begin(), candidates.begin() + (topK - 1),
                     candidates.end(), likelier);
    float kth = candidates[topK - 1].logit;
    candidates.erase(
        std::remove_if(candidates.begin(), candidates.end(),
                       [=](const Candidate &c) { return c.logit < kth; }),
        candidates.end());
  }

  auto weigh = [&](const Candidate &c) {
    return std::exp((double(c.logit) - most) / config.temperature);
  };
  if (config.topP < 1) {
    double total = 0;
    for (const Candidate &c : candidates)
      total += weigh(c);
    // The shortest list of the likeliest candidates that reaches top_p, sorted
    // a growing piece at a time.
    double sum = 0, wanted = config.topP * total;
    size_t kept = 0;
    for (size_t sorted = 0, piece = 64; sorted < candidates.size();
         piece *= 4) {
      size_t end = std::min(candidates.size(), sorted + piece);
      std::partial_sort(candidates.begin() + sorted, candidates.begin() + end,
                        candidates.end(), likelier);
      while (kept < end && (sum < wanted || kept == 0))
        sum += weigh(candidates[kept++]);
      if (sum >= wanted)
        break;
      sorted = end;
    }
    candidates.resize(kept);
  }
  if (config.minP > 0)
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(),
                                    [&](const Candidate &c) {
                                      return weigh(c) < config.minP;
                                    }),
                     candidates.end());

  // In the order of ids, so that the draw does not depend on the sorting.
  if (topK > 0 || config.topP < 1)
    std::sort(
        candidates.begin(), candidates.end(),
        [](const Candidate &a, const Candidate &b) { return a.id < b.id; });
  weights.clear();
  double total = 0;
  for (const Candidate &c : candidates) {
    total += weigh(c);
    weights.push_back(total);
  }
  // 53 random bits make a double in [0, 1).
  double draw = double(engine() >> 11) * 0x1p-53 * total;
  size_t at =
      std::upper_bound(weights.begin(), weights.end(), draw) - weights.begin();
  // Rounding may bring the draw up to the total; weights of 0 are never drawn.
  if (at == weights.size())
    at = std::lower_bound(weights.begin(), weights.end(), total) -
         weights.begin();
  return candidates[at].id;
}

} // namespace llmir::runtime
