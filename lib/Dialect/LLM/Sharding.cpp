// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sharded tensors: how their types are written, what the collectives require,
// and which of them cancel out.

#include "Verification.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"

#include <limits>

using namespace mlir;
using namespace llmir::llm;

//===----------------------------------------------------------------------===//
// The type
//===----------------------------------------------------------------------===//

Type ShardedTensorType::parse(AsmParser &parser) {
  SMLoc start = parser.getCurrentLocation();
  RankedTensorType full;
  int64_t shards = 0, axis = 0;
  StringRef word;
  Reduction reduction = Reduction::sum;
  if (parser.parseLess() || parser.parseType(full) || parser.parseComma() ||
      parser.parseKeyword("shards") || parser.parseEqual() ||
      parser.parseInteger(shards) || parser.parseComma())
    return {};
  SMLoc loc = parser.getCurrentLocation();
  if (parser.parseKeyword(&word))
    return {};
  std::optional<Placement> placement = symbolizePlacement(word);
  if (!placement) {
    parser.emitError(loc, "expected split, replicated or partial");
    return {};
  }
  if (*placement == Placement::split &&
      (parser.parseEqual() || parser.parseInteger(axis)))
    return {};
  if (*placement == Placement::partial) {
    if (parser.parseEqual())
      return {};
    loc = parser.getCurrentLocation();
    if (parser.parseKeyword(&word))
      return {};
    std::optional<Reduction> parsed = symbolizeReduction(word);
    if (!parsed) {
      parser.emitError(loc, "expected sum or max");
      return {};
    }
    reduction = *parsed;
  }
  if (parser.parseGreater())
    return {};
  return parser.getChecked<ShardedTensorType>(
      start, parser.getContext(), full, shards, *placement, axis, reduction);
}

void ShardedTensorType::print(AsmPrinter &printer) const {
  printer << '<' << getFullType() << ", shards = " << getShards() << ", "
          << stringifyPlacement(getPlacement());
  if (getPlacement() == Placement::split)
    printer << " = " << getAxis();
  if (isPartial())
    printer << " = " << stringifyReduction(getReduction());
  printer << '>';
}

LogicalResult
ShardedTensorType::verify(function_ref<InFlightDiagnostic()> emitError,
                          RankedTensorType full, int64_t shards,
                          Placement placement, int64_t axis, Reduction) {
  if (!llvm::isa<FloatType>(full.getElementType()) || full.getEncoding())
    return emitError() << "the full tensor must be one of floats, but is "
                       << full;
  if (shards < 2 || shards > std::numeric_limits<int32_t>::max())
    return emitError() << "there must be at least two shards, and their number "
                          "must fit into 32 bits, but it is "
                       << shards;
  if (placement != Placement::split)
    return success();
  if (axis < 0 || axis >= full.getRank())
    return emitError() << "cannot split dimension " << axis << " of " << full;
  if (full.isDynamicDim(axis) || full.getDimSize(axis) % shards != 0)
    return emitError() << "dimension " << axis << " of " << full
                       << " is not static, or does not divide into " << shards
                       << " equal parts";
  return success();
}

RankedTensorType ShardedTensorType::getShardType() const {
  SmallVector<int64_t> shape(getFullType().getShape());
  if (getPlacement() == Placement::split)
    shape[getAxis()] /= getShards();
  return getFullType().clone(shape);
}

RankedTensorType ShardedTensorType::getShardsType() const {
  SmallVector<int64_t> shape = {getShards()};
  llvm::append_range(shape, getShardType().getShape());
  return getFullType().clone(shape);
}

/// Checks a result against the type that follows from the operands.
static LogicalResult verifyResultType(Operation *op, Type expected) {
  Type type = op->getResult(0).getType();
  if (type == expected)
    return success();
  return op->emitOpError() << "result is " << type << ", but must be "
                           << expected;
}

//===----------------------------------------------------------------------===//
// In and out
//===----------------------------------------------------------------------===//

LogicalResult ShardOp::verify() {
  ShardedTensorType type = getResult().getType();
  if (type.isPartial())
    return emitOpError() << "makes parts or copies, but the result is " << type;
  if (type.getFullType() != getInput().getType())
    return emitOpError() << "result is " << type << ", but must be a sharded "
                         << getInput().getType();
  return success();
}

OpFoldResult ShardOp::fold(FoldAdaptor) {
  auto unshard = getInput().getDefiningOp<UnshardOp>();
  if (unshard && unshard.getInput().getType() == getResult().getType())
    return unshard.getInput();
  return {};
}

LogicalResult UnshardOp::inferReturnTypes(MLIRContext *,
                                          std::optional<Location>,
                                          Adaptor adaptor,
                                          SmallVectorImpl<Type> &inferred) {
  inferred.push_back(
      cast<ShardedTensorType>(adaptor.getInput().getType()).getFullType());
  return success();
}

