// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Passes that leave the `llm` dialect: its reference meaning in linalg, and the
// way to the CPU.

#ifndef LLMIR_CONVERSION_PASSES_TD
#define LLMIR_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

def RaiseAttention : Pass<"llm-raise-attention", "::mlir::func::FuncOp"> {
  let summary = "Raise the softmax of a product, times values, to attention";
  let description = [{
    Finds a product of matrices whose one side is a softmax, over its summed
    dimension, of scores: a product too, with a scale, a softcap and masks around
    it. What elements are says so, not the ops that make them; transposes, reshapes,
    copies, casts and repeated KV heads are seen through, and gone where the op reads
    [B, T, H, D].

    A mask of positions becomes `causal` and `window`. What these do not say is the
    mask operand. A query may see no key there, and its result stays what it was: where
    hidden keys have -inf, `causal` stands beside a mask of i1, and a softmax that
    made 0 of such rows becomes a select after the op; where they have a finite score,
    which weighs all keys of such a query alike, the whole mask is the operand, as
    numbers. Sizes that the program asserts to be equal are taken to be.

    What must hold: functions whose products are linalg ops. A program without
    attention stays as it is.

    ```mlir
    func.func @attention(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
                         %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
      %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
      %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
      %sums = arith.constant dense<0.0> : tensor<4x8xf32>
      %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
      %scale = arith.constant dense<0.25> : tensor<4x8x8xf32>
      %products = linalg.batch_matmul_transpose_b
        ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
        outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
      %scores = arith.mulf %products, %scale : tensor<4x8x8xf32>
      %max = linalg.reduce { arith.maximumf } ins(%scores : tensor<4x8x8xf32>)
        outs(%lowest : tensor<4x8xf32>) dimensions = [2]
      %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
        outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
      %difference = arith.subf %scores, %shift : tensor<4x8x8xf32>
      %exp = math.exp %difference : tensor<4x8x8xf32>
      %sum = linalg.reduce { arith.addf } ins(%exp : tensor<4x8x8xf32>)
        outs(%sums : tensor<4x8xf32>) dimensions = [2]
      %total = linalg.broadcast ins(%sum : tensor<4x8xf32>)
        outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
      %weights = arith.divf %exp, %total : tensor<4x8x8xf32>
      %result = linalg.batch_matmul
        ins(%weights, %v : tensor<4x8x8xf32>, tensor<4x8x16xf32>)
        outs(%zero : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
      return %result : tensor<4x8x16xf32>
    }
    ```

    becomes

    ```mlir
    func.func @attention(%arg0: tensor<4x8x16xf32>, %arg1: tensor<4x8x16xf32>,
        %arg2: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
      ...
      %3 = llm.attention %transposed, %transposed_1, %transposed_3
          {scale = 2.500000e-01 : f32} : (tensor<1x8x4x16xf32>,
          tensor<1x8x4x16xf32>, tensor<1x8x4x16xf32>) -> tensor<1x8x4x16xf32>
      ...
    }
    ```
  }];
  let statistics = [
    Statistic<"numRaised", "num-raised", "Number of attentions raised">
  ];
  let dependentDialects = [
    "::llmir::llm::LLMDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
    "::mlir::tensor::TensorDialect"
  ];
}

def RaiseRope : Pass<"llm-raise-rope", "::mlir::func::FuncOp"> {
  let summary = "Raise the rotation of heads by their positions to RoPE";
  let description = [{
    Finds tensors of heads each of whose elements is `x[i] * cos -+ x[j] * sin` of a
    position times a frequency, with halves or neighbours as partners, and perhaps a
    rest of the head that stays. Each of the head's few dimensions is looked at
    alone, so slices, strides and concatenations matter only by what they say. The op
    takes tokens as rows, [T, H, D], and their positions.

    Frequencies are a tensor or constants, and become the table's operand, with as
    many rows as there are positions. Where positions have no bound, as those that the
    program is given, the table has a row for each token instead.

    ```mlir
    #head = affine_map<(t, h, d) -> (t, h, d)>
    #angle = affine_map<(t, h, d) -> (t, d)>
    func.func @rope(%x: tensor<8x4x4xf32>, %f: tensor<2xf32>)
        -> tensor<8x4x4xf32> {
      %empty = tensor.empty() : tensor<8x4x4xf32>
      %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 2] [1, 1, 1]
        : tensor<8x4x4xf32> to tensor<8x4x2xf32>
      %b = tensor.extract_slice %x[0, 0, 2] [8, 4, 2] [1, 1, 1]
        : tensor<8x4x4xf32> to tensor<8x4x2xf32>
      %minus = arith.negf %b : tensor<8x4x2xf32>
      %turned = tensor.concat dim(2) %minus, %a
        : (tensor<8x4x2xf32>, tensor<8x4x2xf32>) -> tensor<8x4x4xf32>
      %ff = tensor.concat dim(0) %f, %f
        : (tensor<2xf32>, tensor<2xf32>) -> tensor<4xf32>
      %rows = tensor.empty() : tensor<8x4xf32>
      %angles = linalg.generic {
            indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
            iterator_types = ["parallel", "parallel"]}
          ins(%ff : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
      ^bb0(%frequency: f32, %out: f32):
        %t = linalg.index 0 : index
        %i = arith.index_cast %t : index to i64
        %position = arith.sitofp %i : i64 to f32
        %angle = arith.mulf %position, %frequency : f32
        linalg.yield %angle : f32
      } -> tensor<8x4xf32>
      %cos = math.cos %angles : tensor<8x4xf32>
      %sin = math.sin %angles : tensor<8x4xf32>
      %y = linalg.generic {
            indexing_maps = [#head, #head, #angle, #angle, #head],
            iterator_types = ["parallel", "parallel", "parallel"]}
          ins(%x, %turned, %cos, %sin : tensor<8x4x4xf32>, tensor<8x4x4xf32>,
              tensor<8x4xf32>, tensor<8x4xf32>)
          outs(%empty : tensor<8x4x4xf32>) {
      ^bb0(%own: f32, %other: f32, %c: f32, %s: f32, %out: f32):
        %p = arith.mulf %own, %c : f32
        %q = arith.mulf %other, %s : f32
        %sum = arith.addf %p, %q : f32
        linalg.yield %sum : f32
      } -> tensor<8x4x4xf32>
      return %y : tensor<8x4x4xf32>
    }
    ```

    becomes

    ```mlir
    ...
    %0 = llm.rope_table frequencies %arg1 : (tensor<2xf32>) -> tensor<8x2x2xf32>
    ...
    %3 = llm.rope %arg0, %0, %2 : (tensor<8x4x4xf32>, tensor<8x2x2xf32>,
        tensor<8xi32>) -> tensor<8x4x4xf32>
    ...
    ```
  }];
  let statistics = [
    Statistic<"numRaised", "num-raised", "Number of rotations raised">
  ];
  let dependentDialects = [
    "::llmir::llm::LLMDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
    "::mlir::tensor::TensorDialect"
  ];
}

