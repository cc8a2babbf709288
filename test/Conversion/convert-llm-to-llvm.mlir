// RUN: llmir-opt %s -convert-llm-to-llvm -reconcile-unrealized-casts -canonicalize -cse -split-input-file -verify-diagnostics | FileCheck %s

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// The version is exported, the entry point too; all else is internal, and loops
// stay loops: nobody has a memcpy for what LLVM might make of them.
// CHECK: llvm.mlir.global external constant @llmir_abi_version(5 : i32)
// CHECK-LABEL: llvm.func internal @step(
// CHECK-SAME: attributes {passthrough = ["no-builtins", "noinline"]}
// CHECK: llvm.func internal @layer({{.*}}) attributes {passthrough = ["no-builtins", "noinline"], sym_visibility = "private"}

// The entry point unfolds llmir_step_args (abi.h) by offset: each pointer with
// its sizes, T at 0, S at 8, R at 16, W at 24.
// CHECK: llvm.func @llmir_step(%[[RUNTIME:.*]]: !llvm.ptr, %[[ARGS:.*]]: !llvm.ptr) attributes {passthrough = ["no-builtins"]}
// CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i64)
// CHECK-DAG: %[[ZERO:.*]] = llvm.mlir.constant(0 : i64)
// CHECK: llvm.getelementptr %[[ARGS]][32]
// CHECK-NEXT: %[[TOKENS:.*]] = llvm.load
// CHECK-NEXT: %[[T:.*]] = llvm.load %[[ARGS]] : !llvm.ptr -> i64
// CHECK-NEXT: llvm.getelementptr %[[ARGS]][40]
// CHECK-NEXT: %[[POSITIONS:.*]] = llvm.load
// CHECK-NEXT: llvm.getelementptr %[[ARGS]][48]
// CHECK-NEXT: %[[SLOTS:.*]] = llvm.load
// CHECK-NEXT: llvm.getelementptr %[[ARGS]][56]
// CHECK-NEXT: %[[TABLE:.*]] = llvm.load
// CHECK-NEXT: llvm.getelementptr %[[ARGS]][8]
// CHECK-NEXT: %[[S:.*]] = llvm.load
// CHECK-NEXT: llvm.getelementptr %[[ARGS]][24]
// CHECK-NEXT: %[[WIDTH:.*]] = llvm.load
// CHECK: llvm.getelementptr %[[ARGS]][64]
// CHECK-NEXT: %[[LENS:.*]] = llvm.load
// CHECK: llvm.getelementptr %[[ARGS]][72]
// CHECK-NEXT: %[[STARTS:.*]] = llvm.load
// CHECK: %[[S1:.*]] = llvm.add %[[S]], %[[ONE]]
// CHECK: llvm.getelementptr %[[ARGS]][80]
// CHECK-NEXT: %[[ROWS:.*]] = llvm.load
// CHECK-NEXT: llvm.getelementptr %[[ARGS]][16]
// CHECK-NEXT: %[[R:.*]] = llvm.load
// CHECK: llvm.getelementptr %[[ARGS]][104]
// CHECK-NEXT: %[[CACHE:.*]] = llvm.load
// CHECK: llvm.getelementptr %[[ARGS]][88]
// CHECK-NEXT: %[[WEIGHTS:.*]] = llvm.load
// CHECK: llvm.getelementptr %[[ARGS]][112]
// CHECK-NEXT: %[[LOGITS:.*]] = llvm.load
// CHECK: llvm.getelementptr %[[ARGS]][96]
// CHECK-NEXT: %[[ARENA:.*]] = llvm.load
// CHECK: llvm.call @step(%[[TOKENS]], %[[TOKENS]], %[[ZERO]], %[[T]], %[[ONE]],
// CHECK-SAME: %[[POSITIONS]], %[[POSITIONS]], %[[ZERO]], %[[T]], %[[ONE]],
// CHECK-SAME: %[[SLOTS]], %[[SLOTS]], %[[ZERO]], %[[T]], %[[ONE]],
// CHECK-SAME: %[[TABLE]], %[[TABLE]], %[[ZERO]], %[[S]], %[[WIDTH]], %{{[^ ]*}}, %[[ONE]],
// CHECK-SAME: %[[LENS]], %[[LENS]], %[[ZERO]], %[[S]], %[[ONE]],
// CHECK-SAME: %[[STARTS]], %[[STARTS]], %[[ZERO]], %[[S1]], %[[ONE]],
// CHECK-SAME: %[[ROWS]], %[[ROWS]], %[[ZERO]], %[[R]], %[[ONE]],
// CHECK-SAME: %[[CACHE]],
// CHECK-SAME: %[[WEIGHTS]], %[[WEIGHTS]],
// CHECK-SAME: %[[LOGITS]], %[[LOGITS]], %[[ZERO]], %[[R]],
// CHECK-SAME: %[[ARENA]], %[[ARENA]],
// CHECK-SAME: %[[RUNTIME]])
func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>, %slots: memref<?xi32>,
                %block_table: memref<?x?xi32>, %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                %logit_rows: memref<?xi32>, %cache: !kv, %weights: memref<?xi8>,
                %logits: memref<?x64xf32>, %arena: memref<?xi8>) {
  call @layer(%arena) : (memref<?xi8>) -> ()
  return
}
func.func private @layer(%x: memref<?xi8>) {
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// A product: the function stands at 24 in the runtime's table, the context that
// it wants at 8. Operands are llmir_tensors on the stack: data, dtype (f32 0,
// bf16 1, i32 2, f16 3), rank, sizes, strides. llmir_linear_params have the weight's
// format (bf16 1) first, then at the end the norm, the bias, both null here, and
// whether to add.
// CHECK-LABEL: llvm.func internal @step(
// CHECK-SAME: %[[RUNTIME:arg55]]: !llvm.ptr) attributes
// CHECK-DAG: %[[F32:.*]] = llvm.mlir.constant(0 : i32)
// CHECK-DAG: %[[BF16:.*]] = llvm.mlir.constant(1 : i32)
// CHECK-DAG: %[[RANK2:.*]] = llvm.mlir.constant(2 : i32)
// CHECK-DAG: %[[RANK4:.*]] = llvm.mlir.constant(4 : i32)
// CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i64)
// CHECK-DAG: %[[C32:.*]] = llvm.mlir.constant(32 : index)
// CHECK-DAG: %[[I1:.*]] = llvm.mlir.constant(1 : index)
// CHECK: llvm.alloca %[[ONE]] x !llvm.struct<(ptr, i32, i32, array<4 x i64>, array<4 x i64>)>
// CHECK: %[[PARAMS:.*]] = llvm.alloca %[[ONE]] x !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK-COUNT-2: llvm.alloca %[[ONE]] x !llvm.struct<(ptr, i32, i32, array<4 x i64>, array<4 x i64>)>
// CHECK: llvm.getelementptr %[[RUNTIME]][24]
// CHECK-NEXT: %[[LINEAR:.*]] = llvm.load
// CHECK-NEXT: llvm.getelementptr %[[RUNTIME]][8]
// CHECK-NEXT: %[[CONTEXT:.*]] = llvm.load
// CHECK: llvm.insertvalue %{{.*}}, %{{.*}}[0]
// CHECK-NEXT: llvm.insertvalue %[[BF16]], %{{.*}}[1]
// CHECK-NEXT: llvm.insertvalue %[[RANK2]], %{{.*}}[2]
// CHECK-NEXT: llvm.insertvalue %{{.*}}, %{{.*}}[3, 0]
// CHECK-NEXT: llvm.insertvalue %[[C32]], %{{.*}}[4, 0]
// CHECK-NEXT: llvm.insertvalue %[[C32]], %{{.*}}[3, 1]
// CHECK-NEXT: llvm.insertvalue %[[I1]], %{{.*}}[4, 1]
// CHECK-NEXT: llvm.store %{{.*}}, %[[X:.*]] :
// CHECK: llvm.insertvalue %[[BF16]], %{{.*}}[1]
// CHECK-NEXT: llvm.insertvalue %[[RANK4]], %{{.*}}[2]
// CHECK: llvm.store %{{.*}}, %[[W:.*]] :
// CHECK: llvm.insertvalue %[[BF16]], %{{.*}}[0] : !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK: llvm.insertvalue %[[NULL:.*]], %{{.*}}[7] : !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK-NEXT: %[[NO_BIAS:.*]] = llvm.insertvalue %[[NULL]], %{{.*}}[8]
// CHECK-NEXT: %[[ADDS:.*]] = llvm.insertvalue %[[ONE]], %[[NO_BIAS]][9]
// CHECK-NEXT: llvm.store %[[ADDS]], %[[PARAMS]]
// CHECK: llvm.insertvalue %[[F32]], %{{.*}}[1]
// CHECK: llvm.store %{{.*}}, %[[OUT:.*]] :
// CHECK: llvm.call %[[LINEAR]](%[[CONTEXT]], %[[X]], %[[W]], %[[PARAMS]], %[[OUT]]) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>, %slots: memref<?xi32>,
                %block_table: memref<?x?xi32>, %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                %logit_rows: memref<?xi32>, %cache: !kv, %weights: memref<?xi8>,
                %logits: memref<?x64xf32>, %arena: memref<?xi8>) {
  %c0 = arith.constant 0 : index
  %n = memref.dim %token_ids, %c0 : memref<?xi32>
  %x = memref.view %arena[%c0][%n] : memref<?xi8> to memref<?x32xbf16>
  %w = memref.view %weights[%c0][] : memref<?xi8> to memref<2x16x32x2xbf16>
  llm.call_kernel linear accumulate ins(%x, %w : memref<?x32xbf16>, memref<2x16x32x2xbf16>) outs(%logits : memref<?x64xf32>)
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// What surrounds a product: an activation by its number, whether it gates, epsilon,
// and a pointer to the norm.
// CHECK-LABEL: llvm.func internal @step(
// CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i32)
// CHECK-DAG: %[[GELU_TANH:.*]] = llvm.mlir.constant(3 : i32)
// CHECK-DAG: %[[EPSILON:.*]] = llvm.mlir.constant(2.500000e-01 : f32)
// CHECK: llvm.insertvalue %[[GELU_TANH]], %{{.*}}[4] : !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK-NEXT: llvm.insertvalue %[[ONE]], %{{.*}}[5]
// CHECK-NEXT: llvm.insertvalue %[[EPSILON]], %{{.*}}[6]
// CHECK-NEXT: llvm.insertvalue %[[NORM:.*]], %{{.*}}[7]
// CHECK-NEXT: llvm.insertvalue %[[NO_BIAS:.*]], %{{.*}}[8]
// CHECK: llvm.call %{{.*}}(
func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>, %slots: memref<?xi32>,
                %block_table: memref<?x?xi32>, %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                %logit_rows: memref<?xi32>, %cache: !kv, %weights: memref<?xi8>,
                %logits: memref<?x32xf32>, %arena: memref<?xi8>) {
  %c0 = arith.constant 0 : index
  %n = memref.dim %token_ids, %c0 : memref<?xi32>
  %x = memref.view %arena[%c0][%n] : memref<?xi8> to memref<?x32xf32>
  %w = memref.view %weights[%c0][] : memref<?xi8> to memref<2x16x32x2xbf16>
  %g = memref.view %weights[%c0][] : memref<?xi8> to memref<32xf32>
  llm.call_kernel linear ins(%x, %w, %g : memref<?x32xf32>, memref<2x16x32x2xbf16>, memref<32xf32>) outs(%logits : memref<?x32xf32>) {activation = #llm<activation_kind gelu_tanh>, epsilon = 2.5e-01 : f32, extras = ["norm"], gated}
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// The other functions of the table, at 16, 32, 40 and 48. Without `accumulate` a
// product stores; a cache is a pointer, a layer a number. Attention is given
// llmir_attention_params: scale, softcap, window, sinks, slopes, and the type of
// queries.
// CHECK-LABEL: llvm.func internal @step(
// CHECK-SAME: %[[RUNTIME:arg55]]: !llvm.ptr) attributes
// CHECK-DAG: %[[SCALE:.*]] = llvm.mlir.constant(5.000000e-01 : f32)
// CHECK-DAG: %[[NO_CAP:.*]] = llvm.mlir.constant(0.000000e+00 : f32)
// CHECK-DAG: %[[ZERO:.*]] = llvm.mlir.constant(0 : i64)
// CHECK: llvm.getelementptr %[[RUNTIME]][24]
// CHECK: %[[NULL:.*]] = llvm.mlir.zero : !llvm.ptr
// CHECK: %[[STORES:.*]] = llvm.insertvalue %[[ZERO]], %{{.*}}[9] : !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK-NEXT: llvm.store %[[STORES]]
// CHECK: llvm.call %{{.*}} : !llvm.ptr, (!llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
// CHECK: llvm.getelementptr %[[RUNTIME]][32]
// CHECK: llvm.call %{{.*}} : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i64, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
// CHECK: llvm.getelementptr %[[RUNTIME]][40]
// CHECK: %[[P0:.*]] = llvm.insertvalue %[[SCALE]], %{{.*}}[0] : !llvm.struct<(f32, f32, i64, ptr, ptr, ptr, i32, i32)>
// CHECK-NEXT: %[[P1:.*]] = llvm.insertvalue %[[NO_CAP]], %[[P0]][1]
// CHECK-NEXT: %[[P2:.*]] = llvm.insertvalue %[[ZERO]], %[[P1]][2]
// CHECK-NEXT: %[[P3:.*]] = llvm.insertvalue %[[NULL]], %[[P2]][3]
// CHECK-NEXT: %[[P4:.*]] = llvm.insertvalue %[[NULL]], %[[P3]][4]
// CHECK-NEXT: %[[P5:.*]] = llvm.insertvalue %[[NULL]], %[[P4]][5]
// CHECK-NEXT: %[[P6:.*]] = llvm.insertvalue %{{.*}}, %[[P5]][6]
// CHECK-NEXT: %[[P7:.*]] = llvm.insertvalue %{{.*}}, %[[P6]][7]
// CHECK-NEXT: llvm.store %[[P7]], %[[PARAMS:.*]] :
// CHECK: llvm.call %{{.*}}, %[[PARAMS]], %{{[^,]*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i64, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
// CHECK: llvm.getelementptr %[[RUNTIME]][48]
// CHECK: llvm.call %{{.*}} : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i64, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr, !llvm.ptr) -> ()
// CHECK: llvm.getelementptr %[[RUNTIME]][16]
// CHECK: llvm.call %{{.*}} : !llvm.ptr, (!llvm.ptr, !llvm.ptr, !llvm.ptr, i64, i64) -> ()
func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>, %slots: memref<?xi32>,
                %block_table: memref<?x?xi32>, %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                %logit_rows: memref<?xi32>, %cache: !kv, %weights: memref<?xi8>,
                %logits: memref<?x64xf32>, %arena: memref<?xi8>) {
  %c0 = arith.constant 0 : index
  %n = memref.dim %token_ids, %c0 : memref<?xi32>
  %k = memref.view %arena[%c0][%n] : memref<?xi8> to memref<?x2x32xf32>
  llm.call_kernel linear ins(%k, %k : memref<?x2x32xf32>, memref<?x2x32xf32>) outs(%logits : memref<?x64xf32>)
  llm.call_kernel append_kv ins(%cache, %c0, %k, %k, %slots : !kv, index, memref<?x2x32xf32>, memref<?x2x32xf32>, memref<?xi32>)
  llm.call_kernel paged_attention ins(%cache, %c0, %k, %block_table, %context_lens, %row_starts
      : !kv, index, memref<?x2x32xf32>, memref<?x?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%k : memref<?x2x32xf32>) {scale = 0.5 : f32}
  %table = memref.view %weights[%c0][] : memref<?xi8> to memref<512x2x16xf32>
  llm.call_kernel rope_append_kv ins(%cache, %c0, %k, %k, %k, %table, %positions, %slots
      : !kv, index, memref<?x2x32xf32>, memref<?x2x32xf32>, memref<?x2x32xf32>, memref<512x2x16xf32>, memref<?xi32>, memref<?xi32>)
    outs(%k : memref<?x2x32xf32>)
  %f = constant @rows : (!llvm.ptr, i64, i64) -> ()
  %p = llvm.mlir.zero : !llvm.ptr
  llm.call_kernel parallel_for ins(%f, %p, %n, %n : (!llvm.ptr, i64, i64) -> (), !llvm.ptr, index, index)
  return
}
// A loop over rows keeps its own signature.
// CHECK: llvm.func internal @rows(%{{.*}}: !llvm.ptr, %{{.*}}: i64, %{{.*}}: i64) attributes
func.func private @rows(%captures: !llvm.ptr, %begin: i64, %end: i64) attributes {llm.row_loop} {
  return
}

// -----

!kv = !llm.paged_kv_cache<f16, 2, 2, 32, 16, 512>

// What a kernel can do without is a pointer in its structure, wherever it stands
// in `extras`.
// CHECK-LABEL: llvm.func internal @step(
// CHECK-DAG: %[[F16:.*]] = llvm.mlir.constant(3 : i32)
// CHECK-DAG: %[[CAP:.*]] = llvm.mlir.constant(3.000000e+01 : f32)
// CHECK-DAG: %[[WINDOW:.*]] = llvm.mlir.constant(128 : i64)
// CHECK-DAG: %[[BF16:.*]] = llvm.mlir.constant(1 : i32)
// CHECK: %[[AT64:.*]] = llvm.getelementptr %[[WEIGHTS:.*]][64]
// CHECK: llvm.insertvalue %[[WEIGHTS]], %{{.*}}[0]
// CHECK-NEXT: llvm.insertvalue %[[F16]], %{{.*}}[1]
// CHECK: llvm.store %{{.*}}, %[[BIAS:.*]] : !llvm.struct<(ptr, i32, i32, array<4 x i64>, array<4 x i64>)>, !llvm.ptr
// CHECK: llvm.insertvalue %[[BIAS]], %{{.*}}[8] : !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK: llvm.insertvalue %[[AT64]], %{{.*}}[0]
// CHECK: llvm.store %{{.*}}, %[[SINKS:.*]] : !llvm.struct<(ptr, i32, i32, array<4 x i64>, array<4 x i64>)>, !llvm.ptr
// CHECK: llvm.store %{{.*}}, %[[SLOPES:.*]] : !llvm.struct<(ptr, i32, i32, array<4 x i64>, array<4 x i64>)>, !llvm.ptr
// CHECK: llvm.insertvalue %[[CAP]], %{{.*}}[1] : !llvm.struct<(f32, f32, i64, ptr, ptr, ptr, i32, i32)>
// CHECK-NEXT: llvm.insertvalue %[[WINDOW]], %{{.*}}[2]
// CHECK-NEXT: llvm.insertvalue %[[SINKS]], %{{.*}}[3]
// CHECK-NEXT: llvm.insertvalue %[[SLOPES]], %{{.*}}[4]
// CHECK-NEXT: llvm.insertvalue %{{.*}}, %{{.*}}[5]
// CHECK-NEXT: llvm.insertvalue %[[BF16]], %{{.*}}[6]
// CHECK-NEXT: llvm.insertvalue %[[BF16]], %{{.*}}[7]
func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>, %slots: memref<?xi32>,
                %block_table: memref<?x?xi32>, %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                %logit_rows: memref<?xi32>, %cache: !kv, %weights: memref<?xi8>,
                %logits: memref<?x64xf32>, %arena: memref<?xi8>) {
  %c0 = arith.constant 0 : index
  %c64 = arith.constant 64 : index
  %n = memref.dim %token_ids, %c0 : memref<?xi32>
  %b = memref.view %weights[%c0][] : memref<?xi8> to memref<64xf16>
  %k = memref.view %arena[%c0][%n] : memref<?xi8> to memref<?x2x32xf32>
  %slopes = memref.view %weights[%c0][] : memref<?xi8> to memref<2xf32>
  %sinks = memref.view %weights[%c64][] : memref<?xi8> to memref<2xf32>
  llm.call_kernel linear ins(%k, %k, %b : memref<?x2x32xf32>, memref<?x2x32xf32>, memref<64xf16>)
    outs(%logits : memref<?x64xf32>) {extras = ["bias"]}
  llm.call_kernel paged_attention ins(%cache, %c0, %k, %block_table, %context_lens, %row_starts, %slopes, %sinks
      : !kv, index, memref<?x2x32xf32>, memref<?x?xi32>, memref<?xi32>, memref<?xi32>, memref<2xf32>, memref<2xf32>)
    outs(%k : memref<?x2x32xf32>)
    {extras = ["alibi", "sinks"], query_type = bf16, scale = 0.5 : f32, softcap = 30.0 : f32, window = 128 : i64}
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// What quantized weights are is in the structure: W4A8 (6), with scales in F16 (3)
// for groups of 32, and zero points; then INT8 (3), with scales in F32 (0) for whole
// rows. Their panels are bytes (I8, 4).
// CHECK-LABEL: llvm.func internal @step(
// CHECK-DAG: %[[C0:.*]] = llvm.mlir.constant(0 : i32)
// CHECK-DAG: %[[C1:.*]] = llvm.mlir.constant(1 : i32)
// CHECK-DAG: %[[C3:.*]] = llvm.mlir.constant(3 : i32)
// CHECK-DAG: %[[C4:.*]] = llvm.mlir.constant(4 : i32)
// CHECK-DAG: %[[C6:.*]] = llvm.mlir.constant(6 : i32)
// CHECK-DAG: %[[G0:.*]] = llvm.mlir.constant(0 : i64)
// CHECK-DAG: %[[G32:.*]] = llvm.mlir.constant(32 : i64)
// CHECK: llvm.insertvalue %[[C4]], %{{.*}}[1]
// CHECK: llvm.insertvalue %[[C6]], %{{.*}}[0] : !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK-NEXT: llvm.insertvalue %[[C3]], %{{.*}}[1]
// CHECK-NEXT: llvm.insertvalue %[[G32]], %{{.*}}[2]
// CHECK-NEXT: llvm.insertvalue %[[C1]], %{{.*}}[3]
// CHECK: llvm.insertvalue %[[C3]], %{{.*}}[0] : !llvm.struct<(i32, i32, i64, i32, i32, i32, f32, ptr, ptr, i64)>
// CHECK-NEXT: llvm.insertvalue %[[C0]], %{{.*}}[1]
// CHECK-NEXT: llvm.insertvalue %[[G0]], %{{.*}}[2]
// CHECK-NEXT: llvm.insertvalue %[[C0]], %{{.*}}[3]
func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>, %slots: memref<?xi32>,
                %block_table: memref<?x?xi32>, %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                %logit_rows: memref<?xi32>, %cache: !kv, %weights: memref<?xi8>,
                %logits: memref<?x64xf32>, %arena: memref<?xi8>) {
  %c0 = arith.constant 0 : index
  %n = memref.dim %token_ids, %c0 : memref<?xi32>
  %x = memref.view %arena[%c0][%n] : memref<?xi8> to memref<?x64xf32>
  %w = memref.view %weights[%c0][] : memref<?xi8> to memref<2x1216xi8>
  llm.call_kernel linear ins(%x, %w : memref<?x64xf32>, memref<2x1216xi8>) outs(%logits : memref<?x64xf32>)
    {weight_type = !llm.quantized_tensor<64x64xui4, scales = f16, axis = 1, group_size = 32, asymmetric, packing = panels>,
     input_type = !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>}
  %v = memref.view %weights[%c0][] : memref<?xi8> to memref<2x2176xi8>
  llm.call_kernel linear ins(%x, %v : memref<?x64xf32>, memref<2x2176xi8>) outs(%logits : memref<?x64xf32>)
    {weight_type = !llm.quantized_tensor<64x64xi8, scales = f32, axis = 1, packing = panels>}
  return
}

