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
