// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tables of rotary position embeddings: which scalings there are, and the
// numbers that each gives.

#include "llmir/Dialect/LLM/LLM.h"

#include "mlir/IR/BuiltinAttributes.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace mlir;
using namespace llmir::llm;

LogicalResult RopeScalingAttr::verify(
    function_ref<InFlightDiagnostic()> emitError, RopeScalingKind kind,
    FloatAttr factor, FloatAttr lowFreqFactor, FloatAttr highFreqFactor,
    int64_t originalMaxPosition, FloatAttr betaFast, FloatAttr betaSlow,
    bool truncate, FloatAttr mscale, FloatAttr mscaleAllDim,
    FloatAttr attentionFactor, DenseF64ArrayAttr shortFactor,
    DenseF64ArrayAttr longFactor) {
  using Kind = RopeScalingKind;
  auto isPositive = [](double number) {
    return std::isfinite(number) && number > 0.0;
  };
  if (!isPositive(factor.getValueAsDouble()) || factor.getValueAsDouble() < 1.0)
    return emitError() << "factor must be at least 1 and finite, but is "
                       << factor.getValueAsDouble();

  struct {
    StringRef name;
    bool isThere;
    SmallVector<Kind, 4> required, optional;
  } members[] = {{"low_freq_factor", bool(lowFreqFactor), {Kind::llama3}, {}},
                 {"high_freq_factor", bool(highFreqFactor), {Kind::llama3}, {}},
                 {"original_max_position",
                  originalMaxPosition != 0,
                  {Kind::dynamic, Kind::llama3, Kind::longrope, Kind::yarn},
                  {}},
                 {"beta_fast", bool(betaFast), {}, {Kind::yarn}},
                 {"beta_slow", bool(betaSlow), {}, {Kind::yarn}},
                 {"truncate", !truncate, {}, {Kind::yarn}},
                 {"mscale", bool(mscale), {}, {Kind::yarn}},
                 {"mscale_all_dim", bool(mscaleAllDim), {}, {Kind::yarn}},
                 {"attention_factor",
                  bool(attentionFactor),
                  {},
                  {Kind::longrope, Kind::yarn}},
                 {"short_factor", bool(shortFactor), {Kind::longrope}, {}},
                 {"long_factor", bool(longFactor), {Kind::longrope}, {}}};
  for (auto &member : members) {
    bool isRequired = llvm::is_contained(member.required, kind);
    if (isRequired && !member.isThere)
      return emitError() << stringifyRopeScalingKind(kind) << " scaling needs "
                         << member.name;
    if (member.isThere && !isRequired &&
        !llvm::is_contained(member.optional, kind))
      return emitError() << stringifyRopeScalingKind(kind)
                         << " scaling takes no " << member.name;
  }

  std::pair<StringRef, FloatAttr> numbers[] = {
      {"low_freq_factor", lowFreqFactor},
      {"high_freq_factor", highFreqFactor},
      {"beta_fast", betaFast},
      {"beta_slow", betaSlow},
      {"mscale", mscale},
      {"mscale_all_dim", mscaleAllDim},
      {"attention_factor", attentionFactor}};
  for (auto [name, number] : numbers)
    if (number && !isPositive(number.getValueAsDouble()))
      return emitError() << name << " must be positive and finite, but is "
                         << number.getValueAsDouble();
  std::pair<StringRef, DenseF64ArrayAttr> lists[] = {
      {"short_factor", shortFactor}, {"long_factor", longFactor}};
  for (auto [name, list] : lists)
    if (list && !llvm::all_of(list.asArrayRef(), isPositive))
      return emitError() << name << " must hold positive and finite numbers";

  // Its logarithm divides.
  if (kind != Kind::linear && originalMaxPosition < 2)
    return emitError() << "original_max_position must be at least 2, but is "
                       << originalMaxPosition;
  if (kind == Kind::llama3 &&
      highFreqFactor.getValueAsDouble() <= lowFreqFactor.getValueAsDouble())
    return emitError() << "high_freq_factor must be above low_freq_factor";
  if (bool(mscale) != bool(mscaleAllDim))
    return emitError() << "mscale and mscale_all_dim need each other";
  return success();
}

