// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A function's sizes are known when it is called, so its memory comes from the
// runtime, by the table of functions: buffers that are given back, and results
// that the caller keeps. So do the ends of calls whose inputs do not fit.

#include "FunctionToLLVM.h"

#include "../ModuleUtils.h"
#include "llmir/runtime/abi.h"

#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

#include <cstddef>

using namespace mlir;

Value llmir::loadMember(OpBuilder &builder, Location loc, Value base,
                        size_t offset, Type type) {
  Value address = builder.create<LLVM::GEPOp>(
      loc, base.getType(), builder.getI8Type(), base,
      ArrayRef<LLVM::GEPArg>(static_cast<int32_t>(offset)));
  return builder.create<LLVM::LoadOp>(loc, type, address);
}

using llmir::loadMember;

//===----------------------------------------------------------------------===//
// Calls of the runtime
//===----------------------------------------------------------------------===//

/// Calls the function of the table at `offset`. `inside` is where.
static Value callRuntime(OpBuilder &builder, Operation *inside, size_t offset,
                         Type result, ValueRange arguments) {
  Location loc = inside->getLoc();
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext());
  Value runtime =
      inside->getParentOfType<FunctionOpInterface>().getArguments().back();
  SmallVector<Value> operands = {
      loadMember(builder, loc, runtime, offset, pointer),
      loadMember(builder, loc, runtime, offsetof(llmir_runtime, context),
                 pointer)};
  llvm::append_range(operands, arguments);
  auto type = LLVM::LLVMFunctionType::get(
      result, llvm::to_vector(ValueRange(operands).drop_front().getTypes()));
  auto call = builder.create<LLVM::CallOp>(loc, type, operands);
  return call.getNumResults() ? call.getResult() : Value();
}

namespace {
struct LowerAlloc : ConvertOpToLLVMPattern<memref::AllocOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;

  LogicalResult
  matchAndRewrite(memref::AllocOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    MemRefType type = op.getType();
    if (!isConvertibleAndHasIdentityMaps(type))
      return rewriter.notifyMatchFailure(op, "has a layout");
    SmallVector<Value> sizes, strides;
    Value bytes;
    getMemRefDescriptorSizes(loc, type, adaptor.getDynamicSizes(), rewriter,
                             sizes, strides, bytes, /*sizeInBytes=*/true);
    auto pointer = LLVM::LLVMPointerType::get(getContext());
    Value data;
    if (auto result = op->getAttrOfType<IntegerAttr>(llmir::kResultAttr)) {
      Value index = rewriter.create<LLVM::ConstantOp>(
          loc, rewriter.getI64Type(), result.getInt());
      data = callRuntime(rewriter, op, offsetof(llmir_runtime, allocate_result),
                         pointer, {index, bytes});
    } else {
      data = callRuntime(rewriter, op, offsetof(llmir_runtime, allocate),
                         pointer, bytes);
    }
    Value descriptor =
        createMemRefDescriptor(loc, type, data, data, sizes, strides, rewriter);
    rewriter.replaceOp(op, descriptor);
    return success();
  }
};

struct LowerDealloc : ConvertOpToLLVMPattern<memref::DeallocOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;

  LogicalResult
  matchAndRewrite(memref::DeallocOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    Value data = MemRefDescriptor(adaptor.getMemref())
                     .allocatedPtr(rewriter, op.getLoc());
    callRuntime(rewriter, op, offsetof(llmir_runtime, release),
                LLVM::LLVMVoidType::get(getContext()), data);
    rewriter.eraseOp(op);
    return success();
  }
};

struct LowerAssert : ConvertOpToLLVMPattern<cf::AssertOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;

  LogicalResult
  matchAndRewrite(cf::AssertOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    Location loc = op.getLoc();
    Value holds = rewriter.create<LLVM::ZExtOp>(loc, rewriter.getI64Type(),
                                                adaptor.getArg());
    callRuntime(rewriter, op, offsetof(llmir_runtime, check),
                LLVM::LLVMVoidType::get(getContext()),
                {holds, message(rewriter, op)});
    rewriter.eraseOp(op);
    return success();
  }

