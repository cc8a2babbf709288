// RUN: llmir-opt %s -split-input-file -verify-diagnostics

// Every message about quantized tensors and the ops on them.

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

// Of 4 or 8 bits.
// expected-error @+1 {{storage must be i8, i4, ui8 or ui4, but is 'i16'}}
func.func private @case(!llm.quantized_tensor<8x8xi16, scales = f32, axis = 1>)

// -----

// Of one spelling.
// expected-error @+1 {{storage must be i8, i4, ui8 or ui4, but is 'si8'}}
func.func private @case(!llm.quantized_tensor<8x8xsi8, scales = f32, axis = 1>)

// -----

// Integers.
// expected-error @+1 {{invalid kind of type specified}}
func.func private @case(!llm.quantized_tensor<8x8xf16, scales = f32, axis = 1>)

// -----

// Without zero points, negative numbers need a sign.
// expected-error @+1 {{a symmetric tensor has signed numbers, but its storage is 'ui8'}}
func.func private @case(!llm.quantized_tensor<8x8xui8, scales = f32, axis = 1>)

// -----

// Scales are floats that kernels widen.
// expected-error @+1 {{scales must be f16, bf16 or f32, but are 'f64'}}
func.func private @case(!llm.quantized_tensor<8x8xi8, scales = f64, axis = 1>)

// -----

// Groups lie along a dimension.
// expected-error @+1 {{axis 2 is not one of the 2 dimensions}}
func.func private @case(!llm.quantized_tensor<8x8xi8, scales = f32, axis = 2>)

// -----

// A negative axis.
// expected-error @+1 {{axis -1 is not one of the 2 dimensions}}
func.func private @case(!llm.quantized_tensor<8x8xi8, scales = f32, axis = -1>)

// -----

// Groups are whole.
// expected-error @+1 {{group_size 3 must divide the size of dimension 1, which must be static and positive}}
func.func private @case(!llm.quantized_tensor<8x8xi8, scales = f32, axis = 1, group_size = 3>)

// -----

// No groups at all.
// expected-error @+1 {{group_size 32 must divide the size of dimension 1, which must be static and positive}}
func.func private @no_groups(!llm.quantized_tensor<4x0xi8, scales = f32, axis = 1, group_size = 32>)

// -----

// Groups of what is not known.
// expected-error @+1 {{group_size 4 must divide the size of dimension 0, which must be static and positive}}
func.func private @case(!llm.quantized_tensor<?x8xi8, scales = f32, axis = 0, group_size = 4>)

// -----

// Whole lines are what no group_size means.
// expected-error @+1 {{group_size must be positive, but is 0}}
func.func private @case(!llm.quantized_tensor<8x8xi8, scales = f32, axis = 1, group_size = 0>)

// -----

// A byte has room for one byte.
// expected-error @+1 {{only elements of 4 bits are packed in pairs, not 'i8'}}
func.func private @case(!llm.quantized_tensor<8x8xi8, scales = f32, axis = 1, packing = pairs>)

// -----

// Pairs are whole.
// expected-error @+1 {{pairs need an even, static size, but dimension 1 has the size 7}}
func.func private @case(!llm.quantized_tensor<8x7xi4, scales = f32, axis = 1, packing = pairs>)

// -----

// Pairs of what is not known.
// expected-error @+1 {{pairs need an even, static size, but dimension 1 has the size ?}}
func.func private @case(!llm.quantized_tensor<8x?xi4, scales = f32, axis = 1, packing = pairs>)

// -----

// The members come in one order, and no others do.
// expected-error @+1 {{expected 'packing', or group_size or asymmetric before it}}
func.func private @case(!llm.quantized_tensor<8x8xi4, scales = f32, axis = 1, asymmetric, group_size = 4>)

// -----

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