bool RopeTableOp::isOfWeights() {
  if (!getFrequencies())
    return true;
  auto parameter = getFrequencies().getDefiningOp<ParameterOp>();
  return parameter && !getLength() && !parameter.getSlices() &&
         parameter.getFileTypes().size() == 1 &&
         Type(parameter.getFileTypes().front()) == getFrequencies().getType();
}

LogicalResult RopeTableOp::verify() {
  auto type = cast<RankedTensorType>(getTable().getType());
  if (type.getRank() != 3 || type.isDynamicDim(2) || type.getDimSize(0) == 0 ||
      type.getDimSize(1) != 2 || type.getDimSize(2) == 0)
    return emitOpError() << "table must have the shape [positions, 2, head_dim "
                            "/ 2], but is "
                         << getTable().getType();
  if (type.isDynamicDim(0) != static_cast<bool>(getLength()))
    return emitOpError() << "a table needs a length where its number of "
                            "positions is dynamic, and only there, but is "
                         << type;
  if (type.hasStaticShape() &&
      type.getNumElements() > std::numeric_limits<int32_t>::max())
    return emitOpError() << "table is too large: " << type;
  if (static_cast<bool>(getTheta()) == static_cast<bool>(getFrequencies()))
    return emitOpError("needs either theta or frequencies");
  if (Value frequencies = getFrequencies()) {
    auto given = cast<RankedTensorType>(frequencies.getType());
    if (given.getRank() != 1 || given.getDimSize(0) != type.getDimSize(2))
      return emitOpError() << "frequencies are " << given
                           << ", but the table has " << type.getDimSize(2);
    if (getScaling())
      return emitOpError("frequencies that are given are scaled already");
    if (getAttentionFactor() &&
        (!getAttentionFactor()->isFinite() ||
         !(getAttentionFactor()->convertToDouble() > 0.0)))
      return emitOpError("attention_factor must be positive and finite");
    return success();
  }
  if (getLength())
    return emitOpError("a length needs frequencies");
  if (getAttentionFactor())
    return emitOpError("attention_factor needs frequencies; scaling has its "
                       "own");
  double theta = getTheta()->convertToDouble();
  if (!std::isfinite(theta) || !(theta > 0.0))
    return emitOpError("theta must be positive and finite");

  RopeScalingAttr scaling = getScalingAttr();
  if (!scaling)
    return success();
  int64_t half = type.getDimSize(2);
  if (scaling.getKind() == RopeScalingKind::dynamic && half < 2)
    return emitOpError("dynamic scaling needs at least two frequencies");
  if (scaling.getKind() == RopeScalingKind::yarn && !(theta > 1.0))
    return emitOpError("yarn scaling needs a theta above 1");
  std::pair<StringRef, DenseF64ArrayAttr> lists[] = {
      {"short_factor", scaling.getShortFactor()},
      {"long_factor", scaling.getLongFactor()}};
  for (auto [name, list] : lists)
    if (list && list.size() != half)
      return emitOpError() << name << " holds " << list.size()
                           << " numbers, but the table has " << half
                           << " frequencies";
  return success();
}

/// The weight of the unscaled frequency for each of yarn's frequencies: 1 up to
/// one index, 0 from another one on, linear between. The bounds
/// are those of arXiv:2309.00071, section 3.2, as Transformers rounds them.
static SmallVector<double> yarnWeights(int64_t half, double theta,
                                       RopeScalingAttr scaling) {
  double size = 2 * half, original = scaling.getOriginalMaxPosition();
  // The index at which a frequency makes `waves` waves in the original context.
  auto indexOf = [&](FloatAttr waves, double otherwise) {
    double number = waves ? waves.getValueAsDouble() : otherwise;
    return size * std::log(original / (number * 2.0 * M_PI)) /
           (2.0 * std::log(theta));
  };
  double low = indexOf(scaling.getBetaFast(), 32.0);
  double high = indexOf(scaling.getBetaSlow(), 1.0);
  if (scaling.getTruncate()) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, size - 1.0);
  if (low == high)
    high += 0.001;
  SmallVector<double> weights(half);
  for (int64_t i = 0; i < half; ++i)
    weights[i] = 1.0 - std::clamp((i - low) / (high - low), 0.0, 1.0);
  return weights;
}

