// RUN: llmir-opt %s -split-input-file --llm-raise-rope | FileCheck %s

// The first half of a head with the second.
// CHECK-LABEL: func.func @halves(
// CHECK: %[[T:.*]] = llm.rope_table frequencies %arg1 : (tensor<4xf32>) -> tensor<8x2x4xf32>
// CHECK: llm.rope %arg0, %[[T]], %{{.*}} : (tensor<8x4x8xf32>
// CHECK-NOT: math.cos
func.func @halves(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// Pairs side by side, by slices with steps and a stack.
// CHECK-LABEL: func.func @neighbours(
// CHECK: %[[T:.*]] = llm.rope_table frequencies %arg1 : (tensor<4xf32>) -> tensor<8x2x4xf32>
// CHECK: llm.rope %arg0, %[[T]], %{{.*}} {interleaved} : (tensor<8x4x8xf32>
func.func @neighbours(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 2]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 1] [8, 4, 4] [1, 1, 2]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %ones = tensor.expand_shape %one [[0], [1], [2, 3]]
    : tensor<8x4x4xf32> into tensor<8x4x4x1xf32>
  %twos = tensor.expand_shape %two [[0], [1], [2, 3]]
    : tensor<8x4x4xf32> into tensor<8x4x4x1xf32>
  %pairs = tensor.concat dim(3) %ones, %twos
    : (tensor<8x4x4x1xf32>, tensor<8x4x4x1xf32>) -> tensor<8x4x4x2xf32>
  %y = tensor.collapse_shape %pairs [[0], [1], [2, 3]]
    : tensor<8x4x4x2xf32> into tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// What is not rotated comes last, and is part of the op.
// CHECK-LABEL: func.func @partial(
// CHECK: %[[T:.*]] = llm.rope_table frequencies %arg1 : (tensor<4xf32>) -> tensor<8x2x4xf32>
// CHECK: llm.rope %arg0, %[[T]], %{{.*}} : (tensor<8x4x10xf32>
func.func @partial(%x: tensor<8x4x10xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x10xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x10xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x10xf32> to tensor<8x4x4xf32>
  %rest = tensor.extract_slice %x[0, 0, 8] [8, 4, 2] [1, 1, 1]
    : tensor<8x4x10xf32> to tensor<8x4x2xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two, %rest
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>, tensor<8x4x2xf32>) -> tensor<8x4x10xf32>
  return %y : tensor<8x4x10xf32>
}

// -----

