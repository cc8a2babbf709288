// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Calls of compiled functions with the arrays of NumPy and PyTorch, taken and
// given by DLPack: what lies in order is not copied. Everything that the code
// relies on is compared with the arrays first.
#include "function.h"

#include "llmir/runtime/function.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <optional>
#include <stdexcept>

namespace nb = nanobind;
using namespace nb::literals;
using namespace llmir::runtime;

namespace {

using Bytes =
    nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Array = nb::ndarray<nb::ro, nb::device::cpu>;

/// An argument or a result, as the compiler says it is.
struct Spec {
  Spec(nb::dict facts) {
    name = nb::cast<std::string>(facts["name"]);
    dtypeName = nb::cast<std::string>(facts["dtype"]);
    isScalar = facts["shape"].is_none();
    if (!isScalar)
      shape = nb::cast<std::vector<int64_t>>(facts["shape"]);
    if (shape.size() > LLMIR_MAX_ARRAY_RANK)
      throw std::invalid_argument("a function's tensors have at most " +
                                  std::to_string(LLMIR_MAX_ARRAY_RANK) +
                                  " dimensions");
    const std::pair<const char *, nb::dlpack::dtype> known[] = {
        {"f32", {uint8_t(nb::dlpack::dtype_code::Float), 32, 1}},
        {"f64", {uint8_t(nb::dlpack::dtype_code::Float), 64, 1}},
        {"f16", {uint8_t(nb::dlpack::dtype_code::Float), 16, 1}},
        {"bf16", {uint8_t(nb::dlpack::dtype_code::Bfloat), 16, 1}},
        {"i64", {uint8_t(nb::dlpack::dtype_code::Int), 64, 1}},
        {"i32", {uint8_t(nb::dlpack::dtype_code::Int), 32, 1}},
        {"i16", {uint8_t(nb::dlpack::dtype_code::Int), 16, 1}},
        {"i8", {uint8_t(nb::dlpack::dtype_code::Int), 8, 1}},
        {"i1", {uint8_t(nb::dlpack::dtype_code::Bool), 8, 1}},
    };
    for (const auto &[text, type] : known)
      if (dtypeName == text) {
        dtype = type;
        return;
      }
    throw std::invalid_argument("there is no dtype " + dtypeName);
  }

  size_t elementBytes() const { return dtype.bits / 8; }

  std::string describe() const {
    return isScalar ? "a number" : describeArray(dtype, shape);
  }

  static std::string describeArray(nb::dlpack::dtype dtype,
                                   const std::vector<int64_t> &shape) {
    std::string text;
    switch (nb::dlpack::dtype_code(dtype.code)) {
    case nb::dlpack::dtype_code::Float:
      text = "float";
      break;
    case nb::dlpack::dtype_code::Bfloat:
      text = "bfloat";
      break;
    case nb::dlpack::dtype_code::Int:
      text = "int";
      break;
    case nb::dlpack::dtype_code::UInt:
      text = "uint";
      break;
    case nb::dlpack::dtype_code::Bool:
      text = "bool";
      break;
    case nb::dlpack::dtype_code::Complex:
      text = "complex";
      break;
    default:
      text = "another type of ";
    }
    if (text != "bool")
      text += std::to_string(dtype.bits);
    text += " [";
    for (size_t i = 0; i < shape.size(); ++i)
      text += (i ? ", " : "") +
              (shape[i] < 0 ? std::string("any") : std::to_string(shape[i]));
    return text + "]";
  }

