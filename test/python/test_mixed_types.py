# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A step by hand whose weights are of all types, with all that kernels can do.

One layer: products with biases in each type, a cache of float16, attention with
window, softcap, sinks and ALiBi. NumPy computes the same in float64 and rounds
where the program does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch

import llmir
import tiny
from llmir.compile import compile_model

Array = npt.NDArray[np.float64]

VOCABULARY, HIDDEN, HEADS, KV_HEADS, HEAD_DIM = 70, 48, 4, 2, 20
WINDOW, SOFTCAP, SCALE = 9, 4.0, 0.25
Q, KV = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM

PROGRAM = f"""
!kv = !llm.paged_kv_cache<f16, 1, {KV_HEADS}, {HEAD_DIM}, 4, 64>
module attributes {{
  llm.model = {{
    architecture = "by hand", vocab_size = {VOCABULARY} : i64,
    hidden_size = {HIDDEN} : i64, num_layers = 1 : i64, num_heads = {HEADS} : i64,
    num_kv_heads = {KV_HEADS} : i64, head_dim = {HEAD_DIM} : i64, dtype = "f16",
    max_model_len = 64 : i64, eos_token_ids = [0]
  }}
}} {{
  func.func @step(
      %ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
      %table: tensor<?x?xi32>, %lens: tensor<?xi32>, %starts: tensor<?xi32>,
      %logit_rows: tensor<?xi32>, %cache: !kv) -> (tensor<?x{VOCABULARY}xf32>, !kv) {{
    %embed = llm.parameter "model"::"embed" : tensor<{VOCABULARY}x{HIDDEN}xf16>
    %norm = llm.parameter "model"::"norm" : tensor<{HIDDEN}xf32>
    %wq = llm.parameter "model"::"q" : tensor<{Q}x{HIDDEN}xbf16>
    %wk = llm.parameter "model"::"k" : tensor<{KV}x{HIDDEN}xf16>
    %wv = llm.parameter "model"::"v"
      from tensor<{KV}x{HIDDEN}xf16> : tensor<{KV}x{HIDDEN}xf32>
    %wo = llm.parameter "model"::"o" : tensor<{HIDDEN}x{Q}xf16>
    %bq = llm.parameter "model"::"q_bias" : tensor<{Q}xf16>
    %bk = llm.parameter "model"::"k_bias" : tensor<{KV}xf32>
    %bv = llm.parameter "model"::"v_bias" : tensor<{KV}xbf16>
    %bo = llm.parameter "model"::"o_bias" : tensor<{HIDDEN}xbf16>
    %sinks = llm.parameter "model"::"sinks"
      from tensor<{HEADS}xf16> : tensor<{HEADS}xf32>
    %slopes = llm.parameter "model"::"slopes" : tensor<{HEADS}xbf16>
    %h = llm.embedding %ids, %embed
      : (tensor<?xi32>, tensor<{VOCABULARY}x{HIDDEN}xf16>) -> tensor<?x{HIDDEN}xf32>
    %xb = llm.rms_norm %h, %norm {{epsilon = 1.0e-05 : f32}}
      : (tensor<?x{HIDDEN}xf32>, tensor<{HIDDEN}xf32>) -> tensor<?x{HIDDEN}xbf16>
    %xh = llm.rms_norm %h, %norm {{epsilon = 1.0e-05 : f32}}
      : (tensor<?x{HIDDEN}xf32>, tensor<{HIDDEN}xf32>) -> tensor<?x{HIDDEN}xf16>
    %x = llm.rms_norm %h, %norm {{epsilon = 1.0e-05 : f32}}
      : (tensor<?x{HIDDEN}xf32>, tensor<{HIDDEN}xf32>) -> tensor<?x{HIDDEN}xf32>
    %q = llm.linear %xb, %wq bias %bq
      : (tensor<?x{HIDDEN}xbf16>, tensor<{Q}x{HIDDEN}xbf16>, tensor<{Q}xf16>)
      -> tensor<?x{Q}xf32>
    %k = llm.linear %xh, %wk bias %bk
      : (tensor<?x{HIDDEN}xf16>, tensor<{KV}x{HIDDEN}xf16>, tensor<{KV}xf32>)
      -> tensor<?x{KV}xf16>
    %v = llm.linear %x, %wv bias %bv
      : (tensor<?x{HIDDEN}xf32>, tensor<{KV}x{HIDDEN}xf32>, tensor<{KV}xbf16>)
      -> tensor<?x{KV}xf32>
    %qs = tensor.expand_shape %q [[0], [1, 2]]
      : tensor<?x{Q}xf32> into tensor<?x{HEADS}x{HEAD_DIM}xf32>
    %ks = tensor.expand_shape %k [[0], [1, 2]]
      : tensor<?x{KV}xf16> into tensor<?x{KV_HEADS}x{HEAD_DIM}xf16>
    %vs = tensor.expand_shape %v [[0], [1, 2]]
      : tensor<?x{KV}xf32> into tensor<?x{KV_HEADS}x{HEAD_DIM}xf32>
    %c = llm.append_kv %cache, %ks, %vs slots %slots
      : (!kv, tensor<?x{KV_HEADS}x{HEAD_DIM}xf16>, tensor<?x{KV_HEADS}x{HEAD_DIM}xf32>,
         tensor<?xi32>) -> !kv
    %a = llm.paged_attention %qs, %c, %table, %lens
        rows %starts sinks %sinks alibi %slopes
        {{scale = {SCALE} : f32, softcap = {SOFTCAP} : f32, window = {WINDOW} : i64}}
      : (tensor<?x{HEADS}x{HEAD_DIM}xf32>, !kv, tensor<?x?xi32>, tensor<?xi32>,
         tensor<?xi32>, tensor<{HEADS}xf32>, tensor<{HEADS}xbf16>)
      -> tensor<?x{HEADS}x{HEAD_DIM}xf16>
    %flat = tensor.collapse_shape %a [[0], [1, 2]]
      : tensor<?x{HEADS}x{HEAD_DIM}xf16> into tensor<?x{Q}xf16>
    %out = llm.linear %flat, %wo bias %bo residual %h
      : (tensor<?x{Q}xf16>, tensor<{HIDDEN}x{Q}xf16>, tensor<{HIDDEN}xbf16>,
         tensor<?x{HIDDEN}xf32>) -> tensor<?x{HIDDEN}xf32>
    %rows = llm.embedding %logit_rows, %out
      : (tensor<?xi32>, tensor<?x{HIDDEN}xf32>) -> tensor<?x{HIDDEN}xf16>
    %logits = llm.linear %rows, %embed
      : (tensor<?x{HIDDEN}xf16>, tensor<{VOCABULARY}x{HIDDEN}xf16>)
      -> tensor<?x{VOCABULARY}xf32>
    return %logits, %c : tensor<?x{VOCABULARY}xf32>, !kv
  }}
}}
"""


