// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The operations of the dialect: what they require, what they infer, what
// folds.

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmir::llm;

/// The outputs in a panel of a packed weight, and the inputs that a bf16 panel
/// is padded to.
static constexpr int64_t kPanelWidth = 32;
static constexpr int64_t kPanelDepth = 32;

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

static RankedTensorType rankedType(Value value) {
  return cast<RankedTensorType>(value.getType());
}

static LogicalResult verifyRank(Operation *op, StringRef name, Type type,
                                int64_t rank) {
  if (cast<RankedTensorType>(type).getRank() != rank)
    return op->emitOpError() << name << " must be a tensor of rank " << rank
                             << ", but is " << type;
  return success();
}

static bool sameDim(int64_t lhs, int64_t rhs) {
  return lhs == rhs || ShapedType::isDynamic(lhs) || ShapedType::isDynamic(rhs);
}

/// Checks a size against the one that another operand or attribute requires.
static LogicalResult verifyDim(Operation *op, StringRef name, int64_t actual,
                               int64_t expected, StringRef reason) {
  if (sameDim(actual, expected))
    return success();
  return op->emitOpError() << name << " is " << actual << ", but must be "
                           << expected << ", " << reason;
}

/// Checks a result's shape against the one that follows from the operands.
static LogicalResult verifyResultShape(Operation *op, Type result,
                                       ArrayRef<int64_t> expected) {
  auto type = cast<RankedTensorType>(result);
  bool same = type.getRank() == static_cast<int64_t>(expected.size());
  for (int64_t i = 0; same && i < type.getRank(); ++i)
    same = sameDim(type.getDimSize(i), expected[i]);
  if (same)
    return success();
  return op->emitOpError() << "result is " << result
                           << ", but must have the shape "
                           << RankedTensorType::get(expected,
                                                    type.getElementType());
}

//===----------------------------------------------------------------------===//
// Assembly
//===----------------------------------------------------------------------===//

/// Parses `"scope"::"key"`, which ODS cannot say: `::` is no literal there.
static ParseResult parseParameterName(OpAsmParser &parser, StringAttr &scope,
                                      StringAttr &key) {
  std::string scopeText, keyText;
  if (parser.parseString(&scopeText) || parser.parseColon() ||
      parser.parseColon() || parser.parseString(&keyText))
    return failure();
  scope = parser.getBuilder().getStringAttr(scopeText);
  key = parser.getBuilder().getStringAttr(keyText);
  return success();
}

static void printParameterName(OpAsmPrinter &printer, Operation *,
                               StringAttr scope, StringAttr key) {
  printer << scope << "::" << key;
}

static ParseResult parseKernelName(OpAsmParser &parser, StringAttr &kernel) {
  StringRef name;
  if (parser.parseKeyword(&name))
    return failure();
  kernel = parser.getBuilder().getStringAttr(name);
  return success();
}

static void printKernelName(OpAsmPrinter &printer, Operation *,
                            StringAttr kernel) {
  printer << kernel.getValue();
}

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

RankedTensorType llmir::llm::getPackedType(RankedTensorType weight) {
  if (weight.getRank() != 2 || !weight.hasStaticShape())
    return nullptr;
  int64_t panels = llvm::divideCeil(weight.getDimSize(0), kPanelWidth);
  int64_t depth = weight.getDimSize(1);
  Type element = weight.getElementType();
  if (element.isF32())
    return RankedTensorType::get({panels, depth, kPanelWidth}, element);
  if (element.isBF16()) {
    int64_t pairs = llvm::alignTo(depth, kPanelDepth) / 2;
    return RankedTensorType::get({panels, pairs, kPanelWidth, 2}, element);
  }
  return nullptr;
}

bool llmir::llm::hasPackedWeight(LinearOp op) {
  return rankedType(op.getWeight()).getRank() > 2;
}

RankedTensorType ParameterOp::getFileType() {
  if (auto source = getSourceType())
    return cast<RankedTensorType>(*source);
  return cast<RankedTensorType>(getResult().getType());
}

