// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The last lowering: a bufferized step becomes LLVM, kernel calls go through
// the table of functions in llmir/runtime/abi.h, and the C entry point is made.
// Only that header's layout and names are known here.

#include "../ModuleUtils.h"
#include "FunctionToLLVM.h"
#include "llmir/Conversion/Passes.h"
#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/runtime/abi.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVM.h"
#include "mlir/Conversion/IndexToLLVM/IndexToLLVM.h"
#include "mlir/Conversion/LLVMCommon/ConversionTarget.h"
#include "mlir/Conversion/LLVMCommon/Pattern.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"

#include <cstddef>

namespace llmir {
#define GEN_PASS_DEF_CONVERTLLMTOLLVM
#include "llmir/Conversion/Passes.h.inc"
} // namespace llmir

using namespace mlir;
using namespace llmir::llm;
using llmir::loadMember;

namespace {

/// The structure that a kernel takes after its inputs.
enum class Parameters { None, Linear, Attention };

/// Of the kernels of attention, the one over a cache.
constexpr StringLiteral kPagedAttention = "paged_attention";

/// A function of the runtime's table.
struct KernelEntry {
  StringLiteral name;
  size_t offset;
  /// Of inputs, those that are always there.
  unsigned numInputs, numOutputs;
  Parameters parameters;
};

constexpr KernelEntry kKernels[] = {
    {"parallel_for", offsetof(llmir_runtime, parallel_for), 4, 0,
     Parameters::None},
    {"linear", offsetof(llmir_runtime, linear), 2, 1, Parameters::Linear},
    {"append_kv", offsetof(llmir_runtime, append_kv), 5, 0, Parameters::None},
    {"paged_attention", offsetof(llmir_runtime, paged_attention), 6, 1,
     Parameters::Attention},
    {"rope_append_kv", offsetof(llmir_runtime, rope_append_kv), 8, 1,
     Parameters::None},
    {"attention", offsetof(llmir_runtime, attention), 3, 1,
     Parameters::Attention},
};

/// The optional inputs of a kernel: pointers in its structure.
SmallVector<StringRef> extrasOf(const KernelEntry &kernel) {
  switch (kernel.parameters) {
  case Parameters::None:
    return {};
  case Parameters::Linear:
    return {"norm", "bias"};
  case Parameters::Attention:
    return {"sinks", "alibi", "mask"};
  }
  llvm_unreachable("every kind of parameters is listed");
}

const KernelEntry *findKernel(StringRef name) {
  for (const KernelEntry &kernel : kKernels)
    if (kernel.name == name)
      return &kernel;
  return nullptr;
}

std::optional<llmir_dtype> dtypeOf(Type type) {
  if (type.isF32())
    return LLMIR_F32;
  if (type.isBF16())
    return LLMIR_BF16;
  if (type.isF16())
    return LLMIR_F16;
  if (type.isInteger(32))
    return LLMIR_I32;
  if (type.isInteger(8))
    return LLMIR_I8;
  return std::nullopt;
}

/// The format of the packed weight that a product takes.
llmir_weight_format weightFormatOf(CallKernelOp op) {
  if (std::optional<Type> type = op.getWeightType()) {
    bool isByte = cast<QuantizedTensorType>(*type).getStorage().getWidth() == 8;
    if (op.getInputType())
      return isByte ? LLMIR_WEIGHT_W8A8 : LLMIR_WEIGHT_W4A8;
    return isByte ? LLMIR_WEIGHT_INT8 : LLMIR_WEIGHT_INT4;
  }
  Type element = getElementTypeOrSelf(op.getInputs()[1]);
  return element.isBF16()  ? LLMIR_WEIGHT_BF16
         : element.isF16() ? LLMIR_WEIGHT_F16
                           : LLMIR_WEIGHT_F32;
}

/// The activation of a product's epilogue.
llmir_activation activationOf(ActivationKind kind) {
  switch (kind) {
  case ActivationKind::silu:
    return LLMIR_ACTIVATION_SILU;
  case ActivationKind::gelu:
    return LLMIR_ACTIVATION_GELU;
  case ActivationKind::gelu_tanh:
    return LLMIR_ACTIVATION_GELU_TANH;
  case ActivationKind::relu:
    return LLMIR_ACTIVATION_RELU;
  default:
    return LLMIR_ACTIVATION_NONE;
  }
}

struct LowerCallKernel : ConvertOpToLLVMPattern<CallKernelOp> {
  using ConvertOpToLLVMPattern::ConvertOpToLLVMPattern;

