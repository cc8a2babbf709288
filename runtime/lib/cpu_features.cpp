// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// CPUID, as LLVM 18 reads it: the same bits under the same names, and a vector
// feature only counts if the operating system saves its registers.
#include "llmir/runtime/cpu_features.h"

#include "kernels/kernels.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace llmir::runtime {

#if defined(__x86_64__)
namespace {

enum Register { A, B, C, D };
enum State { None, Avx, Avx512, Amx };

struct Feature {
  const char *name;
  uint32_t leaf, subleaf;
  Register reg;
  int bit;
  State state;
};

// Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
const Feature features[] = {
    {"cx8", 1, 0, D, 8, None},
    {"cmov", 1, 0, D, 15, None},
    {"mmx", 1, 0, D, 23, None},
    {"fxsr", 1, 0, D, 24, None},
    {"sse", 1, 0, D, 25, None},
    {"sse2", 1, 0, D, 26, None},
    {"sse3", 1, 0, C, 0, None},
    {"pclmul", 1, 0, C, 1, None},
    {"ssse3", 1, 0, C, 9, None},
    {"fma", 1, 0, C, 12, Avx},
    {"cx16", 1, 0, C, 13, None},
    {"sse4.1", 1, 0, C, 19, None},
    {"sse4.2", 1, 0, C, 20, None},
    {"crc32", 1, 0, C, 20, None},
    {"movbe", 1, 0, C, 22, None},
    {"popcnt", 1, 0, C, 23, None},
    {"aes", 1, 0, C, 25, None},
    {"xsave", 1, 0, C, 27, None},
    {"avx", 1, 0, C, 28, Avx},
    {"f16c", 1, 0, C, 29, Avx},
    {"rdrnd", 1, 0, C, 30, None},
    {"fsgsbase", 7, 0, B, 0, None},
    {"sgx", 7, 0, B, 2, None},
    {"bmi", 7, 0, B, 3, None},
    {"avx2", 7, 0, B, 5, Avx},
    {"bmi2", 7, 0, B, 8, None},
    {"invpcid", 7, 0, B, 10, None},
    {"rtm", 7, 0, B, 11, None},
    {"avx512f", 7, 0, B, 16, Avx512},
    {"evex512", 7, 0, B, 16, Avx512},
    {"avx512dq", 7, 0, B, 17, Avx512},
    {"rdseed", 7, 0, B, 18, None},
    {"adx", 7, 0, B, 19, None},
    {"avx512ifma", 7, 0, B, 21, Avx512},
    {"clflushopt", 7, 0, B, 23, None},
    {"clwb", 7, 0, B, 24, None},
    {"avx512pf", 7, 0, B, 26, Avx512},
    {"avx512er", 7, 0, B, 27, Avx512},
    {"avx512cd", 7, 0, B, 28, Avx512},
    {"sha", 7, 0, B, 29, None},
    {"avx512bw", 7, 0, B, 30, Avx512},
    {"avx512vl", 7, 0, B, 31, Avx512},
    {"prefetchwt1", 7, 0, C, 0, None},
    {"avx512vbmi", 7, 0, C, 1, Avx512},
    {"pku", 7, 0, C, 4, None},
    {"waitpkg", 7, 0, C, 5, None},
    {"avx512vbmi2", 7, 0, C, 6, Avx512},
    {"shstk", 7, 0, C, 7, None},
    {"gfni", 7, 0, C, 8, None},
    {"vaes", 7, 0, C, 9, Avx},
    {"vpclmulqdq", 7, 0, C, 10, Avx},
    {"avx512vnni", 7, 0, C, 11, Avx512},
    {"avx512bitalg", 7, 0, C, 12, Avx512},
    {"avx512vpopcntdq", 7, 0, C, 14, Avx512},
    {"rdpid", 7, 0, C, 22, None},
    {"kl", 7, 0, C, 23, None},
    {"cldemote", 7, 0, C, 25, None},
    {"movdiri", 7, 0, C, 27, None},
    {"movdir64b", 7, 0, C, 28, None},
    {"enqcmd", 7, 0, C, 29, None},
    {"uintr", 7, 0, D, 5, None},
    {"avx512vp2intersect", 7, 0, D, 8, Avx512},
    {"serialize", 7, 0, D, 14, None},
    {"tsxldtrk", 7, 0, D, 16, None},
    {"pconfig", 7, 0, D, 18, None},
    {"amx-bf16", 7, 0, D, 22, Amx},
    {"avx512fp16", 7, 0, D, 23, Avx512},
    {"amx-tile", 7, 0, D, 24, Amx},
    {"amx-int8", 7, 0, D, 25, Amx},
    {"sha512", 7, 1, A, 0, Avx},
    {"sm3", 7, 1, A, 1, Avx},
    {"sm4", 7, 1, A, 2, Avx},
    {"raoint", 7, 1, A, 3, None},
    {"avxvnni", 7, 1, A, 4, Avx},
    {"avx512bf16", 7, 1, A, 5, Avx512},
    {"cmpccxadd", 7, 1, A, 7, None},
    {"amx-fp16", 7, 1, A, 21, Amx},
    {"hreset", 7, 1, A, 22, None},
    {"avxifma", 7, 1, A, 23, Avx},
    {"avxvnniint8", 7, 1, D, 4, Avx},
    {"avxneconvert", 7, 1, D, 5, Avx},
    {"amx-complex", 7, 1, D, 8, Amx},
    {"avxvnniint16", 7, 1, D, 10, Avx},
    {"avx10.1-256", 7, 1, D, 19, Avx512},
    {"prefetchi", 7, 1, D, 14, None},
    {"usermsr", 7, 1, D, 15, None},
    {"xsaveopt", 0xd, 1, A, 0, Avx},
    {"xsavec", 0xd, 1, A, 1, Avx},
    {"xsaves", 0xd, 1, A, 3, Avx},
    {"ptwrite", 0x14, 0, B, 4, None},
    {"widekl", 0x19, 0, B, 2, None},
    {"avx10.1-512", 0x24, 0, B, 18, Avx512},
    {"sahf", 0x80000001, 0, C, 0, None},
    {"lzcnt", 0x80000001, 0, C, 5, None},
    {"sse4a", 0x80000001, 0, C, 6, None},
    {"prfchw", 0x80000001, 0, C, 8, None},
    {"xop", 0x80000001, 0, C, 11, Avx},
    {"lwp", 0x80000001, 0, C, 15, None},
    {"fma4", 0x80000001, 0, C, 16, Avx},
    {"tbm", 0x80000001, 0, C, 21, None},
    {"mwaitx", 0x80000001, 0, C, 29, None},
    {"64bit", 0x80000001, 0, D, 29, None},
    {"clzero", 0x80000008, 0, B, 0, None},
    {"rdpru", 0x80000008, 0, B, 4, None},
    {"wbnoinvd", 0x80000008, 0, B, 9, None},
};

uint64_t savedStates() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27)))
    return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

