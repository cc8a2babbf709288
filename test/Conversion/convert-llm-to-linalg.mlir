// RUN: llmir-opt %s -convert-llm-to-linalg -canonicalize -split-input-file | FileCheck %s

// Rows are gathered, in the table's type, and widened.
// CHECK-LABEL: func @embedding
// CHECK-SAME: (%[[IDS:.*]]: tensor<?xi32>, %[[TABLE:.*]]: tensor<1024x192xbf16>)
// CHECK: %[[T:.*]] = tensor.dim %[[IDS]]
// CHECK: %[[EMPTY:.*]] = tensor.empty(%[[T]]) : tensor<?x192xf32>
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel"]} ins(%[[IDS]] : {{.*}}) outs(%[[EMPTY]] :
// CHECK: %[[ROW:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK: %[[COLUMN:.*]] = linalg.index 1
// CHECK: %[[E:.*]] = tensor.extract %[[TABLE]][%[[ROW]], %[[COLUMN]]]
// CHECK: arith.extf %[[E]] : bf16 to f32
func.func @embedding(%ids: tensor<?xi32>, %table: tensor<1024x192xbf16>) -> tensor<?x192xf32> {
  %0 = llm.embedding %ids, %table : (tensor<?xi32>, tensor<1024x192xbf16>) -> tensor<?x192xf32>
  return %0 : tensor<?x192xf32>
}

// -----

// From panels of pairs, a pair at a time.
// CHECK-LABEL: func @embedding_in_pairs
// CHECK-SAME: (%[[IDS:.*]]: tensor<?xi32>, %[[TABLE:.*]]: tensor<32x96x32x2xbf16>)
// CHECK-DAG: %[[C32:.*]] = arith.constant 32 : index
// CHECK: %[[EMPTY:.*]] = tensor.empty(%{{.*}}) : tensor<?x96x2xf32>
// CHECK: %[[ROWS:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "parallel"]} ins(%[[IDS]] : {{.*}}) outs(%[[EMPTY]] :
// CHECK: %[[ROW:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK-DAG: %[[PANEL:.*]] = arith.divui %[[ROW]], %[[C32]]
// CHECK-DAG: %[[LANE:.*]] = arith.remui %[[ROW]], %[[C32]]
// CHECK-DAG: %[[PAIR:.*]] = linalg.index 1
// CHECK-DAG: %[[WHICH:.*]] = linalg.index 2
// CHECK: %[[E:.*]] = tensor.extract %[[TABLE]][%[[PANEL]], %[[PAIR]], %[[LANE]], %[[WHICH]]]
// CHECK: arith.extf %[[E]] : bf16 to f32
// CHECK: tensor.collapse_shape %[[ROWS]] {{\[\[}}0], [1, 2]] : tensor<?x96x2xf32> into tensor<?x192xf32>
func.func @embedding_in_pairs(%ids: tensor<?xi32>, %table: tensor<32x96x32x2xbf16>) -> tensor<?x192xf32> {
  %0 = llm.embedding %ids, %table : (tensor<?xi32>, tensor<32x96x32x2xbf16>) -> tensor<?x192xf32>
  return %0 : tensor<?x192xf32>
}

// -----

// From panels of single numbers, and an odd number of those in pairs.
// CHECK-LABEL: func @embedding_in_panels
// CHECK-SAME: (%{{.*}}: tensor<?xi32>, %[[A:.*]]: tensor<2x7x32xf16>, %[[B:.*]]: tensor<2x16x32x2xbf16>)
// CHECK-DAG: %[[C2:.*]] = arith.constant 2 : index
// CHECK: %[[PANEL:.*]] = arith.divui
// CHECK: %[[LANE:.*]] = arith.remui
// CHECK: %[[K:.*]] = linalg.index 1
// CHECK: tensor.extract %[[A]][%[[PANEL]], %[[K]], %[[LANE]]]
// CHECK: %[[PANEL:.*]] = arith.divui
// CHECK: %[[LANE:.*]] = arith.remui
// CHECK: %[[K:.*]] = linalg.index 1
// CHECK-DAG: %[[PAIR:.*]] = arith.divui %[[K]], %[[C2]]
// CHECK-DAG: %[[WHICH:.*]] = arith.remui %[[K]], %[[C2]]
// CHECK: tensor.extract %[[B]][%[[PANEL]], %[[PAIR]], %[[LANE]], %[[WHICH]]]
func.func @embedding_in_panels(%ids: tensor<?xi32>, %a: tensor<2x7x32xf16>, %b: tensor<2x16x32x2xbf16>) -> (tensor<?x7xf32>, tensor<?x7xf32>) {
  %0 = llm.embedding %ids, %a : (tensor<?xi32>, tensor<2x7x32xf16>) -> tensor<?x7xf32>
  %1 = llm.embedding %ids, %b : (tensor<?xi32>, tensor<2x16x32x2xbf16>) -> tensor<?x7xf32>
  return %0, %1 : tensor<?x7xf32>, tensor<?x7xf32>
}

