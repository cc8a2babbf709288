// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The loader. An artifact may come from anywhere, so nothing that its manifest
// says is used before it has been checked against a range, the files and the
// CPU, in the order in which a user would want to hear of a mistake.
#include "llmir/runtime/model.h"

#include "llmir/runtime/checksum.h"
#include "llmir/runtime/cpu_features.h"
#include "llmir/runtime/packing.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace llmir::runtime {

namespace {

using Json = nlohmann::json;

constexpr const char *codeFile = "model.so";
/// Far more than a manifest needs, and few enough for whatever walks the tree
/// by recursion.
constexpr int mostNested = 64;
constexpr size_t mostName = 100;

bool isControl(char c) { return (c >= 0 && c < ' ') || c == 0x7f; }

/// An object of the manifest, and where it is in there.
class Reader {
public:
  Reader(const Json &json, std::string where, const std::string &path)
      : json(json), where(std::move(where)), path(path) {
    if (!json.is_object())
      fail("'" + this->where + "' must be an object");
  }

  [[noreturn]] void fail(const std::string &what) const {
    throw std::runtime_error("'" + path + "' is not a valid manifest: " + what);
  }

  std::string name(const char *key) const {
    return where.empty() ? key : where + "." + key;
  }

  const Json &get(const char *key) const {
    auto found = json.find(key);
    if (found == json.end())
      fail("'" + name(key) + "' is missing");
    return *found;
  }

  Reader object(const char *key) const {
    return Reader(get(key), name(key), path);
  }

  int64_t integer(const char *key, int64_t least, int64_t most) const {
    const Json &value = get(key);
    // An unsigned number beyond int64_t would turn negative.
    bool fits = value.is_number_integer() &&
                (!value.is_number_unsigned() ||
                 value.get<uint64_t>() <= uint64_t(INT64_MAX));
    if (!fits || value.get<int64_t>() < least || value.get<int64_t>() > most)
      fail("'" + name(key) + "' must be an integer from " +
           std::to_string(least) + " to " + std::to_string(most) + ", not " +
           show(value));
    return value.get<int64_t>();
  }

  /// A string that may stand in messages as it is.
  std::string string(const char *key) const {
    const Json &value = get(key);
    if (!isName(value))
      fail("'" + name(key) + "' must be a string of 1 to " +
           std::to_string(mostName) + " printable ASCII characters");
    return value.get<std::string>();
  }

  std::vector<std::string> strings(const char *key) const {
    const Json &value = get(key);
    std::vector<std::string> result;
    bool good = value.is_array();
    if (good)
      for (const Json &entry : value) {
        good = good && isName(entry);
        if (good)
          result.push_back(entry.get<std::string>());
      }
    if (!good)
      fail("'" + name(key) + "' must be a list of strings of 1 to " +
           std::to_string(mostName) + " printable ASCII characters");
    return result;
  }

  /// A list of token ids, each less than `vocabSize`.
  std::vector<int32_t> tokenIds(const char *key, int64_t vocabSize) const {
    const Json &value = get(key);
    std::vector<int32_t> result;
    bool good = value.is_array();
    if (good)
      for (const Json &entry : value) {
        good = good && entry.is_number_unsigned() &&
               entry.get<uint64_t>() < uint64_t(vocabSize);
        if (good)
          result.push_back(entry.get<int32_t>());
      }
    if (!good)
      fail("'" + name(key) + "' must be a list of integers from 0 to " +
           std::to_string(vocabSize - 1));
    return result;
  }

  /// A string, or another value as it is written.
  std::string text(const char *key) const {
    const Json &json = get(key);
    return json.is_string() ? json.get<std::string>() : show(json);
  }

  llmir_dtype dtype(const char *key) const {
    std::string value = text(key);
    if (value != "f32" && value != "bf16" && value != "f16")
      fail("'" + name(key) + "' must be f32, bf16 or f16, not '" +
           shorten(value) + "'");
    return parseDtype(value);
  }

  /// What a cache holds.
  llmir_dtype cacheDtype(const char *key) const {
    std::string value = text(key);
    for (llmir_dtype dtype :
         {LLMIR_F32, LLMIR_BF16, LLMIR_F16, LLMIR_I8, LLMIR_I4})
      if (value == dtypeName(dtype))
        return dtype;
    fail("'" + name(key) + "' must be f32, bf16, f16, i8 or i4, not '" +
         shorten(value) + "'");
  }

  static bool isName(const Json &value) {
    if (!value.is_string())
      return false;
    const auto &text = value.get_ref<const std::string &>();
    return !text.empty() && text.size() <= mostName &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return c >= ' ' && c <= '~'; });
  }

  /// At most 60 bytes on one line, whole characters of UTF-8.
  static std::string shorten(std::string text) {
    std::replace_if(text.begin(), text.end(), isControl, '?');
    if (text.size() <= 60)
      return text;
    size_t end = 57;
    while (end > 0 && (text[end] & 0xc0) == 0x80)
      --end;
    return text.substr(0, end) + "...";
  }

  static std::string show(const Json &value) {
    if (value.is_array())
      return "a list";
    if (value.is_object())
      return "an object";
    return shorten(value.dump());
  }

  const Json &json;

