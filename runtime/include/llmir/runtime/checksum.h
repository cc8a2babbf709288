// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The checksum of an artifact's files: XXH3 of 64 bits as 16 hexadecimal
// digits. One definition, for the compiler that writes it and the loader.
#ifndef LLMIR_RUNTIME_CHECKSUM_H
#define LLMIR_RUNTIME_CHECKSUM_H

#include <cstddef>
#include <string>

namespace llmir::runtime {

std::string xxh3(const void *data, size_t size);

/// Throws std::runtime_error if the file cannot be read.
std::string xxh3File(const std::string &path);

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_CHECKSUM_H