LogicalResult ParameterOp::verify() {
  if (getScope().empty() || getKey().empty())
    return emitOpError("scope and key must not be empty");
  RankedTensorType file = getFileType();
  auto result = cast<RankedTensorType>(getResult().getType());
  for (RankedTensorType type : {file, result})
    if (!type.hasStaticShape())
      return emitOpError() << "weights have static shapes, but this one is "
                           << type;
  if (file == result)
    return success();
  Type fileElement = file.getElementType(), element = result.getElementType();
  bool widens = fileElement.isBF16() && element.isF32();
  if (fileElement != element && !widens)
    return emitOpError() << "parameters are only widened from bf16 to f32, not "
                            "from "
                         << fileElement << " to " << element;
  RankedTensorType widened = RankedTensorType::get(file.getShape(), element);
  if (result != widened && result != getPackedType(widened))
    return emitOpError() << "result must have the file's shape or that of its "
                            "panels, but is "
                         << result << ", from " << file;
  return success();
}

LogicalResult RopeTableOp::verify() {
  auto type = cast<RankedTensorType>(getTable().getType());
  if (type.getRank() != 3 || !type.hasStaticShape() ||
      type.getDimSize(0) == 0 || type.getDimSize(1) != 2 ||
      type.getDimSize(2) == 0)
    return emitOpError() << "table must have the shape [positions, 2, head_dim "
                            "/ 2], but is "
                         << getTable().getType();
  if (type.getNumElements() > std::numeric_limits<int32_t>::max())
    return emitOpError() << "table is too large: " << type;
  if (!getTheta().isFinite() || !(getTheta().convertToDouble() > 0.0))
    return emitOpError("theta must be positive and finite");
  return success();
}

SmallVector<float> llmir::llm::computeRopeTable(RankedTensorType type,
                                                double theta,
                                                RopeScalingAttr scaling) {
  int64_t positions = type.getDimSize(0), half = type.getDimSize(2);

  SmallVector<double> frequencies(half);
  for (int64_t i = 0; i < half; ++i) {
    double frequency = std::pow(theta, -static_cast<double>(i) / half);
    if (scaling) {
      double factor = scaling.getFactor().getValueAsDouble();
      // The part of the frequency that stays unscaled: 0 for long waves, 1 for
      // short ones, linear in the number of waves per original context between.
      double kept = 0.0;
      if (scaling.getKind() == RopeScalingKind::llama3) {
        double low = scaling.getLowFreqFactor().getValueAsDouble();
        double high = scaling.getHighFreqFactor().getValueAsDouble();
        double waves =
            scaling.getOriginalMaxPosition() * frequency / (2.0 * M_PI);
        kept = std::min(1.0, std::max(0.0, (waves - low) / (high - low)));
      }
      frequency = (1.0 - kept) * frequency / factor + kept * frequency;
    }
    frequencies[i] = frequency;
  }

  SmallVector<float> table(type.getNumElements());
  float *out = table.data();
  for (int64_t position = 0; position < positions; ++position, out += 2 * half)
    for (int64_t i = 0; i < half; ++i) {
      double angle = position * frequencies[i];
      out[i] = static_cast<float>(std::cos(angle));
      out[half + i] = static_cast<float>(std::sin(angle));
    }
  return table;
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

// Inference never fails: where operands do not fit together, the verifier says
// so.

/// Infers a tensor of `shape` with the element type of `like`.
static LogicalResult inferLike(Value like, ArrayRef<int64_t> shape,
                               SmallVectorImpl<Type> &inferred) {
  inferred.push_back(
      RankedTensorType::get(shape, getElementTypeOrSelf(like.getType())));
  return success();
}

static LogicalResult inferSame(Value like, SmallVectorImpl<Type> &inferred) {
  inferred.push_back(like.getType());
  return success();
}

LogicalResult EmbeddingOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location>,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &inferred) {
  auto indices = rankedType(adaptor.getIndices());
  auto table = rankedType(adaptor.getTable());
  if (indices.getRank() != 1 || table.getRank() != 2)
    return inferSame(adaptor.getTable(), inferred);
  return inferLike(adaptor.getTable(),
                   {indices.getDimSize(0), table.getDimSize(1)}, inferred);
}

