// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// LLD as a library. It keeps state of its own between calls, so it runs once a
// process; compilations run in processes of their own anyway.

#include "llmir/Target/Codegen.h"

#include "lld/Common/Driver.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

LLD_HAS_DRIVER(elf)

using namespace llvm;

Error llmir::linkSharedObject(StringRef objectPath, StringRef outputPath,
                              bool allowUndefined) {
  std::string object = objectPath.str(), output = outputPath.str();
  // -Bsymbolic: a function of the object is never another library's by chance.
  const char *symbols = allowUndefined ? "-Bsymbolic" : "--no-undefined";
  const char *arguments[] = {"ld.lld",       "-shared",     symbols,
                             "--build-id",   "-z",          "noexecstack",
                             "-z",           "relro",       "-o",
                             output.c_str(), object.c_str()};
  std::string messages;
  raw_string_ostream stream(messages);
  lld::Result result =
      lld::lldMain(arguments, stream, stream, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode == 0)
    return Error::success();
  return createStringError(inconvertibleErrorCode(),
                           "linking failed: " + StringRef(stream.str()).trim());
}