def ConvertLLMToLinalg : Pass<"convert-llm-to-linalg", "::mlir::ModuleOp"> {
  let summary = "Lower the llm dialect to its reference meaning in linalg";
  let description = [{
    Replaces every op of the dialect by the slow, obvious code that defines it,
    on tensors; of the dialect, only `llm.parameter` is left.

    A paged cache becomes five tensors, in arguments, results and calls, in this
    order; one of integers has those in brackets too. An empty cache has -1 all
    over the block table, and zeros after it.

    | tensor         | type                                                    |
    |----------------|---------------------------------------------------------|
    | keys           | `[layers, blocks, block_size, kv_heads, head_dim]`      |
    | values         | the same                                                |
    | (key scales)   | f16 `[layers, blocks, block_size, kv_heads, 1]`         |
    | (value scales) | the same                                                |
    | (key zeros)    | i8 `[layers, blocks, block_size, kv_heads, 1]`, of `i4` |
    | (value zeros)  | the same                                                |
    | block table    | i32 `[sequences, blocks of the longest sequence]`       |
    | lengths        | i32 `[layers, sequences]`, positions appended so far    |
    | blocks in use  | i32 `[]`, the next block to be taken                    |

    The numbers of blocks and of sequences are the caller's: nothing checks that
    there is room. Appends by slots, and what reads the cache, are given their
    places, and leave the last three tensors alone. Integers of 4 bits have a byte
    each.

    A quantized tensor becomes its elements, its scales and, if asymmetric, its
    zero points, as `!llm.quantized_tensor` says; a sharded one, a tensor whose
    first dimension counts the shards.

    With `keep-kernels`, ops that the CPU's runtime has kernels for stay, and
    programs of shards are refused.

    ```mlir
    func.func @activation(%x: tensor<?x512xf32>) -> tensor<?x512xf32> {
      %y = llm.activation relu %x : (tensor<?x512xf32>) -> tensor<?x512xf32>
      return %y : tensor<?x512xf32>
    }
    ```

    becomes

    ```mlir
    #map = affine_map<(d0, d1) -> (d0, d1)>
    module {
      func.func @activation(%arg0: tensor<?x512xf32>) -> tensor<?x512xf32> {
        %c0 = arith.constant 0 : index
        %dim = tensor.dim %arg0, %c0 : tensor<?x512xf32>
        %0 = tensor.empty(%dim) : tensor<?x512xf32>
        %1 = linalg.generic {indexing_maps = [#map, #map],
                             iterator_types = ["parallel", "parallel"]}
            ins(%arg0 : tensor<?x512xf32>) outs(%0 : tensor<?x512xf32>) {
        ^bb0(%in: f32, %out: f32):
          %cst = arith.constant 0.000000e+00 : f32
          %2 = arith.maximumf %in, %cst : f32
          linalg.yield %2 : f32
        } -> tensor<?x512xf32>
        return %1 : tensor<?x512xf32>
      }
    }
    ```
  }];
  let options = [
    Option<"keepKernels", "keep-kernels", "bool", "false",
           "Keep the ops that --convert-llm-to-kernels lowers">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
    "::mlir::tensor::TensorDialect"
  ];
}