  LogicalResult
  matchAndRewrite(CallKernelOp op, OpAdaptor adaptor,
                  ConversionPatternRewriter &rewriter) const override {
    const KernelEntry *kernel = findKernel(op.getKernel());
    if (!kernel)
      return rewriter.notifyMatchFailure(op, "the runtime has no such kernel");
    Location loc = op.getLoc();
    auto function = op->getParentOfType<FunctionOpInterface>();
    Value runtime = function.getArguments().back();
    if (!isa<LLVM::LLVMPointerType>(runtime.getType()))
      return rewriter.notifyMatchFailure(op, "the runtime is not an argument");

    auto pointer = LLVM::LLVMPointerType::get(getContext());
    Value callee = loadMember(rewriter, loc, runtime, kernel->offset, pointer);
    SmallVector<Value> operands = {
        callee, loadMember(rewriter, loc, runtime,
                           offsetof(llmir_runtime, context), pointer)};
    auto append = [&](ValueRange originals, ValueRange converted) {
      for (auto [original, value] : llvm::zip(originals, converted)) {
        auto type = dyn_cast<MemRefType>(original.getType());
        FailureOr<Value> operand =
            type ? describe(rewriter, loc, function, type, value) : value;
        if (failed(operand))
          return failure();
        operands.push_back(*operand);
      }
      return success();
    };
    if (failed(append(op.getInputs().take_front(kernel->numInputs),
                      adaptor.getInputs().take_front(kernel->numInputs))))
      return failure();
    if (kernel->parameters != Parameters::None) {
      FailureOr<Value> parameters =
          buildParameters(rewriter, function, op, *kernel,
                          adaptor.getInputs().drop_front(kernel->numInputs));
      if (failed(parameters))
        return failure();
      operands.push_back(*parameters);
    }
    if (failed(append(op.getOutputs(), adaptor.getOutputs())))
      return failure();

    SmallVector<Type> types =
        llvm::to_vector(ValueRange(operands).drop_front().getTypes());
    auto type = LLVM::LLVMFunctionType::get(
        LLVM::LLVMVoidType::get(getContext()), types);
    rewriter.create<LLVM::CallOp>(loc, type, operands);
    rewriter.eraseOp(op);
    return success();
  }

private:
  /// Puts a structure on the stack, once a call of the function, and returns
  /// its address.
  static Value onStack(ConversionPatternRewriter &rewriter, Location loc,
                       FunctionOpInterface function, Value structure) {
    auto pointer = LLVM::LLVMPointerType::get(rewriter.getContext());
    Value slot;
    {
      OpBuilder::InsertionGuard guard(rewriter);
      rewriter.setInsertionPointToStart(&function.getFunctionBody().front());
      Value one =
          rewriter.create<LLVM::ConstantOp>(loc, rewriter.getI64Type(), 1);
      slot = rewriter.create<LLVM::AllocaOp>(loc, pointer, structure.getType(),
                                             one);
    }
    rewriter.create<LLVM::StoreOp>(loc, structure, slot);
    return slot;
  }