def make_weights() -> dict[str, torch.Tensor]:
    """Return random weights of every type."""
    random = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random) * 0.3

    return {
        "embed": normal(VOCABULARY, HIDDEN).half(),
        "norm": normal(HIDDEN) + 1,
        "q": normal(Q, HIDDEN).bfloat16(),
        "k": normal(KV, HIDDEN).half(),
        "v": normal(KV, HIDDEN).half(),
        "o": normal(HIDDEN, Q).half(),
        "q_bias": normal(Q).half(),
        "k_bias": normal(KV),
        "v_bias": normal(KV).bfloat16(),
        "o_bias": normal(HIDDEN).bfloat16(),
        "sinks": normal(HEADS).half(),
        "slopes": normal(HEADS).abs().bfloat16(),
    }


def rounded(values: Array, dtype: torch.dtype) -> Array:
    """Return float64 values as they are in `dtype`."""
    return torch.from_numpy(values).to(dtype).double().numpy()


def expected_logits(weights: dict[str, torch.Tensor], ids: list[int]) -> Array:
    """Return what the program means."""
    w = {key: value.double().numpy() for key, value in weights.items()}
    h = w["embed"][ids]
    x = h / np.sqrt((h**2).mean(-1, keepdims=True) + 1e-5) * w["norm"]
    q = rounded(x, torch.bfloat16) @ w["q"].T + w["q_bias"]
    half = torch.float16
    k = rounded(rounded(x, half) @ w["k"].T + w["k_bias"], half)
    v = rounded(x @ w["v"].T + w["v_bias"], half)
    count, group = len(ids), HEADS // KV_HEADS
    q = q.reshape(count, HEADS, HEAD_DIM)
    k = k.reshape(count, KV_HEADS, HEAD_DIM).repeat(group, axis=1)
    v = v.reshape(count, KV_HEADS, HEAD_DIM).repeat(group, axis=1)
    scores = SCALE * np.einsum("ihd,jhd->hij", q, k)
    scores = SOFTCAP * np.tanh(scores / SOFTCAP)
    distance = np.arange(count)[None, :] - np.arange(count)[:, None]
    scores += w["slopes"][:, None, None] * distance
    seen = (distance <= 0) & (distance > -WINDOW)
    sinks = np.broadcast_to(w["sinks"][:, None, None], (HEADS, count, 1))
    exponentials = np.exp(np.where(seen, scores, -np.inf))
    total = exponentials.sum(-1, keepdims=True) + np.exp(sinks)
    attended = np.einsum("hij,jhd->ihd", exponentials / total, v)
    out = rounded(attended, half).reshape(count, Q) @ w["o"].T + w["o_bias"] + h
    return rounded(out, half) @ w["embed"].T


@pytest.mark.parametrize("cpu", ["native", "x86-64-v3"])
def test_all_types_and_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str
) -> None:
    weights = make_weights()
    (tmp_path / "model").mkdir()
    safetensors.torch.save_file(weights, tmp_path / "model" / "model.safetensors")
    program = tmp_path / "program.mlir"
    program.write_text(PROGRAM)
    output = tmp_path / "out.llmir"
    compile_model(str(program), output, weights=tmp_path / "model", target_cpu=cpu)
    if cpu != "native":
        monkeypatch.setenv("LLMIR_CPU_LEVEL", "portable")
    model = llmir.load(output, threads=2)
    ids = tiny.prompt(VOCABULARY, 40)
    expected = expected_logits(weights, ids)
    # Where a number lies beside a middle, the two round it apart.
    found = model.forward(ids)
    assert tiny.relative_error(found, expected.astype(np.float32)) < 2e-4
