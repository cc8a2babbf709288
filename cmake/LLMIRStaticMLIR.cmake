# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# LLMIR::MLIR and LLMIR::LLD as archives, for a Python module that has all
# of MLIR in it.

# All archives, which refer to each other in circles. MLIR's own targets would
# bring the shared libLLVM along.
file(GLOB archives
  "${LLVM_LIBRARY_DIR}/libMLIR*.a" "${LLVM_LIBRARY_DIR}/libLLVM*.a")
list(FILTER archives EXCLUDE REGEX "/libMLIR(CAPI|Test)[^/]*$")
foreach(library z zstd)
  find_library(LLMIR_STATIC_${library} lib${library}.a REQUIRED)
  list(APPEND archives "${LLMIR_STATIC_${library}}")
endforeach()
list(JOIN archives "," archives)

# LLD and MLIR's GPU dialects ask for every target of LLVM, which would be more
# than half of the module. Code is made for this machine's only: the others'
# registrations are empty functions.
set(stubs "${PROJECT_BINARY_DIR}/no_other_targets.c")
set(text "")
foreach(target ${LLVM_TARGETS_TO_BUILD})
  if(NOT target STREQUAL LLVM_NATIVE_ARCH)
    foreach(part TargetInfo Target TargetMC AsmPrinter AsmParser Disassembler)
      string(APPEND text "void LLVMInitialize${target}${part}(void) {}\n")
    endforeach()
  endif()
endforeach()
file(CONFIGURE OUTPUT "${stubs}" CONTENT "${text}" @ONLY)
add_library(LLMIRStaticStubs OBJECT
  "${PROJECT_SOURCE_DIR}/cmake/absent_from_llvm.cpp" "${stubs}")
target_include_directories(LLMIRStaticStubs SYSTEM PRIVATE ${LLVM_INCLUDE_DIRS})

target_link_libraries(LLMIR::MLIR INTERFACE
  "$<TARGET_OBJECTS:LLMIRStaticStubs>"
  "$<LINK_GROUP:RESCAN,${archives}>" Threads::Threads rt dl m)
target_link_options(LLMIR::MLIR INTERFACE
  -fuse-ld=lld -s LINKER:--gc-sections)
target_link_libraries(LLMIR::LLD INTERFACE
  "${LLVM_LIBRARY_DIR}/liblldELF.a" "${LLVM_LIBRARY_DIR}/liblldCommon.a"
  LLMIR::MLIR)
