// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is drawn from is a list of candidates, in which a logit that is
// certainly too small for top-k, top-p or min-p never comes; where none of
// these is set there is no list either. Rows are copied only if something
// changes them.
#include "llmir/runtime/sampler.h"

#include "logit_row.h"
#include "philox.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace llmir::runtime {

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float lowest = std::numeric_limits<float>::lowest();

/// What sampling from one row needs. A thread samples one row after the other.
struct Workspace {
  LogitRow row;
  std::vector<float> changed;
  std::vector<Candidate> candidates;
  std::vector<double> sums;
};
thread_local Workspace workspace;

template <typename T>
[[noreturn]] void refuse(const char *what, const char *range, T value) {
  throw std::invalid_argument(std::string(what) + " must be " + range +
                              ", not " + std::to_string(value));
}

/// The largest id that settings name; -1 if none. Throws for one below 0.
int32_t largestIdOf(const SamplingConfig &config) {
  int32_t largest = -1;
  auto look = [&](const char *what, int32_t id) {
    if (id < 0)
      throw std::invalid_argument(std::string(what) + " names token " +
                                  std::to_string(id) + "; ids are 0 or more");
    largest = std::max(largest, id);
  };
  for (const auto &[id, bias] : config.logitBias)
    look("logit_bias", id);
  for (int32_t id : config.allowedTokenIds)
    look("allowed_token_ids", id);
  for (int32_t id : config.stopTokenIds)
    look("stop_token_ids", id);
  for (const std::vector<int32_t> &word : config.badWords)
    for (int32_t id : word)
      look("bad_words", id);
  return largest;
}

void checkId(int32_t largest, int64_t vocabSize) {
  if (largest >= vocabSize)
    throw std::invalid_argument(
        "the sampling settings name token " + std::to_string(largest) +
        ", which is not one of the model's " + std::to_string(vocabSize));
}

/// 1 / temperature as a float that keeps 0 and -inf what they are.
float scaleOf(double temperature) {
  return float(std::clamp(1 / temperature,
                          double(std::numeric_limits<float>::min()),
                          double(std::numeric_limits<float>::max())));
}

/// Draws from what the filters leave of a row.
class Draw {
public:
  Draw(const SamplingConfig &config, Workspace &workspace)
      : config(config), row(workspace.row), candidates(workspace.candidates),
        sums(workspace.sums), scale(scaleOf(config.temperature)) {}

  int32_t draw(double number) {
    if (config.topK == 0 && config.topP == 1 && config.minP == 0) {
      row.sumWeights(scale);
      return row.draw(number);
    }
    float floor = floorOfMinP();
    double total = 0;
    if (config.topK > 0) {
      floor = std::max(floor, floorOfTopK());
      for (const Candidate &c : candidates)
        total += weigh(c);
    } else if (config.topP < 1) {
      total = row.sumWeights(scale);
      collectProbable(config.topP * total);
    }
    Candidate last = {floor, std::numeric_limits<int32_t>::max()};
    if (config.topP < 1)
      last = lastOfTopP(config.topP * total);
    // In the order of ids, so that the draw does not depend on how the others
    // were found.
    row.collect(std::max(floor, last.logit), candidates);
    erase([&](const Candidate &c) {
      return likelier(last, c) || weigh(c) < config.minP;
    });
    return pick(number);
  }

private:
  double weigh(const Candidate &c) const {
    return exponential((c.logit - row.most()) * scale);
  }

  template <typename Predicate> void erase(Predicate predicate) {
    candidates.erase(
        std::remove_if(candidates.begin(), candidates.end(), predicate),
        candidates.end());
  }

  /// A logit that lies `distance` below the greatest one after scaling, or a
  /// little lower.
  float floorAt(double distance) const {
    double slack = 1e-4 * (1 + distance);
    double floor = row.most() - (distance + slack) / scale -
                   1e-6 * std::abs(double(row.most()));
    return float(std::max(floor, double(lowest)));
  }

  float floorOfMinP() const {
    return config.minP > 0 ? floorAt(-std::log(config.minP)) : lowest;
  }

  /// Collects the k likeliest tokens, and those as likely as the last of them,
  /// which stay as in Transformers and vLLM; returns its logit.
  float floorOfTopK() {
    size_t topK = size_t(config.topK);
    row.collect(row.floorOfGreatest(topK), candidates);
    if (topK > candidates.size())
      return lowest;
    std::nth_element(candidates.begin(), candidates.begin() + (topK - 1),
                     candidates.end(), likelier);
    float kth = candidates[topK - 1].logit;
    erase([=](const Candidate &c) { return c.logit < kth; });
    return kth;
  }