  std::string name, dtypeName;
  nb::dlpack::dtype dtype;
  bool isScalar;
  std::vector<int64_t> shape; ///< -1 where it is dynamic.
};

/// Copies elements into row-major order.
void copyInOrder(const Array &array, size_t bytes, size_t dim, const char *from,
                 char *&to) {
  if (dim == array.ndim()) {
    std::memcpy(to, from, bytes);
    to += bytes;
    return;
  }
  for (size_t i = 0; i < array.shape(dim); ++i)
    copyInOrder(array, bytes, dim + 1,
                from + int64_t(i) * array.stride(dim) * int64_t(bytes), to);
}

bool liesInOrder(const Array &array) {
  int64_t stride = 1;
  for (size_t dim = array.ndim(); dim-- > 0;) {
    if (array.shape(dim) == 0)
      return true;
    if (array.shape(dim) > 1 && array.stride(dim) != stride)
      return false;
    stride *= int64_t(array.shape(dim));
  }
  return true;
}

struct PyRunner {
  explicit PyRunner(int threads) {
    if (threads < 0)
      throw std::invalid_argument("threads must be 0 or more, not " +
                                  std::to_string(threads));
    runner = std::make_shared<FunctionRunner>(unsigned(threads));
  }

  std::shared_ptr<FunctionRunner> runner;
};

class PyFunction {
public:
  PyFunction(const std::string &path, Bytes weights, nb::list inputSpecs,
             nb::list resultSpecs, const PyRunner &runner)
      : weights(std::move(weights)), runner(runner.runner) {
    for (nb::handle facts : inputSpecs)
      inputs.emplace_back(nb::cast<nb::dict>(facts));
    for (nb::handle facts : resultSpecs)
      results.emplace_back(nb::cast<nb::dict>(facts));
    nb::gil_scoped_release release;
    function.emplace(path, this->weights.data(), results.size());
  }

  nb::list call(nb::sequence arguments, bool asTorch) const {
    size_t count = nb::len(arguments);
    if (count != inputs.size())
      throw std::invalid_argument("the function takes " +
                                  std::to_string(inputs.size()) +
                                  " arguments, not " + std::to_string(count));
    // What is looked at while the function runs lives until then.
    std::vector<nb::object> objects(count);
    std::vector<Array> arrays(count);
    std::vector<int64_t> scalars(count);
    std::vector<std::vector<char>> copies;
    std::vector<llmir_array> given(count);
    for (size_t i = 0; i < count; ++i) {
      objects[i] = nb::object(arguments[i]);
      if (inputs[i].isScalar) {
        scalars[i] = readScalar(i, objects[i]);
        given[i].data = &scalars[i];
        continue;
      }
      arrays[i] = readArray(i, objects[i]);
      const Array &array = arrays[i];
      for (size_t dim = 0; dim < array.ndim(); ++dim)
        given[i].sizes[dim] = int64_t(array.shape(dim));
      given[i].data =
          const_cast<void *>(static_cast<const void *>(array.data()));
      if (liesInOrder(array))
        continue;
      size_t bytes = inputs[i].elementBytes();
      copies.emplace_back(array.size() * bytes);
      char *to = copies.back().data();
      copyInOrder(array, bytes, 0, static_cast<const char *>(array.data()), to);
      given[i].data = copies.back().data();
    }
    std::vector<llmir_array> found;
    std::vector<ResultMemory> memory;
    {
      nb::gil_scoped_release release;
      memory = function->call(*runner, given.data(), found);
    }
    nb::list list;
    for (size_t i = 0; i < results.size(); ++i)
      list.append(give(results[i], found[i], memory[i], asTorch));
    return list;
  }

  void setWeights(Bytes replacement) {
    {
      nb::gil_scoped_release release;
      function->setWeights(*runner, replacement.data());
    }
    weights = std::move(replacement);
  }

private:
  [[noreturn]] void refuse(size_t index, const std::string &found) const {
    const Spec &spec = inputs[index];
    throw std::invalid_argument(
        "argument " + std::to_string(index) +
        (spec.name.empty() ? "" : " (" + spec.name + ")") + " is " + found +
        ", and the function takes " + spec.describe());
  }

