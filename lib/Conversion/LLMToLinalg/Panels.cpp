// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where each number of a matrix lies in panels, as `!llm.quantized_tensor`
// says, byte by byte. What is packed by the runtime is compared with this.

#include "Panels.h"
#include "Builders.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace llmir::llm;
using namespace llmir::reference;

using utils::IteratorType;

namespace {

class Unpacker {
public:
  Unpacker(OpBuilder &builder, Location loc, QuantizedTensorType type,
           Value panels)
      : builder(builder), loc(loc), type(type), panels(panels),
        bits(type.getStorage().getWidth()),
        depth(type.getGroupSize()
                  ? type.getGroupSize()
                  : llvm::alignTo(type.getAxisSize(), kPanelDepth)),
        scaleBytes(type.getScales().getIntOrFloatBitWidth() / 8),
        elementBytes(kPanelWidth * depth * bits / 8),
        groupBytes(elementBytes +
                   kPanelWidth *
                       (scaleBytes + (type.getAsymmetric() ? 1 : 0))) {}

  SmallVector<Value> unpack() {
    Type i8 = builder.getI8Type();
    SmallVector<Value> tensors = {
        each(type.getShape(), i8,
             [&](Scalars &s, Value n, Value k) { return element(s, n, k); }),
        each(groupShape(), type.getScales(),
             [&](Scalars &s, Value n, Value g) { return scale(s, n, g); })};
    if (type.getAsymmetric())
      tensors.push_back(
          each(groupShape(), i8, [&](Scalars &s, Value n, Value g) {
            return zeroPoint(s, n, g);
          }));
    return tensors;
  }

  QuantizedNumber number(Scalars &s, Value n, Value k) {
    Value group = s.div(k, s.index(depth));
    return {element(s, n, k), scale(s, n, group),
            type.getAsymmetric() ? zeroPoint(s, n, group) : Value()};
  }

private:
  SmallVector<int64_t> groupShape() {
    return {type.getShape()[0], type.getGroups()};
  }

  /// A matrix of what `f` makes of a row and a column.
  Value each(ArrayRef<int64_t> shape, Type element,
             llvm::function_ref<Value(Scalars &, Value, Value)> f) {
    Maps maps(builder.getContext(), 2);
    Value empty = builder.create<tensor::EmptyOp>(loc, shape, element);
    return generic(builder, loc, {}, empty, {maps.all()},
                   {IteratorType::parallel, IteratorType::parallel},
                   [&](Scalars &s, ValueRange) {
                     return f(s, s.builder.create<linalg::IndexOp>(loc, 0),
                              s.builder.create<linalg::IndexOp>(loc, 1));
                   });
  }

  bool isGated() { return type.getPacking() == Packing::gated_panels; }

  /// Output n among those of its half, or of all.
  Value row(Scalars &s, Value n) {
    return isGated() ? s.rem(n, s.index(type.getShape()[0] / 2)) : n;
  }

  Value column(Scalars &s, Value n) {
    return s.rem(row(s, n), s.index(kPanelWidth));
  }

  Value panel(Scalars &s, Value n) {
    Value index = s.div(row(s, n), s.index(kPanelWidth));
    if (!isGated())
      return index;
    return s.add(s.mul(index, s.index(2)),
                 s.div(n, s.index(type.getShape()[0] / 2)));
  }

  /// Where a group begins in its panel.
  Value start(Scalars &s, Value group) {
    return s.mul(group, s.index(groupBytes));
  }

  /// A byte of the panel of output n.
  Value byte(Scalars &s, Value n, Value offset) {
    return s.extract(panels, {panel(s, n), offset});
  }

  /// What is stored as an unsigned number, as one of the type's storage.
  Value toSigned(Scalars &s, Value stored) {
    return s.add(stored, s.builder.create<arith::ConstantIntOp>(
                             loc, type.getMin(), /*width=*/8));
  }

  Value element(Scalars &s, Value n, Value k) {
    Value group = s.div(k, s.index(depth)), inside = s.rem(k, s.index(depth));
    // Words of 32 bits: 4 elements of 8 bits or 8 of 4.
    int64_t inWord = 32 / bits;
    Value word =
        s.add(s.mul(s.div(inside, s.index(inWord)), s.index(kPanelWidth)),
              column(s, n));
    Value place = s.rem(inside, s.index(inWord));
    Value at = s.add(start(s, group), s.mul(word, s.index(4)));
    if (bits == 8)
      return toSigned(s, byte(s, n, s.add(at, place)));
    // The even ones come first, then the odd ones.
    Value nibble = s.add(s.div(place, s.index(2)),
                         s.mul(s.rem(place, s.index(2)), s.index(4)));
    Value both = byte(s, n, s.add(at, s.div(nibble, s.index(2))));
    Value shift = s.builder.create<arith::IndexCastOp>(
        loc, builder.getI8Type(), s.mul(s.rem(nibble, s.index(2)), s.index(4)));
    Value shifted = s.builder.create<arith::ShRUIOp>(loc, both, shift);
    return toSigned(s, s.builder.create<arith::AndIOp>(
                           loc, shifted,
                           s.builder.create<arith::ConstantIntOp>(loc, 15, 8)));
  }

  Value zeroPoint(Scalars &s, Value n, Value group) {
    Value at = s.add(start(s, group),
                     s.index(elementBytes + kPanelWidth * scaleBytes));
    return toSigned(s, byte(s, n, s.add(at, column(s, n))));
  }

  /// Puts a scale together of its bytes, the lowest first.
  Value scale(Scalars &s, Value n, Value group) {
    Value at = s.add(s.add(start(s, group), s.index(elementBytes)),
                     s.mul(column(s, n), s.index(scaleBytes)));
    Type integer = builder.getIntegerType(8 * scaleBytes);
    Value bits;
    for (int64_t i = 0; i < scaleBytes; ++i) {
      Value part = s.builder.create<arith::ExtUIOp>(
          loc, integer, byte(s, n, s.add(at, s.index(i))));
      part = s.builder.create<arith::ShLIOp>(
          loc, part,
          s.builder.create<arith::ConstantIntOp>(loc, 8 * i, 8 * scaleBytes));
      bits = bits ? s.builder.create<arith::OrIOp>(loc, bits, part).getResult()
                  : part;
    }
    return s.builder.create<arith::BitcastOp>(loc, type.getScales(), bits);
  }

  OpBuilder &builder;
  Location loc;
  QuantizedTensorType type;
  Value panels;
  /// Of an element; the inputs of a group; the bytes of a scale, of a group's
  /// elements, and of all of a group.
  int64_t bits, depth, scaleBytes, elementBytes, groupBytes;
};

} // namespace

SmallVector<Value> llmir::reference::unpackPanels(OpBuilder &builder,
                                                  Location loc,
                                                  QuantizedTensorType type,
                                                  Value panels) {
  return Unpacker(builder, loc, type, panels).unpack();
}

QuantizedNumber llmir::reference::numberInPanels(Scalars &s,
                                                 QuantizedTensorType type,
                                                 Value panels, Value n,
                                                 Value k) {
  return Unpacker(s.builder, s.loc, type, panels).number(s, n, k);
}
