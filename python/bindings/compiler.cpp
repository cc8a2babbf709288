// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The module llmir._compiler: programs of the llm dialect, the pipelines that
// llmir-opt runs, and code generation. What MLIR reports becomes the text of an
// exception.

#include "llmir/Dialect/LLM/LLM.h"
#include "llmir/InitAll.h"
#include "llmir/Target/Codegen.h"
#include "llmir/Tools/Tools.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Linalg/Utils/Utils.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/SourceMgr.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <cerrno>
#include <mutex>

namespace nb = nanobind;
using namespace mlir;
using namespace llmir::llm;

namespace {

/// Collects what MLIR reports while it lives, a line each.
class Diagnostics {
public:
  explicit Diagnostics(MLIRContext *context)
      : handler(context, [this](Diagnostic &diagnostic) {
          add(diagnostic);
          for (Diagnostic &note : diagnostic.getNotes())
            add(note);
          return success();
        }) {}

  std::string takeOr(const char *otherwise) {
    return text.empty() ? otherwise : text;
  }

private:
  void add(Diagnostic &diagnostic) {
    llvm::raw_string_ostream stream(text);
    if (!text.empty())
      stream << '\n';
    if (auto location =
            dyn_cast<FileLineColLoc>(LocationAttr(diagnostic.getLocation())))
      stream << location.getFilename().getValue() << ':' << location.getLine()
             << ':' << location.getColumn() << ": ";
    switch (diagnostic.getSeverity()) {
    case DiagnosticSeverity::Error:
      stream << "error: ";
      break;
    case DiagnosticSeverity::Warning:
      stream << "warning: ";
      break;
    case DiagnosticSeverity::Note:
      stream << "note: ";
      break;
    case DiagnosticSeverity::Remark:
      stream << "remark: ";
      break;
    }
    stream << diagnostic;
  }

  std::string text;
  ScopedDiagnosticHandler handler;
};

std::string nameOf(Type type) {
  std::string name;
  llvm::raw_string_ostream(name) << type;
  return name;
}

nb::list shapeOf(ShapedType type) {
  nb::list shape;
  for (int64_t size : type.getShape())
    shape.append(size);
  return shape;
}

/// The facts of a program, which are numbers, strings and lists of them.
llvm::json::Value toJSON(Attribute attribute) {
  if (auto string = dyn_cast<StringAttr>(attribute))
    return string.getValue().str();
  if (auto boolean = dyn_cast<BoolAttr>(attribute))
    return boolean.getValue();
  if (auto integer = dyn_cast<IntegerAttr>(attribute))
    return integer.getInt();
  if (auto number = dyn_cast<FloatAttr>(attribute))
    return number.getValueAsDouble();
  if (auto array = dyn_cast<ArrayAttr>(attribute)) {
    llvm::json::Array values;
    for (Attribute element : array)
      values.push_back(toJSON(element));
    return values;
  }
  if (auto dictionary = dyn_cast<DictionaryAttr>(attribute)) {
    llvm::json::Object object;
    for (NamedAttribute member : dictionary)
      object[member.getName().getValue()] = toJSON(member.getValue());
    return object;
  }
  throw nb::value_error("llm.model holds more than numbers, strings and lists");
}

std::string toText(const llvm::json::Value &value) {
  std::string text;
  llvm::raw_string_ostream(text) << value;
  return text;
}

/// An op, as often as a step runs it.
struct Executed {
  Operation *op;
  func::FuncOp function;
  /// The number of the call of a function that it is in; -1 for the step
  /// itself.
  int64_t call;
  /// Of each operand, the parameter that it is, if it is one.
  SmallVector<ParameterOp> parameters;
  /// Whether its rows are those whose logits are asked for.
  bool isOnLogits = false;

  std::vector<std::string> keys() {
    // The second operand of a product is its weight.
    std::vector<std::string> result;
    if (isa<LinearOp, QuantizedMatmulOp>(op) && parameters[1])
      for (StringRef key :
           parameters[1].getKeys().getAsValueRange<StringAttr>())
        result.push_back(key.str());
    return result;
  }

