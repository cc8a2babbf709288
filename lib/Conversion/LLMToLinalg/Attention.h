// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attention is one formula; where its rows, keys and values lie is what the ops
// differ in.

#ifndef LLMIR_LIB_CONVERSION_LLMTOLINALG_ATTENTION_H
#define LLMIR_LIB_CONVERSION_LLMTOLINALG_ATTENTION_H

#include "Builders.h"

#include "mlir/IR/PatternMatch.h"

#include <functional>

namespace llmir::reference {

/// The operands of an attention, by sequence.
struct Attention {
  /// [sequences, rows, heads, head_dim], or [rows, heads, head_dim] end to end.
  mlir::Value query;
  mlir::RankedTensorType resultType;
  int64_t kvHeads;
  mlir::FloatAttr scale;
  /// Null if absent, and so are `sinks`, `alibi` and `mask`.
  mlir::FloatAttr softcap;
  bool causal;
  /// How many keys a row sees, its own among them; null for all before it.
  mlir::IntegerAttr window;
  mlir::Value sinks, alibi, mask;
  /// How many sequences there are, and the most positions that one can have.
  mlir::Value sequences, capacity;
  /// The rows [begin, end) of sequence b, its last tokens.
  std::function<std::pair<mlir::Value, mlir::Value>(mlir::Value b)> rows;
  /// How many positions sequence b has.
  std::function<mlir::Value(mlir::Value b)> length;
  /// An element of position p, KV head h, as it is stored.
  std::function<mlir::Value(mlir::Value b, mlir::Value p, mlir::Value h,
                            mlir::Value d)>
      key, value;
  /// What the query is rounded to, and the weights, exp(score - maximum); null
  /// for neither.
  mlir::Type queries = nullptr, weights = nullptr;
  /// What the weight of a value is multiplied by, before it is rounded but
  /// after it is summed; null if there is no such scale.
  std::function<mlir::Value(mlir::Value b, mlir::Value p, mlir::Value h)>
      valueScale = nullptr;
};

/// Builds the formula of `llm.attention`, row by row and head by head.
mlir::Value buildAttention(Scalars &s, const Attention &attention);

/// Adds the lowering of `llm.attention`.
void populateAttentionPatterns(mlir::RewritePatternSet &patterns);

} // namespace llmir::reference

#endif // LLMIR_LIB_CONVERSION_LLMTOLINALG_ATTENTION_H
