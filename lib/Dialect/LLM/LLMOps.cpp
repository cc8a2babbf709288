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

//===----------------------------------------------------------------------===//
// Assembly
//===----------------------------------------------------------------------===//

/// Parses one element, or several between brackets.
static ParseResult parseOneOrMore(OpAsmParser &parser,
                                  function_ref<ParseResult()> parseElement) {
  if (failed(parser.parseOptionalLSquare()))
    return parseElement();
  return failure(parser.parseCommaSeparatedList(parseElement) ||
                 parser.parseRSquare());
}

template <typename Range, typename Print>
static void printOneOrMore(OpAsmPrinter &printer, Range range, Print print) {
  if (llvm::hasSingleElement(range))
    return print(*range.begin());
  printer << '[';
  llvm::interleaveComma(range, printer, print);
  printer << ']';
}

/// Parses `"scope"::"key"`, which ODS cannot say: `::` is no literal there.
static ParseResult parseParameterName(OpAsmParser &parser, StringAttr &scope,
                                      ArrayAttr &keys) {
  Builder &builder = parser.getBuilder();
  std::string text;
  if (parser.parseString(&text) || parser.parseColon() || parser.parseColon())
    return failure();
  scope = builder.getStringAttr(text);
  SmallVector<Attribute> names;
  if (parseOneOrMore(parser, [&]() -> ParseResult {
        if (parser.parseString(&text))
          return failure();
        names.push_back(builder.getStringAttr(text));
        return success();
      }))
    return failure();
  keys = builder.getArrayAttr(names);
  return success();
}

static void printParameterName(OpAsmPrinter &printer, Operation *,
                               StringAttr scope, ArrayAttr keys) {
  printer << scope << "::";
  printOneOrMore(printer, keys, [&](Attribute key) { printer << key; });
}

static ParseResult parseSourceTypes(OpAsmParser &parser, ArrayAttr &types) {
  SmallVector<Type> parsed;
  if (parseOneOrMore(parser, [&]() -> ParseResult {
        return parser.parseType(parsed.emplace_back());
      }))
    return failure();
  types = parser.getBuilder().getTypeArrayAttr(parsed);
  return success();
}

static void printSourceTypes(OpAsmPrinter &printer, Operation *,
                             ArrayAttr types) {
  printOneOrMore(printer, types.getAsValueRange<TypeAttr>(),
                 [&](Type type) { printer << type; });
}

/// Parses the type of a RoPE table, or the function type of one that has
/// operands.
static ParseResult parseTableType(OpAsmParser &parser, Type &frequencies,
                                  Type &length, Type &table) {
  SmallVector<Type> operands;
  if (succeeded(parser.parseOptionalLParen())) {
    auto parseOperand = [&] {
      return parser.parseType(operands.emplace_back());
    };
    if (parser.parseCommaSeparatedList(parseOperand) || parser.parseRParen() ||
        parser.parseArrow())
      return failure();
    if (operands.size() > 2)
      return parser.emitError(parser.getNameLoc(),
                              "takes frequencies and a length");
    frequencies = operands[0];
    if (operands.size() == 2)
      length = operands[1];
  }
  return parser.parseType(table);
}

static void printTableType(OpAsmPrinter &printer, Operation *, Type frequencies,
                           Type length, Type table) {
  if (frequencies) {
    printer << '(' << frequencies;
    if (length)
      printer << ", " << length;
    printer << ") -> ";
  }
  printer << table;
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

RankedTensorType llmir::llm::getPackedType(RankedTensorType weight,
                                           bool gated) {
  if (weight.getRank() != 2 || !weight.hasStaticShape())
    return nullptr;
  int64_t rows = weight.getDimSize(0), depth = weight.getDimSize(1);
  if (gated && rows % 2 != 0)
    return nullptr;
  int64_t panels = llvm::divideCeil(gated ? rows / 2 : rows, kPanelWidth);
  int64_t pairs = llvm::alignTo(depth, kPanelDepth) / 2;
  SmallVector<int64_t> shape = {panels};
  if (gated)
    shape.push_back(2);
  Type element = weight.getElementType();
  if (element.isF32() || element.isF16())
    shape.append({depth, kPanelWidth});
  else if (element.isBF16())
    shape.append({pairs, kPanelWidth, 2});
  else
    return nullptr;
  return RankedTensorType::get(shape, element);
}

Type llmir::llm::getPackedType(Type weight, bool gated) {
  if (auto quantized = dyn_cast<QuantizedTensorType>(weight))
    return quantized.asPanels(gated);
  if (auto tensor = dyn_cast<RankedTensorType>(weight))
    return getPackedType(tensor, gated);
  return nullptr;
}

bool llmir::llm::hasPackedWeight(LinearOp op) {
  return rankedType(op.getWeight()).getRank() > 2;
}

bool llmir::llm::hasPackedTable(EmbeddingOp op) {
  auto tensor = dyn_cast<RankedTensorType>(op.getTable().getType());
  return tensor && tensor.getRank() > 2;
}

bool llmir::llm::isEpilogue(ActivationKind kind) {
  return kind == ActivationKind::silu || kind == ActivationKind::gelu ||
         kind == ActivationKind::gelu_tanh || kind == ActivationKind::relu ||
         kind == ActivationKind::identity;
}

void ParameterOp::build(OpBuilder &builder, OperationState &state, Type result,
                        StringAttr scope, ArrayAttr keys, ArrayAttr sourceTypes,
                        ArrayAttr slices) {
  build(builder, state, result, scope, keys, sourceTypes,
        /*panels_type=*/TypeAttr(), slices, /*transposed=*/UnitAttr());
}

/// A matrix's type with its dimensions exchanged.
static RankedTensorType transpose(RankedTensorType type) {
  return RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)},
                               type.getElementType());
}