  Cost cost(Batch batch) const {
    if (isOnLogits)
      batch.rows = batch.sequences;
    auto costly = dyn_cast<CostOpInterface>(op);
    return costly ? costly.getCost(batch) : Cost();
  }
};

/// The ops of the dialect that a function runs, calls included, in order.
void listExecuted(func::FuncOp function, ArrayRef<ParameterOp> arguments,
                  int64_t call, int64_t &calls, std::vector<Executed> &list) {
  if (function.isExternal() || !function.getBody().hasOneBlock())
    throw nb::value_error("the program's functions are not plain sequences");
  auto parameterOf = [&](Value value) -> ParameterOp {
    if (auto argument = dyn_cast<BlockArgument>(value))
      return argument.getArgNumber() < arguments.size()
                 ? arguments[argument.getArgNumber()]
                 : ParameterOp();
    return value.getDefiningOp<ParameterOp>();
  };
  bool isOnLogits = false;
  for (Operation &op : function.getBody().front()) {
    SmallVector<ParameterOp> parameters =
        llvm::map_to_vector(op.getOperands(), parameterOf);
    if (auto callOp = dyn_cast<func::CallOp>(op)) {
      auto callee =
          function->getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(
              callOp.getCallee());
      // Calls that return to their caller would never end; no step has them.
      if (!callee || callee == function || calls >= 1000000)
        throw nb::value_error("the program's calls cannot be followed");
      listExecuted(callee, parameters, calls++, calls, list);
      continue;
    }
    if (!isa<LLMDialect>(op.getDialect()) || isa<ParameterOp, RopeTableOp>(op))
      continue;
    // The rows that logits are asked of are looked up as an embedding's are.
    if (isa<EmbeddingOp>(op) && !parameters[1])
      isOnLogits = true;
    list.push_back({&op, function, call, parameters, isOnLogits && call == -1});
  }
}

const char *nameOf(Multiplier multiplier) {
  switch (multiplier) {
  case Multiplier::F32:
    return "f32";
  case Multiplier::BF16:
    return "bf16";
  case Multiplier::Int8:
    return "int8";
  }
  return "";
}

nb::tuple describeCost(const Cost &cost) {
  return nb::make_tuple(cost.stored, cost.moved, cost.operations,
                        nameOf(cost.multiplier));
}

void registerPasses() {
  static std::once_flag registered;
  std::call_once(registered, [] {
    mlir::registerAllPasses();
    llmir::registerAllPasses();
  });
}

/// A module with the context that it lives in.
class Program {
public:
  static std::unique_ptr<Program> parse(const std::string &text,
                                        const std::string &filename) {
    auto program = std::make_unique<Program>();
    Diagnostics diagnostics(&program->context);
    llvm::SourceMgr sources;
    sources.AddNewSourceBuffer(
        llvm::MemoryBuffer::getMemBufferCopy(text, filename), llvm::SMLoc());
    program->module =
        parseSourceFile<ModuleOp>(sources, ParserConfig(&program->context));
    if (!program->module)
      throw nb::value_error(
          diagnostics.takeOr("the program cannot be parsed").c_str());
    return program;
  }

  Program() : context(makeRegistry()) {
    // Compilations are processes of their own: threads would only start.
    context.disableMultithreading();
    // A sentence says what is wrong; the op may be a screen long.
    context.printOpOnDiagnostic(false);
  }

  std::string str() {
    std::string text;
    llvm::raw_string_ostream(text) << *module;
    return text;
  }

