// RUN: lora-opt %s -split-input-file -verify-diagnostics -lora-to-llm

func.func @rank(%x: tensor<?x64xf32>, %w: tensor<96x64xf32>,
                %a: tensor<8x64xf32>, %b: tensor<96x16xf32>) -> tensor<?x96xf32> {
  // expected-error @+1 {{up must be 96 x 8, not 'tensor<96x16xf32>'}}
  %y = lora.linear %x, %w, %a, %b {scale = 1.0 : f32}
    : tensor<?x64xf32>, tensor<96x64xf32>, tensor<8x64xf32>, tensor<96x16xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// -----

func.func @vector(%x: tensor<64xf32>, %w: tensor<96x64xf32>,
                  %a: tensor<8x64xf32>, %b: tensor<96x8xf32>) -> tensor<?x96xf32> {
  // expected-error @+1 {{operand #0 must be 2D tensor of}}
  %y = lora.linear %x, %w, %a, %b {scale = 1.0 : f32}
    : tensor<64xf32>, tensor<96x64xf32>, tensor<8x64xf32>, tensor<96x8xf32> -> tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

// -----

func.func @rounded(%x: tensor<?x64xbf16>, %w: tensor<96x64xbf16>,
                   %a: tensor<8x64xbf16>, %b: tensor<96x8xbf16>) -> tensor<?x96xbf16> {
  // expected-error @+1 {{can be lowered with a result in f32 only}}
  %y = lora.linear %x, %w, %a, %b {scale = 1.0 : f32}
    : tensor<?x64xbf16>, tensor<96x64xbf16>, tensor<8x64xbf16>, tensor<96x8xbf16> -> tensor<?x96xbf16>
  return %y : tensor<?x96xbf16>
}
