// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Loads artifacts that libFuzzer makes up. An artifact may come from anywhere,
// so whatever its files say, the loader must either accept it or refuse it with
// one sentence: no crash, no overflow, no other exception, no flood of text.
//
// An input is the manifest, the weights and the code, with a zero byte between
// them. Words in capitals in the manifest stand for what is true of this input
// and this machine, since no fuzzer guesses a checksum. Code is run by loading
// it, so it is either the compiled model of the loader's tests, if the input
// brings none, or something that is certainly not ELF.
#include "llmir/runtime/checksum.h"
#include "llmir/runtime/cpu_features.h"
#include "llmir/runtime/engine.h"
#include "llmir/runtime/model.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

using namespace llmir::runtime;
namespace fs = std::filesystem;

namespace {

/// The longest sentence that anybody would read.
constexpr size_t mostMessage = 2000;

std::string readFile(const fs::path &path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// The directory in which artifacts are made, in memory where there is such.
class Workshop {
public:
  Workshop() {
    fs::path parent =
        fs::is_directory("/dev/shm") ? "/dev/shm" : fs::temp_directory_path();
    std::string name = (parent / "llmir-fuzz-XXXXXX").string();
    if (!mkdtemp(name.data())) {
      std::perror(name.c_str());
      std::exit(1);
    }
    directory = name;
    realCode = readFile(LLMIR_FUZZ_MODEL);
  }
  ~Workshop() { fs::remove_all(directory); }

  void write(const char *name, const std::string &text) const {
    std::ofstream(directory / name, std::ios::binary) << text;
  }

  fs::path directory;
  std::string realCode;
};

void replaceAll(std::string &text, const std::string &from,
                const std::string &to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos;
       at += to.size())
    text.replace(at, from.size(), to);
}

/// Takes what stands before the next zero byte.
std::string takePart(std::string &rest) {
  size_t end = rest.find('\0');
  std::string part = rest.substr(0, end);
  rest.erase(0, end == std::string::npos ? end : end + 1);
  return part;
}

void checkMessage(const std::string &message) {
  bool good = !message.empty() && message.size() <= mostMessage;
  for (unsigned char c : message)
    good = good && c >= 0x20 && c != 0x7f;
  if (good)
    return;
  std::fprintf(stderr, "not one readable sentence: %s\n", message.c_str());
  std::abort();
}

/// The strings and numbers of a JSON text, as places to change.
std::vector<std::pair<size_t, size_t>> findLiterals(const uint8_t *text,
                                                    size_t size) {
  std::vector<std::pair<size_t, size_t>> literals;
  for (size_t i = 0; i < size; ++i) {
    size_t begin = i;
    if (text[i] == '"') {
      begin = ++i;
      while (i < size && text[i] != '"')
        i += text[i] == '\\' ? 2 : 1;
    } else if (std::isdigit(text[i])) {
      while (i < size && std::isdigit(text[i]))
        ++i;
    } else {
      continue;
    }
    literals.emplace_back(begin, std::min(i, size) - begin);
  }
  return literals;
}

} // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

/// Mostly changes one string or number of the manifest and leaves the rest: a
/// text changed anywhere is seldom JSON still.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size,
                                          size_t most, unsigned seed) {
  const auto *end = static_cast<uint8_t *>(std::memchr(data, 0, size));
  auto literals = findLiterals(data, end ? end - data : size);
  std::minstd_rand random(seed);
  if (literals.empty() || random() % 4 == 0)
    return LLVMFuzzerMutate(data, size, most);
  auto [begin, length] = literals[random() % literals.size()];
  std::vector<uint8_t> rest(data + begin + length, data + size);
  size_t room = most - begin - rest.size();
  if (room == 0)
    return size;
  length = LLVMFuzzerMutate(data + begin, length, room);
  std::copy(rest.begin(), rest.end(), data + begin + length);
  return begin + length + rest.size();
}

/// Makes an artifact of the input and loads it. Throws what the loader throws.
static void load(const Workshop &workshop, std::string rest) {
  std::string manifest = takePart(rest), weights = takePart(rest);
  std::string code = rest.empty() ? workshop.realCode : "#!" + rest;

  replaceAll(manifest, "ARCH", std::string(hostArch()));
  replaceAll(manifest, "ABI_VERSION", std::to_string(LLMIR_ABI_VERSION));
  replaceAll(manifest, "CODE_BYTES", std::to_string(code.size()));
  replaceAll(manifest, "CODE_XXH3", xxh3(code.data(), code.size()));
  replaceAll(manifest, "WEIGHTS_BYTES", std::to_string(weights.size()));
  replaceAll(manifest, "WEIGHTS_XXH3", xxh3(weights.data(), weights.size()));
  workshop.write("manifest.json", manifest);
  workshop.write("weights.bin", weights);
  fs::path codePath = workshop.directory / "model.so";
  fs::remove(codePath);
  // In memory one may not be allowed to run anything.
  if (rest.empty())
    fs::create_symlink(LLMIR_FUZZ_MODEL, codePath);
  else
    workshop.write("model.so", code);

  auto model =
      std::make_shared<Model>(workshop.directory.string(), /*verify=*/true);
  const Manifest &facts = model->manifest();
  // Its memory is proportional to these two; the rest is only mapped.
  if (facts.maxModelLen <= 1 << 16 && facts.maxBatchTokens <= 1 << 16)
    Engine(model, /*threads=*/1).newSequence();
}

static Workshop *workshop;

/// What is right must load, or the fuzzer would see little of the loader.
extern "C" int LLVMFuzzerInitialize(int *, char ***) {
  static Workshop instance;
  workshop = &instance;
  load(instance, readFile(LLMIR_FUZZ_COMPLETE));
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try {
    load(*workshop, {reinterpret_cast<const char *>(data), size});
  } catch (const std::runtime_error &error) {
    checkMessage(error.what());
  } catch (const std::invalid_argument &error) {
    checkMessage(error.what());
  }
  return 0;
}