  std::vector<std::string> run(const std::string &pipeline,
                               const std::vector<std::string> &printAfter) {
    registerPasses();
    Diagnostics diagnostics(&context);
    std::string message;
    llvm::raw_string_ostream stream(message);
    PassManager manager(&context, ModuleOp::getOperationName());
    if (failed(parsePassPipeline(pipeline, manager, stream)))
      throw std::runtime_error(diagnostics.takeOr(
          message.empty() ? "no such pipeline" : message.c_str()));
    std::vector<std::string> passes;
    if (!printAfter.empty()) {
      bool all = llvm::is_contained(printAfter, "all");
      // Asked before every pass, also those that change nothing.
      auto note = [&](Pass *pass, Operation *) {
        std::string name = pass->getArgument().str();
        if (!name.empty() && !llvm::is_contained(passes, name))
          passes.push_back(name);
        return false;
      };
      auto isWanted = [&](Pass *pass, Operation *) {
        return all || llvm::is_contained(printAfter, pass->getArgument());
      };
      manager.enableIRPrinting(note, isWanted, /*printModuleScope=*/false,
                               /*printAfterOnlyOnChange=*/all,
                               /*printAfterOnlyOnFailure=*/false, llvm::outs());
    }
    if (failed(manager.run(*module)))
      throw std::runtime_error(diagnostics.takeOr("a pass failed"));
    llvm::outs().flush();
    if (std::error_code error = llvm::outs().error()) {
      // Else LLVM ends the process for it.
      llvm::outs().clear_error();
      errno = error.value();
      PyErr_SetFromErrno(PyExc_OSError);
      throw nb::python_error();
    }
    return passes;
  }

  std::string expand(const std::string &pipeline) {
    registerPasses();
    std::string message, text;
    llvm::raw_string_ostream stream(message), out(text);
    PassManager manager(&context, ModuleOp::getOperationName());
    if (failed(parsePassPipeline(pipeline, manager, stream)))
      throw std::runtime_error(message.empty() ? "no such pipeline" : message);
    manager.printAsTextualPipeline(out);
    return text;
  }

  void expandCopies() {
    module->walk([](memref::CopyOp copy) {
      OpBuilder builder(copy);
      linalg::makeMemRefCopyOp(builder, copy.getLoc(), copy.getSource(),
                               copy.getTarget());
      copy.erase();
    });
  }

  int64_t leaveOutCalls(int64_t most) {
    int64_t count = 0;
    for (auto function : module->getOps<func::FuncOp>()) {
      llvm::StringMap<int64_t> calls;
      for (auto call :
           llvm::make_early_inc_range(function.getOps<func::CallOp>())) {
        // What a layer returns takes the place of what it was given.
        SmallVector<Value> instead;
        llvm::BitVector taken(call.getNumOperands());
        for (Type type : call.getResultTypes())
          for (OpOperand &operand : call->getOpOperands())
            if (operand.get().getType() == type &&
                !taken.test(operand.getOperandNumber())) {
              taken.set(operand.getOperandNumber());
              instead.push_back(operand.get());
              break;
            }
        if (++calls[call.getCallee()] <= most ||
            instead.size() != call.getNumResults())
          continue;
        call.replaceAllUsesWith(instead);
        call.erase();
        ++count;
      }
    }
    return count;
  }

  std::string model() {
    auto facts =
        module->getOperation()->getAttrOfType<DictionaryAttr>("llm.model");
    if (!facts)
      throw nb::value_error("the program has no attribute llm.model");
    return toText(toJSON(facts));
  }

  std::string cache() {
    if (auto step = module->lookupSymbol<func::FuncOp>("step"))
      for (Type type : step.getArgumentTypes())
        if (auto cache = dyn_cast<PagedKVCacheType>(type))
          return toText(
              llvm::json::Object{{"dtype", nameOf(cache.getElementType())},
                                 {"layers", cache.getLayers()},
                                 {"kv_heads", cache.getKvHeads()},
                                 {"head_dim", cache.getHeadDim()},
                                 {"block_size", cache.getBlockSize()},
                                 {"max_seq_len", cache.getMaxSeqLen()}});
    throw nb::value_error("the program has no function step with a cache");
  }

  nb::list parameters() {
    nb::list list;
    module->walk([&](ParameterOp op) {
      auto quantized = dyn_cast<QuantizedTensorType>(op.getResult().getType());
      for (auto [key, type] : llvm::zip(
               op.getKeys().getAsValueRange<StringAttr>(), op.getFileTypes())) {
        nb::dict entry = describeTensor(key, type);
        entry["scope"] = op.getScope().str();
        if (quantized)
          entry["format"] = describeFormat(quantized);
        list.append(entry);
      }
    });
    return list;
  }