static double attentionFactor(RopeScalingAttr scaling) {
  if (FloatAttr given = scaling.getAttentionFactor())
    return given.getValueAsDouble();
  double factor = scaling.getFactor().getValueAsDouble();
  if (scaling.getKind() == RopeScalingKind::longrope)
    return std::sqrt(1.0 + std::log(factor) /
                               std::log(scaling.getOriginalMaxPosition()));
  if (scaling.getKind() != RopeScalingKind::yarn)
    return 1.0;
  auto magnitude = [&](double x) { return 0.1 * x * std::log(factor) + 1.0; };
  if (!scaling.getMscale())
    return magnitude(1.0);
  return magnitude(scaling.getMscale().getValueAsDouble()) /
         magnitude(scaling.getMscaleAllDim().getValueAsDouble());
}

RopeFrequencies llmir::llm::computeRopeFrequencies(RankedTensorType type,
                                                   double theta,
                                                   RopeScalingAttr scaling) {
  int64_t positions = type.getDimSize(0), half = type.getDimSize(2);
  if (scaling && scaling.getKind() == RopeScalingKind::dynamic) {
    double factor = scaling.getFactor().getValueAsDouble();
    double original = scaling.getOriginalMaxPosition();
    double length = std::max<double>(positions, original);
    theta *= std::pow(factor * length / original - (factor - 1.0),
                      half / (half - 1.0));
  }
  RopeFrequencies result;
  for (int64_t i = 0; i < half; ++i)
    result.frequencies.push_back(
        std::pow(theta, -static_cast<double>(i) / half));
  if (!scaling)
    return result;

  result.attentionFactor = attentionFactor(scaling);
  // The part of each frequency that stays unscaled; the rest is divided.
  SmallVector<double> kept(half, 0.0);
  SmallVector<double> divisors(half, scaling.getFactor().getValueAsDouble());
  switch (scaling.getKind()) {
  case RopeScalingKind::linear:
    break;
  case RopeScalingKind::dynamic:
    return result;
  case RopeScalingKind::llama3: {
    // By the number of waves in the original context.
    double low = scaling.getLowFreqFactor().getValueAsDouble();
    double high = scaling.getHighFreqFactor().getValueAsDouble();
    for (int64_t i = 0; i < half; ++i) {
      double waves = scaling.getOriginalMaxPosition() * result.frequencies[i] /
                     (2.0 * M_PI);
      kept[i] = std::clamp((waves - low) / (high - low), 0.0, 1.0);
    }
    break;
  }
  case RopeScalingKind::yarn:
    kept = yarnWeights(half, theta, scaling);
    break;
  case RopeScalingKind::longrope: {
    bool isLong = positions > scaling.getOriginalMaxPosition();
    llvm::copy((isLong ? scaling.getLongFactor() : scaling.getShortFactor())
                   .asArrayRef(),
               divisors.begin());
    break;
  }
  }
  for (int64_t i = 0; i < half; ++i)
    result.frequencies[i] =
        (1.0 - kept[i]) * result.frequencies[i] / divisors[i] +
        kept[i] * result.frequencies[i];
  return result;
}

SmallVector<float> llmir::llm::computeRopeTable(RankedTensorType type,
                                                double theta,
                                                RopeScalingAttr scaling) {
  int64_t positions = type.getDimSize(0), half = type.getDimSize(2);
  RopeFrequencies rope = computeRopeFrequencies(type, theta, scaling);
  SmallVector<float> table(type.getNumElements());
  float *out = table.data();
  for (int64_t position = 0; position < positions; ++position, out += 2 * half)
    for (int64_t i = 0; i < half; ++i) {
      double angle = position * rope.frequencies[i];
      out[i] = static_cast<float>(std::cos(angle) * rope.attentionFactor);
      out[half + i] =
          static_cast<float>(std::sin(angle) * rope.attentionFactor);
    }
  return table;
}
