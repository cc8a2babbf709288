// RUN: llmir-opt %S/Inputs/two-layer-step.mlir -llm-cpu-pipeline=max-batch-tokens=32 -o %t.whole
// RUN: llmir-opt %S/Inputs/two-layer-step.mlir -llm-optimize -o %t.optimized
// RUN: llmir-opt %t.optimized -llm-to-buffers=max-batch-tokens=32 -o %t.buffers
// RUN: llmir-opt %t.buffers -llm-to-llvm -o %t.parts
// RUN: diff %t.whole %t.parts
// RUN: FileCheck %s --input-file=%t.parts

// The named pipelines are steps of one way, which may be stopped and gone on
// with from text.
// CHECK: llvm.func @llmir_step(