// A tensor and its integers have one shape.
func.func @case(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{result is '!llm.quantized_tensor<?x4xi8, scales = f32, axis = 1>', but must have the input's shape, that of 'tensor<?x8xf32>'}}
  %0 = llm.quantize %x : (tensor<?x8xf32>) -> !llm.quantized_tensor<?x4xi8, scales = f32, axis = 1>
  return
}

// -----

// The same the other way round.
func.func @case(%x: !llm.quantized_tensor<?x4xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{result is 'tensor<?x8xf32>', but must have the shape 'tensor<?x4xf32>'}}
  %0 = llm.dequantize %x : (!llm.quantized_tensor<?x4xi8, scales = f32, axis = 1>) -> tensor<?x8xf32>
  return
}

// -----

// A weight's groups lie along its inputs: another layout is another type.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 0>) {
  // expected-error @+1 {{weight must be a matrix that is quantized along its last dimension, but is '!llm.quantized_tensor<4x8xi8, scales = f32, axis = 0>'}}
  %0 = llm.quantized_matmul %x, %w : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 0>) -> tensor<?x4xf32>
  return
}

// -----

// A weight is a matrix.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<2x4x8xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{weight must be a matrix that is quantized along its last dimension}}
  %0 = llm.quantized_matmul %x, %w : (tensor<?x8xf32>, !llm.quantized_tensor<2x4x8xi8, scales = f32, axis = 1>) -> tensor<?x4xf32>
  return
}

// -----

// So do those of activations.
func.func @case(%x: !llm.quantized_tensor<?x8xi8, scales = f32, axis = 0>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{input must be a matrix that is quantized along its last dimension}}
  %0 = llm.quantized_matmul %x, %w : (!llm.quantized_tensor<?x8xi8, scales = f32, axis = 0>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) -> tensor<?x4xf32>
  return
}

// -----

// Tokens are rows.
func.func @case(%x: tensor<1x1x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{input must be a tensor of rank 2, but is 'tensor<1x1x8xf32>'}}
  %0 = llm.quantized_matmul %x, %w : (tensor<1x1x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) -> tensor<1x4xf32>
  return
}

// -----

// Inputs meet inputs.
func.func @case(%x: tensor<?x6xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{the weight's number of inputs is 8, but must be 6, the input's last dimension}}
  %0 = llm.quantized_matmul %x, %w : (tensor<?x6xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) -> tensor<?x4xf32>
  return
}

// -----

// A result has a row a token and a column an output.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{result is 'tensor<?x8xf32>', but must have the shape 'tensor<?x4xf32>'}}
  %0 = llm.quantized_matmul %x, %w : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) -> tensor<?x8xf32>
  return
}

// -----

// Integers of one sum have one scale.
func.func @case(%x: !llm.quantized_tensor<?x8xi8, scales = f32, axis = 1, group_size = 2>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1, group_size = 4>) {
  // expected-error @+1 {{the input's groups of 2 must be the weight's, of 4, or whole rows}}
  %0 = llm.quantized_matmul %x, %w : (!llm.quantized_tensor<?x8xi8, scales = f32, axis = 1, group_size = 2>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1, group_size = 4>) -> tensor<?x4xf32>
  return
}

// -----

// Sums of integers are of 32 bits: 2^17 products of -128 by -128 are too many.
func.func @case(%x: !llm.quantized_tensor<?x131072xi8, scales = f32, axis = 1>, %w: !llm.quantized_tensor<4x131072xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{sums of 131072 products may not fit into 32 bits; groups of 131071 do}}
  %0 = llm.quantized_matmul %x, %w : (!llm.quantized_tensor<?x131072xi8, scales = f32, axis = 1>, !llm.quantized_tensor<4x131072xi8, scales = f32, axis = 1>) -> tensor<?x4xf32>
  return
}

// -----

// With zero points, numbers are twice as far apart.
func.func @case(%x: !llm.quantized_tensor<?x40000xi8, scales = f32, axis = 1, asymmetric>, %w: !llm.quantized_tensor<4x?xui8, scales = f32, axis = 1, asymmetric>) {
  // expected-error @+1 {{sums of 40000 products may not fit into 32 bits; groups of 33025 do}}
  %0 = llm.quantized_matmul %x, %w : (!llm.quantized_tensor<?x40000xi8, scales = f32, axis = 1, asymmetric>, !llm.quantized_tensor<4x?xui8, scales = f32, axis = 1, asymmetric>) -> tensor<?x4xf32>
  return
}