LogicalResult EmbeddingOp::verify() {
  if (failed(verifyRank(*this, "indices", getIndices().getType(), 1)) ||
      failed(verifyRank(*this, "table", getTable().getType(), 2)))
    return failure();
  return verifyResultShape(*this, getResult().getType(),
                           {rankedType(getIndices()).getDimSize(0),
                            rankedType(getTable()).getDimSize(1)});
}

LogicalResult LinearOp::inferReturnTypes(MLIRContext *, std::optional<Location>,
                                         Adaptor adaptor,
                                         SmallVectorImpl<Type> &inferred) {
  auto input = rankedType(adaptor.getInput());
  auto weight = rankedType(adaptor.getWeight());
  if (input.getRank() != 2 || weight.getRank() < 2)
    return inferSame(adaptor.getInput(), inferred);
  // Some of a packed weight's outputs may be padding: it does not say how many.
  int64_t outputs =
      weight.getRank() > 2 ? ShapedType::kDynamic : weight.getDimSize(0);
  return inferLike(adaptor.getInput(), {input.getDimSize(0), outputs},
                   inferred);
}

LogicalResult LinearOp::verify() {
  if (failed(verifyRank(*this, "input", getInput().getType(), 2)) ||
      failed(verifyRank(*this, "result", getResult().getType(), 2)))
    return failure();
  auto input = rankedType(getInput());
  auto result = rankedType(getResult());
  auto weight = rankedType(getWeight());
  if (weight.getRank() == 2) {
    if (failed(verifyDim(*this, "the weight's number of inputs",
                         weight.getDimSize(1), input.getDimSize(1),
                         "the input's last dimension")) ||
        failed(verifyResultShape(*this, result,
                                 {input.getDimSize(0), weight.getDimSize(0)})))
      return failure();
  } else {
    auto unpacked = RankedTensorType::get(
        {result.getDimSize(1), input.getDimSize(1)}, weight.getElementType());
    RankedTensorType packed = getPackedType(unpacked);
    if (weight != packed) {
      auto diagnostic = emitOpError() << "weight is " << weight;
      if (packed)
        return diagnostic << ", but the panels of " << unpacked << " are "
                          << packed;
      return diagnostic << ", but " << unpacked << " has no packed form";
    }
    if (failed(verifyResultShape(*this, result,
                                 {input.getDimSize(0), result.getDimSize(1)})))
      return failure();
  }
  if (Value bias = getBias()) {
    if (failed(verifyRank(*this, "bias", bias.getType(), 1)) ||
        failed(verifyDim(*this, "the bias's size",
                         rankedType(bias).getDimSize(0), result.getDimSize(1),
                         "the result's last dimension")))
      return failure();
  }
  if (Value residual = getResidual()) {
    auto type = rankedType(residual);
    if (type.getRank() != 2 ||
        !sameDim(type.getDimSize(0), result.getDimSize(0)) ||
        !sameDim(type.getDimSize(1), result.getDimSize(1)))
      return emitOpError() << "residual is " << residual.getType()
                           << ", but must have the result's shape, that of "
                           << result;
  }
  return success();
}

LogicalResult RMSNormOp::inferReturnTypes(MLIRContext *,
                                          std::optional<Location>,
                                          Adaptor adaptor,
                                          SmallVectorImpl<Type> &inferred) {
  return inferSame(adaptor.getInput(), inferred);
}

LogicalResult RMSNormOp::verify() {
  auto input = rankedType(getInput());
  if (input.getRank() < 1)
    return emitOpError() << "input must have at least one dimension, but is "
                         << input;
  if (failed(verifyRank(*this, "weight", getWeight().getType(), 1)) ||
      failed(verifyDim(*this, "the weight's size",
                       rankedType(getWeight()).getDimSize(0),
                       input.getShape().back(), "the input's last dimension")))
    return failure();
  if (!getEpsilon().isFinite() || getEpsilon().convertToFloat() < 0.0f)
    return emitOpError("epsilon must be finite and not negative");
  return verifyResultShape(*this, getResult().getType(), input.getShape());
}

LogicalResult RopeOp::inferReturnTypes(MLIRContext *, std::optional<Location>,
                                       Adaptor adaptor,
                                       SmallVectorImpl<Type> &inferred) {
  return inferSame(adaptor.getInput(), inferred);
}