  std::string inputs() {
    llvm::json::Array functions;
    for (auto function : module->getOps<func::FuncOp>())
      if (function.isPublic() && !function.isExternal())
        functions.push_back(describeInputs(function));
    return toText(std::move(functions));
  }

  nb::dict signature() {
    auto main = module->lookupSymbol<func::FuncOp>("main");
    if (!main)
      throw nb::value_error("the program has no function main");
    nb::list inputs, results;
    for (unsigned i = 0; i < main.getNumArguments(); ++i) {
      nb::dict entry = describeArray(main.getArgumentTypes()[i]);
      auto name = main.getArgAttrOfType<StringAttr>(i, "llm.name");
      entry["name"] = name ? name.str() : std::string();
      inputs.append(entry);
    }
    for (Type type : main.getResultTypes()) {
      nb::dict entry = describeArray(type);
      entry["name"] = std::string();
      results.append(entry);
    }
    nb::dict result;
    result["inputs"] = inputs;
    result["results"] = results;
    return result;
  }

  nb::list executed() {
    nb::list list;
    for (Executed &entry : listOfStep()) {
      nb::dict described;
      described["op"] = entry.op->getName().stripDialect().str();
      described["function"] = entry.function.getName().str();
      described["call"] = entry.call;
      described["keys"] = entry.keys();
      described["on_logits"] = entry.isOnLogits;
      list.append(described);
    }
    return list;
  }

  nb::list costs(int64_t rows, int64_t context, int64_t sequences) {
    if (sequences < 1 || rows < sequences || context < rows / sequences)
      throw nb::value_error("there is no such batch");
    nb::list list;
    for (Executed &entry : listOfStep())
      list.append(describeCost(entry.cost({rows, context, sequences})));
    return list;
  }

  nb::list layer(int64_t rows, int64_t context, int64_t sequences) {
    std::vector<Executed> list = listOfStep();
    // The function that is called most often; the step if there is none.
    llvm::MapVector<Operation *, std::pair<int64_t, int64_t>> functions;
    int64_t last = -1;
    for (Executed &entry : list)
      if (entry.call >= 0 && entry.call != last) {
        last = entry.call;
        auto &[count, first] = functions[entry.function];
        first = count++ == 0 ? entry.call : first;
      }
    int64_t call = -1, most = 0;
    for (auto &[function, calls] : functions)
      if (calls.first > most)
        std::tie(most, call) = calls;
    DenseMap<Operation *, Executed *> known;
    func::FuncOp function;
    for (Executed &entry : list)
      if (entry.call == call) {
        known[entry.op] = &entry;
        function = entry.function;
      }
    if (!function)
      throw nb::value_error("the step has no ops of the dialect");

    nb::list nodes;
    DenseMap<Operation *, int64_t> numbers;
    for (Operation &op : function.getBody().front()) {
      bool isNode = known.contains(&op) || isa<linalg::LinalgOp>(op) ||
                    (op.hasTrait<OpTrait::Elementwise>() &&
                     llvm::any_of(op.getResultTypes(), [](Type type) {
                       return isa<RankedTensorType>(type);
                     }));
      if (!isNode)
        continue;
      nb::dict node;
      nb::list inputs;
      for (Value operand : op.getOperands()) {
        // Slices and reshapes are the tensor that they are of.
        Operation *maker = operand.getDefiningOp();
        while (maker && isa<tensor::TensorDialect>(maker->getDialect()) &&
               maker->getNumOperands() > 0)
          maker = maker->getOperand(0).getDefiningOp();
        if (auto number = numbers.find(maker); number != numbers.end())
          inputs.append(number->second);
      }
      node["op"] = known.contains(&op) ? op.getName().stripDialect().str()
                                       : op.getName().getStringRef().str();
      node["inputs"] = inputs;
      node["keys"] = std::vector<std::string>();
      node["cost"] = describeCost(Cost());
      if (Executed *entry = known.lookup(&op)) {
        node["keys"] = entry->keys();
        node["cost"] = describeCost(entry->cost({rows, context, sequences}));
      }
      numbers[&op] = static_cast<int64_t>(numbers.size());
      nodes.append(node);
    }
    return nodes;
  }

