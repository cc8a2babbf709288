// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// An artifact in a folder of its own, with a compiled model by hand in it.
#ifndef LLMIR_TEST_RUNTIME_TEST_ARTIFACT_H
#define LLMIR_TEST_RUNTIME_TEST_ARTIFACT_H

#include "llmir/runtime/checksum.h"
#include "llmir/runtime/cpu_features.h"
#include "llmir/runtime/model.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

namespace llmir::runtime::test {

namespace fs = std::filesystem;

inline std::string readFile(const fs::path &path) {
  std::ifstream stream(path, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

inline void writeFile(const fs::path &path, const std::string &text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string replaced(std::string text, const std::string &from,
                            const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

class ArtifactTest : public ::testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "llmir-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory = name;
    writeFile(directory / "weights.bin", "*weights");
    writeFile(directory / "model.mlir", "module {}\n");
    useCode("right");
  }
  void TearDown() override { fs::remove_all(directory); }

  void useCode(const std::string &kind) {
    fs::copy_file(fs::path(LLMIR_TEST_MODELS) / ("tiny_model_" + kind + ".so"),
                  directory / "model.so", fs::copy_options::overwrite_existing);
    writeManifest();
  }

  void writeManifest() {
    std::string files;
    for (const char *name : {"model.so", "weights.bin", "model.mlir"}) {
      std::string text = readFile(directory / name);
      files += (files.empty() ? "" : ", ") + ("\"" + std::string(name)) +
               "\": {\"bytes\": " + std::to_string(text.size()) +
               ", \"xxh3\": \"" + xxh3(text.data(), text.size()) + "\"}";
    }
    writeFile(directory / "manifest.json",
              R"({"format": "llmir-artifact", "format_version": 1,
 "abi_version": 5, "llmir_version": "0.1.0",
 "target": {"arch": ")" +
                  std::string(hostArch()) +
                  R"(", "cpu": "test", "features": []},
 "model": {"architecture": "llama", "vocab_size": 16, "hidden_size": 8,
  "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "head_dim": 4,
  "dtype": "f32", "max_model_len": 20, "bos_token_id": 0,
  "eos_token_ids": [0]},
 "cache": {"dtype": "f32", "layers": 2, "kv_heads": 1, "head_dim": 4,
  "block_size": 4, "max_seq_len": 20},
 "step": {"max_batch_tokens": 12, "arena_bytes": 4096},
 "files": {)" + files +
                  "}}");
  }

  void changeManifest(const std::string &from, const std::string &to) {
    fs::path path = directory / "manifest.json";
    writeFile(path, replaced(readFile(path), from, to));
  }

  std::shared_ptr<const Model> load() {
    return std::make_shared<Model>(directory.string(), true);
  }

  fs::path directory;
};

} // namespace llmir::runtime::test

#endif // LLMIR_TEST_RUNTIME_TEST_ARTIFACT_H