LogicalResult RopeOp::verify() {
  if (failed(verifyRank(*this, "input", getInput().getType(), 3)) ||
      failed(verifyRank(*this, "table", getTable().getType(), 3)) ||
      failed(verifyRank(*this, "positions", getPositions().getType(), 1)))
    return failure();
  auto input = rankedType(getInput());
  auto table = rankedType(getTable());
  int64_t headDim = input.getDimSize(2);
  if (ShapedType::isDynamic(headDim) || headDim == 0 || headDim % 2 != 0)
    return emitOpError()
           << "head_dim must be static and even, but the input is " << input;
  if (table.getDimSize(1) != 2 || table.getDimSize(2) != headDim / 2)
    return emitOpError() << "table is " << table
                         << ", but must have the shape [positions, 2, "
                         << headDim / 2 << "], half of head_dim";
  if (failed(verifyDim(*this, "the number of positions",
                       rankedType(getPositions()).getDimSize(0),
                       input.getDimSize(0), "the input's number of tokens")))
    return failure();
  return verifyResultShape(*this, getResult().getType(), input.getShape());
}

LogicalResult ActivationOp::inferReturnTypes(MLIRContext *,
                                             std::optional<Location>,
                                             Adaptor adaptor,
                                             SmallVectorImpl<Type> &inferred) {
  return inferSame(adaptor.getInput(), inferred);
}

LogicalResult ActivationOp::verify() {
  auto input = rankedType(getInput());
  if (Value multiplier = getMultiplier())
    if (failed(verifyCompatibleShape(input, multiplier.getType())))
      return emitOpError() << "multiplier is " << multiplier.getType()
                           << ", but must have the input's shape, that of "
                           << input;
  return verifyResultShape(*this, getResult().getType(), input.getShape());
}

/// Checks that query heads can share KV heads.
static LogicalResult verifyHeads(Operation *op, int64_t queryHeads,
                                 int64_t kvHeads) {
  if (ShapedType::isDynamic(queryHeads) || ShapedType::isDynamic(kvHeads))
    return op->emitOpError("the number of heads must be static");
  if (kvHeads == 0 || queryHeads == 0 || queryHeads % kvHeads != 0)
    return op->emitOpError() << "the number of query heads must be a positive "
                                "multiple of the KV heads, but there are "
                             << queryHeads << " and " << kvHeads;
  return success();
}

static LogicalResult verifyScale(Operation *op, std::optional<APFloat> scale) {
  if (scale && !scale->isFinite())
    return op->emitOpError("scale must be finite");
  return success();
}

LogicalResult AttentionOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location>,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &inferred) {
  return inferSame(adaptor.getQuery(), inferred);
}

LogicalResult AttentionOp::verify() {
  if (failed(verifyRank(*this, "query", getQuery().getType(), 4)) ||
      failed(verifyRank(*this, "keys", getKeys().getType(), 4)) ||
      failed(verifyRank(*this, "values", getValues().getType(), 4)))
    return failure();
  auto query = rankedType(getQuery());
  auto keys = rankedType(getKeys());
  if (failed(verifyCompatibleShape(keys, getValues().getType())))
    return emitOpError() << "values are " << getValues().getType()
                         << ", but must have the keys' shape, that of " << keys;
  if (failed(verifyDim(*this, "the keys' number of sequences",
                       keys.getDimSize(0), query.getDimSize(0),
                       "the query's")) ||
      failed(verifyDim(*this, "the keys' head_dim", keys.getDimSize(3),
                       query.getDimSize(3), "the query's")) ||
      failed(verifyHeads(*this, query.getDimSize(2), keys.getDimSize(2))))
    return failure();
  if (!getScale() && (query.isDynamicDim(3) || query.getDimSize(3) == 0))
    return emitOpError("a head_dim that is dynamic or 0 needs an explicit "
                       "scale");
  if (failed(verifyScale(*this, getScale())))
    return failure();
  return verifyResultShape(*this, getResult().getType(), query.getShape());
}

//===----------------------------------------------------------------------===//
// The paged KV cache
//===----------------------------------------------------------------------===//