bool isSaved(State state, uint64_t saved) {
  switch (state) {
  case None:
    return true;
  case Avx:
    return (saved & 0x6) == 0x6;
  case Avx512:
    return (saved & 0xe6) == 0xe6;
  case Amx:
    return (saved & 0x60000) == 0x60000;
  }
  return false;
}

} // namespace

std::vector<std::string> hostFeatures() {
  std::vector<std::string> found;
  uint64_t saved = savedStates();
  for (const Feature &feature : features) {
    uint32_t regs[4];
    // Fails, rather than answering for another leaf, above the highest one.
    if (!__get_cpuid_count(feature.leaf, feature.subleaf, &regs[0], &regs[1],
                           &regs[2], &regs[3]))
      continue;
    if ((regs[feature.reg] >> feature.bit & 1) && isSaved(feature.state, saved))
      found.emplace_back(feature.name);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string_view hostArch() { return "x86_64"; }

#else

std::vector<std::string> hostFeatures() { return {}; }

#if defined(__aarch64__)
std::string_view hostArch() { return "aarch64"; }
#else
std::string_view hostArch() { return "unknown"; }
#endif

#endif

namespace {

struct LevelInfo {
  CpuLevel level;
  std::string_view name;
  std::vector<std::string_view> needs;
};

// The features that the level's sources are compiled with.
const std::vector<LevelInfo> &levels() {
  static const std::vector<LevelInfo> infos = {
      {CpuLevel::Portable, "portable", {}},
      {CpuLevel::Avx2, "avx2", {"avx2", "fma", "f16c"}},
      {CpuLevel::Avx512,
       "avx512",
       {"avx512f", "avx512bw", "avx512vl", "avx512dq"}},
      {CpuLevel::Avx512Bf16,
       "avx512_bf16",
       {"avx512bf16", "avx512vnni", "avx512vbmi"}},
      {CpuLevel::Amx, "amx", {"amx-tile", "amx-bf16"}},
  };
  return infos;
}

CpuLevel highestLevel() {
  std::vector<std::string> host = hostFeatures();
  CpuLevel best = CpuLevel::Portable;
  for (const LevelInfo &info : levels()) {
    for (std::string_view need : info.needs)
      if (!std::binary_search(host.begin(), host.end(), need))
        return best;
#if defined(__x86_64__)
    if (info.level == CpuLevel::Amx && !kernels::amx::requestTiles())
      return best;
#endif
    best = info.level;
  }
  return best;
}

} // namespace

std::string_view cpuLevelName(CpuLevel level) {
  return levels()[size_t(level)].name;
}

std::vector<std::pair<std::string_view, std::vector<std::string_view>>>
cpuLevels() {
  std::vector<std::pair<std::string_view, std::vector<std::string_view>>> all;
  for (const LevelInfo &info : levels())
    all.emplace_back(info.name, info.needs);
  return all;
}

bool supportsCpuLevel(CpuLevel level) { return level <= highestLevel(); }

CpuLevel selectCpuLevel() {
  CpuLevel best = highestLevel();
  const char *forced = std::getenv("LLMIR_CPU_LEVEL");
  if (!forced || !*forced)
    return best;
  for (const LevelInfo &info : levels()) {
    if (info.name != forced)
      continue;
    if (info.level > best)
      throw std::runtime_error("LLMIR_CPU_LEVEL asks for the level '" +
                               std::string(forced) +
                               "', but the highest that this CPU has is '" +
                               std::string(cpuLevelName(best)) + "'");
    return info.level;
  }
  throw std::runtime_error("LLMIR_CPU_LEVEL is '" + std::string(forced) +
                           "'; the levels are portable, avx2, avx512, "
                           "avx512_bf16 and amx");
}

} // namespace llmir::runtime
