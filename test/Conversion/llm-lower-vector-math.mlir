// RUN: llmir-opt %s -llm-lower-vector-math | FileCheck %s

// What the dialect's ops need, on vectors and scalars: polynomials with explicit
// fused multiply-adds, and no call.
// CHECK-LABEL: func @vectors
// CHECK-NOT: math.{{exp|tanh|erf}} 
// CHECK-NOT: fastmath
// CHECK: math.fma {{.*}} : vector<32xf32>
// CHECK-NOT: math.{{exp|tanh|erf}} 
// CHECK: return
func.func @vectors(%x: vector<32xf32>) -> (vector<32xf32>, vector<32xf32>, vector<32xf32>) {
  %0 = math.exp %x : vector<32xf32>
  %1 = math.tanh %x : vector<32xf32>
  %2 = math.erf %x : vector<32xf32>
  return %0, %1, %2 : vector<32xf32>, vector<32xf32>, vector<32xf32>
}

// CHECK-LABEL: func @scalars
// CHECK-NOT: math.{{exp|tanh|erf}} 
// CHECK: math.fma {{.*}} : f32
// CHECK-NOT: math.{{exp|tanh|erf}} 
// CHECK: return
func.func @scalars(%x: f32) -> (f32, f32, f32) {
  %0 = math.exp %x : f32
  %1 = math.tanh %x : f32
  %2 = math.erf %x : f32
  return %0, %1, %2 : f32, f32, f32
}

// A square root is an instruction.
// CHECK-LABEL: func @root
// CHECK-NEXT: math.sqrt %{{.*}} : f32
// CHECK-NEXT: return
func.func @root(%x: f32) -> f32 {
  %0 = math.sqrt %x : f32
  return %0 : f32
}

// Angles are reduced in f64.
// CHECK-LABEL: func @angles
// CHECK-NOT: math.{{sin|cos}}
// CHECK: arith.extf %{{.*}} : vector<8xf32> to vector<8xf64>
// CHECK: math.roundeven %{{.*}} : vector<8xf64>
// CHECK-COUNT-2: math.fma %{{.*}} : vector<8xf64>
// CHECK-NOT: math.{{sin|cos}}
// CHECK: return
func.func @angles(%x: vector<8xf32>, %y: f32) -> (vector<8xf32>, f32) {
  %0 = math.sin %x : vector<8xf32>
  %1 = math.cos %y : f32
  return %0, %1 : vector<8xf32>, f32
}

// CHECK-LABEL: func @powers
// CHECK-NOT: math.powf
// CHECK: math.sqrt
// CHECK-NOT: math.powf
// CHECK: return
func.func @powers(%x: f32) -> (f32, f32) {
  %three = arith.constant 3.0 : f32
  %half = arith.constant 0.5 : f32
  %0 = math.powf %x, %three : f32
  %1 = math.powf %x, %half : f32
  return %0, %1 : f32, f32
}
