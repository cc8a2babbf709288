// RUN: llmir-opt %s -split-input-file -verify-diagnostics

// Every message about mixtures of experts.

// Tokens are rows.
func.func @case(%x: tensor<1x?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{input must be a tensor of rank 2, but is 'tensor<1x?x8xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<1x?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<1x?x8xf32>
  return
}

// -----

// So are what the router says of them.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{router_logits must be a tensor of rank 2, but is 'tensor<4xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// Experts are stacked: gates.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<6x8xf32>, %u: tensor<6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{gate must be a tensor of rank 3, but is 'tensor<6x8xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<6x8xf32>, tensor<6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// Experts are stacked: up.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{up must be a tensor of rank 3, but is 'tensor<6x8xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// Experts are stacked: down.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<8x6xf32>) {
  // expected-error @+1 {{down must be a tensor of rank 3, but is 'tensor<8x6xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// Weights are of known sizes.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<?x6x8xf32>, %u: tensor<?x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{the weights of experts must have static shapes}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x6x8xf32>, tensor<?x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// A gate has its partner.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x5x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{up is 'tensor<4x5x8xf32>', but must have gate's shape, that of 'tensor<4x6x8xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x5x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// What goes up comes down.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x6x8xf32>) {
  // expected-error @+1 {{down is 'tensor<4x6x8xf32>', but must have the shape [4, 8, 6], gate's with its last two sizes exchanged}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// Inputs meet inputs.
func.func @case(%x: tensor<?x7xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{the experts' number of inputs is 8, but must be 7, the input's last dimension}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x7xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x7xf32>
  return
}

// -----

// The router has seen these tokens.
func.func @case(%x: tensor<2x8xf32>, %l: tensor<3x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{router_logits' number of tokens is 3, but must be 2, the input's}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<2x8xf32>, tensor<3x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<2x8xf32>
  return
}

// -----

// And knows these experts.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x5xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{router_logits' number of experts is 5, but must be 4, gate's}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x5xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// A bias is a vector.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>, %b: tensor<1x4xf32>) {
  // expected-error @+1 {{selection_bias must be a tensor of rank 1, but is 'tensor<1x4xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d selection_bias %b {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<1x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

// Of a number for each expert.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>, %b: tensor<6xf32>) {
  // expected-error @+1 {{the selection_bias's size is 6, but must be 4, the number of experts}}
  %0 = llm.moe silu %x, %l, %g, %u, %d selection_bias %b {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>, tensor<6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// A token goes somewhere.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{top_k must be from 1 to the number of experts, 4, but is 0}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 0 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// To experts there are.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{top_k must be from 1 to the number of experts, 4, but is 5}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 5 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// Not to fewer than none.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{top_k must be from 1 to the number of experts, 4, but is -1}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = -1 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// A scale is a number.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{scale must be finite}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64, scale = 0x7F800000 : f32} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x8xf32>
  return
}

// -----

// What comes out goes on in the place of what went in.
func.func @case(%x: tensor<?x8xf32>, %l: tensor<?x4xf32>, %g: tensor<4x6x8xf32>, %u: tensor<4x6x8xf32>, %d: tensor<4x8x6xf32>) {
  // expected-error @+1 {{result is 'tensor<?x6xf32>', but must have the shape 'tensor<?x8xf32>'}}
  %0 = llm.moe silu %x, %l, %g, %u, %d {top_k = 2 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<4x6x8xf32>, tensor<4x6x8xf32>, tensor<4x8x6xf32>) -> tensor<?x6xf32>
  return
}
