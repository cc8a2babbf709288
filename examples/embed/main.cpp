// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Generates with a compiled model from C++: no Python, MLIR or LLVM is needed,
// nor linked. Token ids go in and come out; tokenizers are the caller's choice.

#include "llmir/runtime/engine.h"
#include "llmir/runtime/sampler.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace llmir::runtime;

/// Continues `ids` by at most `count` tokens, and writes each as it comes.
static void generate(const std::string &artifact, std::vector<int32_t> ids,
                     int64_t count) {
  auto model = std::make_shared<const Model>(artifact);
  const Manifest &facts = model->manifest();
  if (int64_t(ids.size()) + count > facts.maxModelLen)
    throw std::invalid_argument(
        "prompt and new tokens are " + std::to_string(ids.size() + count) +
        ", and the model takes " + std::to_string(facts.maxModelLen));

  Engine engine(model);
  std::unique_ptr<Sequence> sequence = engine.newSequence();
  Sampler greedy(SamplingConfig{});
  std::vector<float> logits(facts.vocabSize);
  for (int64_t generated = 0; generated < count; ++generated) {
    // A prompt goes in by steps of what a step takes; later, one token a step.
    for (size_t begin = 0; begin < ids.size();) {
      size_t most = facts.maxBatchTokens;
      StepItem item;
      item.sequence = sequence.get();
      item.tokenIds = ids.data() + begin;
      item.numTokens = std::min(ids.size() - begin, most);
      engine.step(&item, 1, logits.data());
      begin += item.numTokens;
    }
    int32_t next = greedy.sample(logits.data(), logits.size()).id;
    const std::vector<int32_t> &ends = facts.eosTokenIds;
    if (std::find(ends.begin(), ends.end(), next) != ends.end())
      break;
    std::printf("%d\n", next);
    std::fflush(stdout);
    ids = {next};
  }
}

static long parse(const char *text, long least) {
  char *end;
  long value = std::strtol(text, &end, 10);
  if (end == text || *end || value < least || value > INT32_MAX)
    throw std::invalid_argument("'" + std::string(text) +
                                "' is not a whole number of " +
                                std::to_string(least) + " or more");
  return value;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s ARTIFACT COUNT ID...\n", argv[0]);
    return 2;
  }
  try {
    std::vector<int32_t> ids;
    for (char **argument = argv + 3; *argument; ++argument)
      ids.push_back(int32_t(parse(*argument, 0)));
    generate(argv[1], ids, parse(argv[2], 1));
  } catch (const std::exception &error) {
    // Everything of the runtime that can fail says what failed in one sentence.
    std::fprintf(stderr, "embed: %s\n", error.what());
    return 1;
  }
  return 0;
}