// -----

// The sum is in f32, from 0 on; the weight is read by rows.
// CHECK-DAG: #[[X:.*]] = affine_map<(d0, d1, d2) -> (d0, d2)>
// CHECK-DAG: #[[W:.*]] = affine_map<(d0, d1, d2) -> (d1, d2)>
// CHECK-DAG: #[[Y:.*]] = affine_map<(d0, d1, d2) -> (d0, d1)>
// CHECK-LABEL: func @linear(
// CHECK: %[[ZERO:.*]] = arith.constant 0.0{{.*}} : f32
// CHECK: %[[INIT:.*]] = linalg.fill ins(%[[ZERO]] : f32)
// CHECK: %[[SUM:.*]] = linalg.generic {indexing_maps = [#[[X]], #[[W]], #[[Y]]], iterator_types = ["parallel", "parallel", "reduction"]} {{.*}} outs(%[[INIT]] : tensor<?x64xf32>)
// CHECK-NEXT: ^bb0(%[[A:.*]]: bf16, %[[B:.*]]: bf16, %[[OLD:.*]]: f32):
// CHECK-NEXT: %[[XA:.*]] = arith.extf %[[A]] : bf16 to f32
// CHECK-NEXT: %[[XB:.*]] = arith.extf %[[B]] : bf16 to f32
// CHECK-NEXT: %[[P:.*]] = arith.mulf %[[XA]], %[[XB]] : f32
// CHECK-NEXT: %[[S:.*]] = arith.addf %[[OLD]], %[[P]] : f32
// CHECK-NEXT: linalg.yield %[[S]]
// CHECK: return %[[SUM]]
func.func @linear(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>) -> tensor<?x64xf32> {
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Bias, then residual, are added in f32; the sum is rounded once, at the end.
// CHECK-LABEL: func @linear_terms
// CHECK-SAME: %[[B:[^ ]*]]: tensor<4xf16>, %[[H:[^ ]*]]: tensor<?x4xf32>)
// CHECK: %[[SUM:.*]] = linalg.generic
// CHECK: linalg.generic {{.*}} ins(%[[SUM]], %[[B]], %[[H]] :
// CHECK-NEXT: ^bb0(%[[S0:.*]]: f32, %[[B0:.*]]: f16, %[[H0:.*]]: f32, %{{.*}}: f16):
// CHECK-NEXT: %[[B1:.*]] = arith.extf %[[B0]] : f16 to f32
// CHECK-NEXT: %[[S1:.*]] = arith.addf %[[B1]], %[[S0]] : f32
// CHECK-NEXT: %[[S2:.*]] = arith.addf %[[H0]], %[[S1]] : f32
// CHECK-NEXT: %[[R:.*]] = arith.truncf %[[S2]] : f32 to f16
// CHECK-NEXT: linalg.yield %[[R]]
func.func @linear_terms(%x: tensor<?x8xf16>, %w: tensor<4x8xf16>, %b: tensor<4xf16>, %h: tensor<?x4xf32>) -> tensor<?x4xf16> {
  %0 = llm.linear %x, %w bias %b residual %h : (tensor<?x8xf16>, tensor<4x8xf16>, tensor<4xf16>, tensor<?x4xf32>) -> tensor<?x4xf16>
  return %0 : tensor<?x4xf16>
}

// -----

// W[n, k] lies in panel n / 32, pair k / 2, lane n mod 32, half k mod 2.
// CHECK-LABEL: func @linear_packed_bf16
// CHECK-SAME: %[[PANELS:[^ ]*]]: tensor<2x16x32x2xbf16>)
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<61x7xbf16>)
// CHECK-DAG: %[[N:.*]] = linalg.index 0
// CHECK-DAG: %[[K:.*]] = linalg.index 1
// CHECK: %[[PANEL:.*]] = arith.divui %[[N]], %c32
// CHECK: %[[PAIR:.*]] = arith.divui %[[K]], %c2
// CHECK: %[[LANE:.*]] = arith.remui %[[N]], %c32
// CHECK: %[[HALF:.*]] = arith.remui %[[K]], %c2
// CHECK: tensor.extract %[[PANELS]][%[[PANEL]], %[[PAIR]], %[[LANE]], %[[HALF]]]
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]} ins(%{{.*}}, %{{.*}} : tensor<?x7xbf16>, tensor<61x7xbf16>)
func.func @linear_packed_bf16(%x: tensor<?x7xbf16>, %w: tensor<2x16x32x2xbf16>) -> tensor<?x61xf32> {
  %0 = llm.linear %x, %w : (tensor<?x7xbf16>, tensor<2x16x32x2xbf16>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

// W[n, k] lies in panel n / 32, at input k, lane n mod 32.
// CHECK-LABEL: func @linear_packed_f32
// CHECK-SAME: %[[PANELS:[^ ]*]]: tensor<2x7x32xf32>)
// CHECK-DAG: %[[N:.*]] = linalg.index 0
// CHECK-DAG: %[[K:.*]] = linalg.index 1
// CHECK: %[[PANEL:.*]] = arith.divui %[[N]], %c32
// CHECK: %[[LANE:.*]] = arith.remui %[[N]], %c32
// CHECK: tensor.extract %[[PANELS]][%[[PANEL]], %[[K]], %[[LANE]]]
func.func @linear_packed_f32(%x: tensor<?x7xf32>, %w: tensor<2x7x32xf32>) -> tensor<?x61xf32> {
  %0 = llm.linear %x, %w : (tensor<?x7xf32>, tensor<2x7x32xf32>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

// Of a gated weight, row n is row n mod N of matrix n / N, and the panels of the
// two alternate.
// CHECK-LABEL: func @linear_packed_gated
// CHECK-SAME: %[[PANELS:[^ ]*]]: tensor<2x2x16x32x2xbf16>)
// CHECK: linalg.generic {{.*}} outs(%{{.*}} : tensor<122x7xbf16>)
// CHECK-DAG: %[[N:.*]] = linalg.index 0
// CHECK-DAG: %[[K:.*]] = linalg.index 1
// CHECK: %[[ROW:.*]] = arith.remui %[[N]], %c61
// CHECK: %[[PANEL:.*]] = arith.divui %[[ROW]], %c32
// CHECK: %[[WHICH:.*]] = arith.divui %[[N]], %c61
// CHECK: %[[PAIR:.*]] = arith.divui %[[K]], %c2
// CHECK: %[[LANE:.*]] = arith.remui %[[ROW]], %c32
// CHECK: %[[HALF:.*]] = arith.remui %[[K]], %c2
// CHECK: tensor.extract %[[PANELS]][%[[PANEL]], %[[WHICH]], %[[PAIR]], %[[LANE]], %[[HALF]]]
// CHECK: %[[SUM:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "parallel", "reduction"]}
// CHECK-DAG: %[[GATE:.*]] = tensor.extract_slice %[[SUM]][0, 0] [%{{.*}}, 61] [1, 1]
// CHECK-DAG: %[[UP:.*]] = tensor.extract_slice %[[SUM]][0, 61] [%{{.*}}, 61] [1, 1]
// CHECK: linalg.generic {{.*}} ins(%[[GATE]], %[[UP]] :
// CHECK: math.exp
func.func @linear_packed_gated(%x: tensor<?x7xbf16>, %w: tensor<2x2x16x32x2xbf16>) -> tensor<?x61xf32> {
  %0 = llm.linear %x, %w activation silu gated : (tensor<?x7xbf16>, tensor<2x2x16x32x2xbf16>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

// The norm is rounded to the weight's type; then bias, activation and residual,
// and one rounding at the end.
// CHECK-LABEL: func @linear_surrounded
// CHECK-SAME: (%[[X:.*]]: tensor<?x64xf32>, %[[W:.*]]: tensor<8x64xbf16>, %[[NORM:.*]]: tensor<64xf16>, %[[BIAS:.*]]: tensor<8xf32>, %[[RESIDUAL:.*]]: tensor<?x8xf32>)
// CHECK: math.sqrt
// CHECK: %[[NORMED:.*]] = linalg.generic {{.*}} ins(%[[X]], %{{.*}}, %[[NORM]] :
// CHECK: arith.truncf {{.*}} : f32 to bf16
// CHECK: %[[SUM:.*]] = linalg.generic {{.*}} ins(%[[NORMED]], %[[W]] :
// CHECK: %[[BIASED:.*]] = linalg.generic {{.*}} ins(%[[SUM]], %[[BIAS]] :
// CHECK: %[[ACTIVE:.*]] = linalg.generic {{.*}} ins(%[[BIASED]] :
// CHECK: arith.maximumf
// CHECK: linalg.generic {{.*}} ins(%[[ACTIVE]], %[[RESIDUAL]] :
// CHECK: arith.truncf {{.*}} : f32 to bf16
func.func @linear_surrounded(%x: tensor<?x64xf32>, %w: tensor<8x64xbf16>, %n: tensor<64xf16>, %b: tensor<8xf32>, %r: tensor<?x8xf32>) -> tensor<?x8xbf16> {
  %0 = llm.linear %x, %w norm %n bias %b activation relu residual %r {epsilon = 1.0e-05 : f32} : (tensor<?x64xf32>, tensor<8x64xbf16>, tensor<64xf16>, tensor<8xf32>, tensor<?x8xf32>) -> tensor<?x8xbf16>
  return %0 : tensor<?x8xbf16>
}

// -----

// Squares are summed by row; the root is taken once a row; one rounding at the end.
// CHECK-LABEL: func @rms_norm
// CHECK-SAME: (%[[X:.*]]: tensor<?x192xf32>, %[[W:.*]]: tensor<192xbf16>)
// CHECK-DAG: %[[SIZE:.*]] = arith.constant 1.920000e+02 : f32
// CHECK-DAG: %[[EPS:.*]] = arith.constant 9.99999974E-6 : f32
// CHECK: linalg.fill
// CHECK: %[[SQUARES:.*]] = linalg.generic {{.*}} iterator_types = ["parallel", "reduction"]} ins(%[[X]] :
// CHECK: arith.mulf
// CHECK: arith.addf
// CHECK: %[[SCALES:.*]] = linalg.generic {{.*}} iterator_types = ["parallel"]} ins(%[[SQUARES]] : tensor<?xf32>)
// CHECK: %[[MEAN:.*]] = arith.divf %{{.*}}, %[[SIZE]]
// CHECK: %[[SHIFTED:.*]] = arith.addf %[[MEAN]], %[[EPS]]
// CHECK: %[[ROOT:.*]] = math.sqrt %[[SHIFTED]]
// CHECK: arith.divf %{{.*}}, %[[ROOT]]
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "parallel"]} ins(%[[X]], %[[SCALES]], %[[W]] :
// CHECK-COUNT-1: arith.truncf {{.*}} : f32 to bf16
// CHECK-NOT: arith.truncf
func.func @rms_norm(%x: tensor<?x192xf32>, %w: tensor<192xbf16>) -> tensor<?x192xbf16> {
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
  return %0 : tensor<?x192xbf16>
}

// -----

// Each half of a head is a generic of its own, with the other half crossed in.
// CHECK-LABEL: func @rope
// CHECK-SAME: (%[[X:.*]]: tensor<?x6x32xf32>, %[[TABLE:.*]]: tensor<512x2x16xf32>, %[[P:.*]]: tensor<?xi32>)
// CHECK: %[[LOW:.*]] = tensor.extract_slice %[[X]][0, 0, 0] [%{{.*}}, 6, 16]
// CHECK: %[[HIGH:.*]] = tensor.extract_slice %[[X]][0, 0, 16] [%{{.*}}, 6, 16]
// CHECK: linalg.generic {{.*}} ins(%[[LOW]], %[[HIGH]], %[[P]] :
// CHECK-NEXT: ^bb0(%[[A:.*]]: f32, %[[B:.*]]: f32, %[[AT:.*]]: i32, %{{.*}}: f32):
// CHECK: %[[ROW:.*]] = arith.index_cast %[[AT]] : i32 to index
// CHECK: %[[I:.*]] = linalg.index 2
// CHECK: %[[COS:.*]] = tensor.extract %[[TABLE]][%[[ROW]], %c0{{.*}}, %[[I]]]
// CHECK: %[[AC:.*]] = arith.mulf %[[A]], %[[COS]]
// CHECK: %[[SIN:.*]] = tensor.extract %[[TABLE]][%[[ROW]], %c1{{.*}}, %[[I]]]
// CHECK: %[[BS:.*]] = arith.mulf %[[B]], %[[SIN]]
// CHECK: arith.subf %[[AC]], %[[BS]]
// CHECK: tensor.insert_slice {{.*}}[0, 0, 0]
// CHECK: %[[HIGH:.*]] = tensor.extract_slice %[[X]][0, 0, 16]
// CHECK: %[[LOW:.*]] = tensor.extract_slice %[[X]][0, 0, 0]
// CHECK: linalg.generic {{.*}} ins(%[[HIGH]], %[[LOW]], %[[P]] :
// CHECK: arith.addf
// CHECK: %[[RESULT:.*]] = tensor.insert_slice {{.*}}[0, 0, 16]
// CHECK: return %[[RESULT]]
func.func @rope(%x: tensor<?x6x32xf32>, %table: tensor<512x2x16xf32>, %p: tensor<?xi32>) -> tensor<?x6x32xf32> {
  %0 = llm.rope %x, %table, %p : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return %0 : tensor<?x6x32xf32>
}

// -----

// x / (1 + exp(-x)), times the partner, in f32.
// CHECK-LABEL: func @silu_gated
// CHECK: %[[UNIT:.*]] = arith.constant 1.0{{.*}} : f32
// CHECK: ^bb0(%[[X:.*]]: f32, %[[M:.*]]: bf16, %{{.*}}: bf16):
// CHECK: %[[NEG:.*]] = arith.negf %[[X]]
// CHECK: %[[EXP:.*]] = math.exp %[[NEG]]
// CHECK: %[[D:.*]] = arith.addf %[[EXP]], %[[UNIT]]
// CHECK: %[[Y:.*]] = arith.divf %[[X]], %[[D]]
// CHECK: %[[M1:.*]] = arith.extf %[[M]] : bf16 to f32
// CHECK: %[[R:.*]] = arith.mulf %[[Y]], %[[M1]]
// CHECK: arith.truncf %[[R]] : f32 to bf16
func.func @silu_gated(%x: tensor<?x8xf32>, %m: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
  %0 = llm.activation silu %x, %m : (tensor<?x8xf32>, tensor<?x8xbf16>) -> tensor<?x8xbf16>
  return %0 : tensor<?x8xbf16>
}

// -----

// The other kinds, each in f32 even where the elements are wider.
// CHECK-LABEL: func @kinds
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.0{{.*}} : f32
// CHECK-DAG: %[[ROOT_HALF:.*]] = arith.constant 0.707106769 : f32
// CHECK-DAG: %[[ROOT_2_PI:.*]] = arith.constant 0.797884583 : f32
// CHECK-DAG: %[[CUBIC:.*]] = arith.constant 4.471500e-02 : f32
// CHECK: %[[X:.*]] = arith.truncf %{{.*}} : f64 to f32
// CHECK: %[[S:.*]] = arith.mulf %[[X]], %[[ROOT_HALF]] : f32
// CHECK: math.erf %[[S]] : f32
// CHECK: arith.extf %{{.*}} : f32 to f64
// CHECK: %[[CUBE:.*]] = arith.mulf %{{.*}}, %[[CUBIC]] : f32
// CHECK: %[[SUM:.*]] = arith.addf %{{.*}}, %[[CUBE]] : f32
// CHECK: %[[INNER:.*]] = arith.mulf %[[SUM]], %[[ROOT_2_PI]] : f32
// CHECK: math.tanh %[[INNER]] : f32
// CHECK: arith.maximumf %{{.*}}, %[[ZERO]] : f32
func.func @kinds(%x: tensor<4xf64>) -> (tensor<4xf64>, tensor<4xf64>, tensor<4xf64>) {
  %0 = llm.activation gelu %x : (tensor<4xf64>) -> tensor<4xf64>
  %1 = llm.activation gelu_tanh %x : (tensor<4xf64>) -> tensor<4xf64>
  %2 = llm.activation relu %x : (tensor<4xf64>) -> tensor<4xf64>
  return %0, %1, %2 : tensor<4xf64>, tensor<4xf64>, tensor<4xf64>
}

// -----

// Of one row, the sum of squares has no dimension left.
// CHECK-LABEL: func @rms_norm_vector
// CHECK-SAME: (%[[X:.*]]: tensor<192xf32>, %[[W:.*]]: tensor<192xf32>)
// CHECK: %[[SQUARES:.*]] = linalg.generic {{.*}} iterator_types = ["reduction"]} ins(%[[X]] : tensor<192xf32>) outs(%{{.*}} : tensor<f32>)
// CHECK: %[[SCALE:.*]] = linalg.generic {{.*}} iterator_types = []} ins(%[[SQUARES]] : tensor<f32>)
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel"]} ins(%[[X]], %[[SCALE]], %[[W]] : tensor<192xf32>, tensor<f32>, tensor<192xf32>)
func.func @rms_norm_vector(%x: tensor<192xf32>, %w: tensor<192xf32>) -> tensor<192xf32> {
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<192xf32>, tensor<192xf32>) -> tensor<192xf32>
  return %0 : tensor<192xf32>
}

// -----

// A single number is a tensor, too.
// CHECK-LABEL: func @activation_scalar
// CHECK: linalg.generic {{.*}} iterator_types = []} ins(%{{.*}} : tensor<f32>)
// CHECK: arith.maximumf
func.func @activation_scalar(%x: tensor<f32>) -> tensor<f32> {
  %0 = llm.activation relu %x : (tensor<f32>) -> tensor<f32>
  return %0 : tensor<f32>
}

// -----

// What is not rotated is copied, and rounded.
// CHECK-LABEL: func @rope_partial
// CHECK-SAME: (%[[X:.*]]: tensor<?x6x32xf32>, %[[TABLE:.*]]: tensor<512x2x4xf32>,
// CHECK: tensor.extract_slice %[[X]][0, 0, 0] [%{{.*}}, 6, 4]
// CHECK: tensor.extract_slice %[[X]][0, 0, 4] [%{{.*}}, 6, 4]
// CHECK: %[[REST:.*]] = tensor.extract_slice %[[X]][0, 0, 8] [%{{.*}}, 6, 24]
// CHECK: linalg.generic {{.*}} ins(%[[REST]] : tensor<?x6x24xf32>)
// CHECK-NEXT: ^bb0(%[[IN:.*]]: f32, %{{.*}}: bf16):
// CHECK-NEXT: %[[ROUNDED:.*]] = arith.truncf %[[IN]] : f32 to bf16
// CHECK-NEXT: linalg.yield %[[ROUNDED]]
// CHECK: %[[RESULT:.*]] = tensor.insert_slice {{.*}}[0, 0, 8] [%{{.*}}, 6, 24]
// CHECK: return %[[RESULT]]
func.func @rope_partial(%x: tensor<?x6x32xf32>, %table: tensor<512x2x4xf32>, %p: tensor<?xi32>) -> tensor<?x6x32xbf16> {
  %0 = llm.rope %x, %table, %p : (tensor<?x6x32xf32>, tensor<512x2x4xf32>, tensor<?xi32>) -> tensor<?x6x32xbf16>
  return %0 : tensor<?x6x32xbf16>
}

// -----

// A table is computed in f64 from its frequencies, and rounded once.
// CHECK-LABEL: func @rope_table
// CHECK-DAG: %[[F:.*]] = arith.constant dense<[1.000000e+00, 1.000000e-02]> : tensor<2xf64>
// CHECK-DAG: %[[FACTOR:.*]] = arith.constant 1.250000e+00 : f64
// CHECK: linalg.generic {{.*}} ins(%[[F]] : tensor<2xf64>)
// CHECK: %[[P:.*]] = linalg.index 0
// CHECK: %[[P64:.*]] = arith.index_cast %[[P]] : index to i64
// CHECK: %[[AT:.*]] = arith.sitofp %[[P64]] : i64 to f64
// CHECK: %[[ANGLE:.*]] = arith.mulf %[[AT]], %{{.*}} : f64
// CHECK: %[[COS:.*]] = math.cos %[[ANGLE]] : f64
// CHECK: %[[SCALED:.*]] = arith.mulf %[[COS]], %[[FACTOR]] : f64
// CHECK: arith.truncf %[[SCALED]] : f64 to f32
// CHECK: tensor.insert_slice {{.*}}[0, 0, 0] [100000, 1, 2]
// CHECK: math.sin
// CHECK: tensor.insert_slice {{.*}}[0, 1, 0] [100000, 1, 2]
func.func @rope_table() -> tensor<100000x2x2xf32> {
  %0 = llm.rope_table {
    theta = 1.0e+04 : f64,
    scaling = #llm.rope_scaling<yarn, factor = 1.0, original_max_position = 4096, attention_factor = 1.25>
  } : tensor<100000x2x2xf32>
  return %0 : tensor<100000x2x2xf32>
}

// -----

// Nothing is multiplied where there is no factor.
// CHECK-LABEL: func @rope_table_plain
// CHECK: %[[COS:.*]] = math.cos
// CHECK-NEXT: arith.truncf %[[COS]]
// CHECK: %[[SIN:.*]] = math.sin
// CHECK-NEXT: arith.truncf %[[SIN]]
func.func @rope_table_plain() -> tensor<8x2x2xf32> {
  %0 = llm.rope_table {theta = 1.0e+04 : f64} : tensor<8x2x2xf32>
  return %0 : tensor<8x2x2xf32>
}

// -----

// The kinds that need no more than what is there: by what they end with.
// CHECK-LABEL: func @more_kinds
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK-DAG: %[[SIX:.*]] = arith.constant 6.000000e+00 : f32
// CHECK-DAG: %[[SLOPE:.*]] = arith.constant 0.00999999977 : f32
// CHECK-DAG: %[[STEEP:.*]] = arith.constant -1.702000e+00 : f32
// CHECK-DAG: %[[FAR:.*]] = arith.constant 2.000000e+01 : f32
// CHECK: %[[POWER:.*]] = arith.mulf %{{.*}}, %[[STEEP]]
// CHECK: math.exp %[[POWER]]
// CHECK: %[[POSITIVE:.*]] = arith.maximumf %{{.*}}, %[[ZERO]]
// CHECK: arith.mulf %[[POSITIVE]], %[[POSITIVE]]
// CHECK: %[[CLIPPED:.*]] = arith.maximumf %{{.*}}, %[[ZERO]]
// CHECK: arith.minimumf %[[CLIPPED]], %[[SIX]]
// CHECK: %[[LEAK:.*]] = arith.mulf %{{.*}}, %[[SLOPE]]
// CHECK: arith.maximumf %{{.*}}, %[[LEAK]]
// CHECK: math.tanh
// CHECK: %[[HELD:.*]] = arith.minimumf %{{.*}}, %[[FAR]]
// CHECK: math.exp %[[HELD]]
func.func @more_kinds(%x: tensor<4xf32>)
    -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %0 = llm.activation quick_gelu %x : (tensor<4xf32>) -> tensor<4xf32>
  %1 = llm.activation relu2 %x : (tensor<4xf32>) -> tensor<4xf32>
  %2 = llm.activation relu6 %x : (tensor<4xf32>) -> tensor<4xf32>
  %3 = llm.activation leaky_relu %x : (tensor<4xf32>) -> tensor<4xf32>
  %4 = llm.activation tanh %x : (tensor<4xf32>) -> tensor<4xf32>
  %5 = llm.activation mish %x : (tensor<4xf32>) -> tensor<4xf32>
  return %0, %1, %2, %3, %4, %5 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// -----

// A score is scaled, capped, biased by its distance, and masked, in this order;
// the window says where the positions begin and the sink is there before them.
// CHECK-LABEL: func @attention
// CHECK-SAME: %[[SINKS:[^ ]*]]: tensor<8xf32>, %[[ALIBI:[^ ]*]]: tensor<8xbf16>, %[[MASK:[^ ]*]]: tensor<1x8x5x9xi1>)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[C2:.*]] = arith.constant 2 : index
// CHECK-DAG: %[[C4:.*]] = arith.constant 4 : index
// CHECK-DAG: %[[C5:.*]] = arith.constant 5 : index
// CHECK-DAG: %[[SCALE:.*]] = arith.constant 1.250000e-01 : f32
// CHECK-DAG: %[[CAP:.*]] = arith.constant 3.000000e+01 : f32
// CHECK-DAG: %[[LOWEST:.*]] = arith.constant 0xFF800000 : f32
// CHECK: scf.for %[[B:.*]] = %[[C0]]
// CHECK: scf.for %[[T:.*]] = %[[C0]]
// CHECK: %[[P:.*]] = arith.addi %[[T]], %[[C4]] : index
// CHECK: %[[END:.*]] = arith.addi %[[T]], %[[C5]] : index
// CHECK: %[[FIRST:.*]] = arith.addi %[[T]], %[[C2]] : index
// CHECK: %[[BEGIN:.*]] = arith.maxsi %[[FIRST]], %[[C0]] : index
// CHECK: scf.for %[[H:.*]] = %[[C0]]
// CHECK: %[[SINK:.*]] = tensor.extract %[[SINKS]][%[[H]]]
// CHECK: scf.for %[[J:.*]] = %[[BEGIN]] to %[[END]] step %[[C1]] iter_args(%{{.*}}, %[[MAX:.*]] = %[[SINK]])
// CHECK: %[[X:.*]] = arith.mulf %{{.*}}, %[[SCALE]]
// CHECK: %[[RATIO:.*]] = arith.divf %[[X]], %[[CAP]]
// CHECK: %[[TANH:.*]] = math.tanh %[[RATIO]]
// CHECK: %[[CAPPED:.*]] = arith.mulf %[[TANH]], %[[CAP]]
// CHECK: tensor.extract %[[ALIBI]][%[[H]]]
// CHECK: %[[AHEAD:.*]] = arith.subi %[[J]], %[[P]] : index
// CHECK: %[[STEPS:.*]] = arith.sitofp %{{.*}} : i64 to f32
// CHECK: %[[BIAS:.*]] = arith.mulf %{{.*}}, %[[STEPS]]
// CHECK: %[[BIASED:.*]] = arith.addf %[[CAPPED]], %[[BIAS]]
// CHECK: %[[SEEN:.*]] = tensor.extract %[[MASK]][%[[C0]], %[[H]], %[[T]], %[[J]]]
// CHECK: %[[SCORE:.*]] = arith.select %[[SEEN]], %[[BIASED]], %[[LOWEST]]
// CHECK: arith.maximumf %[[MAX]], %[[SCORE]]
// CHECK: %[[SINK_SHIFTED:.*]] = arith.subf %[[SINK]], %{{.*}}
// CHECK: %[[SINK_WEIGHT:.*]] = math.exp %[[SINK_SHIFTED]]
// CHECK: scf.for %{{.*}} = %[[BEGIN]] to %[[END]] step %[[C1]] iter_args(%{{.*}}, %{{.*}} = %[[SINK_WEIGHT]])
func.func @attention(%q: tensor<2x5x8x64xf32>, %k: tensor<2x9x2x64xf32>, %s: tensor<8xf32>, %a: tensor<8xbf16>,
                     %m: tensor<1x8x5x9xi1>) -> tensor<2x5x8x64xf32> {
  %0 = llm.attention %q, %k, %k sinks %s alibi %a mask %m {causal, softcap = 30.0 : f32, window = 3 : i64}
    : (tensor<2x5x8x64xf32>, tensor<2x9x2x64xf32>, tensor<2x9x2x64xf32>, tensor<8xf32>, tensor<8xbf16>,
       tensor<1x8x5x9xi1>) -> tensor<2x5x8x64xf32>
  return %0 : tensor<2x5x8x64xf32>
}
