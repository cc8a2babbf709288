// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What several conversions do to all functions of a module at once.

#ifndef LLMIR_LIB_CONVERSION_MODULEUTILS_H
#define LLMIR_LIB_CONVERSION_MODULEUTILS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/BuiltinTypes.h"
#include "llvm/Support/MathExtras.h"

#include <optional>

namespace llmir {

/// The compiled step, by its name in every program.
inline constexpr llvm::StringLiteral kStepFunction = "step";

/// A compiled function of tensors, by its name in every program.
inline constexpr llvm::StringLiteral kMainFunction = "main";

/// Of an allocation: the result of the function that it becomes.
inline constexpr llvm::StringLiteral kResultAttr = "llm.result";

/// Marks functions that the runtime calls over ranges of rows.
inline constexpr llvm::StringLiteral kRowLoopAttr = "llm.row_loop";

/// Appends an argument of `type` to every function that is called, and to the
/// step, and passes each caller's own on. Row loops have a signature of their
/// own and stay.
inline void appendArgumentToAll(mlir::ModuleOp module, mlir::Type type) {
  for (auto function : module.getOps<mlir::func::FuncOp>())
    if (!function.isExternal() && !function->hasAttr(kRowLoopAttr))
      function.insertArgument(function.getNumArguments(), type, {},
                              function.getLoc());
  module.walk([&](mlir::func::CallOp call) {
    auto callee = module.lookupSymbol<mlir::func::FuncOp>(call.getCallee());
    auto caller = call->getParentOfType<mlir::func::FuncOp>();
    if (!callee || callee.isExternal() || callee->hasAttr(kRowLoopAttr))
      return;
    call.getOperandsMutable().append(caller.getArguments().back());
  });
}

/// The bytes of a buffer of `type` with its dynamic sizes set to `dynamicSize`,
/// or nothing if elements are not whole bytes or the number is absurd.
inline std::optional<int64_t> byteSize(mlir::ShapedType type,
                                       int64_t dynamicSize) {
  if (!type.getElementType().isIntOrFloat() ||
      type.getElementTypeBitWidth() % 8 != 0)
    return std::nullopt;
  int64_t bytes = type.getElementTypeBitWidth() / 8;
  for (int64_t size : type.getShape())
    if (llvm::MulOverflow(
            bytes, mlir::ShapedType::isDynamic(size) ? dynamicSize : size,
            bytes) ||
        bytes > (int64_t(1) << 48))
      return std::nullopt;
  return bytes;
}

} // namespace llmir

#endif // LLMIR_LIB_CONVERSION_MODULEUTILS_H