private:
  std::string where;
  const std::string &path;
};

Manifest::File readFile(const Reader &reader) {
  Manifest::File file;
  file.bytes = reader.integer("bytes", 0, int64_t(1) << 50);
  file.xxh3 = reader.string("xxh3");
  bool hex = file.xxh3.size() == 16;
  for (char c : file.xxh3)
    hex = hex && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
  if (!hex)
    reader.fail("'" + reader.name("xxh3") +
                "' must be 16 lower-case hexadecimal digits");
  return file;
}

std::string systemError() { return std::strerror(errno); }

std::string readText(const std::string &path) {
  // Opening a pipe would wait for somebody to write to it.
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    throw std::runtime_error("'" + path + "' is not a file");
  std::ifstream stream(path, std::ios::binary);
  if (!stream)
    throw std::runtime_error("cannot read '" + path + "': " + systemError());
  constexpr size_t most = size_t(16) << 20;
  std::string text;
  std::unique_ptr<char[]> buffer(new char[1 << 16]);
  while (stream.read(buffer.get(), 1 << 16), stream.gcount() > 0) {
    text.append(buffer.get(), stream.gcount());
    if (text.size() > most)
      throw std::runtime_error("'" + path +
                               "' is too long for a manifest (16 MB)");
  }
  if (stream.bad())
    throw std::runtime_error("cannot read '" + path + "': " + systemError());
  return text;
}

void checkTarget(const Manifest &manifest, const std::string &directory) {
  if (manifest.arch != hostArch())
    throw std::runtime_error("'" + directory + "' was compiled for " +
                             manifest.arch + ", and this machine is " +
                             std::string(hostArch()) +
                             "; compile the model for this machine");
  std::vector<std::string> host = hostFeatures();
  std::string missing;
  int count = 0;
  constexpr int mostShown = 10;
  for (const std::string &feature : manifest.features)
    if (!std::binary_search(host.begin(), host.end(), feature) &&
        ++count <= mostShown)
      missing += (missing.empty() ? "" : ", ") + feature;
  if (count > mostShown)
    missing += " and " + std::to_string(count - mostShown) + " more";
  if (!missing.empty())
    throw std::runtime_error("'" + directory + "' was compiled for " +
                             manifest.cpu + ", and this CPU lacks " + missing +
                             "; compile the model for this machine");
}

void checkSize(const std::string &path, int64_t expected) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0)
    throw std::runtime_error("cannot read '" + path + "': " + systemError());
  if (!S_ISREG(info.st_mode))
    throw std::runtime_error("'" + path + "' is not a file");
  if (info.st_size != expected)
    throw std::runtime_error(
        "'" + path + "' has " + std::to_string(info.st_size) +
        " bytes, and the manifest says " + std::to_string(expected) +
        "; the artifact is incomplete or damaged");
}

void checkSum(const std::string &path, const std::string &found,
              const std::string &expected) {
  if (found != expected)
    throw std::runtime_error("'" + path + "' has the checksum " + found +
                             ", and the manifest says " + expected +
                             "; the artifact is damaged");
}

} // namespace