def ConvertLLMToKernels : Pass<"convert-llm-to-kernels", "::mlir::ModuleOp"> {
  let summary = "Turn products and cache ops into calls of the runtime";
  let description = [{
    Turns packed products, appends by slot, with a rotation or without, and ragged
    attention into `llm.call_kernel` in destination-passing style. A cache value
    becomes the one that it was made of: `--llm-verify-cache-uses` has shown that
    nothing else reads it. Kernels read rows whose elements are neighbours; an
    input whose elements are not, as those of a slice with steps, is copied.

    ```mlir
    func.func @product(%x: tensor<?x192xbf16>, %w: tensor<2x96x32x2xbf16>)
        -> tensor<?x64xf32> {
      %y = llm.linear %x, %w
        : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
      return %y : tensor<?x64xf32>
    }
    ```

    becomes

    ```mlir
    func.func @product(%arg0: tensor<?x192xbf16>, %arg1: tensor<2x96x32x2xbf16>)
        -> tensor<?x64xf32> {
      %c0 = arith.constant 0 : index
      %dim = tensor.dim %arg0, %c0 : tensor<?x192xbf16>
      %0 = tensor.empty(%dim) : tensor<?x64xf32>
      %1 = llm.call_kernel linear ins(%arg0, %arg1 : tensor<?x192xbf16>,
          tensor<2x96x32x2xbf16>) outs(%0 : tensor<?x64xf32>) ->
          tensor<?x64xf32>
      return %1 : tensor<?x64xf32>
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::tensor::TensorDialect"
  ];
}

def SimplifySizes : Pass<"llm-simplify-sizes", "::mlir::func::FuncOp"> {
  let summary = "Fold what an exported program asks of its own sizes";
  let description = [{
    Writes every size as a polynomial over the sizes of the function's arguments,
    once, at its head. Sizes are not negative, so the selections that a negative
    or a broadcast size would need, inferred sizes, and assertions about them fold;
    chains of reshapes become one, or none where the shape does not change.
    Arguments' sizes that an assertion compares are taken to be equal; that
    assertion stays.

    ```mlir
    func.func @main(%x: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c0_i64 = arith.constant 0 : i64
      %c64_i64 = arith.constant 64 : i64
      %b = tensor.dim %x, %c0 : tensor<?x?x64xf32>
      %t = tensor.dim %x, %c1 : tensor<?x?x64xf32>
      %rows = arith.index_cast %t : index to i64
      %negative = arith.cmpi slt, %rows, %c0_i64 : i64
      %known = arith.select %negative, %c64_i64, %rows : i64
      %size = arith.index_cast %b : index to i64
      %flat = tensor.collapse_shape %x [[0, 1], [2]]
        : tensor<?x?x64xf32> into tensor<?x64xf32>
      %shape = tensor.from_elements %size, %known, %c64_i64 : tensor<3xi64>
      %y = tensor.reshape %flat(%shape)
        : (tensor<?x64xf32>, tensor<3xi64>) -> tensor<?x?x64xf32>
      return %y : tensor<?x?x64xf32>
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: tensor<?x?x64xf32>) -> tensor<?x?x64xf32> {
      return %arg0 : tensor<?x?x64xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numAnswered", "num-answered", "Number of comparisons decided">,
    Statistic<"numReshapes", "num-reshapes", "Number of reshapes simplified">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
    "::llmir::llm::LLMDialect"
  ];
}

def FlattenTokens : Pass<"llm-flatten-tokens", "::mlir::func::FuncOp"> {
  let summary = "Lay the tokens of a batch end to end";
  let description = [{
    Moves elementwise ops, norms, activations and slices of columns from [B, t, ..]
    to [T, ..], where one of their inputs is a view of flat rows: the result of a
    product or an embedding, or of an op that has been moved. Rows that are common
    to all sequences, as those of positions, are looked up for each token.

    ```mlir
    func.func @main(%x: tensor<?x8xf32>, %w: tensor<8xf32>, %b: index, %t: index)
        -> tensor<?x?x8xf32> {
      %c8 = arith.constant 8 : index
      %shape = tensor.from_elements %b, %t, %c8 : tensor<3xindex>
      %y = tensor.reshape %x(%shape)
        : (tensor<?x8xf32>, tensor<3xindex>) -> tensor<?x?x8xf32>
      %z = llm.rms_norm %y, %w {epsilon = 1.0e-05 : f32}
        : (tensor<?x?x8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32>
      return %z : tensor<?x?x8xf32>
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: tensor<?x8xf32>, %arg1: tensor<8xf32>, %arg2: index,
        %arg3: index) -> tensor<?x?x8xf32> {
      %0 = llm.rms_norm %arg0, %arg1 {epsilon = 9.99999974E-6 : f32} :
          (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %c8 = arith.constant 8 : index
      %from_elements = tensor.from_elements %arg2, %arg3, %c8 : tensor<3xindex>
      %reshape = tensor.reshape %0(%from_elements) : (tensor<?x8xf32>,
          tensor<3xindex>) -> tensor<?x?x8xf32>
      return %reshape : tensor<?x?x8xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numFlattened", "num-flattened", "Number of ops moved">
  ];
  let dependentDialects = [
    "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
    "::llmir::llm::LLMDialect"
  ];
}

def RaiseLinear : Pass<"llm-raise-linear", "::mlir::func::FuncOp"> {
  let summary = "Raise products with parameters";
  let description = [{
    Finds `llm.linear` in contractions of a tensor and a parameter of two
    dimensions: matmul, batch_matmul and generics, whatever transposes, broadcasts
    and conversions stand between. Rows become flat, [T, K], for the product. A
    parameter that is [K, N] is asked for transposed. A vector that the sum starts
    from, or that is added to it after, is the product's bias.

    ```mlir
    func.func @main(%x: tensor<2x3x8xf32>) -> tensor<2x3x4xf32> {
      %w = llm.parameter "model"::"w" : tensor<8x4xf32>
      %zero = arith.constant 0.0 : f32
      %flat = tensor.collapse_shape %x [[0, 1], [2]]
        : tensor<2x3x8xf32> into tensor<6x8xf32>
      %empty = tensor.empty() : tensor<6x4xf32>
      %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<6x4xf32>)
        -> tensor<6x4xf32>
      %y = linalg.matmul ins(%flat, %w : tensor<6x8xf32>, tensor<8x4xf32>)
        outs(%init : tensor<6x4xf32>) -> tensor<6x4xf32>
      %z = tensor.expand_shape %y [[0, 1], [2]]
        : tensor<6x4xf32> into tensor<2x3x4xf32>
      return %z : tensor<2x3x4xf32>
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: tensor<2x3x8xf32>) -> tensor<2x3x4xf32> {
      %0 = llm.parameter "model"::"w" transposed : tensor<4x8xf32>
      %collapsed = tensor.collapse_shape %arg0 [[0, 1], [2]] : tensor<2x3x8xf32>
          into tensor<6x8xf32>
      %1 = llm.linear %collapsed, %0 : (tensor<6x8xf32>, tensor<4x8xf32>) ->
          tensor<6x4xf32>
      %expanded = tensor.expand_shape %1 [[0, 1], [2]] : tensor<6x4xf32> into
          tensor<2x3x4xf32>
      return %expanded : tensor<2x3x4xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numRaised", "num-raised", "Number of products raised">,
    Statistic<"numBiases", "num-biases", "Number of biases added to products">
  ];
  let dependentDialects = [
    "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
    "::llmir::llm::LLMDialect"
  ];
}

def RaiseEmbedding : Pass<"llm-raise-embedding", "::mlir::func::FuncOp"> {
  let summary = "Raise gathers of a matrix's rows";
  let description = [{
    Finds `llm.embedding` in generics that take elements of a matrix by a row,
    which is data or computed from the loops, and by the last loop. Indices become
    i32. Those that are not in the table become its first or last row, where the
    generic asserted that there are none.

    ```mlir
    #row = affine_map<(d0, d1) -> (d0)>
    #map = affine_map<(d0, d1) -> (d0, d1)>
    func.func @main(%ids: tensor<5xi64>, %table: tensor<97x64xf32>)
        -> tensor<5x64xf32> {
      %empty = tensor.empty() : tensor<5x64xf32>
      %y = linalg.generic {indexing_maps = [#row, #map],
                           iterator_types = ["parallel", "parallel"]}
          ins(%ids : tensor<5xi64>) outs(%empty : tensor<5x64xf32>) {
      ^bb0(%in: i64, %out: f32):
        %row = arith.index_cast %in : i64 to index
        %column = linalg.index 1 : index
        %0 = tensor.extract %table[%row, %column] : tensor<97x64xf32>
        linalg.yield %0 : f32
      } -> tensor<5x64xf32>
      return %y : tensor<5x64xf32>
    }
    ```

    becomes

    ```mlir
    #map = affine_map<(d0) -> (d0)>
    module {
      func.func @main(%arg0: tensor<5xi64>, %arg1: tensor<97x64xf32>) ->
          tensor<5x64xf32> {
        %0 = tensor.empty() : tensor<5xi32>
        %c0_i64 = arith.constant 0 : i64
        %c96_i64 = arith.constant 96 : i64
        %1 = linalg.generic {indexing_maps = [#map, #map],
                             iterator_types = ["parallel"]}
            ins(%arg0 : tensor<5xi64>) outs(%0 : tensor<5xi32>) {
        ^bb0(%in: i64, %out: i32):
          %3 = arith.maxsi %in, %c0_i64 : i64
          %4 = arith.minsi %3, %c96_i64 : i64
          %5 = arith.trunci %4 : i64 to i32
          linalg.yield %5 : i32
        } -> tensor<5xi32>
        %2 = llm.embedding %1, %arg1 : (tensor<5xi32>, tensor<97x64xf32>) ->
            tensor<5x64xf32>
        return %2 : tensor<5x64xf32>
      }
    }
    ```
  }];
  let statistics = [
    Statistic<"numRaised", "num-raised", "Number of embeddings raised">
  ];
  let dependentDialects = [
    "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
    "::llmir::llm::LLMDialect"
  ];
}

def RaiseActivation : Pass<"llm-raise-activation", "::mlir::func::FuncOp"> {
  let summary = "Raise activation functions, with what they gate";
  let description = [{
    Finds `llm.activation` in elementwise ops, by what they compute: products in
    any order, over any number of ops, of the kinds silu, gelu, gelu_tanh,
    quick_gelu, relu, relu2, sigmoid and tanh. One other factor is what the
    activation gates.

    ```mlir
    #map = affine_map<(d0) -> (d0)>
    func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
      %one = arith.constant 1.0 : f32
      %empty = tensor.empty() : tensor<8xf32>
      %y = linalg.generic {indexing_maps = [#map, #map],
                           iterator_types = ["parallel"]}
          ins(%x : tensor<8xf32>) outs(%empty : tensor<8xf32>) {
      ^bb0(%in: f32, %out: f32):
        %0 = arith.negf %in : f32
        %1 = math.exp %0 : f32
        %2 = arith.addf %1, %one : f32
        %3 = arith.divf %in, %2 : f32
        linalg.yield %3 : f32
      } -> tensor<8xf32>
      return %y : tensor<8xf32>
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: tensor<8xf32>) -> tensor<8xf32> {
      %0 = llm.activation silu %arg0 : (tensor<8xf32>) -> tensor<8xf32>
      return %0 : tensor<8xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numRaised", "num-raised", "Number of activations raised">,
    Statistic<"numGated", "num-gated", "Number of these that gate">
  ];
  let dependentDialects = [
    "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
    "::llmir::llm::LLMDialect"
  ];
}

def RaiseNorm : Pass<"llm-raise-norm", "::mlir::func::FuncOp"> {
  let summary = "Raise RMSNorm and LayerNorm";
  let description = [{
    Finds `llm.rms_norm` and `llm.layer_norm` in elementwise ops and reductions
    along the last dimension, whatever the order of their factors, the ops that
    they are cut into, and the copies, transposes and conversions between these.
    Means are sums divided by, or multiplied with one over, their number; a
    variance is a mean of squared differences, or one of squares less the square
    of the mean. The weight is whatever depends on the last dimension only, also
    `1 + w`, and 1 where there is none. Conversions inside of a norm go: it is
    rounded once.

    ```mlir
    #map = affine_map<(d0, d1) -> (d0, d1)>
    #row = affine_map<(d0, d1) -> (d0)>
    #column = affine_map<(d0, d1) -> (d1)>
    func.func @main(%x: tensor<4x64xf32>, %w: tensor<64xf32>)
        -> tensor<4x64xf32> {
      %zero = arith.constant 0.0 : f32
      %n = arith.constant 64.0 : f32
      %eps = arith.constant 0.5 : f32
      %rows = tensor.empty() : tensor<4xf32>
      %init = linalg.fill ins(%zero : f32) outs(%rows : tensor<4xf32>)
        -> tensor<4xf32>
      %sum = linalg.generic {indexing_maps = [#map, #row],
                             iterator_types = ["parallel", "reduction"]}
          ins(%x : tensor<4x64xf32>) outs(%init : tensor<4xf32>) {
      ^bb0(%in: f32, %out: f32):
        %0 = arith.mulf %in, %in : f32
        %1 = arith.addf %out, %0 : f32
        linalg.yield %1 : f32
      } -> tensor<4xf32>
      %empty = tensor.empty() : tensor<4x64xf32>
      %y = linalg.generic {indexing_maps = [#row, #map, #column, #map],
                           iterator_types = ["parallel", "parallel"]}
          ins(%sum, %x, %w : tensor<4xf32>, tensor<4x64xf32>, tensor<64xf32>)
          outs(%empty : tensor<4x64xf32>) {
      ^bb0(%in: f32, %in_0: f32, %in_1: f32, %out: f32):
        %0 = arith.divf %in, %n : f32
        %1 = arith.addf %0, %eps : f32
        %2 = math.rsqrt %1 : f32
        %3 = arith.mulf %in_0, %2 : f32
        %4 = arith.mulf %in_1, %3 : f32
        linalg.yield %4 : f32
      } -> tensor<4x64xf32>
      return %y : tensor<4x64xf32>
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: tensor<4x64xf32>, %arg1: tensor<64xf32>) ->
        tensor<4x64xf32> {
      %0 = llm.rms_norm %arg0, %arg1 {epsilon = 5.000000e-01 : f32} :
          (tensor<4x64xf32>, tensor<64xf32>) -> tensor<4x64xf32>
      return %0 : tensor<4x64xf32>
    }
    ```
  }];
  let statistics = [
    Statistic<"numRMSNorms", "num-rms-norms", "Number of RMSNorms raised">,
    Statistic<"numLayerNorms", "num-layer-norms", "Number of LayerNorms raised">
  ];
  let dependentDialects = [
    "::mlir::affine::AffineDialect", "::mlir::arith::ArithDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect",
    "::llmir::llm::LLMDialect"
  ];
}

def OutlineLayers : Pass<"llm-outline-layers", "::mlir::ModuleOp"> {
  let summary = "Make functions of equal layers";
  let description = [{
    Finds what repeats among the ops that depend on tokens, and makes a private
    function of each distinct repetition, which is called once a layer. Layers are
    cut where the fewest values go from one to the next. What differs between
    layers, parameters above all, becomes an argument, and so does what all of them
    read; sizes, constants and empty tensors are made in the function. What does
    not depend on tokens' states moves before the layers. A layer has two products
    at least.

    ```mlir
    func.func @main(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
      %a0 = llm.parameter "model"::"0.a" : tensor<4x8xf32>
      %b0 = llm.parameter "model"::"0.b" : tensor<8x4xf32>
      %a1 = llm.parameter "model"::"1.a" : tensor<4x8xf32>
      %b1 = llm.parameter "model"::"1.b" : tensor<8x4xf32>
      %0 = llm.linear %x, %a0
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
      %1 = llm.linear %0, %b0
        : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
      %2 = llm.linear %1, %a1
        : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
      %3 = llm.linear %2, %b1
        : (tensor<?x4xf32>, tensor<8x4xf32>) -> tensor<?x8xf32>
      return %3 : tensor<?x8xf32>
    }
    ```

    becomes

    ```mlir
    module {
      func.func private @layer(%arg0: tensor<?x8xf32>, %arg1: tensor<4x8xf32>,
          %arg2: tensor<8x4xf32>) -> tensor<?x8xf32> {
        %0 = llm.linear %arg0, %arg1 : (tensor<?x8xf32>, tensor<4x8xf32>) ->
            tensor<?x4xf32>
        %1 = llm.linear %0, %arg2 : (tensor<?x4xf32>, tensor<8x4xf32>) ->
            tensor<?x8xf32>
        return %1 : tensor<?x8xf32>
      }
      func.func @main(%arg0: tensor<?x8xf32>) -> tensor<?x8xf32> {
        %0 = llm.parameter "model"::"0.a" : tensor<4x8xf32>
        %1 = llm.parameter "model"::"0.b" : tensor<8x4xf32>
        %2 = llm.parameter "model"::"1.a" : tensor<4x8xf32>
        %3 = llm.parameter "model"::"1.b" : tensor<8x4xf32>
        %4 = call @layer(%arg0, %0, %1) : (tensor<?x8xf32>, tensor<4x8xf32>,
            tensor<8x4xf32>) -> tensor<?x8xf32>
        %5 = call @layer(%4, %2, %3) : (tensor<?x8xf32>, tensor<4x8xf32>,
            tensor<8x4xf32>) -> tensor<?x8xf32>
        return %5 : tensor<?x8xf32>
      }
    }
    ```
  }];
  let statistics = [
    Statistic<"numFunctions", "num-functions", "Number of functions made">,
    Statistic<"numCalls", "num-calls", "Number of layers that call them">
  ];
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

def AssignParameters : Pass<"llm-assign-parameters", "::mlir::ModuleOp"> {
  let summary = "Give every parameter its place in the weight file";
  let description = [{
    Replaces parameters and RoPE tables by views of one buffer of weights, which
    becomes the step's last argument. The module's attribute `llm.weights` then
    lists what stands where.

    ```mlir
    func.func @step() -> (tensor<3xf32>, tensor<2xbf16>) {
      %a = llm.parameter "model"::"a" : tensor<3xf32>
      %b = llm.parameter "model"::"b" : tensor<2xbf16>
      return %a, %b : tensor<3xf32>, tensor<2xbf16>
    }
    ```

    becomes

    ```mlir
    module attributes {
      llm.weights = [
        {bytes = 12 : i64, keys = ["a"], offset = 0 : i64, scope = "model",
         sources = [tensor<3xf32>], type = tensor<3xf32>},
        {bytes = 4 : i64, keys = ["b"], offset = 64 : i64, scope = "model",
         sources = [tensor<2xbf16>], type = tensor<2xbf16>}
      ],
      llm.weights_bytes = 4096 : i64
    } {
      func.func @step(%arg0: memref<?xi8>) -> (tensor<3xf32>, tensor<2xbf16>) {
        %c0 = arith.constant 0 : index
        %view = memref.view %arg0[%c0][] : memref<?xi8> to memref<3xf32>
        %0 = bufferization.to_tensor %view restrict : memref<3xf32>
        %c64 = arith.constant 64 : index
        %view_0 = memref.view %arg0[%c64][] : memref<?xi8> to memref<2xbf16>
        %1 = bufferization.to_tensor %view_0 restrict : memref<2xbf16>
        return %0, %1 : tensor<3xf32>, tensor<2xbf16>
      }
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::bufferization::BufferizationDialect",
    "::mlir::memref::MemRefDialect"
  ];
}

def PassDestinations : Pass<"llm-pass-destinations", "::mlir::ModuleOp"> {
  let summary = "Give functions the buffers of their results";
  let description = [{
    A tensor that a function makes and returns would be allocated on every call.
    This pass appends an argument for each such result and makes the function
    write there; the public step takes it as a memref. A result that is part of
    another tensor is copied.

    ```mlir
    func.func @product(%x: tensor<?x4xf32>, %w: tensor<1x4x32xf32>)
        -> tensor<?x8xf32> {
      %c0 = arith.constant 0 : index
      %t = tensor.dim %x, %c0 : tensor<?x4xf32>
      %empty = tensor.empty(%t) : tensor<?x8xf32>
      %y = llm.call_kernel linear ins(%x, %w : tensor<?x4xf32>, tensor<1x4x32xf32>)
             outs(%empty : tensor<?x8xf32>) -> tensor<?x8xf32>
      return %y : tensor<?x8xf32>
    }
    ```

    becomes

    ```mlir
    func.func @product(%arg0: tensor<?x4xf32>, %arg1: tensor<1x4x32xf32>, %arg2:
        tensor<?x8xf32>) -> tensor<?x8xf32> {
      %c0 = arith.constant 0 : index
      %dim = tensor.dim %arg0, %c0 : tensor<?x4xf32>
      %0 = tensor.empty(%dim) : tensor<?x8xf32>
      %1 = llm.call_kernel linear ins(%arg0, %arg1 : tensor<?x4xf32>,
          tensor<1x4x32xf32>) outs(%arg2 : tensor<?x8xf32>) -> tensor<?x8xf32>
      return %1 : tensor<?x8xf32>
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::bufferization::BufferizationDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"
  ];
}

def VectorizeRows : Pass<"llm-vectorize-rows", "::mlir::func::FuncOp"> {
  let summary = "Fuse row-wise linalg ops into parallel loops of vector code";
  let description = [{
    Works on buffers. Neighbouring linalg ops whose outermost loop is parallel
    and of the same extent become one `scf.forall` over rows, in which each op
    is a loop nest with its innermost dimension in vectors. A row stays in cache
    from one op to the next. Reductions run in one fixed order: lane by lane,
    then the lanes pairwise. A copy between parts of rows is such an op too. The
    bodies of loops and conditions are treated alike.

    ```mlir
    #all = affine_map<(d0, d1) -> (d0, d1)>
    func.func @double(%x: memref<?x64xf32>, %y: memref<?x64xf32>) {
      linalg.generic {indexing_maps = [#all, #all],
                      iterator_types = ["parallel", "parallel"]}
          ins(%x : memref<?x64xf32>) outs(%y : memref<?x64xf32>) {
      ^bb0(%a: f32, %b: f32):
        %sum = arith.addf %a, %a : f32
        linalg.yield %sum : f32
      }
      return
    }
    ```

    becomes

    ```mlir
    func.func @double(%arg0: memref<?x64xf32>, %arg1: memref<?x64xf32>) {
      %c0 = arith.constant 0 : index
      %dim = memref.dim %arg1, %c0 : memref<?x64xf32>
      scf.forall (%arg2) in (%dim) {
        %c0_0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c64 = arith.constant 64 : index
        %c32 = arith.constant 32 : index
        scf.for %arg3 = %c0_0 to %c64 step %c32 {
          %0 = vector.load %arg0[%arg2, %arg3] : memref<?x64xf32>,
              vector<32xf32>
          %1 = arith.addf %0, %0 : vector<32xf32>
          vector.store %1, %arg1[%arg2, %arg3] : memref<?x64xf32>,
              vector<32xf32>
        }
      }
      return
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
    "::mlir::vector::VectorDialect"
  ];
}

def PlanArena : Pass<"llm-plan-arena", "::mlir::ModuleOp"> {
  let summary = "Place every buffer of a step in one arena";
  let description = [{
    Buffers are sized by the number of tokens, which `max-batch-tokens` bounds,
    so each gets a fixed place; buffers that are never alive together share one,
    and so do the turns of a loop.
    The frame of a function lies behind those of its callers. The arena becomes
    an argument of every function; its size, the attribute `llm.arena_bytes`.

    ```mlir
    // llmir-opt --llm-plan-arena=max-batch-tokens=16
    func.func @step(%t: index, %out: memref<?x8xf32>) {
      %a = memref.alloc(%t) : memref<?x8xf32>
      llm.call_kernel linear ins() outs(%a : memref<?x8xf32>)
      %b = memref.alloc(%t) : memref<?x8xf32>
      llm.call_kernel linear ins(%a : memref<?x8xf32>) outs(%b : memref<?x8xf32>)
      llm.call_kernel linear ins(%b : memref<?x8xf32>) outs(%out : memref<?x8xf32>)
      return
    }
    ```

    becomes

    ```mlir
    module attributes {llm.arena_bytes = 1024 : i64, llm.max_batch_tokens = 16 :
        i64} {
      func.func @step(%arg0: index, %arg1: memref<?x8xf32>, %arg2:
          memref<?xi8>) {
        %c0 = arith.constant 0 : index
        %view = memref.view %arg2[%c0][%arg0] : memref<?xi8> to memref<?x8xf32>
        llm.call_kernel linear ins() outs(%view : memref<?x8xf32>)
        %c512 = arith.constant 512 : index
        %view_0 = memref.view %arg2[%c512][%arg0] : memref<?xi8> to
            memref<?x8xf32>
        llm.call_kernel linear ins(%view : memref<?x8xf32>) outs(%view_0 :
            memref<?x8xf32>)
        llm.call_kernel linear ins(%view_0 : memref<?x8xf32>) outs(%arg1 :
            memref<?x8xf32>)
        return
      }
    }
    ```
  }];
  let options = [
    Option<"maxBatchTokens", "max-batch-tokens", "int64_t", "512",
           "The most tokens that one step takes">
  ];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"
  ];
}

def OutlineRows : Pass<"llm-outline-rows", "::mlir::ModuleOp"> {
  let summary = "Turn parallel row loops into functions that the runtime calls";
  let description = [{
    Each outermost `scf.forall` over rows becomes a function of its captures and
    of a range of rows, and a call of the runtime's `parallel_for`, which is told how
    many elements the work on a row loads and stores.

    ```mlir
    func.func @step(%n: index, %x: memref<?x8xf32>, %zeros: vector<8xf32>) {
      %c0 = arith.constant 0 : index
      scf.forall (%r) in (%n) {
        vector.store %zeros, %x[%r, %c0] : memref<?x8xf32>, vector<8xf32>
      }
      return
    }
    ```

    becomes

    ```mlir
    func.func private @step_rows_0(%arg0: !llvm.ptr, %arg1: i64, %arg2: i64)
        attributes {llm.row_loop} {
      ...
      scf.for %arg3 = %4 to %5 step %c1 {
        %c0 = arith.constant 0 : index
        vector.store %1, %3[%arg3, %c0] : memref<?x8xf32>, vector<8xf32>
      }
      return
    }
    func.func @step(%arg0: index, %arg1: memref<?x8xf32>, %arg2: vector<8xf32>) {
      ...
      %f = constant @step_rows_0 : (!llvm.ptr, i64, i64) -> ()
      %c8 = arith.constant 8 : index
      llm.call_kernel parallel_for ins(%f, %1, %arg0, %c8 :
          (!llvm.ptr, i64, i64) -> (), !llvm.ptr, index, index)
      return
    }
    ```
  }];
  let dependentDialects = [
    "::llmir::llm::LLMDialect", "::mlir::arith::ArithDialect",
    "::mlir::func::FuncDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::scf::SCFDialect"
  ];
}

def ExpandBF16 : Pass<"llm-expand-bf16"> {
  let summary = "Lower bf16 conversions to integer arithmetic";
  let description = [{
    Widening is a shift; narrowing rounds to nearest even and keeps NaN. Arithmetic
    in bf16 happens in f32 and is rounded. LLVM 18 aborts on some vectors of bf16
    and misrounds others.

    ```mlir
    func.func @widen(%x: bf16) -> f32 {
      %y = arith.extf %x : bf16 to f32
      return %y : f32
    }
    ```

    becomes

    ```mlir
    func.func @widen(%arg0: bf16) -> f32 {
      %c16_i32 = arith.constant 16 : i32
      %0 = arith.bitcast %arg0 : bf16 to i16
      %1 = arith.extui %0 : i16 to i32
      %2 = arith.shli %1, %c16_i32 : i32
      %3 = arith.bitcast %2 : i32 to f32
      return %3 : f32
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def LowerVectorMath : Pass<"llm-lower-vector-math"> {
  let summary = "Lower math functions to polynomials, on vectors and scalars";
  let description = [{
    exp, tanh, erf and others in f32 become polynomials that are accurate to about
    1e-7, with explicit fused multiply-adds, so that compiled code calls no library
    and gives the same bits wherever it runs. Angles of sines and cosines are reduced
    in f64, and may be as large as positions are. Powers with small constant exponents
    become products and roots.

    ```mlir
    func.func @exponential(%x: vector<16xf32>) -> vector<16xf32> {
      %y = math.exp %x : vector<16xf32>
      return %y : vector<16xf32>
    }
    ```

    becomes

    ```mlir
    func.func @exponential(%arg0: vector<16xf32>) -> vector<16xf32> {
      ...
      %12 = math.fma %11, %cst_9, %cst_10 : vector<16xf32>
      %13 = math.fma %12, %11, %cst_11 : vector<16xf32>
      ...
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::math::MathDialect",
    "::mlir::vector::VectorDialect"
  ];
}

def ConvertLLMToLLVM : Pass<"convert-llm-to-llvm", "::mlir::ModuleOp"> {
  let summary = "Lower a bufferized step to the LLVM dialect";
  let description = [{
    Lowers kernel calls to calls through the runtime's table of functions, which
    every function receives, together with everything else that is left. Exports
    the C entry point of the step.

    ```mlir
    !kv = !llm.paged_kv_cache<f32, 1, 2, 4, 16, 64>
    func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>,
                    %slots: memref<?xi32>, %block_table: memref<?x?xi32>,
                    %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                    %logit_rows: memref<?xi32>, %kv: !kv, %weights: memref<?xi8>,
                    %logits: memref<?x8xf32>, %arena: memref<?xi8>) {
      %c0 = arith.constant 0 : index
      %x = memref.view %arena[%c0][] : memref<?xi8> to memref<2x4xf32>
      %w = memref.view %weights[%c0][] : memref<?xi8> to memref<1x4x32xf32>
      llm.call_kernel linear ins(%x, %w : memref<2x4xf32>, memref<1x4x32xf32>)
        outs(%logits : memref<?x8xf32>)
      return
    }
    ```

    becomes

    ```mlir
    llvm.mlir.global external constant @llmir_abi_version(...
    llvm.func internal @step(...%arg55: !llvm.ptr) attributes
        {passthrough = ["no-builtins", "noinline"]} {
      ...
      // The tensors' descriptors, and the function from the table %arg55.
      llvm.call ...(...) : !llvm.ptr, (!llvm.ptr, ...) -> ()
      llvm.return
    }
    llvm.func @llmir_step(%arg0: !llvm.ptr, %arg1: !llvm.ptr) ... {
      ...
      llvm.call @step(...%arg0) : (...) -> ()
      llvm.return
    }
    ```
  }];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect"];
}

def PrepareFunction : Pass<"llm-prepare-function", "::mlir::ModuleOp"> {
  let summary = "Check a function of tensors, and bring it into one piece";
  let description = [{
    What is compiled as a function is `@main`, of tensors and scalars, to tensors;
    its weights are of the scope `model`, and there is no cache. This pass checks
    that, puts the functions that it calls in their places, and makes sure of what
    can only be known in a call: the indices of an `llm.embedding` are compared
    with the rows of its table, and assertions in the body of a `linalg.generic`
    move before it, over the loops that they depend on. Sizes of reshaped tensors
    and concatenations become simpler ops, and the arguments are marked as not to
    be written to.

    ```mlir
    func.func @main(%ids: tensor<?xi32>, %table: tensor<8x4xf32>)
        -> tensor<?x4xf32> {
      %y = llm.embedding %ids, %table
        : (tensor<?xi32>, tensor<8x4xf32>) -> tensor<?x4xf32>
      return %y : tensor<?x4xf32>
    }
    ```

    becomes

    ```mlir
    #map = affine_map<(d0) -> (d0)>
    #map1 = affine_map<(d0) -> ()>
    module {
      func.func @main(%arg0: tensor<?xi32> {bufferization.writable = false}, %arg1:
          tensor<8x4xf32> {bufferization.writable = false}) -> tensor<?x4xf32> {
        %c8_i32 = arith.constant 8 : i32
        %cst = arith.constant dense<true> : tensor<i1>
        %0 = linalg.generic {indexing_maps = [#map, #map1], iterator_types =
            ["reduction"]} ins(%arg0 : tensor<?xi32>) outs(%cst : tensor<i1>) {
        ^bb0(%in: i32, %out: i1):
          %2 = arith.cmpi ult, %in, %c8_i32 : i32
          %3 = arith.andi %2, %out : i1
          linalg.yield %3 : i1
        } -> tensor<i1>
        %extracted = tensor.extract %0[] : tensor<i1>
        cf.assert %extracted, "an index of an embedding is not one of its 8 rows"
        %1 = llm.embedding %arg0, %arg1 : (tensor<?xi32>, tensor<8x4xf32>) ->
            tensor<?x4xf32>
        return %1 : tensor<?x4xf32>
      }
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
    "::mlir::linalg::LinalgDialect", "::mlir::tensor::TensorDialect"
  ];
}

def StoreBooleans : Pass<"llm-store-booleans", "::mlir::func::FuncOp"> {
  let summary = "Give tensors of booleans a byte for each";
  let description = [{
    In memory a boolean is a byte, 0 or 1. Tensors of `i1` become tensors of `i8`;
    elements are narrowed where they are read and widened where they are written.

    ```mlir
    #all = affine_map<(d0) -> (d0)>
    func.func @main(%x: tensor<?xf32>, %out: tensor<?xi1>) -> tensor<?xi1> {
      %zero = arith.constant 0.0 : f32
      %y = linalg.generic {indexing_maps = [#all, #all],
                           iterator_types = ["parallel"]}
          ins(%x : tensor<?xf32>) outs(%out : tensor<?xi1>) {
      ^bb0(%a: f32, %b: i1):
        %c = arith.cmpf ogt, %a, %zero : f32
        linalg.yield %c : i1
      } -> tensor<?xi1>
      return %y : tensor<?xi1>
    }
    ```

    becomes

    ```mlir
    #map = affine_map<(d0) -> (d0)>
    module {
      func.func @main(%arg0: tensor<?xf32>, %arg1: tensor<?xi8>) -> tensor<?xi8> {
        %cst = arith.constant 0.000000e+00 : f32
        %0 = linalg.generic {indexing_maps = [#map, #map], iterator_types =
            ["parallel"]} ins(%arg0 : tensor<?xf32>) outs(%arg1 : tensor<?xi8>) {
        ^bb0(%in: f32, %out: i8):
          %1 = arith.cmpf ogt, %in, %cst : f32
          %2 = arith.extui %1 : i1 to i8
          linalg.yield %2 : i8
        } -> tensor<?xi8>
        return %0 : tensor<?xi8>
      }
    }
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect"];
}

def ReshapeBuffers : Pass<"llm-reshape-buffers", "::mlir::func::FuncOp"> {
  let summary = "Turn reshapes by shapes in memory into views";
  let description = [{
    A `memref.reshape` takes its sizes from memory. Where they have been stored
    there just before, this pass makes a view of the buffer with these sizes, so
    that what comes after sees where they come from.

    ```mlir
    func.func @main(%x: memref<?x64xf32>, %b: index, %t: index)
        -> memref<?x?x64xf32> {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c2 = arith.constant 2 : index
      %c64 = arith.constant 64 : index
      %shape = memref.alloc() : memref<3xindex>
      memref.store %b, %shape[%c0] : memref<3xindex>
      memref.store %t, %shape[%c1] : memref<3xindex>
      memref.store %c64, %shape[%c2] : memref<3xindex>
      %y = memref.reshape %x(%shape)
        : (memref<?x64xf32>, memref<3xindex>) -> memref<?x?x64xf32>
      return %y : memref<?x?x64xf32>
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: memref<?x64xf32>, %arg1: index, %arg2: index) ->
        memref<?x?x64xf32> {
      ...
      %0 = arith.muli %c64_0, %arg2 : index
      %reinterpret_cast = memref.reinterpret_cast %arg0 to offset: [0], sizes:
          [%arg1, %arg2, 64], strides: [%0, 64, 1] : memref<?x64xf32> to
          memref<?x?x64xf32>
      return %reinterpret_cast : memref<?x?x64xf32>
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"
  ];
}

def ReturnResults : Pass<"llm-return-results", "::mlir::func::FuncOp"> {
  let summary = "Give each result of a function memory of its own";
  let description = [{
    The caller keeps a function's results. An allocation that is returned gets the
    attribute `llm.result` with the number of the result; what is returned twice, or
    is an argument, a weight, or part of something, is copied.

    ```mlir
    func.func @main(%x: memref<?xf32>) -> memref<?xf32> {
      return %x : memref<?xf32>
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: memref<?xf32>) -> memref<?xf32> {
      %c0 = arith.constant 0 : index
      %dim = memref.dim %arg0, %c0 : memref<?xf32>
      %alloc = memref.alloc(%dim) {llm.result = 0 : i64} : memref<?xf32>
      memref.copy %arg0, %alloc : memref<?xf32> to memref<?xf32>
      return %alloc : memref<?xf32>
    }
    ```
  }];
  let dependentDialects = [
    "::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect"
  ];
}

def ReleaseBuffers : Pass<"llm-release-buffers", "::mlir::func::FuncOp"> {
  let summary = "Give buffers back after their last use";
  let description = [{
    Puts a `memref.dealloc` behind the last use of each allocation but results. A
    buffer that gets another name, as a loop's result does, stays until the call is
    over, when the runtime takes everything back.

    ```mlir
    func.func @main(%n: index, %y: memref<?x8xf32>) {
      %a = memref.alloc(%n) : memref<?x8xf32>
      llm.call_kernel linear ins() outs(%a : memref<?x8xf32>)
      llm.call_kernel linear ins(%a : memref<?x8xf32>) outs(%y : memref<?x8xf32>)
      llm.call_kernel linear ins() outs(%y : memref<?x8xf32>)
      return
    }
    ```

    becomes

    ```mlir
    func.func @main(%arg0: index, %arg1: memref<?x8xf32>) {
      %alloc = memref.alloc(%arg0) : memref<?x8xf32>
      llm.call_kernel linear ins() outs(%alloc : memref<?x8xf32>)
      llm.call_kernel linear ins(%alloc : memref<?x8xf32>) outs(%arg1 :
          memref<?x8xf32>)
      memref.dealloc %alloc : memref<?x8xf32>
      llm.call_kernel linear ins() outs(%arg1 : memref<?x8xf32>)
      return
    }
    ```
  }];
  let dependentDialects = ["::mlir::memref::MemRefDialect"];
}

#endif // LLMIR_CONVERSION_PASSES_TD