// -----

// A bias is a vector.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %b: tensor<1x4xf32>) {
  // expected-error @+1 {{bias must be a tensor of rank 1, but is 'tensor<1x4xf32>'}}
  %0 = llm.quantized_matmul %x, %w bias %b : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, tensor<1x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

// With a number for each output.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %b: tensor<8xf32>) {
  // expected-error @+1 {{the bias's size is 8, but must be 4, the result's last dimension}}
  %0 = llm.quantized_matmul %x, %w bias %b : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, tensor<8xf32>) -> tensor<?x4xf32>
  return
}

// -----

// A residual is added to the result.
func.func @case(%x: tensor<2x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %h: tensor<2x8xf32>) {
  // expected-error @+1 {{residual is 'tensor<2x8xf32>', but must have the result's shape, that of 'tensor<2x4xf32>'}}
  %0 = llm.quantized_matmul %x, %w residual %h : (tensor<2x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, tensor<2x8xf32>) -> tensor<2x4xf32>
  return
}

// -----

// expected-error @+1 {{packing must be pairs, panels or gated_panels, but is bricks}}
func.func private @case(!llm.quantized_tensor<8x64xi4, scales = f32, axis = 1, packing = bricks>)

// -----

// expected-error @+1 {{packing must be pairs, panels or gated_panels, but is none}}
func.func private @case(!llm.quantized_tensor<8x64xi4, scales = f32, axis = 1, packing = none>)

// -----

// expected-error @+1 {{panels need a matrix of static sizes, from 1 to 1099511627776, that is quantized along dimension 1}}
func.func private @case(!llm.quantized_tensor<?x64xi4, scales = f32, axis = 1, packing = panels>)

// -----

// expected-error @+1 {{panels need a matrix of static sizes, from 1 to 1099511627776, that is quantized along dimension 1}}
func.func private @case(!llm.quantized_tensor<8x64xi4, scales = f32, axis = 0, packing = panels>)

// -----

// expected-error @+1 {{panels need groups of a multiple of 32, or whole rows, not groups of 16}}
func.func private @case(!llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, group_size = 16, packing = panels>)

// -----

// expected-error @+1 {{gated panels need an even number of rows, but there are 7}}
func.func private @case(!llm.quantized_tensor<7x64xi8, scales = f32, axis = 1, packing = gated_panels>)

// -----

// Panels are for the weights of files.
func.func @case(%x: tensor<8x64xf32>) {
  // expected-error @+1 {{result is '!llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, packing = panels>', but only parameters are packed in panels}}
  %0 = llm.quantize %x : (tensor<8x64xf32>) -> !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, packing = panels>
  return
}

// -----

// A file has floats.
func.func @case() {
  // expected-error @+1 {{needs `from` with the type that the file has, which is quantized when compiling}}
  %0 = llm.parameter "model"::"w" : !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1>
  return
}

// -----

// Of types that can be quantized.
func.func @case() {
  // expected-error @+1 {{parameters are quantized from f32, bf16 or f16, not from 'i8'}}
  %0 = llm.parameter "model"::"w" from tensor<8x64xi8> : !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1>
  return
}

// -----

// Its shape stays.
func.func @case() {
  // expected-error @+1 {{is '!llm.quantized_tensor<8x64xi8, scales = f32, axis = 1>', but must have the file's shape, that of 'tensor<64x8xf32>'}}
  %0 = llm.parameter "model"::"w" from tensor<64x8xf32> : !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1>
  return
}

// -----

// Only panels are one tensor.
func.func @case() {
  // expected-error @+1 {{only panels are bytes, not '!llm.quantized_tensor<8x64xi8, scales = f32, axis = 1>'}}
  %0 = llm.parameter "model"::"w" from tensor<8x64xf32> as !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1> : tensor<8x64xi8>
  return
}

// -----

