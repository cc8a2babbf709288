# How LLMIR's libraries and tools are declared: on LLVM's and MLIR's shared
# libraries only, since a static archive beside them would bring every type id
# and option a second time.

include_guard()

# The flags that code linked to LLVM is built with.
function(llmir_use_llvm target)
  target_include_directories(${target} SYSTEM PUBLIC
    ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
  target_include_directories(${target} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    "$<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>"
    "$<INSTALL_INTERFACE:include>")
  separate_arguments(definitions NATIVE_COMMAND "${LLVM_DEFINITIONS}")
  target_compile_definitions(${target} PUBLIC ${definitions})
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wno-unused-parameter
    "$<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions>")
  target_link_libraries(${target} PUBLIC MLIR LLVM)
endfunction()

# llmir_add_library(LLMIRDialect ALIAS Dialect SOURCES ... DEPENDS ... LINK ...)
function(llmir_add_library name)
  cmake_parse_arguments(arg "" "ALIAS" "SOURCES;DEPENDS;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  add_library(LLMIR::${arg_ALIAS} ALIAS ${name})
  set_target_properties(${name} PROPERTIES EXPORT_NAME ${arg_ALIAS})
  llmir_use_llvm(${name})
  target_link_libraries(${name} PUBLIC ${arg_LINK})
  if(arg_DEPENDS)
    add_dependencies(${name} ${arg_DEPENDS})
  endif()
endfunction()

# llmir_add_tool(llmir-opt SOURCES ... LINK ...)
function(llmir_add_tool name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  llmir_use_llvm(${name})
  target_link_libraries(${name} PRIVATE ${arg_LINK})
  set_target_properties(${name} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin"
    BUILD_RPATH "${LLVM_LIBRARY_DIR}"
    INSTALL_RPATH "${LLVM_LIBRARY_DIR}")
endfunction()
