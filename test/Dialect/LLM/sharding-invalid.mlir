// RUN: llmir-opt %s -split-input-file -verify-diagnostics

// Every message about sharded tensors and the ops on them.

//===----------------------------------------------------------------------===//
// Types
//===----------------------------------------------------------------------===//

// A tensor in one piece is a tensor.
// expected-error @+1 {{there must be at least two shards, and their number must fit into 32 bits, but it is 1}}
func.func private @case(!llm.sharded_tensor<tensor<8x8xf32>, shards = 1, replicated>)

// -----

// Shards hold floats.
// expected-error @+1 {{the full tensor must be one of floats, but is 'tensor<8x8xi32>'}}
func.func private @case(!llm.sharded_tensor<tensor<8x8xi32>, shards = 2, replicated>)

// -----

// A full type is a tensor's.
// expected-error @+1 {{invalid kind of type specified}}
func.func private @case(!llm.sharded_tensor<f32, shards = 2, replicated>)

// -----

// What is split is a dimension.
// expected-error @+1 {{cannot split dimension 2 of 'tensor<8x8xf32>'}}
func.func private @case(!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 2>)

// -----

// Into equal parts.
// expected-error @+1 {{dimension 1 of 'tensor<8x9xf32>' is not static, or does not divide into 2 equal parts}}
func.func private @case(!llm.sharded_tensor<tensor<8x9xf32>, shards = 2, split = 1>)

// -----

// Whose size is known.
// expected-error @+1 {{dimension 0 of 'tensor<?x8xf32>' is not static, or does not divide into 2 equal parts}}
func.func private @case(!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 0>)

// -----

// There are three placements.
// expected-error @+1 {{expected split, replicated or partial}}
func.func private @case(!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, somewhere>)

// -----

// And two reductions.
// expected-error @+1 {{expected sum or max}}
func.func private @case(!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = mean>)

// -----

//===----------------------------------------------------------------------===//
// In and out
//===----------------------------------------------------------------------===//

// Terms of a sum are computed, not given.
func.func @case(%x: tensor<8x8xf32>) {
  // expected-error @+1 {{makes parts or copies, but the result is '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>'}}
  %0 = llm.shard %x : (tensor<8x8xf32>) -> !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>
  return
}

// -----

// Shards are of the tensor that goes in.
func.func @case(%x: tensor<8x8xf32>) {
  // expected-error @+1 {{result is '!llm.sharded_tensor<tensor<8x8xbf16>, shards = 2, split = 1>', but must be a sharded 'tensor<8x8xf32>'}}
  %0 = llm.shard %x : (tensor<8x8xf32>) -> !llm.sharded_tensor<tensor<8x8xbf16>, shards = 2, split = 1>
  return
}

// -----

// Terms of a sum are no tensor yet.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>) {
  // expected-error @+1 {{input is '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>', whose parts have to be reduced before}}
  %0 = llm.unshard %x : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>) -> tensor<8x8xf32>
  return
}

// -----

// What comes out is what shards hold.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>) {
  // expected-error @+1 {{result is 'tensor<8x4xf32>', but must be 'tensor<8x8xf32>'}}
  %0 = llm.unshard %x : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>) -> tensor<8x4xf32>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Collectives
//===----------------------------------------------------------------------===//

// Only parts are gathered.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>) {
  // expected-error @+1 {{gathers the parts of a split tensor, but the input is '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>'}}
  %0 = llm.all_gather %x : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>) -> !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>
  return
}

// -----

// Everyone has them then.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>) {
  // expected-error @+1 {{result is '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 0>', but must be '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>'}}
  %0 = llm.all_gather %x : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>) -> !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 0>
  return
}

// -----

// Only partial results are reduced.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>) {
  // expected-error @+1 {{reduces partial results, but the input is '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>'}}
  %0 = llm.all_reduce %x : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>) -> !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>
  return
}

// -----

// To a copy for all, of the same shards.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>) {
  // expected-error @+1 {{result is '!llm.sharded_tensor<tensor<8x8xf32>, shards = 4, replicated>', but must be '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>'}}
  %0 = llm.all_reduce %x : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>) -> !llm.sharded_tensor<tensor<8x8xf32>, shards = 4, replicated>
  return
}