  nb::list weights(bool data) {
    nb::list list;
    auto entries = attribute<ArrayAttr>("llm.weights");
    for (auto entry : entries.getAsRange<DictionaryAttr>())
      list.append(describeWeight(entry, data));
    return list;
  }

  int64_t number(const char *name) {
    return attribute<IntegerAttr>(name).getInt();
  }

  std::string emit(const std::string &cpu, const std::string &features,
                   llmir::CodegenOutput output) {
    Diagnostics diagnostics(&context);
    llvm::Expected<std::string> code =
        llmir::generateCode(*module, {cpu, features}, output);
    if (!code) {
      std::string summary = llvm::toString(code.takeError());
      throw std::runtime_error(diagnostics.takeOr(summary.c_str()));
    }
    return *code;
  }

private:
  std::vector<Executed> listOfStep() {
    auto step = module->lookupSymbol<func::FuncOp>("step");
    if (!step)
      throw nb::value_error("the program has no function step");
    std::vector<Executed> list;
    int64_t calls = 0;
    listExecuted(step, {}, -1, calls, list);
    return list;
  }

  static DialectRegistry makeRegistry() {
    DialectRegistry registry;
    llmir::registerAllDialects(registry);
    return registry;
  }

  template <typename Attr> Attr attribute(const char *name) {
    auto value = module->getOperation()->getAttrOfType<Attr>(name);
    if (!value)
      throw std::runtime_error(std::string("the program has no attribute ") +
                               name + "; run llm-cpu-pipeline first");
    return value;
  }

  /// A tensor, or a number, at the border of a function.
  static nb::dict describeArray(Type type) {
    nb::dict result;
    auto tensor = dyn_cast<RankedTensorType>(type);
    result["dtype"] = nameOf(tensor ? tensor.getElementType() : type);
    result["shape"] = nb::none();
    if (tensor) {
      nb::list shape;
      for (int64_t size : tensor.getShape())
        shape.append(ShapedType::isDynamic(size) ? -1 : size);
      result["shape"] = shape;
    }
    return result;
  }

  /// A tensor of a weight file.
  static nb::dict describeTensor(StringRef key, RankedTensorType type) {
    nb::dict result;
    result["key"] = key.str();
    result["dtype"] = nameOf(type.getElementType());
    result["shape"] = shapeOf(type);
    return result;
  }

  static nb::dict describeWeight(DictionaryAttr entry, bool data) {
    auto integer = [&](StringRef name) {
      return entry.getAs<IntegerAttr>(name).getInt();
    };
    auto type =
        cast<RankedTensorType>(entry.getAs<TypeAttr>("type").getValue());
    nb::dict result;
    result["offset"] = integer("offset");
    result["bytes"] = integer("bytes");
    if (auto theta = entry.getAs<FloatAttr>("theta")) {
      result["kind"] = "constant";
      result["name"] = "rope_table";
      if (data) {
        SmallVector<float> table =
            computeRopeTable(type, theta.getValueAsDouble(),
                             entry.getAs<RopeScalingAttr>("scaling"));
        result["data"] = nb::bytes(reinterpret_cast<const char *>(table.data()),
                                   table.size() * sizeof(float));
      }
      return result;
    }
    nb::list sources;
    result["scope"] = entry.getAs<StringAttr>("scope").getValue().str();
    result["sources"] = sources;
    bool transposed = entry.get("transposed") != nullptr;
    SmallVector<int64_t> shape;
    auto slices = entry.getAs<ArrayAttr>("slices");
    for (auto [index, key, source] : llvm::enumerate(
             entry.getAs<ArrayAttr>("keys").getAsValueRange<StringAttr>(),
             entry.getAs<ArrayAttr>("sources").getAsValueRange<TypeAttr>())) {
      auto tensor = cast<RankedTensorType>(source);
      nb::dict described = describeTensor(key, tensor);
      SmallVector<int64_t> part(tensor.getShape());
      if (slices) {
        auto slice = cast<SliceAttr>(slices[index]);
        nb::dict taken;
        taken["dim"] = slice.getDim();
        taken["offset"] = slice.getOffset();
        taken["size"] = slice.getSize();
        described["slice"] = taken;
        part[slice.getDim()] = slice.getSize();
      }
      if (transposed)
        std::swap(part[0], part[1]);
      sources.append(described);
      if (shape.empty())
        shape = part;
      else
        shape[0] += part[0];
    }
    if (entry.get("rope_table")) {
      auto factor = entry.getAs<FloatAttr>("attention_factor");
      result["kind"] = "rope_table";
      result["attention_factor"] = factor ? factor.getValueAsDouble() : 1.0;
      result["positions"] = type.getDimSize(0);
      return result;
    }
    result["kind"] = "parameter";
    result["transposed"] = transposed;
    result["dtype"] = nameOf(type.getElementType());
    if (auto panels = entry.getAs<TypeAttr>("panels")) {
      auto quantized = cast<QuantizedTensorType>(panels.getValue());
      result["packed"] = true;
      result["gated"] = quantized.getPacking() == Packing::gated_panels;
      result["format"] = describeFormat(quantized);
      return result;
    }
    result["packed"] = type.getShape() != ArrayRef(shape);
    result["gated"] =
        type ==
        getPackedType(RankedTensorType::get(shape, type.getElementType()),
                      /*gated=*/true);
    return result;
  }

