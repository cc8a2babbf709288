// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Chooses the tokens of one output from rows of logits. Settings mean what they
// mean in Transformers and vLLM, and apply in this order, which is vLLM's up to
// the temperature and Transformers' from there on:
//
//   allowed tokens, bad words, tokens that would end the text too early, bias,
//   repetition penalty, frequency and presence penalties,
//   temperature, top-k, top-p, min-p.
//
// (vLLM applies min-p before top-k and top-p.) Log probabilities are those of
// the model: of the row as it comes, before any of these. A token's random
// number is a function of the seed, of the index of the output and of the
// number of the token in it, the same on every platform; so tokens do not
// depend on what else is sampled, nor on whether a request was interrupted.
#ifndef LLMIR_RUNTIME_SAMPLER_H
#define LLMIR_RUNTIME_SAMPLER_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace llmir::runtime {

struct SamplingConfig {
  double temperature = 0; ///< 0 is greedy.
  int64_t topK = 0;       ///< 0 keeps all.
  double topP = 1;        ///< In (0, 1]; 1 keeps all.
  double minP = 0;        ///< In [0, 1]; 0 keeps all.
  /// Logits of tokens in the prompt or the output are divided by it if they are
  /// positive, and multiplied if not.
  double repetitionPenalty = 1;
  /// Taken from the logits of tokens in the output: once, and for each time.
  double presencePenalty = 0, frequencyPenalty = 0;
  std::vector<std::pair<int32_t, float>> logitBias; ///< Added to logits.
  std::vector<int32_t> allowedTokenIds;             ///< Empty allows all.
  /// The last token of a word cannot follow the others, which may be tokens of
  /// the prompt.
  std::vector<std::vector<int32_t>> badWords;
  /// Before the output has as many tokens, those that end it are not drawn.
  int64_t minTokens = 0;
  std::vector<int32_t> stopTokenIds; ///< What ends the output.
  /// How many of the likeliest tokens' log probabilities come with a token's
  /// own; -1 is all.
  std::optional<int64_t> logprobs;
  uint64_t seed = 0;
};

/// Throws std::invalid_argument, with one sentence, for a setting out of range,
/// also for the id of a token that a vocabulary of this size lacks.
void checkSampling(const SamplingConfig &config, int64_t vocabSize);

struct TokenLogprob {
  int32_t id;
  float logprob;
  int32_t rank; ///< 1 is the likeliest; equal ones are in the order of ids.
};

/// Writes the log probability of `token`, then those of the `count` likeliest
/// ones in order; -1 is all. For prompts, whose tokens are not drawn. Throws as
/// `Sampler::sample` does, also if `token` is not one of the vocabulary.
void computeLogprobs(const float *logits, size_t vocabSize, int32_t token,
                     int64_t count, std::vector<TokenLogprob> &logprobs);

struct Token {
  int32_t id;
  /// Those of the token and then of the likeliest ones, if they were asked for.
  /// They are the sampler's, and stay until it is called again.
  const TokenLogprob *logprobs = nullptr;
  size_t numLogprobs = 0;
};

/// How often tokens occur, for penalties. A table of distinct tokens with open
/// addressing, which grows as they become more.
class TokenCounts {
public:
  struct Entry {
    int32_t id = -1;     ///< -1 is a free place.
    int32_t outputs = 0; ///< How often in the output.
  };
  void add(int32_t id, bool output);
  const std::vector<Entry> &places() const { return table; }

private:
  Entry &placeOf(int32_t id);

  std::vector<Entry> table;
  size_t used = 0;
};

/// One output of a request: `sample` adds each token that it chooses to what
/// penalties, bad words and `minTokens` look at. What it needs to work on a row
/// belongs to the thread, so a sampler is small.
class Sampler {
public:
  /// `index` is the output's among those of its request, which share a seed.
  /// Throws std::invalid_argument for a setting out of range.
  explicit Sampler(SamplingConfig config,
                   const std::vector<int32_t> &prompt = {}, uint32_t index = 0);

  /// Chooses a token; greedy ties go to the lowest id. Throws
  /// std::invalid_argument if there is no logit, one is NaN or +inf, all are
  /// -inf, or the settings leave no token. Then nothing has changed.
  Token sample(const float *logits, size_t vocabSize);

  /// How many tokens were chosen.
  int64_t numTokens() const { return generated; }

private:
  bool changesLogits() const;
  void changeLogits(std::vector<float> &row) const;
  void penalize(std::vector<float> &row) const;
  void accept(int32_t token, bool output);

  SamplingConfig config;
  uint32_t index;
  int32_t largestId = -1;
  bool penalties;
  int64_t generated = 0;
  TokenCounts counts;
  /// The last tokens, as many as may be the begin of a bad word.
  std::vector<int32_t> recent;
  size_t longestBegin = 0;
  std::vector<TokenLogprob> logprobs;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_SAMPLER_H
