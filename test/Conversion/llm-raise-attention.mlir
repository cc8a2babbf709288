// RUN: llmir-opt %s -split-input-file --llm-raise-attention | FileCheck %s

// Scores as they come: every query sees every key. Heads are dimensions of
// the product's batch.
// CHECK-LABEL: func.func @plain(
// CHECK: llm.attention %{{.*}}, %{{.*}}, %{{.*}} {scale = 1.000000e+00 : f32}
// CHECK-SAME: -> tensor<1x8x4x16xf32>
// CHECK-NOT: linalg.batch_matmul
func.func @plain(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
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

// -----

// Queries and keys share the scale; 0.5 * 0.5 is that of 16 dimensions.
// CHECK-LABEL: func.func @scaled(
// CHECK: llm.attention %{{.*}} {scale = 2.500000e-01 : f32}
func.func @scaled(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %half = arith.constant dense<0.5> : tensor<4x8x16xf32>
  %qs = arith.mulf %half, %q : tensor<4x8x16xf32>
  %ks = arith.mulf %k, %half : tensor<4x8x16xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%qs, %ks : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
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

// -----

// A mask of positions.
// CHECK-LABEL: func.func @causal(
// CHECK: llm.attention %{{.*}} {causal, scale
func.func @causal(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %y = arith.cmpi sle, %j, %i : index
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.select %seen, %scores, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// Where every query sees itself, a finite score hides as well as none does.
// CHECK-LABEL: func.func @causal_finite(
// CHECK: llm.attention %{{.*}} {causal, scale
func.func @causal_finite(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %y = arith.cmpi sle, %j, %i : index
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %min = arith.constant dense<-3.40282347E+38> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %bias = arith.select %seen, %zeros, %min : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %masked = arith.addf %bias, %scores : tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// Two conditions on positions, the one written from the other side.
// CHECK-LABEL: func.func @window(
// CHECK: llm.attention %{{.*}} {causal, scale = {{.*}}, window = 3 : i64}
func.func @window(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %c3 = arith.constant 3 : index
    %first = arith.subi %i, %c3 : index
    %near = arith.cmpi slt, %first, %j : index
    %past = arith.cmpi sge, %i, %j : index
    %y = arith.andi %near, %past : i1
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.select %seen, %scores, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// i - 3 itself is seen, which makes four.
// CHECK-LABEL: func.func @window_with_its_edge(
// CHECK: llm.attention %{{.*}} {causal, scale = {{.*}}, window = 4 : i64}
func.func @window_with_its_edge(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %c3 = arith.constant 3 : index
    %first = arith.subi %i, %c3 : index
    %near = arith.cmpi sle, %first, %j : index
    %past = arith.cmpi sge, %i, %j : index
    %y = arith.andi %near, %past : i1
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.select %seen, %scores, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// Keys before the query alone: no attribute says that, so it stays a mask.
// CHECK-LABEL: func.func @off_by_one(
// CHECK: arith.cmpi sge
// CHECK: llm.attention %{{.*}}, %{{.*}}, %{{.*}} mask %{{.*}} {scale = 1.000000e+00 : f32}
// CHECK-SAME: tensor<1x1x8x8xi1>
func.func @off_by_one(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %y = arith.cmpi slt, %j, %i : index
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.select %seen, %scores, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// A window that looks ahead is a mask.
// CHECK-LABEL: func.func @window_only(
// CHECK: llm.attention %{{.*}} mask %{{.*}} {scale
func.func @window_only(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %c3 = arith.constant 3 : index
    %first = arith.subi %i, %c3 : index
    %y = arith.cmpi sgt, %j, %first : index
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.select %seen, %scores, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// What attributes cannot say is the operand, and nothing else is.
// CHECK-LABEL: func.func @padding(
// CHECK-NOT: arith.cmpi
// CHECK: llm.attention %{{.*}} mask %{{.*}} {causal, scale
// CHECK-SAME: tensor<1x1x8x8xi1>
func.func @padding(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>, %mask: tensor<8x8xi1>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %y = arith.cmpi sle, %j, %i : index
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %wide = linalg.broadcast ins(%mask : tensor<8x8xi1>)
    outs(%none : tensor<4x8x8xi1>) dimensions = [0]
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %both = arith.andi %wide, %seen : tensor<4x8x8xi1>
  %masked = arith.select %both, %scores, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// A query that sees no key of a finite mask weighs all of them alike: the mask
// stays whole, numbers and all.
// CHECK-LABEL: func.func @padding_finite(
// CHECK: arith.cmpi sge
// CHECK: arith.constant -3.40282347E+38 : f32
// CHECK: llm.attention %{{.*}} mask %{{.*}} {scale
// CHECK-SAME: tensor<1x1x8x8xf32>
func.func @padding_finite(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>, %mask: tensor<8x8xi1>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %y = arith.cmpi sle, %j, %i : index
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %wide = linalg.broadcast ins(%mask : tensor<8x8xi1>)
    outs(%none : tensor<4x8x8xi1>) dimensions = [0]
  %min = arith.constant dense<-3.40282347E+38> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %both = arith.andi %wide, %seen : tensor<4x8x8xi1>
  %bias = arith.select %both, %zeros, %min : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %masked = arith.addf %scores, %bias : tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// A mask of numbers is added as it is.
// CHECK-LABEL: func.func @added(
// CHECK: llm.attention %{{.*}} mask %{{.*}} {scale
// CHECK-SAME: tensor<1x4x8x8xf32>
func.func @added(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>, %mask: tensor<4x8x8xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.addf %mask, %scores : tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// Rows without a key yield 0 here, and NaN in llm.attention: a select follows.
// CHECK-LABEL: func.func @zero_where_blind(
// CHECK: llm.attention %{{.*}} mask %{{.*}} {scale
// CHECK: arith.ori
// CHECK: arith.select
func.func @zero_where_blind(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>, %mask: tensor<8x8xi1>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %wide = linalg.broadcast ins(%mask : tensor<8x8xi1>)
    outs(%none : tensor<4x8x8xi1>) dimensions = [0]
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.select %wide, %scores, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
  %exp = math.exp %difference : tensor<4x8x8xf32>
  %sum = linalg.reduce { arith.addf } ins(%exp : tensor<4x8x8xf32>)
    outs(%sums : tensor<4x8xf32>) dimensions = [2]
  %total = linalg.broadcast ins(%sum : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %weights = arith.divf %exp, %total : tensor<4x8x8xf32>
  %is_hidden = arith.cmpf oeq, %masked, %hidden : tensor<4x8x8xf32>
  %yes = arith.constant dense<true> : tensor<4x8xi1>
  %blind = linalg.reduce { arith.andi } ins(%is_hidden : tensor<4x8x8xi1>)
    outs(%yes : tensor<4x8xi1>) dimensions = [2]
  %blinds = linalg.broadcast ins(%blind : tensor<4x8xi1>)
    outs(%none : tensor<4x8x8xi1>) dimensions = [2]
  %safe = arith.select %blinds, %zeros, %weights : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %result = linalg.batch_matmul
    ins(%safe, %v : tensor<4x8x8xf32>, tensor<4x8x16xf32>)
    outs(%zero : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
  return %result : tensor<4x8x16xf32>
}

// -----

// The scale is within the softcap, and the mask outside.
// CHECK-LABEL: func.func @softcap(
// CHECK: llm.attention %{{.*}} {causal, scale = 5.000000e-01 : f32, softcap = 5.000000e+00 : f32}
func.func @softcap(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %none = tensor.empty() : tensor<4x8x8xi1>
  %seen = linalg.generic {
      indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>],
      iterator_types = ["parallel", "parallel", "parallel"]}
      outs(%none : tensor<4x8x8xi1>) {
  ^bb0(%out: i1):
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %y = arith.cmpi sle, %j, %i : index
    linalg.yield %y : i1
  } -> tensor<4x8x8xi1>
  %cap = arith.constant dense<5.0> : tensor<4x8x8xf32>
  %half = arith.constant dense<0.5> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %scaled = arith.mulf %scores, %half : tensor<4x8x8xf32>
  %part = arith.divf %scaled, %cap : tensor<4x8x8xf32>
  %tanh = math.tanh %part : tensor<4x8x8xf32>
  %capped = arith.mulf %cap, %tanh : tensor<4x8x8xf32>
  %masked = arith.select %seen, %capped, %hidden : tensor<4x8x8xi1>, tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// Two query heads share each KV head, which is not repeated. The keys come
// transposed.
// CHECK-LABEL: func.func @grouped(
// CHECK: llm.attention %{{.*}} {scale
// CHECK-SAME: (tensor<1x8x4x16xf32>, tensor<1x8x2x16xf32>, tensor<1x8x2x16xf32>)
func.func @grouped(%q: tensor<4x8x16xf32>, %k: tensor<2x8x16xf32>,
    %v: tensor<2x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %room = tensor.empty() : tensor<2x2x8x16xf32>
  %kk = linalg.broadcast ins(%k : tensor<2x8x16xf32>)
    outs(%room : tensor<2x2x8x16xf32>) dimensions = [1]
  %keys = tensor.collapse_shape %kk [[0, 1], [2], [3]]
    : tensor<2x2x8x16xf32> into tensor<4x8x16xf32>
  %vv = linalg.broadcast ins(%v : tensor<2x8x16xf32>)
    outs(%room : tensor<2x2x8x16xf32>) dimensions = [1]
  %values = tensor.collapse_shape %vv [[0, 1], [2], [3]]
    : tensor<2x2x8x16xf32> into tensor<4x8x16xf32>
  %across = tensor.empty() : tensor<4x16x8xf32>
  %kt = linalg.transpose ins(%keys : tensor<4x8x16xf32>)
    outs(%across : tensor<4x16x8xf32>) permutation = [0, 2, 1]
  %scores = linalg.batch_matmul
    ins(%q, %kt : tensor<4x8x16xf32>, tensor<4x16x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
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
    ins(%weights, %values : tensor<4x8x8xf32>, tensor<4x8x16xf32>)
    outs(%zero : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
  return %result : tensor<4x8x16xf32>
}

// -----

// A softmax over the queries is no attention.
// CHECK-LABEL: func.func @wrong_axis(
// CHECK-NOT: llm.attention
func.func @wrong_axis(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%scores : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [1]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [1]
  %difference = arith.subf %scores, %shift : tensor<4x8x8xf32>
  %exp = math.exp %difference : tensor<4x8x8xf32>
  %sum = linalg.reduce { arith.addf } ins(%exp : tensor<4x8x8xf32>)
    outs(%sums : tensor<4x8xf32>) dimensions = [1]
  %total = linalg.broadcast ins(%sum : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [1]
  %weights = arith.divf %exp, %total : tensor<4x8x8xf32>
  %result = linalg.batch_matmul
    ins(%weights, %v : tensor<4x8x8xf32>, tensor<4x8x16xf32>)
    outs(%zero : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
  return %result : tensor<4x8x16xf32>
}

// -----

// Nor is what other exponentials are summed for.
// CHECK-LABEL: func.func @other_sum(
// CHECK-NOT: llm.attention
func.func @other_sum(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>, %other: tensor<4x8x8xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%scores : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %scores, %shift : tensor<4x8x8xf32>
  %exp = math.exp %difference : tensor<4x8x8xf32>
  %sum = linalg.reduce { arith.addf } ins(%other : tensor<4x8x8xf32>)
    outs(%sums : tensor<4x8xf32>) dimensions = [2]
  %total = linalg.broadcast ins(%sum : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %weights = arith.divf %exp, %total : tensor<4x8x8xf32>
  %result = linalg.batch_matmul
    ins(%weights, %v : tensor<4x8x8xf32>, tensor<4x8x16xf32>)
    outs(%zero : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
  return %result : tensor<4x8x16xf32>
}

// -----

// The mask is scaled here, which no attribute says.
// CHECK-LABEL: func.func @scaled_after_mask(
// CHECK-NOT: llm.attention
func.func @scaled_after_mask(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>, %mask: tensor<4x8x8xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %half = arith.constant dense<0.5> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %sum0 = arith.addf %scores, %mask : tensor<4x8x8xf32>
  %masked = arith.mulf %sum0, %half : tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// Each weight is divided by its own sum, but the shift is of other scores.
// CHECK-LABEL: func.func @other_maximum(
// CHECK-NOT: llm.attention
func.func @other_maximum(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>,
    %v: tensor<4x8x16xf32>, %other: tensor<4x8x8xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b
    ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>)
    outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %masked = arith.addf %scores, %scores : tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x8xf32>)
    outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>)
    outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x8xf32>
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

// -----

// What the second product starts with would be lost.
// CHECK-LABEL: func @starts_with_residual
// CHECK-NOT: llm.attention
func.func @starts_with_residual(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>, %v: tensor<4x8x16xf32>, %r: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>) outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%scores : tensor<4x8x8xf32>) outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>) outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %scores, %shift : tensor<4x8x8xf32>
  %exp = math.exp %difference : tensor<4x8x8xf32>
  %sum = linalg.reduce { arith.addf } ins(%exp : tensor<4x8x8xf32>) outs(%sums : tensor<4x8xf32>) dimensions = [2]
  %total = linalg.broadcast ins(%sum : tensor<4x8xf32>) outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %weights = arith.divf %exp, %total : tensor<4x8x8xf32>
  %result = linalg.batch_matmul ins(%weights, %v : tensor<4x8x8xf32>, tensor<4x8x16xf32>) outs(%r : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
  return %result : tensor<4x8x16xf32>
}

// -----

// The weights are divided by the sum over half of the keys.
// CHECK-LABEL: func @sums_half
// CHECK-NOT: llm.attention
func.func @sums_half(%q: tensor<4x8x16xf32>, %k: tensor<4x8x16xf32>, %v: tensor<4x8x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x8xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x8xf32>
  %scores = linalg.batch_matmul_transpose_b ins(%q, %k : tensor<4x8x16xf32>, tensor<4x8x16xf32>) outs(%zeros : tensor<4x8x8xf32>) -> tensor<4x8x8xf32>
  %max = linalg.reduce { arith.maximumf } ins(%scores : tensor<4x8x8xf32>) outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>) outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %difference = arith.subf %scores, %shift : tensor<4x8x8xf32>
  %exp = math.exp %difference : tensor<4x8x8xf32>
  %part = tensor.extract_slice %exp[0,0,0][4,8,4][1,1,1] : tensor<4x8x8xf32> to tensor<4x8x4xf32>
  %sum = linalg.reduce { arith.addf } ins(%part : tensor<4x8x4xf32>) outs(%sums : tensor<4x8xf32>) dimensions = [2]
  %total = linalg.broadcast ins(%sum : tensor<4x8xf32>) outs(%zeros : tensor<4x8x8xf32>) dimensions = [2]
  %weights = arith.divf %exp, %total : tensor<4x8x8xf32>
  %result = linalg.batch_matmul ins(%weights, %v : tensor<4x8x8xf32>, tensor<4x8x16xf32>) outs(%zero : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
  return %result : tensor<4x8x16xf32>
}

// -----

// The first queries see no key, and yield 0.
// CHECK-LABEL: func @more_queries_than_keys
// CHECK: %[[A:.*]] = llm.attention {{.*}} {causal
// CHECK: arith.select
func.func @more_queries_than_keys(%q: tensor<4x8x16xf32>, %k: tensor<4x4x16xf32>, %v: tensor<4x4x16xf32>) -> tensor<4x8x16xf32> {
  %zero = arith.constant dense<0.0> : tensor<4x8x16xf32>
  %zeros = arith.constant dense<0.0> : tensor<4x8x4xf32>
  %sums = arith.constant dense<0.0> : tensor<4x8xf32>
  %lowest = arith.constant dense<0xFF800000> : tensor<4x8xf32>
  %hidden = arith.constant dense<0xFF800000> : tensor<4x8x4xf32>
  %none = tensor.empty() : tensor<4x8x4xi1>
  %seen = linalg.generic {indexing_maps = [affine_map<(h, i, j) -> (h, i, j)>], iterator_types = ["parallel", "parallel", "parallel"]} outs(%none : tensor<4x8x4xi1>) {
  ^bb0(%out: i1):
    %h = linalg.index 0 : index
    %i = linalg.index 1 : index
    %j = linalg.index 2 : index
    %c4 = arith.constant 4 : index
    %p = arith.subi %i, %c4 : index
    %y = arith.cmpi sle, %j, %p : index
    linalg.yield %y : i1
  } -> tensor<4x8x4xi1>
  %scores = linalg.batch_matmul_transpose_b ins(%q, %k : tensor<4x8x16xf32>, tensor<4x4x16xf32>) outs(%zeros : tensor<4x8x4xf32>) -> tensor<4x8x4xf32>
  %masked = arith.select %seen, %scores, %hidden : tensor<4x8x4xi1>, tensor<4x8x4xf32>
  %max = linalg.reduce { arith.maximumf } ins(%masked : tensor<4x8x4xf32>) outs(%lowest : tensor<4x8xf32>) dimensions = [2]
  %shift = linalg.broadcast ins(%max : tensor<4x8xf32>) outs(%zeros : tensor<4x8x4xf32>) dimensions = [2]
  %difference = arith.subf %masked, %shift : tensor<4x8x4xf32>
  %exp = math.exp %difference : tensor<4x8x4xf32>
  %sum = linalg.reduce { arith.addf } ins(%exp : tensor<4x8x4xf32>) outs(%sums : tensor<4x8xf32>) dimensions = [2]
  %total = linalg.broadcast ins(%sum : tensor<4x8xf32>) outs(%zeros : tensor<4x8x4xf32>) dimensions = [2]
  %weights = arith.divf %exp, %total : tensor<4x8x4xf32>
  %tt = arith.constant dense<true> : tensor<4x8xi1>
  %e1 = tensor.empty() : tensor<4x8x4xf32>
  %isinf = arith.cmpf oeq, %masked, %hidden : tensor<4x8x4xf32>
  %allinf = linalg.reduce { arith.andi } ins(%isinf : tensor<4x8x4xi1>) outs(%tt : tensor<4x8xi1>) dimensions = [2]
  %e2 = tensor.empty() : tensor<4x8x4xi1>
  %allb = linalg.broadcast ins(%allinf : tensor<4x8xi1>) outs(%e2 : tensor<4x8x4xi1>) dimensions = [2]
  %weights2 = arith.select %allb, %zeros, %weights : tensor<4x8x4xi1>, tensor<4x8x4xf32>
  %result = linalg.batch_matmul ins(%weights2, %v : tensor<4x8x4xf32>, tensor<4x4x16xf32>) outs(%zero : tensor<4x8x16xf32>) -> tensor<4x8x16xf32>
  return %result : tensor<4x8x16xf32>
}
