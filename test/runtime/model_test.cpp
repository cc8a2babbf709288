// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The loader over artifacts that are right or broken in one way each, and the
// engine over a compiled model that echoes what it was told.
#include "llmir/runtime/engine.h"
#include "test_artifact.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

using namespace llmir::runtime;
using namespace llmir::runtime::test;

namespace {

class ModelTest : public ArtifactTest {
protected:
  /// Loading fails with one sentence that has all of these in it.
  void expectRefused(std::initializer_list<std::string> words,
                     bool verify = false) {
    try {
      Model model(directory.string(), verify);
      ADD_FAILURE() << "loaded, but expected: " << *words.begin();
    } catch (const std::runtime_error &error) {
      for (const std::string &word : words)
        EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
            << "'" << word << "' is not in: " << error.what();
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
};

using EngineTest = ModelTest;

std::vector<float> row(const std::vector<float> &logits, size_t i) {
  return {logits.begin() + i * 16, logits.begin() + i * 16 + 16};
}

} // namespace

TEST_F(ModelTest, Loads) {
  std::shared_ptr<const Model> model = load();
  const Manifest &m = model->manifest();
  EXPECT_EQ(m.vocabSize, 16);
  EXPECT_EQ(m.cacheBlockSize, 4);
  EXPECT_EQ(m.maxBatchTokens, 12);
  EXPECT_EQ(m.dtype, LLMIR_F32);
  EXPECT_EQ(m.eosTokenIds, std::vector<int32_t>{0});
  EXPECT_EQ(m.files.size(), 3u);
  EXPECT_EQ(m.text, readFile(directory / "manifest.json"));
  EXPECT_EQ(static_cast<const char *>(model->weights())[0], '*');
  EXPECT_NE(model->step(), nullptr);
}

TEST_F(ModelTest, RefusesWhatIsNotAnArtifact) {
  EXPECT_THROW(Model("/nonexistent"), std::runtime_error);
  EXPECT_THROW(Model((directory / "model.so").string()), std::runtime_error);
  fs::remove(directory / "manifest.json");
  expectRefused({"manifest.json"});
}

TEST_F(ModelTest, RefusesOtherVersions) {
  changeManifest("\"format_version\": 1", "\"format_version\": 7");
  expectRefused({"manifest.json", "7", "1"});
  writeManifest();
  changeManifest("\"abi_version\": 5", "\"abi_version\": 9");
  expectRefused({"ABI", "9", "5"});
  useCode("other_version");
  expectRefused({"model.so", "ABI", "6", "5"});
}

TEST_F(ModelTest, CodeIsThatOfItsArtifact) {
  // The same code twice, of which one goes; another artifact comes in its
  // place.
  auto first = load(), second = load();
  first.reset();
  fs::remove(directory / "model.so");
  useCode("without_step");
  expectRefused({"no symbol llmir_step"});
}

TEST_F(ModelTest, RefusesOtherMachines) {
  changeManifest("\"features\": []", "\"features\": [\"quantum-fma\"]");
  expectRefused({"quantum-fma", "lacks"});
  writeManifest();
  std::string many = "\"quantum-fma\"";
  for (int i = 0; i < 10; ++i)
    many += ", \"quantum-" + std::to_string(i) + "\"";
  changeManifest("\"features\": []", "\"features\": [" + many + "]");
  expectRefused({"quantum-8 and 1 more"});
  writeManifest();
  changeManifest(std::string(hostArch()), "vax");
  expectRefused({"vax", std::string(hostArch())});
}

TEST_F(ModelTest, RefusesBrokenManifests) {
  struct Case {
    const char *from, *to, *word;
  };
  for (Case c : {
           Case{"{\"format\"", "\"format\"", "JSON"},
           Case{"llmir-artifact", "zip", "format"},
           Case{"\"vocab_size\": 16", "\"vocab_size\": 0", "vocab_size"},
           Case{"\"vocab_size\": 16", "\"vocab_size\": -4", "vocab_size"},
           Case{"\"vocab_size\": 16", "\"vocab_size\": 1e3", "vocab_size"},
           Case{"\"vocab_size\": 16", "\"vocab_size\": \"16\"", "vocab_size"},
           Case{"\"vocab_size\": 16", "\"vocab_size\": 18446744073709551615",
                "vocab_size"},
           Case{"\"vocab_size\": 16, ", "", "vocab_size"},
           Case{"\"block_size\": 4", "\"block_size\": 6", "block_size"},
           Case{"\"max_seq_len\": 20", "\"max_seq_len\": 10", "max_seq_len"},
           Case{"\"num_heads\": 2", "\"num_heads\": 0", "num_heads"},
           Case{"\"num_kv_heads\": 1", "\"num_kv_heads\": 4", "num_kv_heads"},
           Case{"\"dtype\": \"f32\"", "\"dtype\": \"f8\"", "dtype"},
           Case{"\"arena_bytes\": 4096", "\"arena_bytes\": 1.5", "arena_bytes"},
           Case{"\"features\": []", "\"features\": [3]", "features"},
           Case{"\"features\": []", "\"features\": [\"a\\nb\"]", "features"},
           Case{"\"cpu\": \"test\"", "\"cpu\": \"te\\u007fst\"", "target.cpu"},
           Case{"\"cpu\": \"test\"", "\"cpu\": \"\"", "target.cpu"},
           Case{"\"dtype\": \"f32\"", "\"dtype\": \"f\\n32\"", "f?32"},
           Case{"\"dtype\": \"f32\"", "\"dtype\": [32]", "not 'a list'"},
           Case{"_token_ids\": [0]", "_token_ids\": [16]", "from 0 to 15"},
           Case{"_token_ids\": [0]", "_token_ids\": [-1]", "from 0 to 15"},
           Case{"_token_ids\": [0]", "_token_ids\": 0", "eos_token_ids"},
           Case{"\"step\": {", "\"step\": 3, \"stop\": {", "step"},
           Case{"\"model.mlir\"", "\"../model.mlir\"", "file name"},
           Case{"\"model.mlir\"", "\"model\\nmlir\"", "file name"},
           Case{"\"weights.bin\"", "\"weights\"", "weights"},
           Case{"\"xxh3\": \"", "\"xxh3\": \"X", "xxh3"},
       }) {
    writeManifest();
    SCOPED_TRACE(std::string(c.from) + " -> " + c.to);
    changeManifest(c.from, c.to);
    expectRefused({"manifest.json", c.word});
  }
  writeFile(directory / "manifest.json", "[]");
  expectRefused({"manifest.json"});
}

TEST_F(ModelTest, RefusesDeepManifests) {
  // Deeper than any recursion gets with 8 MB of stack.
  std::string lists(1000000, '[');
  changeManifest("\"vocab_size\": 16",
                 "\"vocab_size\": " + lists + std::string(lists.size(), ']'));
  expectRefused({"manifest.json", "64 levels deep"});
  writeFile(directory / "manifest.json", lists);
  expectRefused({"manifest.json", "64 levels deep"});
  writeManifest();
  // What the loader does not know may be as deep as the limit.
  changeManifest("\"vocab_size\": 16", "\"more\": " + std::string(62, '[') +
                                           std::string(62, ']') +
                                           ", \"vocab_size\": 16");
  EXPECT_NO_THROW(load());
}

TEST_F(ModelTest, ShowsWhatItFoundInShort) {
  auto refused = [&](const char *from, const std::string &to,
                     const std::string &shown) {
    SCOPED_TRACE(to);
    writeManifest();
    changeManifest(from, to);
    try {
      load();
      ADD_FAILURE() << "loaded";
    } catch (const std::runtime_error &error) {
      std::string what = error.what();
      ASSERT_GE(what.size(), shown.size());
      EXPECT_EQ(what.substr(what.size() - shown.size()), shown);
    }
  };
  const char *size = "\"vocab_size\": 16";
  refused(size, "\"vocab_size\": [1, [2]]", ", not a list");
  refused(size, "\"vocab_size\": {\"a\": 1}", ", not an object");
  refused(size, "\"vocab_size\": null", ", not null");
  // Cut between two characters, of one to four bytes.
  for (std::string character : {"e", "\u00e9", "\u20ac", "\U0001f600"}) {
    std::string text, shown;
    for (int i = 0; i < 70; ++i)
      text += character;
    for (size_t i = 0; i < 57 / character.size(); ++i)
      shown += character;
    refused("\"dtype\": \"f32\"", "\"dtype\": \"" + text + "\"",
            ", not '" + shown + "...'");
  }
}

TEST_F(ModelTest, RefusesEveryTruncatedManifest) {
  std::string text = readFile(directory / "manifest.json");
  for (size_t length = 0; length < text.size(); length += 7)
    EXPECT_THROW(parseManifest(text.substr(0, length), "manifest.json"),
                 std::runtime_error);
}

TEST_F(ModelTest, RefusesDamagedFiles) {
  writeFile(directory / "weights.bin", "*weight");
  expectRefused({"weights.bin", "7", "8"});
  writeFile(directory / "weights.bin", "-weights");
  EXPECT_NO_THROW(Model(directory.string()));
  expectRefused({"weights.bin", "checksum"}, true);
  fs::remove(directory / "weights.bin");
  expectRefused({"weights.bin"});

  writeFile(directory / "weights.bin", "*weights");
  writeFile(directory / "model.mlir", "module {!\n");
  expectRefused({"model.mlir", "checksum"});
  writeFile(directory / "model.mlir", "module {}\n");
  writeFile(directory / "model.so", "not a shared object");
  writeManifest();
  expectRefused({"model.so"});
  useCode("without_step");
  expectRefused({"model.so", "llmir_step"});
}

TEST_F(EngineTest, DescribesTheBatch) {
  Engine engine(load(), 2, 10);
  EXPECT_EQ(engine.threads(), 2u);
  auto a = engine.newSequence(), b = engine.newSequence();
  std::vector<int32_t> first = {3, 4, 5, 6, 7}, one = {9};
  std::vector<float> logits = engine.step({{a.get(), first.data(), 5, false}});
  ASSERT_EQ(logits.size(), 16u);
  EXPECT_EQ(row(logits, 0)[0], 7); // token
  EXPECT_EQ(row(logits, 0)[1], 4); // position
  EXPECT_EQ(row(logits, 0)[4], 5); // context
  EXPECT_EQ(row(logits, 0)[6], '*');
  EXPECT_EQ(a->length(), 5);
  EXPECT_EQ(a->blockTable().size(), 2u);
  EXPECT_EQ(engine.numFreeBlocks(), 8);

  logits = engine.step(
      {{b.get(), first.data(), 3, true}, {a.get(), one.data(), 1, false}});
  ASSERT_EQ(logits.size(), 4 * 16u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(row(logits, i)[0], 3 + i);
    EXPECT_EQ(row(logits, i)[1], i);
    EXPECT_EQ(row(logits, i)[2], b->blockTable()[0] * 4 + i);
    EXPECT_EQ(row(logits, i)[3], 0);
    EXPECT_EQ(row(logits, i)[4], 3);
    EXPECT_EQ(row(logits, i)[5], b->blockTable()[0]);
    EXPECT_EQ(row(logits, i)[11], 4 + i);
  }
  EXPECT_EQ(row(logits, 3)[0], 9);
  EXPECT_EQ(row(logits, 3)[1], 5);
  EXPECT_EQ(row(logits, 3)[2], a->blockTable()[1] * 4 + 1);
  EXPECT_EQ(row(logits, 3)[3], 1);
  EXPECT_EQ(row(logits, 3)[4], 6);
  EXPECT_EQ(row(logits, 3)[7], 4); // tokens
  EXPECT_EQ(row(logits, 3)[8], 2); // sequences
  EXPECT_EQ(row(logits, 3)[9], 4); // rows of logits
  EXPECT_EQ(row(logits, 3)[10], 0);
}

TEST_F(EngineTest, RefusesBadBatchesWithoutChangingAnything) {
  Engine engine(load(), 1, 6), other(load(), 1, 6);
  auto a = engine.newSequence(), b = engine.newSequence();
  auto foreign = other.newSequence();
  std::vector<int32_t> ids(30, 1), bad = {1, 16}, negative = {-1};
  engine.step({{a.get(), ids.data(), 6, false}});
  auto refused = [&](const std::vector<StepItem> &items) {
    std::vector<int32_t> blocks = a->blockTable();
    EXPECT_THROW(engine.step(items), std::invalid_argument);
    EXPECT_EQ(a->length(), 6);
    EXPECT_EQ(a->blockTable(), blocks);
    EXPECT_EQ(b->length(), 0);
    EXPECT_EQ(engine.numFreeBlocks(), 4);
  };
  refused({});
  refused({{nullptr, ids.data(), 1, false}});
  refused({{a.get(), ids.data(), 0, false}});
  refused({{a.get(), nullptr, 1, false}});
  refused({{a.get(), ids.data(), 1, false}, {b.get(), bad.data(), 2, false}});
  refused(
      {{a.get(), ids.data(), 1, false}, {b.get(), negative.data(), 1, false}});
  refused({{a.get(), ids.data(), 1, false}, {a.get(), ids.data(), 1, false}});
  refused({{foreign.get(), ids.data(), 1, false}});
  refused({{a.get(), ids.data(), 7, false}, {b.get(), ids.data(), 6, false}});
  refused({{a.get(), ids.data(), 30, false}});
  auto closed = engine.newSequence();
  closed->close();
  refused({{closed.get(), ids.data(), 1, false}});
  // After a refusal the same sequences can run.
  EXPECT_NO_THROW(engine.step(
      {{a.get(), ids.data(), 1, false}, {b.get(), ids.data(), 1, false}}));
}

TEST_F(EngineTest, LengthAndBlocksRunOut) {
  Engine engine(load(), 1, 6);
  auto a = engine.newSequence(), b = engine.newSequence();
  std::vector<int32_t> ids(20, 1);
  engine.step({{a.get(), ids.data(), 12, false}});
  engine.step({{a.get(), ids.data(), 8, false}});
  EXPECT_EQ(a->length(), 20);
  EXPECT_THROW(engine.step({{a.get(), ids.data(), 1, false}}),
               std::invalid_argument);
  EXPECT_EQ(engine.numFreeBlocks(), 1);
  EXPECT_THROW(engine.step({{b.get(), ids.data(), 5, false}}),
               std::runtime_error);
  EXPECT_EQ(b->length(), 0);
  EXPECT_EQ(engine.numFreeBlocks(), 1);
  engine.step({{b.get(), ids.data(), 4, false}});
  EXPECT_EQ(engine.numFreeBlocks(), 0);

  engine.truncate(*a, 9);
  EXPECT_EQ(a->length(), 9);
  EXPECT_EQ(engine.numFreeBlocks(), 2);
  EXPECT_THROW(engine.truncate(*a, 10), std::invalid_argument);
  EXPECT_THROW(engine.truncate(*a, -1), std::invalid_argument);
  engine.truncate(*a, 0);
  EXPECT_EQ(engine.numFreeBlocks(), 5);
  b.reset();
  a->close();
  a->close();
  EXPECT_TRUE(a->closed());
  EXPECT_EQ(engine.numFreeBlocks(), 6);
}

TEST_F(EngineTest, AWindowLetsBlocksGo) {
  changeManifest("\"bos_token_id\": 0", "\"kv_cache_window\": 6");
  Engine engine(load(), 1, 4);
  auto a = engine.newSequence(), b = engine.newSequence();
  std::vector<int32_t> ids(20, 1);
  auto run = [&](Sequence &sequence, int64_t tokens) {
    return engine.step({{&sequence, ids.data(), tokens, false}});
  };
  run(*a, 9);
  EXPECT_EQ(engine.numFreeBlocks(), 1);
  // Position 9 sees 4 to 9: the block of 0 to 3 is passed, and gives the room
  // for 9 to 16.
  EXPECT_EQ(engine.blocksNeeded(*a, 8), 1);
  EXPECT_EQ(a->blockTable().size(), 3u);
  std::vector<float> logits = run(*a, 8);
  EXPECT_EQ(a->blockTable().size(), 5u);
  EXPECT_EQ(a->blockTable()[0], -1);
  EXPECT_EQ(row(logits, 0)[5], 0); // the first block, which is read no more
  EXPECT_EQ(engine.numFreeBlocks(), 0);
  // Back to where the last step began, and not to what saw more.
  EXPECT_THROW(engine.truncate(*a, 8), std::invalid_argument);
  EXPECT_EQ(a->length(), 17);
  engine.truncate(*a, 9);
  EXPECT_EQ(engine.numFreeBlocks(), 2);
  run(*a, 8);
  // 12 to 17 are left of 17 positions: two blocks, and fewer than none needed.
  EXPECT_EQ(engine.blocksNeeded(*a, 1), -2);
  logits = run(*a, 1);
  EXPECT_EQ(engine.numFreeBlocks(), 2);
  EXPECT_EQ(row(logits, 0)[2], a->blockTable()[4] * 4 + 1);
  // To the start, there is nothing to be seen.
  engine.truncate(*a, 0);
  EXPECT_EQ(engine.numFreeBlocks(), 4);
  // What one gives back, the other takes in the same step.
  run(*a, 9);
  run(*b, 4);
  EXPECT_EQ(engine.numFreeBlocks(), 0);
  EXPECT_THROW(run(*b, 1), std::runtime_error);
  engine.step(
      {{b.get(), ids.data(), 1, false}, {a.get(), ids.data(), 1, false}});
  EXPECT_EQ(engine.numFreeBlocks(), 0);
  a->close();
  b->close();
  EXPECT_EQ(engine.numFreeBlocks(), 4);
}

TEST_F(EngineTest, AWindowBoundsTheCache) {
  changeManifest("\"bos_token_id\": 0", "\"kv_cache_window\": 6");
  changeManifest("\"max_batch_tokens\": 12", "\"max_batch_tokens\": 4");
  // 5 positions before a step and its 4 tokens, from the midst of a block on.
  EXPECT_EQ(Engine(load(), 1, 0).numBlocks(), 8 * 4);
  Engine engine(load(), 1, 4);
  auto a = engine.newSequence();
  std::vector<int32_t> ids(4, 1);
  for (int64_t first : {3, 4, 4, 4, 4, 1})
    engine.step({{a.get(), ids.data(), first, false}});
  EXPECT_EQ(a->length(), 20);
  changeManifest("\"kv_cache_window\": 6", "\"kv_cache_window\": 0");
  expectRefused({"'model.kv_cache_window'", "0"});
}

TEST_F(EngineTest, SequencesMayOutliveTheEngine) {
  auto engine = std::make_unique<Engine>(load(), 1, 0);
  EXPECT_GE(engine->numBlocks(), 5);
  EXPECT_LE(engine->numBlocks(), 40);
  auto a = engine->newSequence();
  int32_t id = 1;
  engine->step({{a.get(), &id, 1, false}});
  engine.reset();
  EXPECT_EQ(a->length(), 1);
  EXPECT_THROW(Engine(load(), 1, -1), std::invalid_argument);
  EXPECT_THROW(Engine(load(), 1, INT64_MAX), std::invalid_argument);
}