  /// Fills an `llmir_linear_params` or `llmir_attention_params` on the stack.
  FailureOr<Value> buildParameters(ConversionPatternRewriter &rewriter,
                                   FunctionOpInterface function,
                                   CallKernelOp op, const KernelEntry &kernel,
                                   ValueRange extras) const {
    static_assert(offsetof(llmir_linear_params, format) == 0 &&
                  offsetof(llmir_linear_params, scales) == 4 &&
                  offsetof(llmir_linear_params, group_size) == 8 &&
                  offsetof(llmir_linear_params, asymmetric) == 16 &&
                  offsetof(llmir_linear_params, activation) == 20 &&
                  offsetof(llmir_linear_params, gated) == 24 &&
                  offsetof(llmir_linear_params, epsilon) == 28 &&
                  offsetof(llmir_linear_params, norm) == 32 &&
                  offsetof(llmir_linear_params, bias) == 40 &&
                  offsetof(llmir_linear_params, accumulate) == 48 &&
                  sizeof(llmir_linear_params) == 56);
    static_assert(offsetof(llmir_attention_params, scale) == 0 &&
                  offsetof(llmir_attention_params, softcap) == 4 &&
                  offsetof(llmir_attention_params, window) == 8 &&
                  offsetof(llmir_attention_params, sinks) == 16 &&
                  offsetof(llmir_attention_params, alibi_slopes) == 24 &&
                  offsetof(llmir_attention_params, mask) == 32 &&
                  offsetof(llmir_attention_params, query_dtype) == 40 &&
                  offsetof(llmir_attention_params, causal) == 44 &&
                  sizeof(llmir_attention_params) == 48);
    Location loc = op.getLoc();
    Type f32 = rewriter.getF32Type(), i64 = rewriter.getI64Type();
    SmallVector<Value> members;
    auto addFloat = [&](FloatAttr value) {
      members.push_back(rewriter.create<LLVM::ConstantOp>(
          loc, f32, value ? value : rewriter.getF32FloatAttr(0)));
    };
    auto addInteger = [&](Type type, int64_t value) {
      members.push_back(rewriter.create<LLVM::ConstantOp>(loc, type, value));
    };
    if (kernel.parameters == Parameters::Linear) {
      Type i32 = rewriter.getI32Type();
      auto weight = op.getWeightType()
                        ? cast<QuantizedTensorType>(*op.getWeightType())
                        : QuantizedTensorType();
      addInteger(i32, weightFormatOf(op));
      addInteger(i32, weight ? *dtypeOf(weight.getScales()) : LLMIR_F32);
      addInteger(i64, weight ? weight.getGroupSize() : 0);
      addInteger(i32, weight && weight.getAsymmetric());
      addInteger(i32, activationOf(op.getActivation().value_or(
                          ActivationKind::identity)));
      addInteger(i32, op.getGated());
      addFloat(op.getEpsilonAttr());
    }
    if (kernel.parameters == Parameters::Attention) {
      addFloat(op.getScaleAttr());
      addFloat(op.getSoftcapAttr());
      addInteger(i64, op.getWindow().value_or(0));
    }
    for (StringRef name : extrasOf(kernel)) {
      Value member;
      if (op.getExtras())
        for (auto [index, extra] : llvm::enumerate(*op.getExtras()))
          if (cast<StringAttr>(extra).getValue() == name) {
            Value original = op.getInputs()[kernel.numInputs + index];
            FailureOr<Value> tensor =
                describe(rewriter, loc, function,
                         cast<MemRefType>(original.getType()), extras[index]);
            if (failed(tensor))
              return failure();
            member = *tensor;
          }
      if (!member)
        member = rewriter.create<LLVM::ZeroOp>(
            loc, LLVM::LLVMPointerType::get(getContext()));
      members.push_back(member);
    }
    if (kernel.parameters == Parameters::Linear)
      addInteger(i64, op.getAccumulate());
    if (kernel.parameters == Parameters::Attention) {
      Type i32 = rewriter.getI32Type();
      addInteger(i32, op.getQueryType() ? LLMIR_BF16 : LLMIR_F32);
      addInteger(i32, op.getCausal() || kernel.name == kPagedAttention);
    }

    auto type = LLVM::LLVMStructType::getLiteral(
        getContext(), llvm::to_vector(ValueRange(members).getTypes()));
    Value structure = rewriter.create<LLVM::UndefOp>(loc, type);
    for (auto [index, member] : llvm::enumerate(members))
      structure =
          rewriter.create<LLVM::InsertValueOp>(loc, structure, member, index);
    return onStack(rewriter, loc, function, structure);
  }

