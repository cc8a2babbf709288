// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// XXH3 from the xxHash header, so that there is no library to find.
#include "llmir/runtime/checksum.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace llmir::runtime {

static std::string toHex(XXH64_hash_t hash) {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx",
                static_cast<unsigned long long>(hash));
  return text;
}

std::string xxh3(const void *data, size_t size) {
  return toHex(XXH3_64bits(data, size));
}

std::string xxh3File(const std::string &path) {
  std::unique_ptr<FILE, int (*)(FILE *)> file(std::fopen(path.c_str(), "rb"),
                                              std::fclose);
  if (!file)
    throw std::runtime_error("cannot read '" + path +
                             "': " + std::strerror(errno));
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t *)> state(
      XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  constexpr size_t size = size_t(1) << 20;
  std::unique_ptr<char[]> buffer(new char[size]);
  while (size_t count = std::fread(buffer.get(), 1, size, file.get()))
    XXH3_64bits_update(state.get(), buffer.get(), count);
  if (std::ferror(file.get()))
    throw std::runtime_error("cannot read '" + path +
                             "': " + std::strerror(errno));
  return toHex(XXH3_64bits_digest(state.get()));
}

} // namespace llmir::runtime