  /// Collects the likeliest tokens until their weights reach `wanted`. What
  /// min-p will take away need not be there.
  void collectProbable(double wanted) {
    for (double distance = 4;; distance *= 1.5) {
      float floor = std::max(floorAt(distance), floorOfMinP());
      // Below that, weights are 0.
      bool last = distance >= 128 || floor == floorOfMinP();
      row.collect(floor, candidates);
      double sum = 0;
      for (const Candidate &c : candidates)
        sum += weigh(c);
      if (last || sum >= wanted)
        return;
    }
  }

  /// The last of the shortest list of the likeliest candidates whose weights
  /// reach `wanted`. Its place lies in [begin, end), which is halved as in a
  /// search for a quantile: the list may be long, and needs no order.
  Candidate lastOfTopP(double wanted) {
    size_t begin = 0, end = candidates.size();
    double sum = 0;
    while (end - begin > 32) {
      size_t middle = begin + (end - begin) / 2;
      std::nth_element(candidates.begin() + begin, candidates.begin() + middle,
                       candidates.begin() + end, likelier);
      double half = sum;
      for (size_t i = begin; i < middle; ++i)
        half += weigh(candidates[i]);
      if (half >= wanted) {
        end = middle;
      } else {
        begin = middle;
        sum = half;
      }
    }
    std::sort(candidates.begin() + begin, candidates.begin() + end, likelier);
    while (begin < end && (sum < wanted || begin == 0))
      sum += weigh(candidates[begin++]);
    return candidates[begin - 1];
  }

  int32_t pick(double number) {
    sums.clear();
    double total = 0;
    for (const Candidate &c : candidates) {
      total += weigh(c);
      sums.push_back(total);
    }
    size_t at = std::upper_bound(sums.begin(), sums.end(), number * total) -
                sums.begin();
    // Rounding may bring the number up to the total; weights of 0 are never
    // drawn.
    if (at == sums.size())
      at = std::lower_bound(sums.begin(), sums.end(), total) - sums.begin();
    return candidates[at].id;
  }

  const SamplingConfig &config;
  LogitRow &row;
  std::vector<Candidate> &candidates;
  std::vector<double> &sums;
  float scale;
};

} // namespace

void checkSampling(const SamplingConfig &config, int64_t vocabSize) {
  if (!(config.temperature >= 0) || std::isinf(config.temperature))
    refuse("temperature", "0 or more", config.temperature);
  if (config.topK < 0)
    refuse("top_k", "0 or more", config.topK);
  if (!(config.topP > 0 && config.topP <= 1))
    refuse("top_p", "above 0 and at most 1", config.topP);
  if (!(config.minP >= 0 && config.minP <= 1))
    refuse("min_p", "from 0 to 1", config.minP);
  if (!(config.repetitionPenalty > 0) || std::isinf(config.repetitionPenalty))
    refuse("repetition_penalty", "above 0", config.repetitionPenalty);
  if (!(std::abs(config.presencePenalty) <= 2))
    refuse("presence_penalty", "from -2 to 2", config.presencePenalty);
  if (!(std::abs(config.frequencyPenalty) <= 2))
    refuse("frequency_penalty", "from -2 to 2", config.frequencyPenalty);
  for (const auto &[id, bias] : config.logitBias)
    if (!std::isfinite(bias))
      refuse("logit_bias", "a finite number", bias);
  for (const std::vector<int32_t> &word : config.badWords)
    if (word.empty())
      throw std::invalid_argument("bad_words has a word without tokens");
  if (config.minTokens < 0)
    refuse("min_tokens", "0 or more", config.minTokens);
  if (config.logprobs && *config.logprobs < -1)
    refuse("logprobs", "0 or more, or -1 for all", *config.logprobs);
  checkId(largestIdOf(config), vocabSize);
}

void computeLogprobs(const float *logits, size_t vocabSize, int32_t token,
                     int64_t count, std::vector<TokenLogprob> &logprobs) {
  checkId(token, int64_t(vocabSize));
  if (token < 0)
    refuse("a token", "0 or more", token);
  LogitRow &row = workspace.row;
  std::vector<Candidate> &candidates = workspace.candidates;
  row.read(logits, vocabSize);
  double logSum = row.most() + std::log(row.sumWeights(1));
  auto logprobOf = [&](float logit) { return float(logit - logSum); };

  Candidate own = {logits[token], token};
  int32_t rank = 1;
  for (size_t i = 0; i < vocabSize; ++i)
    rank += logits[i] > own.logit;
  for (int32_t i = 0; i < token; ++i)
    rank += logits[i] == own.logit;
  logprobs.clear();
  logprobs.push_back({token, logprobOf(own.logit), rank});

  size_t wanted = count < 0 ? vocabSize : std::min(size_t(count), vocabSize);
  if (wanted == 0)
    return;
  row.collect(row.floorOfGreatest(wanted), candidates);
  if (candidates.size() < wanted)
    // Tokens that are impossible come last.
    for (size_t i = 0; i < vocabSize; ++i)
      if (std::isinf(logits[i]))
        candidates.push_back({logits[i], int32_t(i)});
  std::partial_sort(candidates.begin(), candidates.begin() + wanted,
                    candidates.end(), likelier);
  for (size_t i = 0; i < wanted; ++i)
    logprobs.push_back(
        {candidates[i].id, logprobOf(candidates[i].logit), int32_t(i) + 1});
}

