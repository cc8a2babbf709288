// RUN: llmir-opt %s -convert-llm-to-linalg -split-input-file | FileCheck %s

func.func @embedding(%ids: tensor<?xi32>, %table: tensor<1024x192xbf16>) -> tensor<?x192xf32> {
  %0 = llm.embedding %ids, %table : (tensor<?xi32>, tensor<1024x192xbf16>) -> tensor<?x192xf32>
  return %0 : tensor<?x192xf32>
}

// -----

func.func @linear(%x: tensor<?x192xbf16>, %w: tensor<64x192xbf16>) -> tensor<?x64xf32> {
  %0 = llm.linear %x, %w : (tensor<?x192xbf16>, tensor<64x192xbf16>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

func.func @linear_terms(%x: tensor<?x8xf16>, %w: tensor<4x8xf16>, %b: tensor<4xf16>, %h: tensor<?x4xf32>) -> tensor<?x4xf16> {
  %0 = llm.linear %x, %w bias %b residual %h : (tensor<?x8xf16>, tensor<4x8xf16>, tensor<4xf16>, tensor<?x4xf32>) -> tensor<?x4xf16>
  return %0 : tensor<?x4xf16>
}

// -----

func.func @linear_packed_bf16(%x: tensor<?x7xbf16>, %w: tensor<2x16x32x2xbf16>) -> tensor<?x61xf32> {
  %0 = llm.linear %x, %w : (tensor<?x7xbf16>, tensor<2x16x32x2xbf16>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

func.func @linear_packed_f32(%x: tensor<?x7xf32>, %w: tensor<2x7x32xf32>) -> tensor<?x61xf32> {
  %0 = llm.linear %x, %w : (tensor<?x7xf32>, tensor<2x7x32xf32>) -> tensor<?x61xf32>
  return %0 : tensor<?x61xf32>
}

// -----

func.func @rms_norm(%x: tensor<?x192xf32>, %w: tensor<192xbf16>) -> tensor<?x192xbf16> {
  %0 = llm.rms_norm %x, %w {epsilon = 1.0e-05 : f32} : (tensor<?x192xf32>, tensor<192xbf16>) -> tensor<?x192xbf16>
  return %0 : tensor<?x192xbf16>
}

// -----

func.func @rope(%x: tensor<?x6x32xf32>, %table: tensor<512x2x16xf32>, %p: tensor<?xi32>) -> tensor<?x6x32xf32> {
  %0 = llm.rope %x, %table, %p : (tensor<?x6x32xf32>, tensor<512x2x16xf32>, tensor<?xi32>) -> tensor<?x6x32xf32>
  return %0 : tensor<?x6x32xf32>
}

// -----

func.func @silu_gated(%x: tensor<?x8xf32>, %m: tensor<?x8xbf16>) -> tensor<?x8xbf16> {
  %0 = llm.activation silu %x, %m : (tensor<?x8xf32>, tensor<?x8xbf16>) -> tensor<?x8xbf16>
  return %0 : tensor<?x8xbf16>
}

// -----

func.func @kinds(%x: tensor<4xf64>) -> (tensor<4xf64>, tensor<4xf64>, tensor<4xf64>) {
  %0 = llm.activation gelu %x : (tensor<4xf64>) -> tensor<4xf64>
  %1 = llm.activation gelu_tanh %x : (tensor<4xf64>) -> tensor<4xf64>
  %2 = llm.activation relu %x : (tensor<4xf64>) -> tensor<4xf64>
  return %0, %1, %2 : tensor<4xf64>, tensor<4xf64>, tensor<4xf64>
}