private:
  /// The address of the text, which is in the module once.
  static Value message(ConversionPatternRewriter &rewriter, cf::AssertOp op) {
    auto module = op->getParentOfType<ModuleOp>();
    std::string text = op.getMsg().str();
    text.push_back('\0');
    LLVM::GlobalOp global;
    unsigned count = 0;
    for (auto known : module.getOps<LLVM::GlobalOp>()) {
      if (!known.getSymName().starts_with("message_"))
        continue;
      ++count;
      if (auto value = dyn_cast_or_null<StringAttr>(known.getValueOrNull());
          value && value.getValue() == text)
        global = known;
    }
    if (!global) {
      OpBuilder::InsertionGuard guard(rewriter);
      rewriter.setInsertionPointToStart(module.getBody());
      auto type = LLVM::LLVMArrayType::get(rewriter.getI8Type(), text.size());
      global = rewriter.create<LLVM::GlobalOp>(
          op.getLoc(), type, /*isConstant=*/true, LLVM::Linkage::Internal,
          ("message_" + Twine(count)).str(), rewriter.getStringAttr(text));
    }
    return rewriter.create<LLVM::AddressOfOp>(op.getLoc(), global);
  }
};
} // namespace

void llmir::populateFunctionToLLVMPatterns(LLVMTypeConverter &converter,
                                           RewritePatternSet &patterns) {
  // Before those that call a library.
  patterns.add<LowerAlloc, LowerAssert, LowerDealloc>(converter,
                                                      /*benefit=*/2);
}

//===----------------------------------------------------------------------===//
// The entry point
//===----------------------------------------------------------------------===//

static Value cast(OpBuilder &builder, Location loc, Value value, Type type) {
  if (value.getType() == type)
    return value;
  return builder.create<UnrealizedConversionCastOp>(loc, type, value)
      .getResult(0);
}

/// An argument of the function, from the `llmir_array` at `array`.
static Value unfold(OpBuilder &builder, Location loc,
                    const LLVMTypeConverter &converter, Value array,
                    Type type) {
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext());
  Value data =
      loadMember(builder, loc, array, offsetof(llmir_array, data), pointer);
  auto memref = dyn_cast<MemRefType>(type);
  if (!memref) {
    Type scalar = converter.convertType(type);
    // A boolean is a byte.
    if (scalar.isInteger(1)) {
      Value byte = builder.create<LLVM::LoadOp>(loc, builder.getI8Type(), data);
      return builder.create<LLVM::TruncOp>(loc, scalar, byte);
    }
    return cast(builder, loc, builder.create<LLVM::LoadOp>(loc, scalar, data),
                type);
  }
  Type i64 = builder.getI64Type();
  auto constant = [&](int64_t value) -> Value {
    return builder.create<LLVM::ConstantOp>(loc, i64, value);
  };
  auto descriptor =
      MemRefDescriptor::undef(builder, loc, converter.convertType(memref));
  descriptor.setAllocatedPtr(builder, loc, data);
  descriptor.setAlignedPtr(builder, loc, data);
  descriptor.setOffset(builder, loc, constant(0));
  Value stride = constant(1);
  for (int64_t dim = memref.getRank() - 1; dim >= 0; --dim) {
    Value size =
        memref.isDynamicDim(dim)
            ? loadMember(builder, loc, array,
                         offsetof(llmir_array, sizes) + dim * sizeof(int64_t),
                         i64)
            : constant(memref.getDimSize(dim));
    descriptor.setSize(builder, loc, dim, size);
    descriptor.setStride(builder, loc, dim, stride);
    stride = builder.create<LLVM::MulOp>(loc, stride, size);
  }
  return cast(builder, loc, descriptor, memref);
}