  /// Fills an `llmir_tensor` on the stack and returns its address.
  FailureOr<Value> describe(ConversionPatternRewriter &rewriter, Location loc,
                            FunctionOpInterface function, MemRefType type,
                            Value value) const {
    std::optional<llmir_dtype> dtype = dtypeOf(type.getElementType());
    if (!dtype || type.getRank() > LLMIR_MAX_RANK)
      return failure();
    MLIRContext *context = getContext();
    auto pointer = LLVM::LLVMPointerType::get(context);
    Type i32 = rewriter.getI32Type(), i64 = rewriter.getI64Type();
    Type sizes = LLVM::LLVMArrayType::get(i64, LLMIR_MAX_RANK);
    auto tensorType = LLVM::LLVMStructType::getLiteral(
        context, {pointer, i32, i32, sizes, sizes});
    MemRefDescriptor descriptor(value);
    SmallVector<Value> indices(type.getRank(),
                               rewriter.create<LLVM::ConstantOp>(loc, i64, 0));
    Value data = getStridedElementPtr(loc, type, value, indices, rewriter);
    Value tensor = rewriter.create<LLVM::UndefOp>(loc, tensorType);
    auto set = [&](Value member, ArrayRef<int64_t> position) {
      tensor =
          rewriter.create<LLVM::InsertValueOp>(loc, tensor, member, position);
    };
    set(data, {0});
    set(rewriter.create<LLVM::ConstantOp>(loc, i32, *dtype), {1});
    set(rewriter.create<LLVM::ConstantOp>(loc, i32, type.getRank()), {2});
    for (int64_t i = 0; i < type.getRank(); ++i) {
      set(descriptor.size(rewriter, loc, i), {3, i});
      set(descriptor.stride(rewriter, loc, i), {4, i});
    }
    return onStack(rewriter, loc, function, tensor);
  }
};

/// An argument of the step, as the entry point finds it in llmir_step_args.
struct StepArgument {
  size_t pointer;
  size_t firstSize = 0;
  /// What is added to the first size.
  int64_t extra = 0;
  size_t secondSize = 0;
};

/// The arguments that every step has, in order; what passes append follows.
constexpr StepArgument kStepArguments[] = {
#define LLMIR_MEMBER(name) offsetof(llmir_step_args, name)
    {LLMIR_MEMBER(token_ids), LLMIR_MEMBER(num_tokens)},
    {LLMIR_MEMBER(positions), LLMIR_MEMBER(num_tokens)},
    {LLMIR_MEMBER(slots), LLMIR_MEMBER(num_tokens)},
    {LLMIR_MEMBER(block_table), LLMIR_MEMBER(num_sequences), 0,
     LLMIR_MEMBER(block_table_width)},
    {LLMIR_MEMBER(context_lens), LLMIR_MEMBER(num_sequences)},
    {LLMIR_MEMBER(row_starts), LLMIR_MEMBER(num_sequences), 1},
    {LLMIR_MEMBER(logit_rows), LLMIR_MEMBER(num_logits)},
    {LLMIR_MEMBER(cache)},
    {LLMIR_MEMBER(weights)},
    {LLMIR_MEMBER(logits), LLMIR_MEMBER(num_logits)},
    {LLMIR_MEMBER(arena)},
#undef LLMIR_MEMBER
};

struct ConvertLLMToLLVMPass
    : llmir::impl::ConvertLLMToLLVMBase<ConvertLLMToLLVMPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    MLIRContext *context = &getContext();
    // All that is left is in the LLVM dialect already.
    if (module.getOps<func::FuncOp>().empty() &&
        !module.getOps<LLVM::LLVMFuncOp>().empty())
      return markAllAnalysesPreserved();
    if (failed(verifyKernels(module)))
      return signalPassFailure();
    llmir::appendArgumentToAll(module, LLVM::LLVMPointerType::get(context));