SmallVector<RankedTensorType> ParameterOp::getFileTypes() {
  if (auto types = getSourceTypes())
    return llvm::map_to_vector(
        types->getAsValueRange<TypeAttr>(),
        [](Type type) { return cast<RankedTensorType>(type); });
  auto type = cast<RankedTensorType>(getResult().getType());
  return {getTransposed() && type.getRank() == 2 ? transpose(type) : type};
}

SmallVector<RankedTensorType> ParameterOp::getPartTypes() {
  SmallVector<RankedTensorType> types = getFileTypes();
  if (auto slices = getSlices())
    for (auto [type, slice] :
         llvm::zip(types, slices->getAsRange<SliceAttr>())) {
      SmallVector<int64_t> shape(type.getShape());
      shape[slice.getDim()] = slice.getSize();
      type = type.clone(shape);
    }
  if (getTransposed())
    for (RankedTensorType &type : types)
      type = transpose(type);
  return types;
}

/// Checks that slices are parts of what the file has.
static LogicalResult verifySlices(ParameterOp op) {
  std::optional<ArrayAttr> slices = op.getSlices();
  if (!slices)
    return success();
  if (!op.getSourceTypes())
    return op.emitOpError("needs `from` with the type that the file has, of "
                          "which it is a slice");
  SmallVector<RankedTensorType> files = op.getFileTypes();
  if (slices->size() != files.size())
    return op.emitOpError() << "reads " << files.size() << " tensors, but has "
                            << slices->size() << " slices";
  for (auto [file, slice] : llvm::zip(files, slices->getAsRange<SliceAttr>()))
    if (slice.getDim() >= file.getRank() || file.isDynamicDim(slice.getDim()) ||
        slice.getSize() > file.getDimSize(slice.getDim()) ||
        slice.getOffset() > file.getDimSize(slice.getDim()) - slice.getSize())
      return op.emitOpError() << slice << " is no part of " << file;
  return success();
}

/// Checks that tensors can be laid end to end.
static LogicalResult verifyParts(ParameterOp op,
                                 ArrayRef<RankedTensorType> files) {
  if (files.size() == 1)
    return success();
  for (RankedTensorType file : files)
    if (file.getRank() < 1 || file.getRank() > 2 ||
        file.getRank() != files[0].getRank() ||
        file.getShape().drop_front() != files[0].getShape().drop_front())
      return op.emitOpError()
             << "tensors laid end to end are vectors, or matrices of equally "
                "long rows, but these are "
             << files[0] << " and " << file;
  return success();
}

/// Checks what a parameter of `files` is that consists of integers, or of the
/// bytes of such.
static LogicalResult
verifyQuantizedParameter(ParameterOp op, ArrayRef<RankedTensorType> files) {
  Type result = op.getResult().getType();
  auto quantized = dyn_cast<QuantizedTensorType>(result);
  if (std::optional<Type> panels = op.getPanelsType()) {
    quantized = cast<QuantizedTensorType>(*panels);
    if (!quantized.isInPanels())
      return op.emitOpError() << "only panels are bytes, not " << quantized;
    if (result != quantized.getPanelsType())
      return op.emitOpError()
             << "result is " << result << ", but the bytes of these panels are "
             << quantized.getPanelsType();
  }
  SmallVector<int64_t> shape(files[0].getShape());
  for (auto [index, file] : llvm::enumerate(files)) {
    Type element = file.getElementType();
    if (!element.isF32() && !element.isBF16() && !element.isF16())
      return op.emitOpError() << "parameters are quantized from f32, bf16 or "
                                 "f16, not from "
                              << element;
    if (!file.hasStaticShape())
      return op.emitOpError()
             << "weights have static shapes, but this one is " << file;
    if (index > 0)
      shape[0] += file.getDimSize(0);
  }
  if (quantized.getShape() == ArrayRef(shape))
    return success();
  auto diagnostic = op.emitOpError()
                    << "is " << quantized
                    << ", but must have the file's shape, that "
                       "of ";
  llvm::interleaveComma(files, diagnostic);
  return diagnostic;
}

