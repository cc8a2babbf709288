// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Quantized tensors: how their types are written, what they consist of, and
// what the ops on them require.

#include "Verification.h"
#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/IR/DialectImplementation.h"
#include "mlir/IR/TypeUtilities.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;
using namespace llmir::llm;

//===----------------------------------------------------------------------===//
// The type
//===----------------------------------------------------------------------===//

Type QuantizedTensorType::parse(AsmParser &parser) {
  SMLoc start = parser.getCurrentLocation();
  SmallVector<int64_t> shape;
  IntegerType storage;
  FloatType scales;
  int64_t axis = 0, groupSize = 0;
  bool asymmetric = false;
  Packing packing = Packing::none;
  if (parser.parseLess() || parser.parseDimensionList(shape) ||
      parser.parseType(storage) || parser.parseComma() ||
      parser.parseKeyword("scales") || parser.parseEqual() ||
      parser.parseType(scales) || parser.parseComma() ||
      parser.parseKeyword("axis") || parser.parseEqual() ||
      parser.parseInteger(axis))
    return {};
  bool comma = succeeded(parser.parseOptionalComma());
  if (comma && succeeded(parser.parseOptionalKeyword("group_size"))) {
    SMLoc loc = parser.getCurrentLocation();
    if (parser.parseEqual() || parser.parseInteger(groupSize))
      return {};
    if (groupSize <= 0) {
      parser.emitError(loc, "group_size must be positive, but is ")
          << groupSize;
      return {};
    }
    comma = succeeded(parser.parseOptionalComma());
  }
  if (comma && succeeded(parser.parseOptionalKeyword("asymmetric"))) {
    asymmetric = true;
    comma = succeeded(parser.parseOptionalComma());
  }
  if (comma) {
    if (parser.parseKeyword("packing",
                            ", or group_size or asymmetric before it") ||
        parser.parseEqual())
      return {};
    SMLoc loc = parser.getCurrentLocation();
    StringRef name;
    if (parser.parseKeyword(&name))
      return {};
    std::optional<Packing> known = symbolizePacking(name);
    if (!known || *known == Packing::none) {
      parser.emitError(loc, "packing must be pairs, panels or "
                            "gated_panels, but is ")
          << name;
      return {};
    }
    packing = *known;
  }
  if (parser.parseGreater())
    return {};
  return parser.getChecked<QuantizedTensorType>(
      start, parser.getContext(), ArrayRef<int64_t>(shape), storage, scales,
      axis, groupSize, asymmetric, packing);
}

void QuantizedTensorType::print(AsmPrinter &printer) const {
  printer << '<';
  printer.printDimensionList(getShape());
  printer << 'x' << getStorage() << ", scales = " << getScales()
          << ", axis = " << getAxis();
  if (getGroupSize())
    printer << ", group_size = " << getGroupSize();
  if (getAsymmetric())
    printer << ", asymmetric";
  if (getPacking() != Packing::none)
    printer << ", packing = " << stringifyPacking(getPacking());
  printer << '>';
}

// What keeps the bytes of a panel within 63 bits.
static constexpr int64_t kMostSize = int64_t(1) << 40;

/// Whether a tensor of `shape` that is quantized along `axis` can lie in
/// panels, as far as these say.
static bool arePanels(ArrayRef<int64_t> shape, int64_t axis) {
  return shape.size() == 2 && axis == 1 &&
         llvm::all_of(shape, [](int64_t size) {
           return !ShapedType::isDynamic(size) && size > 0 && size <= kMostSize;
         });
}

LogicalResult
QuantizedTensorType::verify(function_ref<InFlightDiagnostic()> emitError,
                            ArrayRef<int64_t> shape, IntegerType storage,
                            FloatType scales, int64_t axis, int64_t groupSize,
                            bool asymmetric, Packing packing) {
  unsigned width = storage.getWidth();
  if ((width != 4 && width != 8) || storage.isSigned())
    return emitError() << "storage must be i8, i4, ui8 or ui4, but is "
                       << storage;
  if (!asymmetric && storage.isUnsigned())
    return emitError() << "a symmetric tensor has signed numbers, but its "
                          "storage is "
                       << storage;
  if (!scales.isF16() && !scales.isBF16() && !scales.isF32())
    return emitError() << "scales must be f16, bf16 or f32, but are " << scales;
  if (axis < 0 || axis >= static_cast<int64_t>(shape.size()))
    return emitError() << "axis " << axis << " is not one of the "
                       << shape.size() << " dimensions";
  int64_t size = shape[axis];
  if (groupSize && (groupSize < 0 || ShapedType::isDynamic(size) || size == 0 ||
                    size % groupSize != 0))
    return emitError() << "group_size " << groupSize
                       << " must divide the size of dimension " << axis
                       << ", which must be static and positive";
  if (packing == Packing::none)
    return success();
  if (packing == Packing::panels || packing == Packing::gated_panels) {
    if (!arePanels(shape, axis))
      return emitError() << "panels need a matrix of static sizes, from 1 to "
                         << kMostSize
                         << ", that is quantized along dimension 1";
    if (groupSize % kPanelDepth != 0)
      return emitError() << "panels need groups of a multiple of "
                         << kPanelDepth << ", or whole rows, not groups of "
                         << groupSize;
    if (packing == Packing::gated_panels && shape[0] % 2 != 0)
      return emitError() << "gated panels need an even number of rows, but "
                            "there are "
                         << shape[0];
    return success();
  }
  if (width != 4)
    return emitError() << "only elements of 4 bits are packed in pairs, not "
                       << storage;
  if (ShapedType::isDynamic(size) || size % 2 != 0)
    return emitError() << "pairs need an even, static size, but dimension "
                       << axis << " has the size "
                       << (ShapedType::isDynamic(size) ? "?"
                                                       : std::to_string(size));
  return success();
}