LogicalResult UnshardOp::verify() {
  if (getInput().getType().isPartial())
    return emitOpError() << "input is " << getInput().getType()
                         << ", whose parts have to be reduced before";
  return verifyResultType(*this, getInput().getType().getFullType());
}

OpFoldResult UnshardOp::fold(FoldAdaptor) {
  if (auto shard = getInput().getDefiningOp<ShardOp>())
    return shard.getInput();
  // Parts are concatenated either way.
  if (auto gather = getInput().getDefiningOp<AllGatherOp>()) {
    getInputMutable().assign(gather.getInput());
    return getResult();
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Programs that every shard runs
//===----------------------------------------------------------------------===//

LogicalResult SliceAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                int64_t dim, int64_t offset, int64_t size,
                                int64_t stride, int64_t repeat) {
  if (dim < 0 || offset < 0 || size <= 0 || stride < 0 || repeat <= 0)
    return emitError()
           << "a slice has a size and a repeat above 0, and nothing "
              "that is negative";
  return success();
}

SliceAttr SliceAttr::ofShard(int64_t shard) {
  return SliceAttr::get(getContext(), getDim(),
                        getOffset() + shard / getRepeat() * getStride(),
                        getSize(), /*stride=*/0, /*repeat=*/1);
}

/// Checks what one shard, or each of them, holds of a sharded tensor.
static LogicalResult verifyLocal(Operation *op, TypeRange parts,
                                 ShardedTensorType type) {
  if (parts.size() != 1 &&
      parts.size() != static_cast<size_t>(type.getShards()))
    return op->emitOpError()
           << "has the parts of one shard, or of all " << type.getShards()
           << ", but not of " << parts.size();
  for (Type part : parts)
    if (part != type.getShardType())
      return op->emitOpError() << "a shard holds " << type.getShardType()
                               << " of it, but not " << part;
  return success();
}

LogicalResult FromLocalOp::verify() {
  return verifyLocal(*this, getParts().getTypes(), getResult().getType());
}

LogicalResult ToLocalOp::verify() {
  if (getInput().getType().isPartial())
    return emitOpError() << "input is " << getInput().getType()
                         << ", whose parts have to be reduced before";
  return verifyLocal(*this, getParts().getTypes(), getInput().getType());
}

//===----------------------------------------------------------------------===//
// Collectives
//===----------------------------------------------------------------------===//

// Inference never fails: where an operand does not fit, the verifier says so.

static ShardedTensorType replicatedType(ShardedTensorType type) {
  return ShardedTensorType::get(type.getFullType(), type.getShards(),
                                Placement::replicated);
}

LogicalResult AllGatherOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location>,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &inferred) {
  inferred.push_back(
      replicatedType(cast<ShardedTensorType>(adaptor.getInput().getType())));
  return success();
}

LogicalResult AllGatherOp::verify() {
  ShardedTensorType type = getInput().getType();
  if (type.getPlacement() != Placement::split)
    return emitOpError() << "gathers the parts of a split tensor, but the "
                            "input is "
                         << type;
  return verifyResultType(*this, replicatedType(type));
}

LogicalResult AllReduceOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location>,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &inferred) {
  inferred.push_back(
      replicatedType(cast<ShardedTensorType>(adaptor.getInput().getType())));
  return success();
}

LogicalResult AllReduceOp::verify() {
  ShardedTensorType type = getInput().getType();
  if (!type.isPartial())
    return emitOpError() << "reduces partial results, but the input is "
                         << type;
  return verifyResultType(*this, replicatedType(type));
}

LogicalResult
ReduceScatterOp::inferReturnTypes(MLIRContext *, std::optional<Location>,
                                  Adaptor adaptor,
                                  SmallVectorImpl<Type> &inferred) {
  auto type = cast<ShardedTensorType>(adaptor.getInput().getType());
  auto axis = static_cast<int64_t>(adaptor.getScatterAxis());
  // What cannot be split stays as it is, for the verifier to refuse.
  RankedTensorType full = type.getFullType();
  bool splits = axis >= 0 && axis < full.getRank() &&
                !full.isDynamicDim(axis) &&
                full.getDimSize(axis) % type.getShards() == 0;
  inferred.push_back(splits ? ShardedTensorType::get(full, type.getShards(),
                                                     Placement::split, axis)
                            : type);
  return success();
}

LogicalResult ReduceScatterOp::verify() {
  ShardedTensorType type = getInput().getType();
  if (!type.isPartial())
    return emitOpError() << "reduces partial results, but the input is "
                         << type;
  auto axis = static_cast<int64_t>(getScatterAxis());
  auto expected = ShardedTensorType::getChecked(
      [&] { return emitOpError("scatter_axis is wrong: "); }, getContext(),
      type.getFullType(), type.getShards(), Placement::split, axis,
      Reduction::sum);
  if (!expected)
    return failure();
  return verifyResultType(*this, expected);
}