  /// What the runtime's WeightFormat is made of.
  static nb::dict describeFormat(QuantizedTensorType type) {
    nb::dict result;
    result["kind"] = type.getStorage().getWidth() == 8 ? "int8" : "int4";
    result["scales"] = nameOf(type.getScales());
    result["group_size"] = type.getGroupSize();
    result["asymmetric"] = type.getAsymmetric();
    return result;
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

/// Runs the main function of a tool on `arguments`, the program's name first.
template <int (*main)(int, char **)>
int runTool(const std::vector<nb::bytes> &arguments) {
  std::vector<std::string> copies;
  for (const nb::bytes &argument : arguments)
    copies.emplace_back(argument.c_str(), argument.size());
  std::vector<char *> pointers;
  for (std::string &copy : copies)
    pointers.push_back(copy.data());
  pointers.push_back(nullptr);
  return main(int(arguments.size()), pointers.data());
}

} // namespace

NB_MODULE(_compiler, m) {
  m.doc() = "Compiles programs of the llm dialect.";
  nb::class_<Program>(m, "Module", "A program of the llm dialect.")
      .def_static("parse", &Program::parse, nb::arg("text"),
                  nb::arg("filename") = "<string>",
                  "Parse and verify a program.\n\nRaises ValueError with what "
                  "is wrong, a line each: `file:line:column: error: ...`.")
      .def("__str__", &Program::str, "The program's text.")
      .def("run", &Program::run, nb::arg("pipeline"),
           nb::arg("print_after") = std::vector<std::string>(),
           "Run passes or named pipelines, in mlir-opt's notation. After the "
           "passes named in print_after, or with `all` after every one that "
           "changed something, print what they worked on to the standard "
           "output, and return the names of all that ran.\n\nRaises "
           "RuntimeError with what is wrong, a line each, and OSError if the "
           "standard output takes no more.")
      .def("expand_copies", &Program::expandCopies,
           "Turn copies of buffers into loops, where MLIR would call a library "
           "for those of slices.")
      .def("expand", &Program::expand, nb::arg("pipeline"),
           "The passes of a named pipeline, in mlir-opt's notation.")
      .def(
          "leave_out_calls", &Program::leaveOutCalls, nb::arg("most"),
          "Leave out every call of a function beyond the first `most`, in each "
          "function that calls it; what it was given takes the place of what "
          "it returned. Return how many were left out.")
      .def_prop_ro("model", &Program::model,
                   "The facts of the attribute llm.model, as JSON.")
      .def_prop_ro("cache", &Program::cache,
                   "The facts of the step's cache, as JSON.")
      .def("parameters", &Program::parameters,
           "What the weight files must have: scope, key, dtype and shape, and "
           "the format of what is quantized.")
      .def_prop_ro("inputs", &Program::inputs,
                   "What each public function takes and returns, as JSON: see "
                   "llmir/Dialect/LLM/InputConstraints.h.")
      .def("signature", &Program::signature,
           "What the function `main` takes and returns: `inputs` and `results` "
           "with their name, dtype and shape, which has -1 where it is dynamic "
           "and is None for a number.\n\nRaises ValueError if there is none.")
      .def("executed", &Program::executed,
           "The ops of the dialect that a step runs, in order and with calls "
           "followed: op, function, the number of the call (-1 in the step "
           "itself), the keys of a product's weight, and whether its rows are "
           "those whose logits are asked for.\n\nRaises ValueError if the "
           "program is no plain sequence of ops and calls.")
      .def("costs", &Program::costs, nb::arg("rows"), nb::arg("context"),
           nb::arg("sequences") = 1,
           "What each of the ops that `executed` lists costs in a step of "
           "`rows` new tokens of `sequences` sequences that then have "
           "`context` tokens each: bytes of weights, keys and values, bytes "
           "of everything else, operations, and the numbers that are "
           "multiplied (f32, bf16 or int8).")
      .def("layer", &Program::layer, nb::arg("rows"), nb::arg("context"),
           nb::arg("sequences") = 1,
           "The ops of the function that a step calls most often, or of the "
           "step: op, the numbers of those whose results it reads (inputs), "
           "the keys of a product's weight, and its cost, as `costs` has it.")
      .def("weights", &Program::weights, nb::arg("data") = true,
           "After llm-cpu-pipeline: what stands where in the weights, and, if "
           "asked, the data of what is in no file.")
      .def_prop_ro(
          "weights_bytes",
          [](Program &program) { return program.number("llm.weights_bytes"); })
      .def_prop_ro(
          "arena_bytes",
          [](Program &program) { return program.number("llm.arena_bytes"); })
      .def_prop_ro("max_batch_tokens",
                   [](Program &program) {
                     return program.number("llm.max_batch_tokens");
                   })
      .def(
          "emit_llvm",
          [](Program &program, const std::string &cpu,
             const std::string &features) {
            return program.emit(cpu, features, llmir::CodegenOutput::LLVMIR);
          },
          nb::arg("cpu"), nb::arg("features"), "Optimized LLVM IR, as text.")
      .def(
          "emit_assembly",
          [](Program &program, const std::string &cpu,
             const std::string &features) {
            return program.emit(cpu, features, llmir::CodegenOutput::Assembly);
          },
          nb::arg("cpu"), nb::arg("features"), "Assembly, as text.")
      .def(
          "emit_object",
          [](Program &program, const std::string &cpu,
             const std::string &features) {
            std::string code =
                program.emit(cpu, features, llmir::CodegenOutput::Object);
            return nb::bytes(code.data(), code.size());
          },
          nb::arg("cpu"), nb::arg("features"), "An ELF object, as bytes.");

  m.def(
      "link_shared",
      [](const std::string &object, const std::string &output,
         bool allowUndefined) {
        if (llvm::Error error =
                llmir::linkSharedObject(object, output, allowUndefined))
          throw std::runtime_error(llvm::toString(std::move(error)));
      },
      nb::arg("object_path"), nb::arg("output_path"),
      nb::arg("allow_undefined") = false,
      "Link an object into a shared object, which must need no symbol unless "
      "allow_undefined.");
  m.def("opt_main", &runTool<llmir::optMain>, nb::arg("argv"),
        "Run llmir-opt, once a process; return its status.");
  m.def("translate_main", &runTool<llmir::translateMain>, nb::arg("argv"),
        "Run llmir-translate, once a process; return its status.");
  m.def("lsp_server_main", &runTool<llmir::lspServerMain>, nb::arg("argv"),
        "Run llmir-lsp-server, once a process; return its status.");
  m.def("host_cpu", &llmir::hostCPU,
        "The CPU to tune for on this machine, as LLVM names it.");
}