/// Stores a result's place and sizes in the `llmir_array` at `array`.
static void fold(OpBuilder &builder, Location loc,
                 const LLVMTypeConverter &converter, Value result,
                 Value array) {
  auto type = llvm::cast<MemRefType>(result.getType());
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext());
  MemRefDescriptor descriptor(
      cast(builder, loc, result, converter.convertType(type)));
  auto store = [&](Value value, size_t offset) {
    Value address = builder.create<LLVM::GEPOp>(
        loc, pointer, builder.getI8Type(), array,
        ArrayRef<LLVM::GEPArg>(static_cast<int32_t>(offset)));
    builder.create<LLVM::StoreOp>(loc, value, address);
  };
  store(descriptor.alignedPtr(builder, loc), offsetof(llmir_array, data));
  for (int64_t dim = 0; dim < type.getRank(); ++dim)
    store(descriptor.size(builder, loc, dim),
          offsetof(llmir_array, sizes) + dim * sizeof(int64_t));
}

LogicalResult
llmir::buildFunctionEntryPoint(ModuleOp module,
                               const LLVMTypeConverter &converter) {
  auto main = module.lookupSymbol<func::FuncOp>(kMainFunction);
  // The weights and the runtime come last.
  auto isArray = [](Type type) {
    auto memref = dyn_cast<MemRefType>(type);
    return memref && memref.getLayout().isIdentity() &&
           memref.getRank() <= LLMIR_MAX_ARRAY_RANK;
  };
  if (main.isExternal() || main.getNumArguments() < 2 ||
      !llvm::all_of(main.getResultTypes(), isArray))
    return main.emitError()
           << "must have a body, the weights as its last argument, and results "
              "of at most "
           << LLMIR_MAX_ARRAY_RANK << " dimensions to be exported";
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  Location loc = main.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext());
  auto entry = builder.create<func::FuncOp>(
      loc, LLMIR_FUNCTION_SYMBOL,
      builder.getFunctionType({pointer, pointer}, {}));
  Block *block = entry.addEntryBlock();
  builder.setInsertionPointToStart(block);
  Value args = block->getArgument(1);
  auto elementOf = [&](size_t list, size_t index) -> Value {
    Value base = loadMember(builder, loc, args, list, pointer);
    return builder.create<LLVM::GEPOp>(
        loc, pointer, builder.getI8Type(), base,
        ArrayRef<LLVM::GEPArg>(
            static_cast<int32_t>(index * sizeof(llmir_array))));
  };
  SmallVector<Value> operands;
  for (auto [index, type] :
       llvm::enumerate(main.getArgumentTypes().drop_back(2)))
    operands.push_back(
        unfold(builder, loc, converter,
               elementOf(offsetof(llmir_function_args, inputs), index), type));
  // Of the weights only the address matters.
  Type weights = main.getArgumentTypes()[main.getNumArguments() - 2];
  auto descriptor =
      MemRefDescriptor::undef(builder, loc, converter.convertType(weights));
  Value data = loadMember(builder, loc, args,
                          offsetof(llmir_function_args, weights), pointer);
  Value zero = builder.create<LLVM::ConstantOp>(loc, builder.getI64Type(), 0);
  descriptor.setAllocatedPtr(builder, loc, data);
  descriptor.setAlignedPtr(builder, loc, data);
  descriptor.setOffset(builder, loc, zero);
  descriptor.setConstantSize(builder, loc, 0, 0);
  descriptor.setConstantStride(builder, loc, 0, 1);
  operands.push_back(cast(builder, loc, descriptor, weights));
  operands.push_back(block->getArgument(0));
  auto call = builder.create<func::CallOp>(loc, main, operands);
  for (auto [index, result] : llvm::enumerate(call.getResults()))
    fold(builder, loc, converter, result,
         elementOf(offsetof(llmir_function_args, results), index));
  builder.create<func::ReturnOp>(loc);
  return success();
}
