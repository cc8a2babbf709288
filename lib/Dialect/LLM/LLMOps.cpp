// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Parameters, layers and kernel calls: what they require, what they infer, what
// folds.

#include "Verification.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace llmir::llm;

/// The outputs in a panel of a packed weight, and the inputs that a bf16 panel
/// is padded to.
static constexpr int64_t kPanelWidth = 32;
static constexpr int64_t kPanelDepth = 32;

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
  if (element.isF32() || element.isF16())
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
  bool widens =
      (fileElement.isBF16() || fileElement.isF16()) && element.isF32();
  if (fileElement != element && !widens)
    return emitOpError() << "parameters are only widened from bf16 or f16 to "
                            "f32, not from "
                         << fileElement << " to " << element;
  RankedTensorType widened = RankedTensorType::get(file.getShape(), element);
  if (result != widened && result != getPackedType(widened))
    return emitOpError() << "result must have the file's shape or that of its "
                            "panels, but is "
                         << result << ", from " << file;
  return success();
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

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

/// Checks a normalization along the last dimension.
template <typename Op> static LogicalResult verifyNorm(Op op) {
  RankedTensorType input = rankedType(op.getInput());
  if (input.getRank() < 1)
    return op.emitOpError()
           << "input must have at least one dimension, but is " << input;
  if (failed(verifyRank(op, "weight", op.getWeight().getType(), 1)) ||
      failed(verifyDim(op, "the weight's size",
                       rankedType(op.getWeight()).getDimSize(0),
                       input.getShape().back(), "the input's last dimension")))
    return failure();
  if (!op.getEpsilon().isFinite() || op.getEpsilon().convertToFloat() < 0.0f)
    return op.emitOpError("epsilon must be finite and not negative");
  return verifyResultShape(op, op.getResult().getType(), input.getShape());
}

LogicalResult RMSNormOp::verify() { return verifyNorm(*this); }

LogicalResult LayerNormOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location>,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &inferred) {
  return inferSame(adaptor.getInput(), inferred);
}

LogicalResult LayerNormOp::verify() {
  if (failed(verifyNorm(*this)))
    return failure();
  Value bias = getBias();
  if (!bias)
    return success();
  if (failed(verifyRank(*this, "bias", bias.getType(), 1)))
    return failure();
  return verifyDim(*this, "the bias's size", rankedType(bias).getDimSize(0),
                   rankedType(getInput()).getShape().back(),
                   "the input's last dimension");
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
  int64_t headDim = input.getDimSize(2), half = table.getDimSize(2);
  if (ShapedType::isDynamic(headDim) || headDim < 2)
    return emitOpError() << "head_dim must be static and at least 2, but the "
                            "input is "
                         << input;
  if (table.getDimSize(1) != 2 || ShapedType::isDynamic(half) || half == 0 ||
      2 * half > headDim)
    return emitOpError() << "table is " << table
                         << ", but must have the shape [positions, 2, N] with "
                            "N from 1 to "
                         << headDim / 2 << ", half of head_dim";
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

OpFoldResult ActivationOp::fold(FoldAdaptor) {
  if (getKind() != ActivationKind::identity || getMultiplier() ||
      getInput().getType() != getResult().getType())
    return {};
  return getInput();
}

//===----------------------------------------------------------------------===//
// Kernel calls
//===----------------------------------------------------------------------===//

void CallKernelOp::build(OpBuilder &builder, OperationState &state,
                         StringRef kernel, ValueRange inputs,
                         ValueRange outputs) {
  SmallVector<Type> results;
  for (Type type : outputs.getTypes())
    if (isa<RankedTensorType>(type))
      results.push_back(type);
  build(builder, state, results, builder.getStringAttr(kernel), inputs, outputs,
        /*accumulate=*/UnitAttr(), /*extras=*/ArrayAttr(),
        /*scale=*/FloatAttr(), /*softcap=*/FloatAttr(),
        /*window=*/IntegerAttr());
}

LogicalResult CallKernelOp::verify() {
  StringRef kernel = getKernel();
  if (kernel.empty() || !llvm::isAlpha(kernel.front()) ||
      !llvm::all_of(kernel,
                    [](char c) { return llvm::isAlnum(c) || c == '_'; }))
    return emitOpError() << "kernel must be named by an identifier, but is \""
                         << kernel << '"';
  if (size_t extras = getExtras() ? getExtras()->size() : 0;
      extras > getInputs().size())
    return emitOpError() << "has " << getInputs().size()
                         << " inputs, but names the last " << extras;
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