  int64_t readScalar(size_t index, nb::handle object) const {
    const Spec &spec = inputs[index];
    int64_t bits = 0;
    if (nb::dlpack::dtype_code(spec.dtype.code) ==
        nb::dlpack::dtype_code::Float) {
      double number;
      if (!nb::try_cast(object, number))
        refuse(index, "no number");
      float narrow = float(number);
      if (spec.dtype.bits == 64)
        std::memcpy(&bits, &number, sizeof(number));
      else
        std::memcpy(&bits, &narrow, sizeof(narrow));
    } else if (!nb::try_cast(object, bits)) {
      refuse(index, "no integer");
    }
    return bits;
  }

  Array readArray(size_t index, nb::handle object) const {
    const Spec &spec = inputs[index];
    Array array;
    if (!nb::try_cast(object, array) || !array.is_valid()) {
      PyErr_Clear();
      refuse(index, "no array in the CPU's memory that can be read");
    }
    bool fits = array.ndim() == spec.shape.size();
    std::vector<int64_t> shape;
    for (size_t dim = 0; dim < array.ndim(); ++dim) {
      shape.push_back(int64_t(array.shape(dim)));
      fits = fits && (spec.shape[dim] < 0 || spec.shape[dim] == shape.back());
    }
    nb::dlpack::dtype dtype = array.dtype();
    // The sign of a byte is nobody's business here.
    bool isByte =
        spec.dtypeName == "i8" && dtype.bits == 8 &&
        nb::dlpack::dtype_code(dtype.code) == nb::dlpack::dtype_code::UInt;
    if (!fits || (dtype != spec.dtype && !isByte))
      refuse(index, Spec::describeArray(dtype, shape));
    return array;
  }

  static nb::object give(const Spec &spec, const llmir_array &array,
                         ResultMemory &memory, bool asTorch) {
    size_t shape[LLMIR_MAX_ARRAY_RANK];
    for (size_t dim = 0; dim < spec.shape.size(); ++dim)
      shape[dim] = size_t(array.sizes[dim]);
    nb::capsule owner(memory.get(),
                      [](void *data) noexcept { ResultMemory::free(data); });
    memory.release();
    if (asTorch)
      return nb::cast(nb::ndarray<nb::pytorch>(
          array.data, spec.shape.size(), shape, owner, nullptr, spec.dtype));
    return nb::cast(nb::ndarray<nb::numpy>(array.data, spec.shape.size(), shape,
                                           owner, nullptr, spec.dtype));
  }

  Bytes weights;
  std::shared_ptr<FunctionRunner> runner;
  std::vector<Spec> inputs, results;
  std::optional<Function> function;
};

} // namespace

void registerFunctions(nb::module_ &m) {
  nb::class_<PyRunner>(m, "FunctionRunner",
                       "The threads and the memory that functions run on.")
      .def(nb::init<int>(), "threads"_a = 0, "`threads` = 0 means all CPUs.")
      .def_prop_ro("threads",
                   [](const PyRunner &self) { return self.runner->threads(); })
      .def_prop_ro(
          "arena_bytes",
          [](const PyRunner &self) {
            nb::gil_scoped_release release;
            return self.runner->arenaBytes();
          },
          "The memory that is kept for the next calls.");

  nb::class_<PyFunction>(m, "Function", "A compiled function of tensors.")
      .def(
          nb::init<const std::string &, Bytes, nb::list, nb::list,
                   const PyRunner &>(),
          "path"_a, "weights"_a, "inputs"_a, "results"_a, "runner"_a,
          "Opens the shared object `path`, which may be removed then. `inputs` "
          "and `results` are what the compiler says: `name`, `dtype` and "
          "`shape`, with -1 for a dynamic size and None for a number.\n\n"
          "Raises RuntimeError with one sentence if it is damaged or made for "
          "another version.")
      .def("set_weights", &PyFunction::setWeights, "weights"_a,
           "Takes other weights from the next call on.")
      .def("call", &PyFunction::call, "arguments"_a, "as_torch"_a,
           "Returns the results for arrays, as NumPy's or PyTorch's.\n\nRaises "
           "ValueError if one is not what the function takes, and RuntimeError "
           "if they do not fit each other or memory is short.");
}
