// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What this CPU can do, by the names LLVM uses. An artifact lists the features
// its code was compiled for and is refused here when one is missing, and the
// kernels are chosen by a level that is a set of such features.
#ifndef LLMIR_RUNTIME_CPU_FEATURES_H
#define LLMIR_RUNTIME_CPU_FEATURES_H

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llmir::runtime {

/// The LLVM names of the features that the CPU has and the operating system
/// lets programs use, sorted. Empty on an architecture without detection.
std::vector<std::string> hostFeatures();

/// The LLVM name of this architecture, such as "x86_64".
std::string_view hostArch();

/// A set of kernels. Each level includes the ones before it.
enum class CpuLevel { Portable, Avx2, Avx512, Avx512Bf16, Amx };

std::string_view cpuLevelName(CpuLevel level);

/// Every level, lowest first, with the features that it needs beyond those of
/// the levels before it.
std::vector<std::pair<std::string_view, std::vector<std::string_view>>>
cpuLevels();

/// Whether this machine runs the kernels of `level`.
bool supportsCpuLevel(CpuLevel level);

/// The highest level of this machine, or the one that the environment variable
/// LLMIR_CPU_LEVEL names. Throws std::runtime_error for a name that is unknown
/// or a level that this machine lacks.
CpuLevel selectCpuLevel();

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_CPU_FEATURES_H
