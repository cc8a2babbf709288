// RUN: llmir-opt %s -llm-vectorize-rows -canonicalize -cse -split-input-file | FileCheck %s

#all = affine_map<(d0, d1) -> (d0, d1)>
#column = affine_map<(d0, d1) -> (d1)>

// Neighbours over the same rows become one loop, in which each row is finished
// before the next one starts. 64 columns are two vectors of 32. What lies
// between the neighbours has no effects and stays outside.
// CHECK-LABEL: func @neighbours
// CHECK-SAME: (%[[X:.*]]: memref<?x64xf32>, %[[W:.*]]: memref<64xf32>)
// CHECK: %[[N:.*]] = memref.dim %[[X]], %c0
// CHECK: %[[T:.*]] = memref.alloc(%[[N]])
// CHECK: %[[Y:.*]] = memref.alloc(%[[N]])
// CHECK: scf.forall (%[[R:.*]]) in (%[[N]]) {
// CHECK-NEXT: scf.for %[[C:.*]] = %c0 to %c64 step %c32 {
// CHECK-NEXT: %[[A:.*]] = vector.load %[[X]][%[[R]], %[[C]]] : memref<?x64xf32>, vector<32xf32>
// CHECK-NEXT: %[[B:.*]] = vector.load %[[W]][%[[C]]] : memref<64xf32>, vector<32xf32>
// CHECK-NEXT: %[[P:.*]] = arith.mulf %[[A]], %[[B]] : vector<32xf32>
// CHECK-NEXT: vector.store %[[P]], %[[T]][%[[R]], %[[C]]]
// CHECK-NEXT: }
// CHECK-NEXT: scf.for %[[C:.*]] = %c0 to %c64 step %c32 {
// CHECK-NEXT: vector.load %[[T]][%[[R]], %[[C]]]
// CHECK: vector.store %{{.*}}, %[[Y]][%[[R]], %[[C]]]
// CHECK-NOT: scf.forall
// CHECK-NOT: linalg
// CHECK: return
func.func @neighbours(%x: memref<?x64xf32>, %w: memref<64xf32>) -> memref<?x64xf32> {
  %c0 = arith.constant 0 : index
  %n = memref.dim %x, %c0 : memref<?x64xf32>
  %t = memref.alloc(%n) : memref<?x64xf32>
  linalg.generic {indexing_maps = [#all, #column, #all], iterator_types = ["parallel", "parallel"]}
      ins(%x, %w : memref<?x64xf32>, memref<64xf32>) outs(%t : memref<?x64xf32>) {
  ^bb0(%a: f32, %b: f32, %o: f32):
    %p = arith.mulf %a, %b : f32
    linalg.yield %p : f32
  }
  %m = memref.dim %x, %c0 : memref<?x64xf32>
  %y = memref.alloc(%m) : memref<?x64xf32>
  linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}
      ins(%t : memref<?x64xf32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%a: f32, %o: f32):
    %p = arith.addf %a, %a : f32
    linalg.yield %p : f32
  }
  return %y : memref<?x64xf32>
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>

// Vectors divide the columns: 60 by 4; of 331, nothing but 1 does.
// CHECK-LABEL: func @sizes
// CHECK: scf.for %{{.*}} = %c0 to %c60 step %c4 {
// CHECK: vector.load {{.*}} vector<4xf32>
// CHECK: scf.for %{{.*}} = %c0 to %c331 step %c1 {
// CHECK-NOT: vector
// CHECK: memref.load
// CHECK: math.exp %{{.*}} : f32
// CHECK: memref.store
func.func @sizes(%x: memref<8x60xf32>, %y: memref<8x331xf32>) {
  linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}
      ins(%x : memref<8x60xf32>) outs(%x : memref<8x60xf32>) {
  ^bb0(%a: f32, %o: f32):
    %p = math.exp %a : f32
    linalg.yield %p : f32
  }
  linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}
      ins(%y : memref<8x331xf32>) outs(%y : memref<8x331xf32>) {
  ^bb0(%a: f32, %o: f32):
    %p = math.exp %a : f32
    linalg.yield %p : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// A sum has one order: lane by lane from 0 on, the lanes pairwise, then the old
// value. Without a fused multiply-add, and without a reduction left to LLVM.
// CHECK-LABEL: func @sum
// CHECK-SAME: (%[[X:.*]]: memref<?x8xf32>, %[[Y:.*]]: memref<?xf32>)
// CHECK: %[[ZERO:.*]] = arith.constant dense<0.0{{.*}}> : vector<8xf32>
// CHECK: scf.forall (%[[R:.*]]) in
// CHECK: %[[OLD:.*]] = memref.load %[[Y]][%[[R]]]
// CHECK: %[[A:.*]] = vector.load %[[X]][%[[R]], %c0]
// CHECK: %[[SQ:.*]] = arith.mulf %[[A]], %[[A]] : vector<8xf32>
// CHECK: %[[V:.*]] = arith.addf %[[SQ]], %[[ZERO]] : vector<8xf32>
// CHECK: %[[L4:.*]] = vector.extract_strided_slice %[[V]] {offsets = [0], sizes = [4], strides = [1]}
// CHECK: %[[H4:.*]] = vector.extract_strided_slice %[[V]] {offsets = [4], sizes = [4], strides = [1]}
// CHECK: %[[V4:.*]] = arith.addf %[[L4]], %[[H4]] : vector<4xf32>
// CHECK: %[[L2:.*]] = vector.extract_strided_slice %[[V4]] {offsets = [0], sizes = [2], strides = [1]}
// CHECK: %[[H2:.*]] = vector.extract_strided_slice %[[V4]] {offsets = [2], sizes = [2], strides = [1]}
// CHECK: %[[V2:.*]] = arith.addf %[[L2]], %[[H2]] : vector<2xf32>
// CHECK: %[[L1:.*]] = vector.extract_strided_slice %[[V2]] {offsets = [0], sizes = [1], strides = [1]}
// CHECK: %[[H1:.*]] = vector.extract_strided_slice %[[V2]] {offsets = [1], sizes = [1], strides = [1]}
// CHECK: %[[V1:.*]] = arith.addf %[[L1]], %[[H1]] : vector<1xf32>
// CHECK: %[[S:.*]] = vector.extract %[[V1]][0]
// CHECK: %[[SUM:.*]] = arith.addf %[[OLD]], %[[S]] : f32
// CHECK: memref.store %[[SUM]], %[[Y]][%[[R]]]
// CHECK-NOT: fastmath
// CHECK-NOT: vector.reduction
func.func @sum(%x: memref<?x8xf32>, %y: memref<?xf32>) {
  linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<?x8xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %p = arith.mulf %a, %a : f32
    %s = arith.addf %p, %o : f32
    linalg.yield %s : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// A maximum starts from minus infinity; with more than one vector, lanes are
// carried around the loop.
// CHECK-LABEL: func @maximum
// CHECK: %[[LOW:.*]] = arith.constant dense<0xFF800000> : vector<32xf32>
// CHECK: scf.for {{.*}} step %c32 iter_args(%[[LANES:.*]] = %[[LOW]]) -> (vector<32xf32>) {
// CHECK: arith.maximumf %{{.*}}, %{{.*}} : vector<32xf32>
// CHECK: scf.yield
func.func @maximum(%x: memref<?x96xf32>, %y: memref<?xf32>) {
  linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<?x96xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = arith.maximumf %a, %o : f32
    linalg.yield %m : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// A reduction without a known neutral element stays scalar, in order.
// CHECK-LABEL: func @product
// CHECK: scf.for {{.*}} step %c1 iter_args
// CHECK-NOT: vector
// CHECK: return
func.func @product(%x: memref<?x96xf32>, %y: memref<?xf32>) {
  linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<?x96xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %m = arith.mulf %a, %o : f32
    linalg.yield %m : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// A row that is gathered is loaded in vectors: lanes differ in the last index only.
// CHECK-LABEL: func @gather
// CHECK-SAME: (%[[IDS:.*]]: memref<?xi32>, %[[TABLE:.*]]: memref<100x64xbf16>, %[[Y:.*]]: memref<?x64xf32>)
// CHECK: scf.forall (%[[R:.*]]) in
// CHECK: scf.for %[[C:.*]] = %c0 to %c64 step %c32
// CHECK: %[[ID:.*]] = memref.load %[[IDS]][%[[R]]]
// CHECK: %[[ROW:.*]] = arith.index_cast %[[ID]] : i32 to index
// CHECK: %[[V:.*]] = vector.load %[[TABLE]][%[[ROW]], %[[C]]] : memref<100x64xbf16>, vector<32xbf16>
// CHECK: arith.extf %[[V]] : vector<32xbf16> to vector<32xf32>
func.func @gather(%ids: memref<?xi32>, %table: memref<100x64xbf16>, %y: memref<?x64xf32>) {
  linalg.generic {indexing_maps = [#row, #all], iterator_types = ["parallel", "parallel"]}
      ins(%ids : memref<?xi32>) outs(%y : memref<?x64xf32>) {
  ^bb0(%id: i32, %o: f32):
    %row = arith.index_cast %id : i32 to index
    %column = linalg.index 1 : index
    %e = memref.load %table[%row, %column] : memref<100x64xbf16>
    %w = arith.extf %e : bf16 to f32
    linalg.yield %w : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>

// An index that differs between lanes in front has no vector form: scalars.
// CHECK-LABEL: func @lanes
// CHECK-NOT: vector
// CHECK: return
func.func @lanes(%table: memref<64x64xf32>, %y: memref<?x64xf32>) {
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%y : memref<?x64xf32>) {
  ^bb0(%o: f32):
    %row = linalg.index 0 : index
    %column = linalg.index 1 : index
    %e = memref.load %table[%column, %row] : memref<64x64xf32>
    linalg.yield %e : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>

// A lane's own index, as a number, counts from where the vector begins.
// CHECK-LABEL: func @numbers
// CHECK: %[[LANES:.*]] = arith.constant dense<[0, 1, 2, {{.*}}, 31]> : vector<32xindex>
// CHECK: scf.for %[[C:.*]] = %c0 to %c64 step %c32
// CHECK: %[[FIRST:.*]] = vector.broadcast %[[C]] : index to vector<32xindex>
// CHECK: %[[OWN:.*]] = arith.addi %[[FIRST]], %[[LANES]]
// CHECK: arith.index_cast %[[OWN]] : vector<32xindex> to vector<32xi64>
func.func @numbers(%z: memref<?x64xi64>) {
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%z : memref<?x64xi64>) {
  ^bb0(%o: i64):
    %column = linalg.index 1 : index
    %e = arith.index_cast %column : index to i64
    linalg.yield %e : i64
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#transposed = affine_map<(d0, d1) -> (d1, d0)>

// Neighbours along a row that are not neighbours in memory: scalars.
// CHECK-LABEL: func @strided
// CHECK-NOT: vector
// CHECK: return
func.func @strided(%x: memref<64x64xf32>, %s: memref<64x64xf32, strided<[128, 2]>>, %y: memref<64x64xf32>) {
  linalg.generic {indexing_maps = [#transposed, #all], iterator_types = ["parallel", "parallel"]}
      ins(%x : memref<64x64xf32>) outs(%y : memref<64x64xf32>) {
  ^bb0(%a: f32, %o: f32):
    linalg.yield %a : f32
  }
  linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}
      ins(%s : memref<64x64xf32, strided<[128, 2]>>) outs(%y : memref<64x64xf32>) {
  ^bb0(%a: f32, %o: f32):
    linalg.yield %a : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>

// Not fused: as many rows, for all that is known, as another buffer has.
// CHECK-LABEL: func @different_extents
// CHECK-COUNT-2: scf.forall
func.func @different_extents(%x: memref<?x8xf32>, %y: memref<?x8xf32>) {
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%x : memref<?x8xf32>) {
  ^bb0(%o: f32):
    %p = arith.negf %o : f32
    linalg.yield %p : f32
  }
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%y : memref<?x8xf32>) {
  ^bb0(%o: f32):
    %p = arith.negf %o : f32
    linalg.yield %p : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#transposed = affine_map<(d0, d1) -> (d1, d0)>

// Not fused: a row reads what other rows write.
// CHECK-LABEL: func @reads_other_rows
// CHECK-COUNT-2: scf.forall
func.func @reads_other_rows(%x: memref<8x8xf32>, %y: memref<8x8xf32>) {
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%x : memref<8x8xf32>) {
  ^bb0(%o: f32):
    %p = arith.negf %o : f32
    linalg.yield %p : f32
  }
  linalg.generic {indexing_maps = [#transposed, #all], iterator_types = ["parallel", "parallel"]}
      ins(%x : memref<8x8xf32>) outs(%y : memref<8x8xf32>) {
  ^bb0(%a: f32, %o: f32):
    linalg.yield %a : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// Not fused: nobody knows which rows a gather reads.
// CHECK-LABEL: func @gathers_what_is_written
// CHECK-COUNT-2: scf.forall
func.func @gathers_what_is_written(%ids: memref<8xi32>, %x: memref<8x8xf32>, %y: memref<8x8xf32>) {
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%x : memref<8x8xf32>) {
  ^bb0(%o: f32):
    %p = arith.negf %o : f32
    linalg.yield %p : f32
  }
  linalg.generic {indexing_maps = [#row, #all], iterator_types = ["parallel", "parallel"]}
      ins(%ids : memref<8xi32>) outs(%y : memref<8x8xf32>) {
  ^bb0(%id: i32, %o: f32):
    %row = arith.index_cast %id : i32 to index
    %column = linalg.index 1 : index
    %e = memref.load %x[%row, %column] : memref<8x8xf32>
    linalg.yield %e : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>

// Not fused: the rows of this view are other rows of its buffer.
// CHECK-LABEL: func @shifted_view
// CHECK-COUNT-2: scf.forall
func.func @shifted_view(%x: memref<9x8xf32>, %y: memref<8x8xf32>) {
  %low = memref.subview %x[0, 0] [8, 8] [1, 1] : memref<9x8xf32> to memref<8x8xf32, strided<[8, 1]>>
  %high = memref.subview %x[1, 0] [8, 8] [1, 1] : memref<9x8xf32> to memref<8x8xf32, strided<[8, 1], offset: 8>>
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]}
      outs(%low : memref<8x8xf32, strided<[8, 1]>>) {
  ^bb0(%o: f32):
    %p = arith.negf %o : f32
    linalg.yield %p : f32
  }
  linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel"]}
      ins(%high : memref<8x8xf32, strided<[8, 1], offset: 8>>) outs(%y : memref<8x8xf32>) {
  ^bb0(%a: f32, %o: f32):
    linalg.yield %a : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>

// Not fused: a kernel between them may read what the first one writes.
// CHECK-LABEL: func @around_kernel
// CHECK: scf.forall
// CHECK: llm.call_kernel
// CHECK: scf.forall
func.func @around_kernel(%x: memref<8x8xf32>, %y: memref<8x8xf32>) {
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%x : memref<8x8xf32>) {
  ^bb0(%o: f32):
    %p = arith.negf %o : f32
    linalg.yield %p : f32
  }
  llm.call_kernel linear ins(%x : memref<8x8xf32>) outs(%y : memref<8x8xf32>)
  linalg.generic {indexing_maps = [#all], iterator_types = ["parallel", "parallel"]} outs(%x : memref<8x8xf32>) {
  ^bb0(%o: f32):
    %p = arith.negf %o : f32
    linalg.yield %p : f32
  }
  return
}

// -----

#rows = affine_map<(d0, d1) -> (d0)>
#all = affine_map<(d0, d1) -> (d0, d1)>

// Left as it is: the rows themselves are reduced.
// CHECK-LABEL: func @reduced_rows
// CHECK: linalg.generic
// CHECK-NOT: scf.forall
func.func @reduced_rows(%x: memref<8x8xf32>, %y: memref<8xf32>) {
  linalg.generic {indexing_maps = [#all, affine_map<(d0, d1) -> (d1)>], iterator_types = ["reduction", "parallel"]}
      ins(%x : memref<8x8xf32>) outs(%y : memref<8xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %o : f32
    linalg.yield %s : f32
  }
  return
}

// -----

// A copy is work on rows, be it of parts of them or of whole buffers.
// CHECK-LABEL: func @parts_of_rows
// CHECK-SAME: (%[[X:.*]]: memref<?x4x16xf32>, %[[Y:.*]]: memref<?x4x16xf32>
// CHECK-DAG: %[[S:.*]] = memref.subview %[[X]]
// CHECK-DAG: %[[T:.*]] = memref.subview %[[Y]]
// CHECK: scf.forall (%[[R:.*]]) in
// CHECK-NEXT: scf.for %[[H:.*]] = %c0 to %c4
// CHECK-NEXT: %[[V:.*]] = vector.load %[[S]][%[[R]], %[[H]], %c0] : {{.*}}, vector<4xf32>
// CHECK-NEXT: vector.store %[[V]], %[[T]][%[[R]], %[[H]], %c0]
// CHECK: vector.load %[[X]][%[[R]], %{{.*}}, %c0] : {{.*}}, vector<16xf32>
// CHECK-NOT: memref.copy
func.func @parts_of_rows(%x: memref<?x4x16xf32>, %y: memref<?x4x16xf32>, %n: index) {
  %from = memref.subview %x[0, 0, 12] [%n, 4, 4] [1, 1, 1]
    : memref<?x4x16xf32> to memref<?x4x4xf32, strided<[64, 16, 1], offset: 12>>
  %to = memref.subview %y[0, 0, 12] [%n, 4, 4] [1, 1, 1]
    : memref<?x4x16xf32> to memref<?x4x4xf32, strided<[64, 16, 1], offset: 12>>
  memref.copy %from, %to : memref<?x4x4xf32, strided<[64, 16, 1], offset: 12>>
    to memref<?x4x4xf32, strided<[64, 16, 1], offset: 12>>
  memref.copy %x, %y : memref<?x4x16xf32> to memref<?x4x16xf32>
  return
}

// -----

// A buffer of unknown rank has no rows.
// CHECK-LABEL: func @unknown_rank
// CHECK-NEXT: memref.copy
// CHECK-NEXT: return
func.func @unknown_rank(%x: memref<*xf32>, %y: memref<4xf32, strided<[2]>>) {
  memref.copy %x, %y : memref<*xf32> to memref<4xf32, strided<[2]>>
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#transposed = affine_map<(d0, d1) -> (d1, d0)>

// Left as it is, though nothing is before it: it reads what other rows write.
// CHECK-LABEL: func @transposed_in_place
// CHECK: linalg.generic
// CHECK-NOT: scf.forall
func.func @transposed_in_place(%x: memref<8x8xf32>) {
  linalg.generic {indexing_maps = [#transposed, #all], iterator_types = ["parallel", "parallel"]}
      ins(%x : memref<8x8xf32>) outs(%x : memref<8x8xf32>) {
  ^bb0(%a: f32, %o: f32):
    linalg.yield %a : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1, d2) -> (d0, d1, d2)>

// Where the second size is open as well, both loops are one over rows, and what
// no vector is left for comes last.
// CHECK-LABEL: func @open_sizes
// CHECK-SAME: %[[X:[^ ]*]]: memref<?x?x?xf32>, %[[Y:[^ ]*]]: memref<?x?x?xf32>
// CHECK-DAG: %[[B:.*]] = memref.dim %[[X]], %c0
// CHECK-DAG: %[[T:.*]] = memref.dim %[[X]], %c1
// CHECK: %[[ROWS:.*]] = arith.muli %[[B]], %[[T]]
// CHECK: scf.forall (%[[R:.*]]) in (%[[ROWS]])
// CHECK: %[[SECOND:.*]] = arith.remui %[[R]], %[[T]]
// CHECK: %[[FIRST:.*]] = arith.divui %[[R]], %[[T]]
// CHECK: %[[REST:.*]] = arith.remui %[[N:.*]], %c32
// CHECK: %[[WHOLE:.*]] = arith.subi %[[N]], %[[REST]]
// CHECK: scf.for %{{.*}} = %c0 to %[[WHOLE]] step %c32
// CHECK: vector.load %[[X]][%[[FIRST]], %[[SECOND]], %{{.*}}] : {{.*}}, vector<32xf32>
// CHECK: scf.for %{{.*}} = %[[WHOLE]] to %[[N]] step %c1
// CHECK: memref.load %[[X]]
func.func @open_sizes(%x: memref<?x?x?xf32>, %y: memref<?x?x?xf32>) {
  linalg.generic {indexing_maps = [#all, #all], iterator_types = ["parallel", "parallel", "parallel"]}
      ins(%x : memref<?x?x?xf32>) outs(%y : memref<?x?x?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %a : f32
    linalg.yield %s : f32
  }
  return
}

// -----

#all = affine_map<(d0, d1) -> (d0, d1)>
#row = affine_map<(d0, d1) -> (d0)>

// A sum over an open size: lanes, then what is left, one after the other.
// CHECK-LABEL: func @open_sum
// CHECK: scf.forall
// CHECK: %[[LANES:.*]] = scf.for %{{.*}} = %c0 to %[[WHOLE:.*]] step %c32 iter_args
// CHECK: %[[ALL:.*]] = arith.addf
// CHECK: %[[SUM:.*]] = scf.for %{{.*}} = %[[WHOLE]] to %{{.*}} step %c1 iter_args(%{{.*}} = %{{.*}}) -> (f32)
// CHECK: memref.store %[[SUM]]
func.func @open_sum(%x: memref<?x?xf32>, %y: memref<?xf32>) {
  linalg.generic {indexing_maps = [#all, #row], iterator_types = ["parallel", "reduction"]}
      ins(%x : memref<?x?xf32>) outs(%y : memref<?xf32>) {
  ^bb0(%a: f32, %o: f32):
    %s = arith.addf %a, %o : f32
    linalg.yield %s : f32
  }
  return
}
