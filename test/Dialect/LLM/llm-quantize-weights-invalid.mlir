// RUN: llmir-opt %s -llm-quantize-weights -verify-diagnostics

func.func @packed(%x: tensor<?x192xbf16>) -> tensor<?x64xf32> {
  %w = llm.parameter "model"::"w" from tensor<64x192xbf16> : tensor<2x96x32x2xbf16>
  // expected-error @below {{the weight is packed already, and cannot be quantized; quantize before --llm-pack-parameters}}
  %y = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<2x96x32x2xbf16>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