// -----

// A step is what is exported.
// expected-error @+1 {{has no function `step` to export}}
module {
}

// -----

// It has what llmir_step_args unfolds to.
// expected-error @+1 {{must have a body, 11 arguments and no results to be exported}}
func.func @step(%x: memref<?xi32>) {
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

// Only the runtime's functions can be called.
func.func @step(%token_ids: memref<?xi32>, %positions: memref<?xi32>, %slots: memref<?xi32>,
                %block_table: memref<?x?xi32>, %context_lens: memref<?xi32>, %row_starts: memref<?xi32>,
                %logit_rows: memref<?xi32>, %cache: !kv, %weights: memref<?xi8>,
                %logits: memref<?x64xf32>, %arena: memref<?xi8>) {
  // expected-error @+1 {{the runtime has no kernel no_such_kernel}}
  llm.call_kernel no_such_kernel ins(%slots : memref<?xi32>)
  return
}

// -----

// An llmir_tensor has a dtype that the runtime knows.
func.func @step(%x: memref<4xf64>) {
  // expected-error @+1 {{kernels take strided memrefs of f32, bf16, f16, i32 or i8 with up to 4 dimensions, not 'memref<4xf64>'}}
  llm.call_kernel linear ins(%x, %x : memref<4xf64>, memref<4xf64>) outs(%x : memref<4xf64>)
  return
}

// -----

// It has room for four dimensions.
func.func @step(%x: memref<1x2x3x4x5xf32>) {
  // expected-error @+1 {{kernels take strided memrefs of f32, bf16, f16, i32 or i8 with up to 4 dimensions, not 'memref<1x2x3x4x5xf32>'}}
  llm.call_kernel linear ins(%x, %x : memref<1x2x3x4x5xf32>, memref<1x2x3x4x5xf32>) outs(%x : memref<1x2x3x4x5xf32>)
  return
}

// -----

// Its last stride is 1.
func.func @step(%x: memref<4x4xf32, strided<[8, 2]>>) {
  // expected-error @+1 {{kernels take memrefs whose elements along the last dimension are neighbours, not 'memref<4x4xf32, strided<[8, 2]>>'}}
  llm.call_kernel linear ins(%x, %x : memref<4x4xf32, strided<[8, 2]>>, memref<4x4xf32, strided<[8, 2]>>) outs(%x : memref<4x4xf32, strided<[8, 2]>>)
  return
}

// -----

// It describes buffers, not tensors.
func.func @step(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  // expected-error @+1 {{kernels take strided memrefs of f32, bf16, f16, i32 or i8 with up to 4 dimensions, not 'tensor<4x4xf32>'}}
  %0 = llm.call_kernel linear ins(%x, %x : tensor<4x4xf32>, tensor<4x4xf32>) outs(%x : tensor<4x4xf32>) -> tensor<4x4xf32>
  return %0 : tensor<4x4xf32>
}

// -----

// Each function of the table has its operands.
func.func @step(%x: memref<4x4xf32>) {
  // expected-error @+1 {{linear takes 2 inputs, those that `extras` names after them, and 1 outputs}}
  llm.call_kernel linear ins(%x : memref<4x4xf32>) outs(%x : memref<4x4xf32>)
  return
}

// -----

func.func @step(%x: memref<4x4xf32>) {
  // expected-error @+1 {{linear takes no scale}}
  llm.call_kernel linear ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%x : memref<4x4xf32>) {scale = 1.0 : f32}
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

func.func @step(%kv: !kv, %q: memref<?x2x32xf32>, %i: memref<?xi32>, %t: memref<?x?xi32>) {
  %c0 = arith.constant 0 : index
  // expected-error @+1 {{paged_attention needs a scale}}
  llm.call_kernel paged_attention ins(%kv, %c0, %q, %t, %i, %i
      : !kv, index, memref<?x2x32xf32>, memref<?x?xi32>, memref<?xi32>, memref<?xi32>) outs(%q : memref<?x2x32xf32>)
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

func.func @step(%kv: !kv, %q: memref<?x2x32xf32>, %i: memref<?xi32>, %t: memref<?x?xi32>) {
  %c0 = arith.constant 0 : index
  // expected-error @+1 {{paged_attention does not accumulate}}
  llm.call_kernel paged_attention accumulate ins(%kv, %c0, %q, %t, %i, %i
      : !kv, index, memref<?x2x32xf32>, memref<?x?xi32>, memref<?xi32>, memref<?xi32>)
    outs(%q : memref<?x2x32xf32>) {scale = 1.0 : f32}
  return
}

// -----

func.func @step(%x: memref<4x4xf32>) {
  // expected-error @+1 {{linear does not round a query to 'bf16'}}
  llm.call_kernel linear ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%x : memref<4x4xf32>) {query_type = bf16}
  return
}

// -----

func.func @step(%x: memref<4x4xf32>) {
  // expected-error @+1 {{linear takes no sinks}}
  llm.call_kernel linear ins(%x, %x, %x : memref<4x4xf32>, memref<4x4xf32>, memref<4x4xf32>) outs(%x : memref<4x4xf32>) {extras = ["sinks"]}
  return
}

// -----

func.func @step(%x: memref<4x4xf32>) {
  // expected-error @+1 {{names bias twice}}
  llm.call_kernel linear ins(%x, %x, %x, %x : memref<4x4xf32>, memref<4x4xf32>, memref<4x4xf32>, memref<4x4xf32>) outs(%x : memref<4x4xf32>) {extras = ["bias", "bias"]}
  return
}

// -----

func.func @step(%x: memref<4x4xf32>) {
  %c0 = arith.constant 0 : index
  // expected-error @+1 {{bias must be a memref, not 'index'}}
  llm.call_kernel linear ins(%x, %x, %c0 : memref<4x4xf32>, memref<4x4xf32>, index) outs(%x : memref<4x4xf32>) {extras = ["bias"]}
  return
}

// -----

func.func @step(%x: memref<4x4xf32>) {
  // expected-error @+1 {{linear takes no softcap, window or causal}}
  llm.call_kernel linear ins(%x, %x : memref<4x4xf32>, memref<4x4xf32>) outs(%x : memref<4x4xf32>) {window = 4 : i64}
  return
}

// -----

// What bytes mean is said.
func.func @step(%x: memref<4x64xf32>, %w: memref<1x2176xi8>) {
  // expected-error @+1 {{needs weight_type, which says what the bytes of the weight are}}
  llm.call_kernel linear ins(%x, %w : memref<4x64xf32>, memref<1x2176xi8>) outs(%x : memref<4x64xf32>)
  return
}

// -----

func.func @step(%x: memref<4x64xf32>) {
  // expected-error @+1 {{has a weight_type, and no bytes for a weight}}
  llm.call_kernel linear ins(%x, %x : memref<4x64xf32>, memref<4x64xf32>) outs(%x : memref<4x64xf32>)
    {weight_type = !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, packing = panels>}
  return
}

// -----

func.func @step(%x: memref<4x64xf32>) {
  // expected-error @+1 {{rounds its input for a quantized weight only}}
  llm.call_kernel linear ins(%x, %x : memref<4x64xf32>, memref<4x64xf32>) outs(%x : memref<4x64xf32>)
    {input_type = !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>}
  return
}

// -----

func.func @step(%x: memref<4x64xf32>, %w: memref<1x2048xi8>) {
  // expected-error @+1 {{weight is 'memref<1x2048xi8>', which are not the panels of '!llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, packing = panels>'}}
  llm.call_kernel linear ins(%x, %w : memref<4x64xf32>, memref<1x2048xi8>) outs(%x : memref<4x64xf32>)
    {weight_type = !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, packing = panels>}
  return
}

// -----

!kv = !llm.paged_kv_cache<bf16, 2, 2, 32, 16, 512>

func.func @step(%kv: !kv, %x: memref<?x2x32xf32>, %slots: memref<?xi32>) {
  %c0 = arith.constant 0 : index
  // expected-error @+1 {{append_kv takes no weight}}
  llm.call_kernel append_kv ins(%kv, %c0, %x, %x, %slots : !kv, index, memref<?x2x32xf32>, memref<?x2x32xf32>, memref<?xi32>)
    {weight_type = !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, packing = panels>}
  return
}