namespace {
/// Parts of a sum, gathered, are the sum in all shards.
struct GatherOfScattered : OpRewritePattern<AllGatherOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AllGatherOp op,
                                PatternRewriter &rewriter) const override {
    auto scatter = op.getInput().getDefiningOp<ReduceScatterOp>();
    if (!scatter || !scatter->hasOneUse())
      return failure();
    rewriter.replaceOpWithNewOp<AllReduceOp>(op, op.getResult().getType(),
                                             scatter.getInput());
    return success();
  }
};

/// Gathering the parts of a tensor that every process has is having it.
struct GatherOfSharded : OpRewritePattern<AllGatherOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(AllGatherOp op,
                                PatternRewriter &rewriter) const override {
    auto shard = op.getInput().getDefiningOp<ShardOp>();
    if (!shard)
      return failure();
    rewriter.replaceOpWithNewOp<ShardOp>(op, op.getResult().getType(),
                                         shard.getInput());
    return success();
  }
};
} // namespace

void AllGatherOp::getCanonicalizationPatterns(RewritePatternSet &patterns,
                                              MLIRContext *context) {
  patterns.add<GatherOfScattered, GatherOfSharded>(context);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// The result of a product, or null where weight and input are no matrices or
/// the weight is not split.
static ShardedTensorType productType(ShardedTensorType input,
                                     ShardedTensorType weight) {
  RankedTensorType rows = input.getFullType(), matrix = weight.getFullType();
  if (rows.getRank() != 2 || matrix.getRank() != 2 ||
      weight.getPlacement() != Placement::split)
    return nullptr;
  auto full = RankedTensorType::get({rows.getDimSize(0), matrix.getDimSize(0)},
                                    rows.getElementType());
  if (weight.isSplit(0))
    return ShardedTensorType::get(full, weight.getShards(), Placement::split,
                                  1);
  return ShardedTensorType::get(full, weight.getShards(), Placement::partial);
}

LogicalResult
ShardedLinearOp::inferReturnTypes(MLIRContext *, std::optional<Location>,
                                  Adaptor adaptor,
                                  SmallVectorImpl<Type> &inferred) {
  auto input = cast<ShardedTensorType>(adaptor.getInput().getType());
  ShardedTensorType product = productType(
      input, cast<ShardedTensorType>(adaptor.getWeight().getType()));
  inferred.push_back(product ? product : input);
  return success();
}

LogicalResult ShardedLinearOp::verify() {
  ShardedTensorType input = getInput().getType(),
                    weight = getWeight().getType(),
                    result = getResult().getType();
  if (weight.getFullType().getRank() != 2 ||
      weight.getPlacement() != Placement::split)
    return emitOpError() << "weight must be a matrix that is split, but is "
                         << weight;
  bool byColumns = weight.isSplit(0);
  if (input.getFullType().getRank() != 2 ||
      !(byColumns ? input.isReplicated() : input.isSplit(1)))
    return emitOpError() << "input must be a matrix that is "
                         << (byColumns ? "replicated" : "split = 1")
                         << ", as the weight is split = " << weight.getAxis()
                         << ", but is " << input;
  if (input.getShards() != weight.getShards())
    return emitOpError() << "input has " << input.getShards()
                         << " shards, but the weight has "
                         << weight.getShards();
  if (failed(verifyDim(*this, "the weight's number of inputs",
                       weight.getFullType().getDimSize(1),
                       input.getFullType().getDimSize(1),
                       "the input's last dimension")))
    return failure();
  ShardedTensorType expected = productType(input, weight);
  if (Value value = getBias()) {
    auto bias = cast<ShardedTensorType>(value.getType());
    if (bias.getFullType().getRank() != 1 ||
        bias.getShards() != weight.getShards() ||
        !(byColumns ? bias.isSplit(0) : bias.isReplicated()) ||
        !sameDim(bias.getFullType().getDimSize(0),
                 weight.getFullType().getDimSize(0)))
      return emitOpError() << "bias is " << bias << ", but must have "
                           << weight.getFullType().getDimSize(0)
                           << " elements that are "
                           << (byColumns ? "split = 0" : "replicated")
                           << ", in as many shards as the weight";
  }
  // The element type may be chosen.
  if (result.getFullType().clone(expected.getFullType().getElementType()) !=
          expected.getFullType() ||
      result.getShards() != expected.getShards() ||
      result.getPlacement() != expected.getPlacement() ||
      result.getAxis() != expected.getAxis() ||
      result.getReduction() != expected.getReduction())
    return verifyResultType(*this, expected);
  return success();
}