int64_t QuantizedTensorType::getMin() const {
  return getStorage().isUnsigned()
             ? 0
             : -(int64_t(1) << (getStorage().getWidth() - 1));
}

int64_t QuantizedTensorType::getMax() const {
  return getMin() + (int64_t(1) << getStorage().getWidth()) - 1;
}

RankedTensorType QuantizedTensorType::getElementsType() const {
  SmallVector<int64_t> shape(getShape());
  if (getPacking() == Packing::pairs)
    shape[getAxis()] /= 2;
  return RankedTensorType::get(shape, IntegerType::get(getContext(), 8));
}

RankedTensorType QuantizedTensorType::getScalesType() const {
  SmallVector<int64_t> shape(getShape());
  shape[getAxis()] = getGroups();
  return RankedTensorType::get(shape, getScales());
}

RankedTensorType QuantizedTensorType::getPanelsType() const {
  // As the kernels read them: see llmir/runtime/packing.h.
  int64_t depth = llvm::alignTo(getAxisSize(), kPanelDepth);
  int64_t each =
      getScales().getIntOrFloatBitWidth() / 8 + (getAsymmetric() ? 1 : 0);
  int64_t rows = getShape()[0];
  int64_t panels = getPacking() == Packing::gated_panels
                       ? 2 * llvm::divideCeil(rows / 2, kPanelWidth)
                       : llvm::divideCeil(rows, kPanelWidth);
  int64_t bytes = llvm::alignTo(
      kPanelWidth * (depth * static_cast<int64_t>(getStorage().getWidth()) / 8 +
                     getGroups() * each),
      64);
  return RankedTensorType::get({panels, bytes},
                               IntegerType::get(getContext(), 8));
}

QuantizedTensorType QuantizedTensorType::asPanels(bool gated) const {
  if (!arePanels(getShape(), getAxis()) || getGroupSize() % kPanelDepth != 0 ||
      (gated && getShape()[0] % 2 != 0))
    return {};
  return get(getContext(), getShape(), getStorage(), getScales(), getAxis(),
             getGroupSize(), getAsymmetric(),
             gated ? Packing::gated_panels : Packing::panels);
}