/// Checks a constant layer against the cache's.
static LogicalResult verifyLayer(Operation *op, Value layer,
                                 PagedKVCacheType cache) {
  std::optional<int64_t> constant =
      layer ? getConstantIntValue(layer) : std::optional<int64_t>(0);
  if (constant && (*constant < 0 || *constant >= cache.getLayers()))
    return op->emitOpError() << "layer " << *constant << " is not one of the "
                             << cache.getLayers() << " layers of the cache";
  return success();
}

/// Checks that keys and values are alike and end in the cache's heads.
static LogicalResult verifyKVHeads(Operation *op, Value keys, Value values,
                                   PagedKVCacheType cache) {
  for (Value value : {keys, values}) {
    ArrayRef<int64_t> shape = rankedType(value).getShape().take_back(2);
    if (shape[0] != cache.getKvHeads() || shape[1] != cache.getHeadDim())
      return op->emitOpError()
             << (value == keys ? "keys are " : "values are ") << value.getType()
             << ", but the cache has " << cache.getKvHeads() << " KV heads of "
             << cache.getHeadDim();
  }
  return success();
}

/// Checks that a block table is no wider than a sequence can be long.
static LogicalResult verifyColumns(Operation *op, Value blockIndices,
                                   PagedKVCacheType cache) {
  int64_t columns = rankedType(blockIndices).getDimSize(1);
  if (ShapedType::isDynamic(columns) ||
      columns <= cache.getMaxBlocksPerSequence())
    return success();
  return op->emitOpError() << "block_indices have " << columns
                           << " columns, but a sequence has at most "
                           << cache.getMaxBlocksPerSequence() << " blocks";
}

LogicalResult AppendKVOp::verify() {
  PagedKVCacheType cache = getCache().getType();
  if (getResult().getType() != cache)
    return emitOpError() << "result is " << getResult().getType()
                         << ", but must be the operand's " << cache;
  bool allocates = static_cast<bool>(getSeqIds());
  if (allocates == static_cast<bool>(getSlots()))
    return emitOpError("needs either seq_ids or slots");
  if (allocates != static_cast<bool>(getBlockIndices()))
    return emitOpError("returns block_indices with seq_ids, and only then");
  int64_t rank = allocates ? 4 : 3;
  if (failed(verifyRank(*this, "keys", getKeys().getType(), rank)) ||
      failed(verifyRank(*this, "values", getValues().getType(), rank)))
    return failure();
  if (failed(verifyCompatibleShape(getKeys().getType(), getValues().getType())))
    return emitOpError() << "values are " << getValues().getType()
                         << ", but must have the keys' shape, that of "
                         << getKeys().getType();
  if (failed(verifyKVHeads(*this, getKeys(), getValues(), cache)))
    return failure();
  if (allocates && rankedType(getKeys()).getDimSize(1) > cache.getMaxSeqLen())
    return emitOpError() << "keys have " << rankedType(getKeys()).getDimSize(1)
                         << " tokens a sequence, but max_seq_len is "
                         << cache.getMaxSeqLen();
  Value indices = allocates ? getSeqIds() : getSlots();
  if (failed(verifyRank(*this, allocates ? "seq_ids" : "slots",
                        indices.getType(), 1)) ||
      failed(verifyDim(
          *this, allocates ? "the number of seq_ids" : "the number of slots",
          rankedType(indices).getDimSize(0),
          rankedType(getKeys()).getDimSize(0),
          allocates ? "the keys' number of sequences"
                    : "the keys' number of tokens")))
    return failure();
  if (Value blocks = getBlockIndices()) {
    if (failed(verifyRank(*this, "block_indices", blocks.getType(), 2)) ||
        failed(verifyDim(*this, "block_indices' number of sequences",
                         rankedType(blocks).getDimSize(0),
                         rankedType(indices).getDimSize(0),
                         "the number of seq_ids")) ||
        failed(verifyColumns(*this, blocks, cache)))
      return failure();
  }
  if (getBlockSize() && *getBlockSize() != cache.getBlockSize())
    return emitOpError() << "block_size is "
                         << static_cast<int32_t>(*getBlockSize())
                         << ", but the cache's is " << cache.getBlockSize();
  if (getMaxSeqLen() && *getMaxSeqLen() != cache.getMaxSeqLen())
    return emitOpError() << "max_seq_len is "
                         << static_cast<int32_t>(*getMaxSeqLen())
                         << ", but the cache's is " << cache.getMaxSeqLen();
  return verifyLayer(*this, getLayer(), cache);
}