// Of a size that follows.
func.func @case() {
  // expected-error @+1 {{result is 'tensor<1x2048xi8>', but the bytes of these panels are 'tensor<1x2176xi8>'}}
  %0 = llm.parameter "model"::"w" from tensor<8x64xf32> as !llm.quantized_tensor<8x64xi8, scales = f32, axis = 1, packing = panels> : tensor<1x2048xi8>
  return
}

// -----

// A norm needs its epsilon.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %n: tensor<8xf32>) {
  // expected-error @+1 {{has either both a norm and an epsilon, or neither}}
  %0 = llm.quantized_matmul %x, %w norm %n : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, tensor<8xf32>) -> tensor<?x4xf32>
  return
}

// -----

// It is one of numbers.
func.func @case(%x: !llm.quantized_tensor<?x8xi8, scales = f32, axis = 1>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %n: tensor<8xf32>) {
  // expected-error @+1 {{a norm is quantized after it, to input_type}}
  %0 = llm.quantized_matmul %x, %w norm %n {epsilon = 0.0 : f32} : (!llm.quantized_tensor<?x8xi8, scales = f32, axis = 1>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, tensor<8xf32>) -> tensor<?x4xf32>
  return
}

// -----

// Without one, the input is of the type that it has.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{input_type is what a norm is quantized to, and there is none}}
  %0 = llm.quantized_matmul %x, %w {input_type = !llm.quantized_tensor<?x8xi8, scales = f32, axis = 1>} : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>) -> tensor<?x4xf32>
  return
}

// -----

// What it is quantized to has its shape.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %n: tensor<8xf32>) {
  // expected-error @+1 {{input_type is '!llm.quantized_tensor<?x9xi8, scales = f32, axis = 1>', but must have the input's shape, that of 'tensor<?x8xf32>'}}
  %0 = llm.quantized_matmul %x, %w norm %n {epsilon = 0.0 : f32, input_type = !llm.quantized_tensor<?x9xi8, scales = f32, axis = 1>} : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, tensor<8xf32>) -> tensor<?x4xf32>
  return
}

// -----

// A gated weight has two halves.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<5x8xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{a gated weight has twice the result's columns for rows, but this one has 5}}
  %0 = llm.quantized_matmul %x, %w gated : (tensor<?x8xf32>, !llm.quantized_tensor<5x8xi8, scales = f32, axis = 1>) -> tensor<?x2xf32>
  return
}

// -----

// By turns, if in panels.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1, packing = panels>) {
  // expected-error @+1 {{a gated weight lies in gated panels}}
  %0 = llm.quantized_matmul %x, %w gated : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1, packing = panels>) -> tensor<?x2xf32>
  return
}

// -----

// Its bias has as many numbers.
func.func @case(%x: tensor<?x8xf32>, %w: !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, %b: tensor<2xf32>) {
  // expected-error @+1 {{the bias's size is 2, but must be 4, twice the result's last dimension}}
  %0 = llm.quantized_matmul %x, %w bias %b gated : (tensor<?x8xf32>, !llm.quantized_tensor<4x8xi8, scales = f32, axis = 1>, tensor<2xf32>) -> tensor<?x2xf32>
  return
}

// -----

// Rows of a table are quantized along themselves.
func.func @case(%i: tensor<?xi32>, %t: !llm.quantized_tensor<64x32xi8, scales = f32, axis = 0>) {
  // expected-error @+1 {{must be a matrix that is quantized along its rows (axis = 1), and not gated}}
  %0 = llm.embedding %i, %t : (tensor<?xi32>, !llm.quantized_tensor<64x32xi8, scales = f32, axis = 0>) -> tensor<?x32xf32>
  return
}

// -----

func.func @case(%i: tensor<?xi32>, %t: !llm.quantized_tensor<64x32xi8, scales = f32, axis = 1>) {
  // expected-error @+1 {{result is 'tensor<?x64xf32>', but must have the shape 'tensor<?x32xf32>'}}
  %0 = llm.embedding %i, %t : (tensor<?xi32>, !llm.quantized_tensor<64x32xi8, scales = f32, axis = 1>) -> tensor<?x64xf32>
  return
}