LogicalResult ParameterOp::verify() {
  if (getScope().empty() || getKeys().empty() ||
      llvm::any_of(getKeys().getAsValueRange<StringAttr>(),
                   [](StringRef key) { return key.empty(); }))
    return emitOpError("scope and key must not be empty");
  if (auto types = getSourceTypes())
    for (Type type : types->getAsValueRange<TypeAttr>())
      if (!isa<RankedTensorType>(type))
        return emitOpError() << "reads ranked tensors, but not " << type;
  bool quantizes =
      isa<QuantizedTensorType>(getResult().getType()) || getPanelsType();
  if (quantizes && !getSourceTypes())
    return emitOpError("needs `from` with the type that the file has, which is "
                       "quantized when compiling");
  if (size_t types = getFileTypes().size(); types != getKeys().size())
    return emitOpError() << "names " << getKeys().size()
                         << " tensors, but gives the types of " << types;
  if (failed(verifySlices(*this)))
    return failure();
  if (getTransposed())
    for (RankedTensorType file : getFileTypes())
      if (file.getRank() != 2)
        return emitOpError() << "only matrices are transposed, not " << file;
  SmallVector<RankedTensorType> files = getPartTypes();
  if (quantizes)
    return failure(failed(verifyParts(*this, files)) ||
                   failed(verifyQuantizedParameter(*this, files)));
  auto result = cast<RankedTensorType>(getResult().getType());
  SmallVector<RankedTensorType> all(files);
  all.push_back(result);
  for (RankedTensorType type : all)
    if (!type.hasStaticShape())
      return emitOpError() << "weights have static shapes, but this one is "
                           << type;
  if (failed(verifyParts(*this, files)))
    return failure();
  Type element = result.getElementType();
  for (RankedTensorType file : files) {
    Type fileElement = file.getElementType();
    bool widens =
        (fileElement.isBF16() || fileElement.isF16()) && element.isF32();
    if (fileElement != element && !widens)
      return emitOpError() << "parameters are only widened from bf16 or f16 to "
                              "f32, not from "
                           << fileElement << " to " << element;
  }
  SmallVector<int64_t> shape(files[0].getShape());
  for (RankedTensorType file : ArrayRef(files).drop_front())
    shape[0] += file.getDimSize(0);
  auto whole = RankedTensorType::get(shape, element);
  if (result == whole || result == getPackedType(whole) ||
      result == getPackedType(whole, /*gated=*/true))
    return success();
  auto diagnostic = emitOpError()
                    << "result must have the file's shape or that of its "
                       "panels, but is "
                    << result << ", from ";
  if (getTransposed() && !getSlices()) {
    diagnostic << "the transpose of ";
    files = getFileTypes();
  }
  llvm::interleaveComma(files, diagnostic);
  return diagnostic;
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

LogicalResult EmbeddingOp::inferReturnTypes(MLIRContext *,
                                            std::optional<Location>,
                                            Adaptor adaptor,
                                            SmallVectorImpl<Type> &inferred) {
  auto indices = rankedType(adaptor.getIndices());
  if (auto quantized =
          dyn_cast<QuantizedTensorType>(adaptor.getTable().getType())) {
    inferred.push_back(RankedTensorType::get(
        {indices.getRank() == 1 ? indices.getDimSize(0) : ShapedType::kDynamic,
         quantized.getShape().back()},
        Float32Type::get(quantized.getContext())));
    return success();
  }
  auto table = rankedType(adaptor.getTable());
  if (indices.getRank() != 1 || table.getRank() < 2)
    return inferSame(adaptor.getTable(), inferred);
  // Some of a packed table's columns may be padding.
  int64_t columns =
      table.getRank() > 2 ? ShapedType::kDynamic : table.getDimSize(1);
  return inferLike(adaptor.getTable(), {indices.getDimSize(0), columns},
                   inferred);
}

LogicalResult EmbeddingOp::verify() {
  if (failed(verifyRank(*this, "indices", getIndices().getType(), 1)))
    return failure();
  if (auto table = dyn_cast<QuantizedTensorType>(getTable().getType())) {
    if (table.getRank() != 2 || table.getAxis() != 1 ||
        table.getPacking() == Packing::gated_panels)
      return emitOpError()
             << "table is " << table << ", but must be a matrix "
             << "that is quantized along its rows (axis = 1), and "
             << "not gated";
    return verifyResultShape(
        *this, getResult().getType(),
        {rankedType(getIndices()).getDimSize(0), table.getShape()[1]});
  }
  if (hasPackedTable(*this)) {
    auto table = rankedType(getTable()), result = rankedType(getResult());
    if (failed(verifyRank(*this, "result", result, 2)))
      return failure();
    int64_t panels = table.getDimSize(0);
    if (!ShapedType::isDynamic(panels) &&
        getPackedType(
            RankedTensorType::get({panels * kPanelWidth, result.getDimSize(1)},
                                  table.getElementType())) == table)
      return verifyResultShape(
          *this, result,
          {rankedType(getIndices()).getDimSize(0), result.getDimSize(1)});
    return emitOpError() << "table is " << table << ", but must be a matrix or "
                         << "its panels, of rows as the result has them, "
                         << result;
  }
  if (failed(verifyRank(*this, "table", getTable().getType(), 2)))
    return failure();
  return verifyResultShape(*this, getResult().getType(),
                           {rankedType(getIndices()).getDimSize(0),
                            rankedType(getTable()).getDimSize(1)});
}

void LinearOp::build(OpBuilder &builder, OperationState &state, Type result,
                     Value input, Value weight, Value bias, Value residual) {
  build(builder, state, result, input, weight, /*norm=*/Value(), bias, residual,
        /*epsilon=*/FloatAttr(), /*activation=*/ActivationKindAttr(),
        /*gated=*/false);
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
  if (adaptor.getGated() && !ShapedType::isDynamic(outputs))
    outputs /= 2;
  return inferLike(adaptor.getInput(), {input.getDimSize(0), outputs},
                   inferred);
}

/// Checks the weight of a product with so many rows.
static LogicalResult verifyProductWeight(LinearOp op, int64_t rows) {
  auto input = rankedType(op.getInput());
  auto weight = rankedType(op.getWeight());
  if (weight.getRank() == 2) {
    if (failed(verifyDim(op, "the weight's number of inputs",
                         weight.getDimSize(1), input.getDimSize(1),
                         "the input's last dimension")))
      return failure();
    if (!op.getGated())
      return verifyResultShape(op, op.getResult().getType(),
                               {input.getDimSize(0), weight.getDimSize(0)});
    return verifyDim(op, "the gated weight's number of outputs",
                     weight.getDimSize(0), rows,
                     "twice the result's last dimension");
  }
  auto unpacked = RankedTensorType::get({rows, input.getDimSize(1)},
                                        weight.getElementType());
  RankedTensorType packed = getPackedType(unpacked, op.getGated());
  if (weight == packed)
    return success();
  auto diagnostic = op.emitOpError() << "weight is " << weight;
  if (packed)
    return diagnostic << ", but the panels of " << unpacked
                      << (op.getGated() ? ", gated," : "") << " are " << packed;
  return diagnostic << ", but " << unpacked << " has no packed form";
}

LogicalResult LinearOp::verify() {
  if (failed(verifyRank(*this, "input", getInput().getType(), 2)) ||
      failed(verifyRank(*this, "result", getResult().getType(), 2)))
    return failure();
  auto input = rankedType(getInput());
  auto result = rankedType(getResult());
  int64_t rows = result.getDimSize(1);
  if (getGated() && !ShapedType::isDynamic(rows))
    rows *= 2;
  if (failed(verifyProductWeight(*this, rows)) ||
      failed(verifyResultShape(*this, result,
                               {input.getDimSize(0), result.getDimSize(1)})) ||
      failed(verifyNormPrologue(*this, input.getDimSize(1))))
    return failure();
  return verifyEpilogue(*this);
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
  if (failed(verifyRotation(*this, "input", getInput(), getTable(),
                            getPositions())))
    return failure();
  return verifyResultShape(*this, getResult().getType(),
                           rankedType(getInput()).getShape());
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
        /*epsilon=*/FloatAttr(), /*activation=*/ActivationKindAttr(),
        /*gated=*/UnitAttr(), /*scale=*/FloatAttr(), /*softcap=*/FloatAttr(),
        /*window=*/IntegerAttr(), /*causal=*/UnitAttr(),
        /*weight_type=*/TypeAttr(),
        /*input_type=*/TypeAttr(), /*query_type=*/TypeAttr());
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