/// Checks the block table and the lengths, and returns the number of sequences.
static FailureOr<int64_t> verifyBlocks(Operation *op, Value blockIndices,
                                       Value seqLens) {
  if (failed(verifyRank(op, "block_indices", blockIndices.getType(), 2)) ||
      failed(verifyRank(op, "seq_lens", seqLens.getType(), 1)))
    return failure();
  int64_t sequences = rankedType(blockIndices).getDimSize(0);
  if (failed(verifyDim(op, "the number of seq_lens",
                       rankedType(seqLens).getDimSize(0), sequences,
                       "block_indices' number of sequences")))
    return failure();
  return sequences;
}

LogicalResult LookupKVOp::verify() {
  PagedKVCacheType cache = getCache().getType();
  FailureOr<int64_t> sequences =
      verifyBlocks(*this, getBlockIndices(), getSeqLens());
  if (failed(sequences) ||
      failed(verifyRank(*this, "keys", getKeys().getType(), 4)) ||
      failed(verifyRank(*this, "values", getValues().getType(), 4)))
    return failure();
  if (getKeys().getType() != getValues().getType())
    return emitOpError() << "values are " << getValues().getType()
                         << ", but must be of the keys' type, "
                         << getKeys().getType();
  if (failed(verifyKVHeads(*this, getKeys(), getValues(), cache)) ||
      failed(verifyColumns(*this, getBlockIndices(), cache)) ||
      failed(verifyDim(*this, "the keys' number of sequences",
                       rankedType(getKeys()).getDimSize(0), *sequences,
                       "block_indices' number of sequences")))
    return failure();
  int64_t positions = rankedType(getKeys()).getDimSize(1),
          columns = rankedType(getBlockIndices()).getDimSize(1);
  if (ShapedType::isDynamic(positions))
    return emitOpError("the keys' number of positions must be static");
  if (!ShapedType::isDynamic(columns) &&
      positions > columns * cache.getBlockSize())
    return emitOpError() << "keys have " << positions << " positions, but "
                         << columns << " blocks hold only "
                         << columns * cache.getBlockSize();
  return verifyLayer(*this, getLayer(), cache);
}

LogicalResult PagedAttentionOp::verify() {
  PagedKVCacheType cache = getCache().getType();
  FailureOr<int64_t> sequences =
      verifyBlocks(*this, getBlockIndices(), getSeqLens());
  if (failed(sequences))
    return failure();
  int64_t rank = getRows() ? 3 : 4;
  if (failed(verifyRank(*this, "query", getQuery().getType(), rank)))
    return failure();
  auto query = rankedType(getQuery());
  if (Value rows = getRows()) {
    if (failed(verifyRank(*this, "rows", rows.getType(), 1)))
      return failure();
    if (!ShapedType::isDynamic(*sequences) &&
        failed(verifyDim(*this, "the number of rows",
                         rankedType(rows).getDimSize(0), *sequences + 1,
                         "one more than the sequences")))
      return failure();
  } else if (failed(verifyDim(*this, "the query's number of sequences",
                              query.getDimSize(0), *sequences,
                              "block_indices' number of sequences"))) {
    return failure();
  }
  int64_t heads = query.getDimSize(rank - 2),
          headDim = query.getDimSize(rank - 1);
  if (failed(verifyHeads(*this, heads, cache.getKvHeads())))
    return failure();
  if (headDim != cache.getHeadDim())
    return emitOpError() << "query is " << query
                         << ", but the cache's head_dim is "
                         << cache.getHeadDim();
  if (failed(verifyScale(*this, getScale())))
    return failure();
  if (getNumHeads() && *getNumHeads() != heads)
    return emitOpError() << "num_heads is "
                         << static_cast<int32_t>(*getNumHeads())
                         << ", but the query has " << heads << " heads";
  if (getHeadDim() && *getHeadDim() != headDim)
    return emitOpError() << "head_dim is "
                         << static_cast<int32_t>(*getHeadDim())
                         << ", but the query's is " << headDim;
  if (failed(verifyColumns(*this, getBlockIndices(), cache)))
    return failure();
  if (failed(verifyResultShape(*this, getResult().getType(), query.getShape())))
    return failure();
  return verifyLayer(*this, getLayer(), cache);
}

