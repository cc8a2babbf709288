// RUN: llmir-opt %s -llm-expand-bf16 -split-input-file -verify-diagnostics | FileCheck %s
// RUN: llmir-opt %s -llm-expand-bf16 -inline -canonicalize -split-input-file -verify-diagnostics | FileCheck %s --check-prefix=BITS

// Widening: bf16 is the upper half of f32.
// CHECK-LABEL: func @widen
// CHECK-SAME: (%[[X:.*]]: bf16)
// CHECK-DAG: %[[C16:.*]] = arith.constant 16 : i32
// CHECK: %[[H:.*]] = arith.bitcast %[[X]] : bf16 to i16
// CHECK: %[[W:.*]] = arith.extui %[[H]] : i16 to i32
// CHECK: %[[S:.*]] = arith.shli %[[W]], %[[C16]] : i32
// CHECK: %[[Y:.*]] = arith.bitcast %[[S]] : i32 to f32
// CHECK: return %[[Y]]
func.func @widen(%x: bf16) -> f32 {
  %0 = arith.extf %x : bf16 to f32
  return %0 : f32
}

// -----

// Narrowing: half of the last place is added, a bit less where it is even; a NaN
// stays one.
// CHECK-LABEL: func @narrow
// CHECK-SAME: (%[[X:.*]]: vector<32xf32>)
// CHECK-DAG: %[[C16:.*]] = arith.constant dense<16> : vector<32xi32>
// CHECK-DAG: %[[C1:.*]] = arith.constant dense<1> : vector<32xi32>
// CHECK-DAG: %[[HALF:.*]] = arith.constant dense<32767> : vector<32xi32>
// CHECK-DAG: %[[QUIET:.*]] = arith.constant dense<64> : vector<32xi32>
// CHECK: %[[W:.*]] = arith.bitcast %[[X]] : vector<32xf32> to vector<32xi32>
// CHECK: %[[U:.*]] = arith.shrui %[[W]], %[[C16]]
// CHECK: %[[ODD:.*]] = arith.andi %[[U]], %[[C1]]
// CHECK: %[[BIAS:.*]] = arith.addi %[[ODD]], %[[HALF]]
// CHECK: %[[SUM:.*]] = arith.addi %[[W]], %[[BIAS]]
// CHECK: %[[ROUNDED:.*]] = arith.shrui %[[SUM]], %[[C16]]
// CHECK: %[[NAN:.*]] = arith.ori %[[U]], %[[QUIET]]
// CHECK: %[[IS:.*]] = arith.cmpf uno, %[[X]], %[[X]]
// CHECK: %[[CHOSEN:.*]] = arith.select %[[IS]], %[[NAN]], %[[ROUNDED]]
// CHECK: %[[H:.*]] = arith.trunci %[[CHOSEN]] : vector<32xi32> to vector<32xi16>
// CHECK: arith.bitcast %[[H]] : vector<32xi16> to vector<32xbf16>
func.func @narrow(%x: vector<32xf32>) -> vector<32xbf16> {
  %0 = arith.truncf %x : vector<32xf32> to vector<32xbf16>
  return %0 : vector<32xbf16>
}

// -----

// Bit for bit, on constants: 1 + 2^-8 lies between two values and goes to the
// even one below, 1 + 3 * 2^-8 to the even one above, the largest f32 to
// infinity; a NaN whose upper half is that of infinity stays a NaN.
// BITS-LABEL: func @ties
// BITS-DAG: %[[A:.*]] = arith.constant 1.000000e+00 : bf16
// BITS-DAG: %[[B:.*]] = arith.constant 1.015630e+00 : bf16
// BITS-DAG: %[[C:.*]] = arith.constant 0x7F80 : bf16
// BITS-DAG: %[[D:.*]] = arith.constant 0x7FC0 : bf16
// BITS: return %[[A]], %[[B]], %[[C]], %[[D]]
func.func private @round(%x: f32) -> bf16 {
  %0 = arith.truncf %x : f32 to bf16
  return %0 : bf16
}
func.func @ties() -> (bf16, bf16, bf16, bf16) {
  %a = arith.constant 0x3F808000 : f32
  %b = arith.constant 0x3F818000 : f32
  %c = arith.constant 0x7F7FFFFF : f32
  %d = arith.constant 0x7F800001 : f32
  %0 = call @round(%a) : (f32) -> bf16
  %1 = call @round(%b) : (f32) -> bf16
  %2 = call @round(%c) : (f32) -> bf16
  %3 = call @round(%d) : (f32) -> bf16
  return %0, %1, %2, %3 : bf16, bf16, bf16, bf16
}

// -----

// Other conversions are LLVM's: f16 is no trouble.
// CHECK-LABEL: func @f16
// CHECK-NEXT: arith.extf
// CHECK-NEXT: arith.truncf
// CHECK-NEXT: return
func.func @f16(%x: f16, %y: f32) -> (f32, f16) {
  %0 = arith.extf %x : f16 to f32
  %1 = arith.truncf %y : f32 to f16
  return %0, %1 : f32, f16
}