    LowerToLLVMOptions options(context);
    LLVMTypeConverter converter(context, options);
    converter.addConversion([&](PagedKVCacheType) -> Type {
      return LLVM::LLVMPointerType::get(context);
    });
    bool isFunction = !module.lookupSymbol(llmir::kStepFunction) &&
                      module.lookupSymbol(llmir::kMainFunction);
    if (failed(isFunction ? llmir::buildFunctionEntryPoint(module, converter)
                          : buildEntryPoint(module, converter)))
      return signalPassFailure();
    for (auto function : module.getOps<func::FuncOp>()) {
      function->removeAttr(llmir::kRowLoopAttr);
      // Loops stay loops: LLVM would make calls of memcpy and memset of some,
      // and a compiled model has nobody to ask for these.
      SmallVector<Attribute> attributes = {
          StringAttr::get(context, "no-builtins")};
      if (function.getName() != LLMIR_STEP_SYMBOL &&
          function.getName() != LLMIR_FUNCTION_SYMBOL) {
        function->setAttr(
            "llvm.linkage",
            LLVM::LinkageAttr::get(context, LLVM::linkage::Linkage::Internal));
        // Profilers and debuggers see layers as functions.
        attributes.push_back(StringAttr::get(context, "noinline"));
      }
      function->setAttr("passthrough", ArrayAttr::get(context, attributes));
    }

    LLVMConversionTarget target(*context);
    target.addLegalOp<ModuleOp>();
    target.addIllegalDialect<LLMDialect>();
    RewritePatternSet patterns(context);
    vector::populateVectorBroadcastLoweringPatterns(patterns);
    vector::populateVectorInsertExtractStridedSliceDecompositionPatterns(
        patterns);
    populateVectorToLLVMConversionPatterns(converter, patterns);
    populateFinalizeMemRefToLLVMConversionPatterns(converter, patterns);
    populateMathToLLVMConversionPatterns(converter, patterns);
    arith::populateCeilFloorDivExpandOpsPatterns(patterns);
    arith::populateArithToLLVMConversionPatterns(converter, patterns);
    index::populateIndexToLLVMConversionPatterns(converter, patterns);
    cf::populateControlFlowToLLVMConversionPatterns(converter, patterns);
    populateFuncToLLVMConversionPatterns(converter, patterns);
    patterns.add<LowerCallKernel>(converter);
    llmir::populateFunctionToLLVMPatterns(converter, patterns);
    target.addLegalOp<UnrealizedConversionCastOp>();
    if (failed(applyPartialConversion(module, target, std::move(patterns))))
      return signalPassFailure();
    exportVersion(module);
  }