namespace {
/// Layer 0 is what an absent operand means.
template <typename Op> struct DropLayerZero : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;

  LogicalResult matchAndRewrite(Op op,
                                PatternRewriter &rewriter) const override {
    if (!op.getLayer() || !matchPattern(op.getLayer(), m_Zero()))
      return failure();
    rewriter.modifyOpInPlace(op, [&] { op.getLayerMutable().clear(); });
    return success();
  }
};

/// The sizes that the published forms repeat are in the types.
struct DropAppendSizes : OpRewritePattern<AppendKVOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AppendKVOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getBlockSize() && !op.getMaxSeqLen())
      return failure();
    rewriter.modifyOpInPlace(op, [&] {
      op.removeBlockSizeAttr();
      op.removeMaxSeqLenAttr();
    });
    return success();
  }
};

struct DropAttentionSizes : OpRewritePattern<PagedAttentionOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(PagedAttentionOp op,
                                PatternRewriter &rewriter) const override {
    if (!op.getNumHeads() && !op.getHeadDim())
      return failure();
    rewriter.modifyOpInPlace(op, [&] {
      op.removeNumHeadsAttr();
      op.removeHeadDimAttr();
    });
    return success();
  }
};
} // namespace

void AppendKVOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                             MLIRContext *context) {
  patterns.add<DropLayerZero<AppendKVOp>, DropAppendSizes>(context);
}

void LookupKVOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                             MLIRContext *context) {
  patterns.add<DropLayerZero<LookupKVOp>>(context);
}

void PagedAttentionOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                                   MLIRContext *context) {
  patterns.add<DropLayerZero<PagedAttentionOp>, DropAttentionSizes>(context);
}

//===----------------------------------------------------------------------===//
// Kernel calls
//===----------------------------------------------------------------------===//

LogicalResult CallKernelOp::verify() {
  StringRef kernel = getKernel();
  if (kernel.empty() || !llvm::isAlpha(kernel.front()) ||
      !llvm::all_of(kernel,
                    [](char c) { return llvm::isAlnum(c) || c == '_'; }))
    return emitOpError() << "kernel must be named by an identifier, but is \""
                         << kernel << '"';
  for (auto [output, result] : llvm::zip(getOutputs(), getResults()))
    if (output.getType() != result.getType())
      return emitOpError() << "result is " << result.getType()
                           << ", but must be of its output's type, "
                           << output.getType();
  bool onTensors = llvm::all_of(getOutputs().getTypes(), [](Type type) {
    return isa<RankedTensorType>(type);
  });
  size_t expected = onTensors ? getOutputs().size() : 0;
  if (getResults().size() != expected)
    return emitOpError() << "has " << getResults().size()
                         << " results, but must have " << expected
                         << ": one for each output that is a tensor";
  return success();
}

void CallKernelOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>>
        &effects) {
  for (Value input : getInputs()) {
    Type type = input.getType();
    if (isa<TensorType>(type) || type.isIntOrIndexOrFloat())
      continue;
    effects.emplace_back(MemoryEffects::Read::get(), input);
    // Whether a kernel changes a cache, or what a pointer leads to, is its own
    // business.
    if (!isa<BaseMemRefType>(type))
      effects.emplace_back(MemoryEffects::Write::get(), input);
  }
  for (Value output : getOutputs()) {
    if (!isa<BaseMemRefType>(output.getType()))
      continue;
    if (getAccumulate())
      effects.emplace_back(MemoryEffects::Read::get(), output);
    effects.emplace_back(MemoryEffects::Write::get(), output);
  }
}

#define GET_OP_CLASSES
#include "llmir/Dialect/LLM/LLMOps.cpp.inc"