// -----

// Other arithmetic happens in f32, and is rounded.
// CHECK-LABEL: func @arithmetic
// CHECK-SAME: (%[[X:.*]]: vector<4xbf16>, %[[Y:.*]]: vector<4xbf16>)
// CHECK: %[[H:.*]] = arith.bitcast %[[X]] : vector<4xbf16> to vector<4xi16>
// CHECK: arith.extui %[[H]]
// CHECK: %[[A:.*]] = arith.bitcast %{{.*}} : vector<4xi32> to vector<4xf32>
// CHECK: arith.bitcast %[[Y]] : vector<4xbf16> to vector<4xi16>
// CHECK: %[[B:.*]] = arith.bitcast %{{.*}} : vector<4xi32> to vector<4xf32>
// CHECK: %[[S:.*]] = arith.addf %[[A]], %[[B]] fastmath<contract> : vector<4xf32>
// CHECK: arith.bitcast %[[S]] : vector<4xf32> to vector<4xi32>
// CHECK: %[[R:.*]] = arith.bitcast %{{.*}} : vector<4xi16> to vector<4xbf16>
// CHECK: return %[[R]]
func.func @arithmetic(%x: vector<4xbf16>, %y: vector<4xbf16>) -> vector<4xbf16> {
  %0 = arith.addf %x, %y fastmath<contract> : vector<4xbf16>
  return %0 : vector<4xbf16>
}

// -----

// Operands are widened where the result is of another type, and the other way
// around.
// CHECK-LABEL: func @mixed
// CHECK-NOT: arith.{{extf|truncf}}
// CHECK: arith.cmpf olt, %{{.*}}, %{{.*}} : f32
// CHECK-NOT: arith.{{extf|truncf}}
// CHECK: arith.sitofp %{{.*}} : i16 to f32
// CHECK-NOT: arith.{{extf|truncf}}
// CHECK: math.fpowi %{{.*}}, %{{.*}} : f32, i32
// CHECK-NOT: arith.{{extf|truncf}}
// CHECK: return
func.func @mixed(%x: bf16, %y: bf16, %m: i16, %n: i32) -> (i1, bf16, bf16) {
  %0 = arith.cmpf olt, %x, %y : bf16
  %1 = arith.sitofp %m : i16 to bf16
  %2 = math.fpowi %x, %n : bf16, i32
  return %0, %1, %2 : i1, bf16, bf16
}

// -----

// f64, and integers that f32 does not have, are rounded to an odd f32 first.
// llm-expand-bf16-run.mlir shows that this rounds once.
// CHECK-LABEL: func @double
// CHECK: %[[N:.*]] = arith.truncf %{{.*}} : f64 to f32
// CHECK: arith.extf %[[N]] : f32 to f64
// CHECK-NOT: f64 to bf16
// CHECK: arith.bitcast %{{.*}} : i16 to bf16
// CHECK: arith.sitofp %{{.*}} : vector<4xi32> to vector<4xf64>
// CHECK: arith.truncf %{{.*}} : vector<4xf64> to vector<4xf32>
// CHECK: arith.bitcast %{{.*}} : vector<4xi16> to vector<4xbf16>
// CHECK: arith.extf %{{.*}} : f32 to f64
// CHECK-NEXT: return
func.func @double(%x: f64, %n: vector<4xi32>, %h: bf16) -> (bf16, vector<4xbf16>, f64) {
  %0 = arith.truncf %x : f64 to bf16
  %1 = arith.sitofp %n : vector<4xi32> to vector<4xbf16>
  %2 = arith.extf %h : bf16 to f64
  return %0, %1, %2 : bf16, vector<4xbf16>, f64
}

// -----

func.func @long(%n: i64) -> bf16 {
  // expected-error @+1 {{cannot round 'i64' to bf16 at once; convert it to f32 first}}
  %0 = arith.sitofp %n : i64 to bf16
  return %0 : bf16
}

// -----

// A choice is no arithmetic.
// CHECK-LABEL: func @choice
// CHECK-NEXT: arith.select %{{.*}}, %{{.*}}, %{{.*}} : bf16
// CHECK-NEXT: return
func.func @choice(%c: i1, %x: bf16, %y: bf16) -> bf16 {
  %0 = arith.select %c, %x, %y : bf16
  return %0 : bf16
}

// -----

// Bit for bit: 1 + 2^-8 is rounded, to the even neighbour.
// BITS-LABEL: func @rounded_sum
// BITS-NEXT: %[[C:.*]] = arith.constant 1.000000e+00 : bf16
// BITS-NEXT: return %[[C]]
func.func private @sum(%x: bf16, %y: bf16) -> bf16 {
  %0 = arith.addf %x, %y : bf16
  return %0 : bf16
}
func.func @rounded_sum() -> bf16 {
  %a = arith.constant 1.0 : bf16
  %b = arith.constant 0x3B80 : bf16
  %0 = call @sum(%a, %b) : (bf16, bf16) -> bf16
  return %0 : bf16
}
