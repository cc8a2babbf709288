// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The whole dialect, for TableGen: what all ops share and those of a plain
// decoder stand in LLMOps.td, and each further idea has a file of its own.

#ifndef LLMIR_DIALECT_LLM_LLM_TD
#define LLMIR_DIALECT_LLM_LLM_TD

include "llmir/Dialect/LLM/LLMOps.td"
include "llmir/Dialect/LLM/LLMMixtureOfExpertsOps.td"
include "llmir/Dialect/LLM/LLMQuantizationOps.td"
include "llmir/Dialect/LLM/LLMShardingOps.td"

#endif // LLMIR_DIALECT_LLM_LLM_TD
