# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# How LLMIR's libraries and tools are declared, and where they are installed.
# Components: `dev` is what another compiler is built with, `tools` the programs,
# `runtime` what runs models (runtime/CMakeLists.txt), `python` the package.

include_guard()
include(GNUInstallDirs)

# The flags that code linked to LLVM is built with.
function(llmir_use_llvm target)
  target_include_directories(${target} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    "$<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wno-unused-parameter
    "$<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions>")
  target_link_libraries(${target} PUBLIC LLMIR::MLIR)
endfunction()

# llmir_add_library(LLMIRDialect ALIAS Dialect SOURCES ... DEPENDS ... LINK ...)
function(llmir_add_library name)
  cmake_parse_arguments(arg "" "ALIAS" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  add_library(LLMIR::${arg_ALIAS} ALIAS ${name})
  set_target_properties(${name} PROPERTIES EXPORT_NAME ${arg_ALIAS})
  target_link_libraries(${name} PUBLIC ${arg_LINK})
  llmir_use_llvm(${name})
  if(arg_DEPENDS)
    add_dependencies(${name} ${arg_DEPENDS})
  endif()
  install(TARGETS ${name} EXPORT LLMIRTargets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT dev)
endfunction()

# llmir_add_tool(llmir-opt SOURCES ... LINK ...)
function(llmir_add_tool name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LINK})
  llmir_use_llvm(${name})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin"
    BUILD_RPATH "${LLVM_LIBRARY_DIR}"
    INSTALL_RPATH "${LLVM_LIBRARY_DIR}")
  install(TARGETS ${name}
    RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT tools)
endfunction()