// -----

// Nor are others scattered.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>) {
  // expected-error @+1 {{reduces partial results, but the input is}}
  %0 = llm.reduce_scatter %x {scatter_axis = 1 : i64} : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, replicated>) -> !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>
  return
}

// -----

// Along a dimension that can be split.
func.func @case(%x: !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>) {
  // expected-error @+1 {{scatter_axis is wrong: dimension 0 of 'tensor<?x8xf32>' is not static, or does not divide into 2 equal parts}}
  %0 = llm.reduce_scatter %x {scatter_axis = 0 : i64} : (!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, partial = sum>) -> !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
  return
}

// -----

// Along the one that the result says.
func.func @case(%x: !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>) {
  // expected-error @+1 {{result is '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>', but must be '!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 0>'}}
  %0 = llm.reduce_scatter %x {scatter_axis = 0 : i64} : (!llm.sharded_tensor<tensor<8x8xf32>, shards = 2, partial = sum>) -> !llm.sharded_tensor<tensor<8x8xf32>, shards = 2, split = 1>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>

// Shards of a product have weights of their own.
func.func @case(%x: !all, %w: !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, replicated>) {
  // expected-error @+1 {{weight must be a matrix that is split, but is '!llm.sharded_tensor<tensor<4x8xf32>, shards = 2, replicated>'}}
  %0 = llm.sharded_linear %x, %w : (!all, !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, replicated>) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, split = 1>
  return
}

// -----

!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>

// Weights are matrices.
func.func @case(%x: !all, %w: !llm.sharded_tensor<tensor<4x8x1xf32>, shards = 2, split = 0>) {
  // expected-error @+1 {{weight must be a matrix that is split}}
  %0 = llm.sharded_linear %x, %w : (!all, !llm.sharded_tensor<tensor<4x8x1xf32>, shards = 2, split = 0>) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, split = 1>
  return
}

// -----

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>

// Every output needs all inputs.
func.func @case(%x: !split, %w: !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 0>) {
  // expected-error @+1 {{input must be a matrix that is replicated, as the weight is split = 0, but is '!llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>'}}
  %0 = llm.sharded_linear %x, %w : (!split, !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 0>) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, split = 1>
  return
}

// -----

!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>

// A part of the weights needs its part of the inputs.
func.func @case(%x: !all, %w: !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 1>) {
  // expected-error @+1 {{input must be a matrix that is split = 1, as the weight is split = 1, but is}}
  %0 = llm.sharded_linear %x, %w : (!all, !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 1>) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, partial = sum>
  return
}

// -----

!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 4, replicated>

// One mesh.
func.func @case(%x: !all, %w: !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 0>) {
  // expected-error @+1 {{input has 4 shards, but the weight has 2}}
  %0 = llm.sharded_linear %x, %w : (!all, !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 0>) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, split = 1>
  return
}

// -----

!all = !llm.sharded_tensor<tensor<?x6xf32>, shards = 2, replicated>

// Inputs meet inputs.
func.func @case(%x: !all, %w: !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 0>) {
  // expected-error @+1 {{the weight's number of inputs is 8, but must be 6, the input's last dimension}}
  %0 = llm.sharded_linear %x, %w : (!all, !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 0>) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, split = 1>
  return
}

// -----

!all = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, replicated>
!columns = !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 0>
!bias = !llm.sharded_tensor<tensor<4xf32>, shards = 2, replicated>

// A bias goes with its outputs.
func.func @case(%x: !all, %w: !columns, %b: !bias) {
  // expected-error @+1 {{bias is '!llm.sharded_tensor<tensor<4xf32>, shards = 2, replicated>', but must have 4 elements that are split = 0, in as many shards as the weight}}
  %0 = llm.sharded_linear %x, %w bias %b : (!all, !columns, !bias) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, split = 1>
  return
}

// -----

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
!rows = !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 1>
!bias = !llm.sharded_tensor<tensor<6xf32>, shards = 2, replicated>

// Of which there are as many.
func.func @case(%x: !split, %w: !rows, %b: !bias) {
  // expected-error @+1 {{bias is '!llm.sharded_tensor<tensor<6xf32>, shards = 2, replicated>', but must have 4 elements that are replicated, in as many shards as the weight}}
  %0 = llm.sharded_linear %x, %w bias %b : (!split, !rows, !bias) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, partial = sum>
  return
}

// -----

!split = !llm.sharded_tensor<tensor<?x8xf32>, shards = 2, split = 1>
!rows = !llm.sharded_tensor<tensor<4x8xf32>, shards = 2, split = 1>

// A row-parallel product is a term of a sum: it cannot be taken for the result.
func.func @case(%x: !split, %w: !rows) {
  // expected-error @+1 {{result is '!llm.sharded_tensor<tensor<?x4xf32>, shards = 2, replicated>', but must be '!llm.sharded_tensor<tensor<?x4xf32>, shards = 2, partial = sum>'}}
  %0 = llm.sharded_linear %x, %w : (!split, !rows) -> !llm.sharded_tensor<tensor<?x4xf32>, shards = 2, replicated>
  return
}

// -----

//===----------------------------------------------------------------------===//
// Programs that every shard runs
//===----------------------------------------------------------------------===//

func.func @case(%x: tensor<4xf32>) {
  // expected-error @+1 {{has the parts of one shard, or of all 3, but not of 2}}
  %s = llm.from_local %x, %x : (tensor<4xf32>, tensor<4xf32>)
    -> !llm.sharded_tensor<tensor<4xf32>, shards = 3, partial = sum>
  return
}

// -----

func.func @case(%x: tensor<4xf32>) {
  // expected-error @+1 {{a shard holds 'tensor<2xf32>' of it, but not 'tensor<4xf32>'}}
  %s = llm.from_local %x : (tensor<4xf32>)
    -> !llm.sharded_tensor<tensor<4xf32>, shards = 2, split = 0>
  return
}

// -----

func.func @case(
    %s: !llm.sharded_tensor<tensor<4xf32>, shards = 2, partial = sum>) {
  // expected-error @+1 {{whose parts have to be reduced before}}
  %x = llm.to_local %s
    : (!llm.sharded_tensor<tensor<4xf32>, shards = 2, partial = sum>)
    -> tensor<4xf32>
  return
}

// -----

func.func @case(
    %s: !llm.sharded_tensor<tensor<4xf32>, shards = 2, replicated>) {
  // expected-error @+1 {{a shard holds 'tensor<4xf32>' of it, but not 'tensor<2xf32>'}}
  %x = llm.to_local %s
    : (!llm.sharded_tensor<tensor<4xf32>, shards = 2, replicated>)
    -> tensor<2xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{needs `from` with the type that the file has, of which it is a slice}}
  %w = llm.parameter "model"::"w"
    slices [#llm.slice<dim = 0, offset = 0, size = 2>] : tensor<2xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{reads 1 tensors, but has 2 slices}}
  %w = llm.parameter "model"::"w" from tensor<4xf32>
    slices [#llm.slice<dim = 0, offset = 0, size = 2>,
            #llm.slice<dim = 0, offset = 2, size = 2>] : tensor<4xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{#llm.slice<dim = 0, offset = 3, size = 2> is no part of 'tensor<4xf32>'}}
  %w = llm.parameter "model"::"w" from tensor<4xf32>
    slices [#llm.slice<dim = 0, offset = 3, size = 2>] : tensor<2xf32>
  return
}

// -----

func.func @case() {
  // expected-error @+1 {{result must have the file's shape or that of its panels, but is 'tensor<3xf32>', from 'tensor<2xf32>'}}
  %w = llm.parameter "model"::"w" from tensor<4xf32>
    slices [#llm.slice<dim = 0, offset = 0, size = 2>] : tensor<3xf32>
  return
}

// -----

// expected-error @+1 {{a slice has a size and a repeat above 0, and nothing that is negative}}
#slice = #llm.slice<dim = 0, offset = 0, size = 0>
