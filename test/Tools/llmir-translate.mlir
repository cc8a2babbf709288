// RUN: llmir-opt %S/../Pipelines/Inputs/two-layer-step.mlir -llm-cpu-pipeline \
// RUN:   | llmir-translate --mlir-to-llvmir | FileCheck %s --check-prefix=STEP
// RUN: llmir-translate --mlir-to-llvmir %s | FileCheck %s
// RUN: llmir-translate --mlir-to-llvmir %s | llmir-translate --import-llvm \
// RUN:   | FileCheck %s --check-prefix=BACK

// A lowered step still has attributes of the llm dialect, which are read and left
// behind.
// STEP: define void @llmir_step(ptr %{{.*}}, ptr %{{.*}})

// CHECK: define float @twice(float %[[X:.*]])
// CHECK: fadd float %[[X]], %[[X]]
// BACK: llvm.func @twice(%[[X:.*]]: f32) -> f32
// BACK: llvm.fadd %[[X]], %[[X]]
module attributes {llm.note = #llm.rope_scaling<linear, factor = 2.0>} {
  llvm.func @twice(%x: f32) -> f32 {
    %y = llvm.fadd %x, %x : f32
    llvm.return %y : f32
  }
}
