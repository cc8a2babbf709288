// Conversions to bf16 round once: each function returns the bits that it made
// XOR those that it should have made.
// RUN: llmir-opt %s -llm-expand-bf16 | mlir-opt -convert-arith-to-llvm -convert-func-to-llvm -o %t
// RUN: mlir-cpu-runner %t -e above_tie -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e below_tie -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e negative -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e ordinary -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e too_large -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e too_small -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e integer -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e unsigned -entry-point-result=i32 | FileCheck %s
// RUN: mlir-cpu-runner %t -e widened -entry-point-result=i32 | FileCheck %s

// CHECK: {{^}}0{{$}}

func.func private @rounded(%x: f64, %expected: i16) -> i32 {
  %0 = arith.truncf %x : f64 to bf16
  %1 = call @difference(%0, %expected) : (bf16, i16) -> i32
  return %1 : i32
}
func.func private @difference(%found: bf16, %expected: i16) -> i32 {
  %0 = arith.bitcast %found : bf16 to i16
  %1 = arith.xori %0, %expected : i16
  %2 = arith.extui %1 : i16 to i32
  return %2 : i32
}

// 1 + 2^-8 + 2^-40: f32 loses what lifts it above the middle.
func.func @above_tie() -> i32 {
  %x = arith.constant 0x3FF0100000001000 : f64
  %e = arith.constant 0x3F81 : i16
  %0 = call @rounded(%x, %e) : (f64, i16) -> i32
  return %0 : i32
}

// 1 + 3 * 2^-8 - 2^-40: f32 rounds it up to the middle.
func.func @below_tie() -> i32 {
  %x = arith.constant 0x3FF02FFFFFFFF000 : f64
  %e = arith.constant 0x3F81 : i16
  %0 = call @rounded(%x, %e) : (f64, i16) -> i32
  return %0 : i32
}

func.func @negative() -> i32 {
  %x = arith.constant 0xBFF02FFFFFFFF000 : f64
  %e = arith.constant 0xBF81 : i16
  %0 = call @rounded(%x, %e) : (f64, i16) -> i32
  return %0 : i32
}

func.func @ordinary() -> i32 {
  %x = arith.constant 0.1 : f64
  %e = arith.constant 0x3DCD : i16
  %0 = call @rounded(%x, %e) : (f64, i16) -> i32
  return %0 : i32
}

func.func @too_large() -> i32 {
  %x = arith.constant -1.0e+39 : f64
  %e = arith.constant 0xFF80 : i16
  %0 = call @rounded(%x, %e) : (f64, i16) -> i32
  return %0 : i32
}

func.func @too_small() -> i32 {
  %x = arith.constant -1.0e-60 : f64
  %e = arith.constant 0x8000 : i16
  %0 = call @rounded(%x, %e) : (f64, i16) -> i32
  return %0 : i32
}

// 2^24 + 2^16 + 1: f32 loses the 1.
func.func @integer() -> i32 {
  %n = arith.constant 16842753 : i32
  %0 = arith.sitofp %n : i32 to bf16
  %e = arith.constant 0x4B81 : i16
  %1 = call @difference(%0, %e) : (bf16, i16) -> i32
  return %1 : i32
}

// 2^31 + 2^23 + 1.
func.func @unsigned() -> i32 {
  %n = arith.constant 2155872257 : i32
  %0 = arith.uitofp %n : i32 to bf16
  %e = arith.constant 0x4F01 : i16
  %1 = call @difference(%0, %e) : (bf16, i16) -> i32
  return %1 : i32
}

func.func @widened() -> i32 {
  %h = arith.constant 0x3F81 : bf16
  %0 = arith.extf %h : bf16 to f64
  %1 = arith.bitcast %0 : f64 to i64
  %e = arith.constant 0x3FF0200000000000 : i64
  %2 = arith.xori %1, %e : i64
  %high = arith.constant 32 : i64
  %3 = arith.shrui %2, %high : i64
  %4 = arith.trunci %3 : i64 to i32
  return %4 : i32
}
