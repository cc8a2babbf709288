// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loads an artifact: reads the manifest, checks everything it says against the
// files and this machine, maps the weights and opens the code. Nothing is
// converted or copied, so loading takes the time of the checksums.
#ifndef LLMIR_RUNTIME_MODEL_H
#define LLMIR_RUNTIME_MODEL_H

#include "llmir/runtime/abi.h"
#include "llmir/runtime/library.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace llmir::runtime {

inline constexpr int64_t artifactFormatVersion = 1;
/// Of an artifact, among Manifest::files.
inline constexpr const char *weightsFile = "weights.bin";

/// manifest.json, every number within its range.
struct Manifest {
  struct File {
    int64_t bytes = 0;
    std::string xxh3;
  };

  std::string llmirVersion;
  std::string arch;
  std::string cpu;
  std::vector<std::string> features;

  std::string architecture;
  llmir_dtype dtype = LLMIR_F32;
  int64_t vocabSize = 0, hiddenSize = 0, numLayers = 0, numHeads = 0;
  int64_t numKVHeads = 0, headDim = 0, maxModelLen = 0;
  std::vector<int32_t> eosTokenIds; ///< What ends a text; may be none.

  llmir_dtype cacheDtype = LLMIR_F32;
  int64_t cacheLayers = 0, cacheKVHeads = 0, cacheHeadDim = 0;
  int64_t cacheBlockSize = 0, cacheMaxSeqLen = 0;
  /// How many positions a token sees at most, itself included; 0 for all.
  int64_t cacheWindow = 0;

  int64_t maxBatchTokens = 0, arenaBytes = 0;

  std::map<std::string, File> files;
  std::string text; ///< The file as it is.
};

/// Throws std::runtime_error with one sentence that names `path` and what is
/// wrong.
Manifest parseManifest(const std::string &text, const std::string &path);

class Model {
public:
  /// `verify` also checks the checksum of the weights, which reads all of them.
  /// Throws std::runtime_error with one sentence.
  explicit Model(const std::string &directory, bool verify = false);
  ~Model();
  Model(const Model &) = delete;
  Model &operator=(const Model &) = delete;

  const Manifest &manifest() const { return facts; }
  const void *weights() const { return weightData; }
  int64_t weightsBytes() const { return weightBytes; }
  llmir_step_fn step() const {
    return reinterpret_cast<llmir_step_fn>(code.function());
  }

private:
  void mapWeights(const std::string &path, bool verify);
  void close();

  Manifest facts;
  void *weightData = nullptr;
  int64_t weightBytes = 0;
  Library code;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_MODEL_H