// Cosines and sines that are scaled, as yarn and longrope have them.
// CHECK-LABEL: func.func @scaled(
// CHECK: llm.rope_table frequencies %arg1 {attention_factor = 1.250000e+00 : f64}
// CHECK: llm.rope %arg0
func.func @scaled(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %factor = arith.constant dense<1.25> : tensor<8x4xf32>
  %c1 = arith.mulf %c, %factor : tensor<8x4xf32>
  %s1 = arith.mulf %factor, %s : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c1 : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s1 : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// Positions that have no bound: a row of the table for each token, and no
// llm.rope_table.
// CHECK-LABEL: func.func @given_positions(
// CHECK-NOT: llm.rope_table
// CHECK: math.cos
// CHECK: llm.rope %arg0
func.func @given_positions(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>, %ids: tensor<8xi64>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = tensor.extract %ids[%t] : tensor<8xi64>
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// The other way round is another rotation.
// CHECK-LABEL: func.func @backwards(
// CHECK-NOT: llm.rope
func.func @backwards(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.addf %p, %q : tensor<8x4x4xf32>
  %two = arith.subf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// This is no rotation.
// CHECK-LABEL: func.func @both_minus(
// CHECK-NOT: llm.rope
func.func @both_minus(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.subf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// Nor is this.
// CHECK-LABEL: func.func @cosine_twice(
// CHECK-NOT: llm.rope
func.func @cosine_twice(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// Pairs side by side whose results are not.
// CHECK-LABEL: func.func @halves_of_neighbours(
// CHECK-NOT: llm.rope
func.func @halves_of_neighbours(%x: tensor<8x4x8xf32>, %f: tensor<4xf32>)
    -> tensor<8x4x8xf32> {
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {
        indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>],
        iterator_types = ["parallel", "parallel"]}
      ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>)
    outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 2]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 1] [8, 4, 4] [1, 1, 2]
    : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cos : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sin : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %y = tensor.concat dim(2) %one, %two
    : (tensor<8x4x4xf32>, tensor<8x4x4xf32>) -> tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}

// -----

// The two halves of a head turn by different angles, one of them by none.
// CHECK-LABEL: func @two_frequencies
// CHECK-NOT: llm.rope 
func.func @two_frequencies(%x: tensor<8x4x8xf32>) -> tensor<8x4x8xf32> {
  %f = arith.constant dense<[0.0, 0.5, 0.25, 0.125]> : tensor<4xf32>
  %g = arith.constant dense<[0.75, 0.5, 0.25, 0.125]> : tensor<4xf32>
  %rowsg = tensor.empty() : tensor<8x4xf32>
  %anglesg = linalg.generic {indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>], iterator_types = ["parallel", "parallel"]} ins(%g : tensor<4xf32>) outs(%rowsg : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %cg = math.cos %anglesg : tensor<8x4xf32>
  %sg = math.sin %anglesg : tensor<8x4xf32>
  %roomg = tensor.empty() : tensor<8x4x4xf32>
  %cosg = linalg.broadcast ins(%cg : tensor<8x4xf32>) outs(%roomg : tensor<8x4x4xf32>) dimensions = [1]
  %sing = linalg.broadcast ins(%sg : tensor<8x4xf32>) outs(%roomg : tensor<8x4x4xf32>) dimensions = [1]
  %rows = tensor.empty() : tensor<8x4xf32>
  %angles = linalg.generic {indexing_maps = [affine_map<(t, d) -> (d)>, affine_map<(t, d) -> (t, d)>], iterator_types = ["parallel", "parallel"]} ins(%f : tensor<4xf32>) outs(%rows : tensor<8x4xf32>) {
  ^bb0(%frequency: f32, %out: f32):
    %t = linalg.index 0 : index
    %i = arith.index_cast %t : index to i64
    %position = arith.sitofp %i : i64 to f32
    %angle = arith.mulf %frequency, %position : f32
    linalg.yield %angle : f32
  } -> tensor<8x4xf32>
  %c = math.cos %angles : tensor<8x4xf32>
  %s = math.sin %angles : tensor<8x4xf32>
  %room = tensor.empty() : tensor<8x4x4xf32>
  %cos = linalg.broadcast ins(%c : tensor<8x4xf32>) outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %sin = linalg.broadcast ins(%s : tensor<8x4xf32>) outs(%room : tensor<8x4x4xf32>) dimensions = [1]
  %a = tensor.extract_slice %x[0, 0, 0] [8, 4, 4] [1, 1, 1] : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %b = tensor.extract_slice %x[0, 0, 4] [8, 4, 4] [1, 1, 1] : tensor<8x4x8xf32> to tensor<8x4x4xf32>
  %p = arith.mulf %a, %cos : tensor<8x4x4xf32>
  %q = arith.mulf %sin, %b : tensor<8x4x4xf32>
  %r = arith.mulf %b, %cosg : tensor<8x4x4xf32>
  %w = arith.mulf %a, %sing : tensor<8x4x4xf32>
  %one = arith.subf %p, %q : tensor<8x4x4xf32>
  %two = arith.addf %r, %w : tensor<8x4x4xf32>
  %ye = tensor.empty() : tensor<8x4x8xf32>
  %y0 = tensor.insert_slice %one into %ye[0,0,0][8,4,4][1,1,1] : tensor<8x4x4xf32> into tensor<8x4x8xf32>
  %y = tensor.insert_slice %two into %y0[0,0,4][8,4,4][1,1,1] : tensor<8x4x4xf32> into tensor<8x4x8xf32>
  return %y : tensor<8x4x8xf32>
}
