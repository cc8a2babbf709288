// RUN: llmir-opt %s --llm-fuse-norm | FileCheck %s --check-prefix=FUSED
// RUN: llmir-opt %s --llm-fuse-norm="tokens=512 peak=50000" | FileCheck %s --check-prefix=KEPT
// RUN: llmir-opt %s --llm-fuse-norm="tokens=512 peak=500" | FileCheck %s --check-prefix=FUSED
// RUN: llmir-opt %s --llm-fuse-norm="tokens=512 peak=50000 call=1000" | FileCheck %s --check-prefix=FUSED
// RUN: llmir-opt %s --llm-fuse-norm="tokens=512 peak=50000 bandwidth=1000000" | FileCheck %s --check-prefix=FUSED
// RUN: not llmir-opt %s --llm-merge-products=which=none 2>&1 | FileCheck %s --check-prefix=ERROR

// The cost model decides. Four products read 512 rows of f32, norming them each time,
// instead of normed ones of bf16. That takes longer, unless it is hidden by what a
// product computes meanwhile, or hardly counts beside the call that is saved.
// FUSED-LABEL: func @four
// FUSED-NOT: llm.rms_norm
// FUSED-COUNT-4: norm %
// KEPT-LABEL: func @four
// KEPT: llm.rms_norm
// KEPT-NOT: norm %
// ERROR: llm-merge-products: which must be all, gated or plain, but is none
func.func @four(%x: tensor<?x1024xf32>, %n: tensor<1024xbf16>,
                %w: tensor<64x1024xbf16>)
    -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>,
        tensor<?x64xf32>) {
  %y = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32}
    : (tensor<?x1024xf32>, tensor<1024xbf16>) -> tensor<?x1024xbf16>
  %a = llm.linear %y, %w
    : (tensor<?x1024xbf16>, tensor<64x1024xbf16>) -> tensor<?x64xf32>
  %b = llm.linear %y, %w
    : (tensor<?x1024xbf16>, tensor<64x1024xbf16>) -> tensor<?x64xf32>
  %c = llm.linear %y, %w
    : (tensor<?x1024xbf16>, tensor<64x1024xbf16>) -> tensor<?x64xf32>
  %d = llm.linear %y, %w
    : (tensor<?x1024xbf16>, tensor<64x1024xbf16>) -> tensor<?x64xf32>
  return %a, %b, %c, %d
    : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// With one product nothing is done twice.
// FUSED-LABEL: func @one
// FUSED-NOT: llm.rms_norm
// KEPT-LABEL: func @one
// KEPT-NOT: llm.rms_norm
// KEPT: norm %
func.func @one(%x: tensor<?x1024xf32>, %n: tensor<1024xbf16>,
               %w: tensor<64x1024xbf16>) -> tensor<?x64xf32> {
  %y = llm.rms_norm %x, %n {epsilon = 1.0e-05 : f32}
    : (tensor<?x1024xf32>, tensor<1024xbf16>) -> tensor<?x1024xbf16>
  %a = llm.linear %y, %w
    : (tensor<?x1024xbf16>, tensor<64x1024xbf16>) -> tensor<?x64xf32>
  return %a : tensor<?x64xf32>
}