RankedTensorType QuantizedTensorType::getZeroPointsType() const {
  return getScalesType().clone(IntegerType::get(getContext(), 8));
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

LogicalResult QuantizeOp::verify() {
  QuantizedTensorType type = getResult().getType();
  if (type.isInPanels())
    return emitOpError() << "result is " << type
                         << ", but only parameters are packed in panels";
  if (failed(verifyCompatibleShape(rankedType(getInput()).getShape(),
                                   type.getShape())))
    return emitOpError() << "result is " << type
                         << ", but must have the input's shape, that of "
                         << getInput().getType();
  return success();
}

LogicalResult DequantizeOp::inferReturnTypes(MLIRContext *,
                                             std::optional<Location>,
                                             Adaptor adaptor,
                                             SmallVectorImpl<Type> &inferred) {
  auto type = cast<QuantizedTensorType>(adaptor.getInput().getType());
  inferred.push_back(RankedTensorType::get(type.getShape(), type.getScales()));
  return success();
}

LogicalResult DequantizeOp::verify() {
  return verifyResultShape(*this, getResult().getType(),
                           getInput().getType().getShape());
}

/// The shape of a product's input, which may be quantized.
static ArrayRef<int64_t> inputShape(Value input) {
  if (auto quantized = dyn_cast<QuantizedTensorType>(input.getType()))
    return quantized.getShape();
  return cast<RankedTensorType>(input.getType()).getShape();
}

/// The columns of a product's result: half the outputs of a gated one's weight.
static int64_t outputsOf(QuantizedTensorType weight, bool gated) {
  int64_t rows = weight.getShape()[0];
  return gated && !ShapedType::isDynamic(rows) ? rows / 2 : rows;
}

LogicalResult
QuantizedMatmulOp::inferReturnTypes(MLIRContext *, std::optional<Location>,
                                    Adaptor adaptor,
                                    SmallVectorImpl<Type> &inferred) {
  ArrayRef<int64_t> input = inputShape(adaptor.getInput());
  auto weight = cast<QuantizedTensorType>(adaptor.getWeight().getType());
  Type element = getElementTypeOrSelf(adaptor.getInput().getType());
  if (auto quantized =
          dyn_cast<QuantizedTensorType>(adaptor.getInput().getType()))
    element = quantized.getScales();
  // Where operands do not fit together, the verifier says so.
  SmallVector<int64_t> shape = {ShapedType::kDynamic, ShapedType::kDynamic};
  if (input.size() == 2 && weight.getRank() == 2)
    shape = {input[0], outputsOf(weight, adaptor.getGated())};
  inferred.push_back(RankedTensorType::get(shape, element));
  return success();
}

/// Checks that an operand is a matrix with groups along its last dimension.
static LogicalResult verifyMatrix(Operation *op, StringRef name,
                                  QuantizedTensorType type) {
  if (type.getRank() == 2 && type.getAxis() == 1)
    return success();
  return op->emitOpError() << name
                           << " must be a matrix that is quantized along its "
                              "last dimension, but is "
                           << type;
}

/// The largest number that an element of `type` is, less its zero point.
static int64_t largestDistance(QuantizedTensorType type) {
  return type.getAsymmetric() ? type.getMax() - type.getMin() : -type.getMin();
}

bool llmir::llm::hasKernelInput(QuantizedMatmulOp op) {
  if (op.getActivation() && !isEpilogue(*op.getActivation()))
    return false;
  auto type = dyn_cast<QuantizedTensorType>(op.getInput().getType());
  if (op.getInputType())
    type = cast<QuantizedTensorType>(*op.getInputType());
  if (!type)
    return op.getNorm() || getElementTypeOrSelf(op.getInput()).isBF16();
  return (op.getNorm() || op.getInput().getDefiningOp<QuantizeOp>()) &&
         type.getStorage().isSignlessInteger(8) && !type.getGroupSize() &&
         !type.getAsymmetric() && type.getScales().isF32();
}

LogicalResult QuantizedMatmulOp::verify() {
  QuantizedTensorType weight = getWeight().getType();
  auto quantized = dyn_cast<QuantizedTensorType>(getInput().getType());
  if (failed(verifyMatrix(*this, "weight", weight)) ||
      (quantized && failed(verifyMatrix(*this, "input", quantized))) ||
      (!quantized &&
       failed(verifyRank(*this, "input", getInput().getType(), 2))))
    return failure();
  ArrayRef<int64_t> input = inputShape(getInput());
  int64_t inputs = weight.getAxisSize();
  int64_t outputs = outputsOf(weight, getGated());
  if (failed(verifyDim(*this, "the weight's number of inputs", inputs, input[1],
                       "the input's last dimension")) ||
      failed(verifyResultShape(*this, getResult().getType(),
                               {input[0], outputs})) ||
      failed(verifyNormPrologue(*this, input[1])))
    return failure();
  if (getGated() && weight.getShape()[0] % 2 != 0)
    return emitOpError() << "a gated weight has twice the result's columns for "
                            "rows, but this one has "
                         << weight.getShape()[0];
  if (getGated() && weight.getPacking() == Packing::panels)
    return emitOpError("a gated weight lies in gated panels");
  if (quantized && getNorm())
    return emitOpError("a norm is quantized after it, to input_type");
  if (getInputType() && !getNorm())
    return emitOpError("input_type is what a norm is quantized to, and there "
                       "is none");
  if (getInputType()) {
    quantized = cast<QuantizedTensorType>(*getInputType());
    if (failed(verifyMatrix(*this, "input_type", quantized)))
      return failure();
    if (failed(verifyCompatibleShape(quantized.getShape(), input)))
      return emitOpError() << "input_type is " << quantized
                           << ", but must have the input's shape, that of "
                           << getInput().getType();
  }
  if (quantized) {
    int64_t size = weight.getGroupSize();
    if (int64_t other = quantized.getGroupSize()) {
      if (size && size != other)
        return emitOpError()
               << "the input's groups of " << other
               << " must be the weight's, of " << size << ", or whole rows";
      size = other;
    }
    // Of a whole row, as far as its length is known.
    if (!size)
      size = ShapedType::isDynamic(inputs) ? input[1] : inputs;
    int64_t product = largestDistance(weight) * largestDistance(quantized);
    if (!ShapedType::isDynamic(size) &&
        size > std::numeric_limits<int32_t>::max() / product)
      return emitOpError() << "sums of " << size
                           << " products may not fit into 32 bits; groups of "
                           << std::numeric_limits<int32_t>::max() / product
                           << " do";
  }
  return verifyEpilogue(*this);
}