private:
  /// Checks that the runtime has the kernels and takes their operands.
  static LogicalResult verifyKernels(ModuleOp module) {
    WalkResult result = module.walk([](CallKernelOp op) {
      return failed(verifyKernel(op)) ? WalkResult::interrupt()
                                      : WalkResult::advance();
    });
    return failure(result.wasInterrupted());
  }

  static LogicalResult verifyKernel(CallKernelOp op) {
    const KernelEntry *kernel = findKernel(op.getKernel());
    if (!kernel)
      return op.emitError() << "the runtime has no kernel " << op.getKernel();
    ArrayRef<Attribute> extras;
    if (op.getExtras())
      extras = op.getExtras()->getValue();
    if (op.getInputs().size() != kernel->numInputs + extras.size() ||
        op.getOutputs().size() != kernel->numOutputs)
      return op.emitError()
             << kernel->name << " takes " << kernel->numInputs
             << " inputs, those that `extras` names after them, and "
             << kernel->numOutputs << " outputs";
    SmallVector<StringRef> known = extrasOf(*kernel);
    for (auto [index, extra] : llvm::enumerate(extras)) {
      StringRef name = llvm::cast<StringAttr>(extra).getValue();
      if (!llvm::is_contained(known, name) ||
          (name == "mask" && kernel->name == kPagedAttention))
        return op.emitError() << kernel->name << " takes no " << name;
      if (llvm::is_contained(extras.take_front(index), extra))
        return op.emitError() << "names " << name << " twice";
      Type type = op.getInputs()[kernel->numInputs + index].getType();
      if (!isa<MemRefType>(type))
        return op.emitError() << name << " must be a memref, not " << type;
    }
    bool isAttention = kernel->parameters == Parameters::Attention;
    if (op.getScale().has_value() != isAttention)
      return op.emitError()
             << kernel->name
             << (isAttention ? " needs a scale" : " takes no scale");
    if (!isAttention && (op.getSoftcap() || op.getWindow() || op.getCausal()))
      return op.emitError()
             << kernel->name << " takes no softcap, window or causal";
    if (op.getQueryType() && (!isAttention || !op.getQueryType()->isBF16()))
      return op.emitError() << kernel->name << " does not round a query to "
                            << *op.getQueryType();
    if (op.getAccumulate() && kernel->parameters != Parameters::Linear)
      return op.emitError() << kernel->name << " does not accumulate";
    if (failed(verifyFormat(op, *kernel)))
      return failure();
    for (Type type : op->getOperandTypes()) {
      if (!isa<ShapedType>(type))
        continue;
      auto memref = dyn_cast<MemRefType>(type);
      if (!memref || !isStrided(memref) || !dtypeOf(memref.getElementType()) ||
          memref.getRank() > LLMIR_MAX_RANK)
        return op.emitError()
               << "kernels take strided memrefs of f32, bf16, f16, i32 or i8 "
                  "with up to "
               << LLMIR_MAX_RANK << " dimensions, not " << type;
      if (!isLastMemrefDimUnitStride(memref))
        return op.emitError()
               << "kernels take memrefs whose elements along the last "
                  "dimension are neighbours, not "
               << type;
    }
    return success();
  }

  /// Checks what a call says of its weight: bytes are one of known panels.
  static LogicalResult verifyFormat(CallKernelOp op,
                                    const KernelEntry &kernel) {
    std::optional<Type> type = op.getWeightType();
    if (kernel.parameters != Parameters::Linear) {
      if (type || op.getInputType())
        return op.emitError() << kernel.name << " takes no weight";
      return success();
    }
    auto weight = dyn_cast<MemRefType>(op.getInputs()[1].getType());
    bool isBytes = weight && weight.getElementType().isInteger(8);
    if (isBytes != type.has_value())
      return op.emitError()
             << (isBytes ? "needs weight_type, which says what the bytes of "
                           "the weight are"
                         : "has a weight_type, and no bytes for a weight");
    if (!type) {
      if (op.getInputType())
        return op.emitError("rounds its input for a quantized weight only");
      return success();
    }
    auto quantized = llvm::cast<QuantizedTensorType>(*type);
    if (!quantized.isInPanels() ||
        quantized.getPanelsType().getShape() != weight.getShape())
      return op.emitError() << "weight is " << weight
                            << ", which are not the panels of " << quantized;
    return success();
  }

  /// Makes `llmir_step`, which unfolds its arguments and calls the step.
  LogicalResult buildEntryPoint(ModuleOp module,
                                const LLVMTypeConverter &converter) {
    auto step = module.lookupSymbol<func::FuncOp>(llmir::kStepFunction);
    if (!step)
      return module.emitError("has no function `step` to export");
    size_t count = std::size(kStepArguments);
    if (step.isExternal() || step.getNumArguments() != count + 1 ||
        step.getNumResults() != 0)
      return step.emitError() << "must have a body, " << count
                              << " arguments and no results to be exported";
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    Location loc = step.getLoc();
    auto pointer = LLVM::LLVMPointerType::get(&getContext());
    auto entry = builder.create<func::FuncOp>(
        loc, LLMIR_STEP_SYMBOL,
        builder.getFunctionType({pointer, pointer}, {}));
    Block *block = entry.addEntryBlock();
    builder.setInsertionPointToStart(block);
    SmallVector<Value> operands;
    for (auto [argument, type] :
         llvm::zip(kStepArguments, step.getArgumentTypes()))
      operands.push_back(unfold(builder, loc, converter, block->getArgument(1),
                                argument, type));
    operands.push_back(block->getArgument(0));
    builder.create<func::CallOp>(loc, step, operands);
    builder.create<func::ReturnOp>(loc);
    return success();
  }

  Value unfold(OpBuilder &builder, Location loc,
               const LLVMTypeConverter &converter, Value args,
               const StepArgument &argument, Type type) {
    auto pointer = LLVM::LLVMPointerType::get(&getContext());
    Value data = loadMember(builder, loc, args, argument.pointer, pointer);
    auto memref = dyn_cast<MemRefType>(type);
    if (!memref)
      return cast(builder, loc, data, type);
    Type i64 = builder.getI64Type();
    auto constant = [&](int64_t value) -> Value {
      return builder.create<LLVM::ConstantOp>(loc, i64, value);
    };
    SmallVector<Value> sizes;
    for (int64_t dim = 0; dim < memref.getRank(); ++dim) {
      size_t member = dim == 0 ? argument.firstSize : argument.secondSize;
      if (!memref.isDynamicDim(dim)) {
        sizes.push_back(constant(memref.getDimSize(dim)));
        continue;
      }
      // The weights' and the arena's sizes are nobody's business here.
      bool known = dim > 0 ||
                   argument.pointer < offsetof(llmir_step_args, weights) ||
                   argument.pointer == offsetof(llmir_step_args, logits);
      Value size =
          known ? loadMember(builder, loc, args, member, i64) : constant(0);
      if (dim == 0 && argument.extra)
        size = builder.create<LLVM::AddOp>(loc, size, constant(argument.extra));
      sizes.push_back(size);
    }
    auto descriptor =
        MemRefDescriptor::undef(builder, loc, converter.convertType(memref));
    descriptor.setAllocatedPtr(builder, loc, data);
    descriptor.setAlignedPtr(builder, loc, data);
    descriptor.setOffset(builder, loc, constant(0));
    Value stride = constant(1);
    for (int64_t dim = memref.getRank() - 1; dim >= 0; --dim) {
      descriptor.setSize(builder, loc, dim, sizes[dim]);
      descriptor.setStride(builder, loc, dim, stride);
      stride = builder.create<LLVM::MulOp>(loc, stride, sizes[dim]);
    }
    return cast(builder, loc, descriptor, memref);
  }

  static Value cast(OpBuilder &builder, Location loc, Value value, Type type) {
    if (value.getType() == type)
      return value;
    return builder.create<UnrealizedConversionCastOp>(loc, type, value)
        .getResult(0);
  }

  void exportVersion(ModuleOp module) {
    OpBuilder builder = OpBuilder::atBlockBegin(module.getBody());
    builder.create<LLVM::GlobalOp>(
        module.getLoc(), builder.getI32Type(), /*isConstant=*/true,
        LLVM::Linkage::External, LLMIR_ABI_VERSION_SYMBOL,
        builder.getI32IntegerAttr(LLMIR_ABI_VERSION));
  }
};
} // namespace