Manifest parseManifest(const std::string &text, const std::string &path) {
  auto checkDepth = [&](int depth, Json::parse_event_t, Json &) {
    if (depth > mostNested)
      throw std::runtime_error("'" + path +
                               "' is not a valid manifest: it has lists or "
                               "objects more than " +
                               std::to_string(mostNested) + " levels deep");
    return true;
  };
  Json json = Json::parse(text, checkDepth, /*allow_exceptions=*/false);
  if (json.is_discarded())
    throw std::runtime_error("'" + path + "' is not valid JSON");
  Reader top(json, "", path);
  constexpr int64_t anyVersion = 1 << 30;
  constexpr int64_t many = 1 << 20;
  if (top.string("format") != "llmir-artifact")
    top.fail("'format' must be 'llmir-artifact'");
  int64_t format = top.integer("format_version", 0, anyVersion);
  if (format != artifactFormatVersion)
    throw std::runtime_error(
        "'" + path + "' has the artifact format " + std::to_string(format) +
        ", and this runtime reads " + std::to_string(artifactFormatVersion) +
        "; compile the model again");
  int64_t abi = top.integer("abi_version", 0, anyVersion);
  if (abi != LLMIR_ABI_VERSION)
    throw std::runtime_error("'" + path + "' was compiled for ABI version " +
                             std::to_string(abi) + ", and this runtime has " +
                             std::to_string(LLMIR_ABI_VERSION) +
                             "; compile the model again");

  Manifest m;
  m.text = text;
  m.llmirVersion = top.string("llmir_version");
  Reader target = top.object("target");
  m.arch = target.string("arch");
  m.cpu = target.string("cpu");
  m.features = target.strings("features");

  Reader model = top.object("model");
  m.architecture = model.string("architecture");
  m.vocabSize = model.integer("vocab_size", 1, 1 << 26);
  m.hiddenSize = model.integer("hidden_size", 1, many);
  m.numLayers = model.integer("num_layers", 1, 1 << 16);
  m.numHeads = model.integer("num_heads", 1, 1 << 16);
  m.numKVHeads = model.integer("num_kv_heads", 1, 1 << 16);
  m.headDim = model.integer("head_dim", 1, 1 << 14);
  m.dtype = model.dtype("dtype");
  m.maxModelLen = model.integer("max_model_len", 1, int64_t(1) << 28);
  m.eosTokenIds = model.tokenIds("eos_token_ids", m.vocabSize);
  if (model.json.contains("kv_cache_window"))
    m.cacheWindow = model.integer("kv_cache_window", 1, int64_t(1) << 28);
  if (m.numHeads % m.numKVHeads)
    model.fail("'model.num_heads' must be a multiple of "
               "'model.num_kv_heads'");

  Reader cache = top.object("cache");
  m.cacheDtype = cache.cacheDtype("dtype");
  m.cacheLayers = cache.integer("layers", 1, 1 << 16);
  m.cacheKVHeads = cache.integer("kv_heads", 1, 1 << 16);
  m.cacheHeadDim = cache.integer("head_dim", 1, 1 << 14);
  m.cacheBlockSize = cache.integer("block_size", 1, 1 << 14);
  m.cacheMaxSeqLen = cache.integer("max_seq_len", 1, int64_t(1) << 28);
  if (m.cacheBlockSize & (m.cacheBlockSize - 1))
    cache.fail("'cache.block_size' must be a power of two, not " +
               std::to_string(m.cacheBlockSize));
  if (m.cacheMaxSeqLen < m.maxModelLen)
    cache.fail("'cache.max_seq_len' is less than 'model.max_model_len'");

  Reader step = top.object("step");
  m.maxBatchTokens = step.integer("max_batch_tokens", 1, 1 << 24);
  m.arenaBytes = step.integer("arena_bytes", 0, int64_t(1) << 46);

  Reader files = top.object("files");
  for (const auto &[name, entry] : files.json.items()) {
    // A name, not a path that leads elsewhere.
    if (name.empty() || name[0] == '.' || name.size() > mostName ||
        name.find_first_of("/\\") != std::string::npos ||
        std::any_of(name.begin(), name.end(), isControl))
      files.fail("'files' has an entry '" + Reader::shorten(name) +
                 "' that is not a file name");
    m.files[name] = readFile(files.object(name.c_str()));
  }
  for (const char *name : {codeFile, weightsFile})
    if (!m.files.count(name))
      files.fail("'files." + std::string(name) + "' is missing");
  return m;
}

Model::Model(const std::string &directory, bool verify) {
  std::unique_ptr<char, void (*)(void *)> resolved(
      realpath(directory.c_str(), nullptr), std::free);
  if (!resolved)
    throw std::runtime_error("cannot open the artifact '" + directory +
                             "': " + systemError());
  std::string root = resolved.get();
  struct stat info;
  if (stat(root.c_str(), &info) != 0 || !S_ISDIR(info.st_mode))
    throw std::runtime_error("'" + directory +
                             "' is not an artifact: it is not a directory");

  std::string manifestPath = root + "/manifest.json";
  facts = parseManifest(readText(manifestPath), manifestPath);
  checkTarget(facts, directory);
  for (const auto &[name, file] : facts.files)
    checkSize(root + "/" + name, file.bytes);
  for (const auto &[name, file] : facts.files)
    if (name != weightsFile)
      checkSum(root + "/" + name, xxh3File(root + "/" + name), file.xxh3);
  try {
    mapWeights(root + "/" + weightsFile, verify);
    code = Library(root + "/" + codeFile, LLMIR_STEP_SYMBOL);
  } catch (...) {
    close();
    throw;
  }
}

Model::~Model() { close(); }

void Model::close() {
  code = Library();
  if (weightData)
    munmap(weightData, weightBytes);
  weightData = nullptr;
}

void Model::mapWeights(const std::string &path, bool verify) {
  weightBytes = facts.files.at(weightsFile).bytes;
  if (weightBytes > 0) {
    int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0)
      throw std::runtime_error("cannot read '" + path + "': " + systemError());
    // The size of the open file: a mapping beyond the end is a bus error.
    struct stat info;
    bool whole = fstat(file, &info) == 0 && info.st_size == weightBytes;
    void *data =
        whole ? mmap(nullptr, weightBytes, PROT_READ, MAP_SHARED, file, 0)
              : MAP_FAILED;
    std::string error = whole ? systemError() : "its size has changed";
    ::close(file);
    if (data == MAP_FAILED)
      throw std::runtime_error("cannot map '" + path + "': " + error);
    weightData = data;
    // Hints only; a kernel without them maps just as well.
    (void)madvise(data, weightBytes, MADV_WILLNEED);
  }
  if (verify)
    checkSum(path, xxh3(weightData, weightBytes),
             facts.files.at(weightsFile).xxh3);
}

} // namespace llmir::runtime
