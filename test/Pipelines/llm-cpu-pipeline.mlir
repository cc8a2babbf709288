// RUN: llmir-opt %S/Inputs/two-layer-step.mlir -llm-cpu-pipeline=max-batch-tokens=32 -o %t
// RUN: FileCheck %s --input-file=%t
// RUN: FileCheck %s --input-file=%t --check-prefix=NONE
// RUN: mlir-translate --mlir-to-llvmir %t | FileCheck %s --check-prefix=TEXT

// No op of the dialect and of those on the way is left: llmir attributes of the
// module are all that speaks of it.
// NONE-NOT: {{^ *(%[^=]*= )?}}llm.
// NONE-NOT: !llm.
// NONE-NOT: builtin.unrealized_conversion_cast
// NONE-NOT: {{(memref|vector|arith|scf|cf|func|linalg|math)\.}}

// The code asks nobody for anything.
// NONE-NOT: {{malloc|free|memcpy|memmove|memset|memrefCopy|aligned_alloc}}

// LLVM 18 converts no bf16, and computes with none.
// NONE-NOT: {{llvm.(fpext|fptrunc|fadd|fmul|fsub|fdiv).*bf16}}

// The same answer in any company: no operation may be contracted or reordered.
// NONE-NOT: fastmath
// NONE-NOT: vector.reduce

// CHECK: llvm.mlir.global external constant @llmir_abi_version
// CHECK-DAG: llvm.func internal @step(
// CHECK-DAG: llvm.func internal @decoder_layer(
// CHECK-DAG: llvm.func internal @step_rows_0(
// CHECK: llvm.func @llmir_step(%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr)

// In LLVM text, two symbols are defined for others, and none but LLVM's own
// intrinsics is wanted.
// TEXT: @llmir_abi_version = constant i32 5
// TEXT-NOT: {{^}}define {{(void|dso_local)}}
// TEXT-NOT: {{^}}declare {{.*}}@{{([^l]|l[^l]|ll[^v])}}
// TEXT: define void @llmir_step(ptr %0, ptr %1)
// TEXT-NOT: {{^}}define
// TEXT-NOT: {{^}}declare {{.*}}@{{([^l]|l[^l]|ll[^v])}}
