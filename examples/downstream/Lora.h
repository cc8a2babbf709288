// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What TableGen makes of Lora.td.

#ifndef LORA_H
#define LORA_H

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Pass/Pass.h"

#include "LoraDialect.h.inc"

#define GET_OP_CLASSES
#include "LoraOps.h.inc"

namespace lora {
#define GEN_PASS_DECL
#include "LoraPasses.h.inc"

#define GEN_PASS_REGISTRATION
#include "LoraPasses.h.inc"
} // namespace lora

#endif // LORA_H
