# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# MLIR and LLD as LLMIR uses them: finds both, brings in mlir_tablegen, and makes
# LLMIR::MLIR, the headers and libraries that everything of LLMIR is compiled and
# linked with. The build reads this file, and so does LLMIRConfig.cmake, so that
# an installed LLMIR finds MLIR where the machine has it, not where it was built.

include_guard()

# Distributions put LLVM 18 beside other versions, where CMake does not look.
find_package(MLIR 18.1 QUIET CONFIG PATHS /usr/lib/llvm-18)
find_package(LLD 18.1 QUIET CONFIG PATHS /usr/lib/llvm-18)
foreach(package MLIR LLD)
  if(NOT ${package}_FOUND)
    set(LLMIR_MLIR_MISSING "${package} 18.1 was not found: install libmlir-18-dev, \
mlir-18-tools, llvm-18-dev and liblld-18-dev, or name its folder with \
-D${package}_DIR=<prefix>/lib/cmake/<name>")
    return()
  endif()
endforeach()

# LLVM 18 writes dependency files with paths relative to the top of the build
# tree; told to translate them, CMake makes TableGen run in every build.
cmake_policy(SET CMP0116 OLD)
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)

add_library(LLMIR::MLIR INTERFACE IMPORTED)
target_include_directories(LLMIR::MLIR SYSTEM INTERFACE
  ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
separate_arguments(definitions NATIVE_COMMAND "${LLVM_DEFINITIONS}")
target_compile_definitions(LLMIR::MLIR INTERFACE ${definitions})

add_library(LLMIR::LLD INTERFACE IMPORTED)
target_include_directories(LLMIR::LLD SYSTEM INTERFACE ${LLD_INCLUDE_DIRS})

if(LLMIR_STATIC_MLIR)
  include(LLMIRStaticMLIR)
else()
  # The shared libraries and nothing static of MLIR: an archive beside them would
  # bring every type id and option a second time.
  target_link_libraries(LLMIR::MLIR INTERFACE MLIR LLVM)
  target_link_libraries(LLMIR::LLD INTERFACE lldELF LLMIR::MLIR)
endif()