TokenCounts::Entry &TokenCounts::placeOf(int32_t id) {
  // The size is a power of two, and the factor is Knuth's.
  for (size_t place = size_t(id) * 2654435769u >> 16;; ++place) {
    Entry &entry = table[place & (table.size() - 1)];
    if (entry.id == id || entry.id < 0)
      return entry;
  }
}

void TokenCounts::add(int32_t id, bool output) {
  if (2 * (used + 1) > table.size()) {
    std::vector<Entry> old(std::max<size_t>(64, 2 * table.size()));
    old.swap(table);
    for (const Entry &entry : old)
      if (entry.id >= 0)
        placeOf(entry.id) = entry;
  }
  Entry &entry = placeOf(id);
  if (entry.id < 0) {
    entry.id = id;
    ++used;
  }
  entry.outputs += output;
}

Sampler::Sampler(SamplingConfig settings, const std::vector<int32_t> &prompt,
                 uint32_t index)
    : config(std::move(settings)), index(index) {
  checkSampling(config, int64_t(1) << 31);
  largestId = largestIdOf(config);
  penalties = config.repetitionPenalty != 1 || config.presencePenalty != 0 ||
              config.frequencyPenalty != 0;
  for (const std::vector<int32_t> &word : config.badWords)
    longestBegin = std::max(longestBegin, word.size() - 1);
  for (int32_t id : prompt)
    accept(id, /*output=*/false);
}

void Sampler::accept(int32_t token, bool output) {
  if (penalties && token >= 0)
    counts.add(token, output);
  if (longestBegin > 0) {
    if (recent.size() == longestBegin)
      recent.erase(recent.begin());
    recent.push_back(token);
  }
}

bool Sampler::changesLogits() const {
  return penalties || !config.logitBias.empty() ||
         !config.allowedTokenIds.empty() || !config.badWords.empty() ||
         (generated < config.minTokens && !config.stopTokenIds.empty());
}

void Sampler::changeLogits(std::vector<float> &row) const {
  for (const std::vector<int32_t> &word : config.badWords) {
    size_t begin = word.size() - 1;
    if (begin <= recent.size() &&
        std::equal(word.begin(), word.end() - 1, recent.end() - begin))
      row[word.back()] = -infinity;
  }
  if (generated < config.minTokens)
    for (int32_t id : config.stopTokenIds)
      row[id] = -infinity;
  for (const auto &[id, bias] : config.logitBias)
    row[id] += bias;
  if (penalties)
    penalize(row);
}

void Sampler::penalize(std::vector<float> &row) const {
  for (const TokenCounts::Entry &entry : counts.places()) {
    // A prompt may have tokens for which there are no logits.
    if (entry.id < 0 || size_t(entry.id) >= row.size())
      continue;
    double logit = row[entry.id];
    logit = logit < 0 ? logit * config.repetitionPenalty
                      : logit / config.repetitionPenalty;
    if (entry.outputs > 0)
      logit -= config.frequencyPenalty * entry.outputs + config.presencePenalty;
    row[entry.id] = float(logit);
  }
}

Token Sampler::sample(const float *logits, size_t vocabSize) {
  LogitRow &row = workspace.row;
  row.read(logits, vocabSize);
  checkId(largestId, int64_t(vocabSize));
  if (changesLogits()) {
    std::vector<float> &changed = workspace.changed;
    if (config.allowedTokenIds.empty()) {
      changed.assign(logits, logits + vocabSize);
    } else {
      changed.assign(vocabSize, -infinity);
      for (int32_t id : config.allowedTokenIds)
        changed[id] = logits[id];
    }
    changeLogits(changed);
    if (std::all_of(changed.begin(), changed.end(),
                    [](float logit) { return logit == -infinity; }))
      throw std::invalid_argument("the sampling settings leave no token");
    row.read(changed.data(), vocabSize);
  }
  Token token{};
  token.id = config.temperature == 0
                 ? row.argmax()
                 : Draw(config, workspace)
                       .draw(uniform(config.seed, index, uint64_t(generated)));
  if (config.logprobs) {
    computeLogprobs(logits, vocabSize, token.id, *config.logprobs, logprobs);
    token.logprobs = logprobs.data();
    token.numLogprobs = logprobs.size();
  }
  accept(token.id, /*output=*/true);
  ++generated;
  return token;
}

} // namespace llmir::runtime
