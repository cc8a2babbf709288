// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a cache holds is in its type alone, so another type is another cache:
// this replaces it wherever it stands, in values, signatures and attributes.

#include "CacheDtype.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/Dialect/LLM/Passes.h"

#include "mlir/IR/AttrTypeSubElements.h"

namespace llmir::llm {
#define GEN_PASS_DEF_LLMQUANTIZEKVCACHE
#include "llmir/Dialect/LLM/Passes.h.inc"
} // namespace llmir::llm

using namespace mlir;
using namespace llmir::llm;

namespace {
struct QuantizeKVCachePass
    : llmir::llm::impl::LLMQuantizeKVCacheBase<QuantizeKVCachePass> {
  using LLMQuantizeKVCacheBase::LLMQuantizeKVCacheBase;

  void runOnOperation() override {
    Type element = parseCacheDtype(&getContext(), dtype);
    if (!element) {
      emitError(UnknownLoc::get(&getContext()))
          << "llm-quantize-kv-cache: dtype must be int8, int4, f32, bf16 or "
             "f16, but is "
          << dtype;
      return signalPassFailure();
    }
    AttrTypeReplacer replacer;
    // Each type once: the replacer remembers what it has made of one.
    replacer.addReplacement([&](PagedKVCacheType type) -> std::optional<Type> {
      if (type.getElementType() == element)
        return std::nullopt;
      ++numChanged;
      return PagedKVCacheType::get(type.getContext(), element, type.getLayers(),
                                   type.getKvHeads(), type.getHeadDim(),
                                   type.getBlockSize(), type.getMaxSeqLen());
    });
    replacer.recursivelyReplaceElementsIn(getOperation(), /*replaceAttrs=*/true,
                                          /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
  }
};
} // namespace
