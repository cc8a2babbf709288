# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ops that have no kernel still compile, and the code they become is right.

Each program here is a step of a model that is little more than one op. It goes all the
way to an artifact that the engine runs, and its logits are compared with the reference
meaning of the same program.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import llmir
import tiny
from llmir.compile import compile_model
from llmir.safetensors import open_checkpoint
from llmir.weights import write_weights
from reference import Array, Cache, Program

VOCAB, SIZE, INNER, EXPERTS = 64, 64, 96, 4
IDS = [int(i) for i in np.random.default_rng(1).integers(0, VOCAB, 23)]
WEIGHTS = {
    "embed": (VOCAB, SIZE),
    "norm": (SIZE,),
    "bias": (SIZE,),
    "router": (EXPERTS, SIZE),
    "gate": (EXPERTS, INNER, SIZE),
    "up": (EXPERTS, INNER, SIZE),
    "down": (EXPERTS, SIZE, INNER),
    "wide": (INNER, SIZE),
    "narrow": (SIZE, INNER),
    "left": (SIZE, SIZE),
    "right": (SIZE, SIZE),
}

# What is between the embedding %h and the logits %y.
BODIES = {
    "layer_norm": """
    %y = llm.layer_norm %h, %norm bias %bias {epsilon = 1.0e-05 : f32}
      : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    """,
    "moe": """
    %logits = llm.linear %h, %router
      : (tensor<?x64xf32>, tensor<4x64xf32>) -> tensor<?x4xf32>
    %y = llm.moe silu %h, %logits, %gate, %up, %down {normalize_topk, top_k = 2 : i64}
      : (tensor<?x64xf32>, tensor<?x4xf32>, tensor<4x96x64xf32>, tensor<4x96x64xf32>,
         tensor<4x64x96xf32>) -> tensor<?x64xf32>
    """,
    "int4": """
    %w = llm.quantize %narrow : (tensor<64x96xf32>) -> !int4
    %x = llm.linear %h, %wide
      : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
    %y = llm.quantized_matmul %x, %w bias %bias residual %h
      : (tensor<?x96xf32>, !int4, tensor<64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    """,
    "w8a8": """
    %w = llm.quantize %embed : (tensor<64x64xf32>) -> !int8
    %q = llm.quantize %h : (tensor<?x64xf32>) -> !activations
    %y = llm.quantized_matmul %q, %w
      : (!activations, !int8) -> tensor<?x64xf32>
    """,
    "dequantize": """
    %q = llm.quantize %h : (tensor<?x64xf32>) -> !uint4
    %x = llm.dequantize %q : (!uint4) -> tensor<?x64xf32>
    %y = llm.activation silu %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
    """,
    # Two products become one, and the function's results are parts of that.
    "parts": """
    %l, %r = call @products(%h, %left, %right)
      : (tensor<?x64xf32>, tensor<64x64xf32>, tensor<64x64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xf32>)
    %s = llm.activation silu %r : (tensor<?x64xf32>) -> tensor<?x64xf32>
    %y = arith.addf %l, %s : tensor<?x64xf32>
    """,
}

# Functions that they call.
FUNCTIONS = {
    "parts": """
  func.func private @products(%x: tensor<?x64xf32>, %left: tensor<64x64xf32>,
                              %right: tensor<64x64xf32>)
      -> (tensor<?x64xf32>, tensor<?x64xf32>) {
    %l = llm.linear %x, %left
      : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %r = llm.linear %x, %right
      : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    return %l, %r : tensor<?x64xf32>, tensor<?x64xf32>
  }
    """
}

STEP = """
!kv = !llm.paged_kv_cache<f32, 1, 1, 2, 16, 64>
!int8 = !llm.quantized_tensor<64x64xi8, scales = bf16, axis = 1>
!int4 = !llm.quantized_tensor<64x96xui4, scales = f16, axis = 1, group_size = 32,
                              asymmetric, packing = pairs>
!uint4 = !llm.quantized_tensor<?x64xui4, scales = f32, axis = 1, group_size = 16,
                               asymmetric>
!activations = !llm.quantized_tensor<?x64xi8, scales = f32, axis = 1>

module attributes {
  llm.model = {
    architecture = "test", vocab_size = 64 : i64, hidden_size = 64 : i64,
    num_layers = 1 : i64, num_heads = 1 : i64, num_kv_heads = 1 : i64,
    head_dim = 2 : i64, dtype = "f32", max_model_len = 64 : i64,
    eos_token_ids = [0]
  }
} {
  func.func @step(
      %token_ids: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
      %block_table: tensor<?x?xi32>, %context_lens: tensor<?xi32>,
      %row_starts: tensor<?xi32>, %logit_rows: tensor<?xi32>, %cache: !kv)
      -> (tensor<?x64xf32>, !kv) {
    PARAMETERS
    %h = llm.embedding %token_ids, %embed
      : (tensor<?xi32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    BODY
    %rows = llm.embedding %logit_rows, %y
      : (tensor<?xi32>, tensor<?x64xf32>) -> tensor<?x64xf32>
    return %rows, %cache : tensor<?x64xf32>, !kv
  }
  FUNCTIONS
}
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory of random weights."""
    directory = tmp_path_factory.mktemp("weights")
    random = np.random.default_rng(0)
    save_file(
        {
            name: random.standard_normal(shape).astype(np.float32)
            / np.float32(shape[-1] ** 0.5 if len(shape) > 1 else 1)
            for name, shape in WEIGHTS.items()
        },
        directory / "model.safetensors",
    )
    (directory / "config.json").write_text(json.dumps({}))
    tiny.byte_tokenizer(VOCAB).save(str(directory / "tokenizer.json"))
    return directory


def program(name: str) -> str:
    """Return the text of a step with one of the bodies."""
    parameters = "\n".join(
        f'    %{name} = llm.parameter "model"::"{name}"'
        f" : tensor<{'x'.join(map(str, shape))}xf32>"
        for name, shape in WEIGHTS.items()
    )
    text = STEP.replace("PARAMETERS", parameters).replace("BODY", BODIES[name])
    return text.replace("FUNCTIONS", FUNCTIONS.get(name, ""))


def reference(text: str, weights: Path, scratch: Path, ids: list[int]) -> Array:
    """Return the logits of all tokens by the program's reference meaning."""
    checkpoint = open_checkpoint(weights)
    assert checkpoint is not None
    compiled = Program(text, passes="llm-assign-parameters")
    path = scratch / "weights"
    write_weights(
        path, compiled.weights, compiled.weights_bytes, b"", checkpoint, lambda _: None
    )
    tokens = np.arange(len(ids), dtype=np.int32)
    batch = [
        np.array(ids, np.int32),
        *(tokens, tokens),
        np.zeros((1, 4), np.int32),
        np.array([len(ids)], np.int32),
        np.array([0, len(ids)], np.int32),
        tokens,
    ]
    cache = Cache.empty("f32", 1, 1, 2, 16, 64, blocks=4, sequences=0)
    return compiled.call("step", *batch, *cache.tensors, np.fromfile(path, np.int8))[0]


def check(text: str, weights: Path, scratch: Path, expected: Array) -> None:
    """Compile a program, and compare its logits of IDS with those expected."""
    (scratch / "model.mlir").write_text(text)
    compile_model(str(scratch / "model.mlir"), scratch / "model.llmir", weights=weights)
    model = llmir.load(scratch / "model.llmir", threads=2)
    actual = model.forward(IDS)
    assert np.std(expected) > 1e-3
    assert tiny.relative_error(actual, expected) < 2e-6
    # The same answer in any company.
    for t in (0, 11):
        assert np.array_equal(model.forward([IDS[t]])[0], actual[t])


@pytest.mark.parametrize("name", BODIES)
def test_compiled_is_reference(name: str, weights: Path, tmp_path: Path) -> None:
    text = program(name)
    check(text, weights, tmp_path, reference(text, weights, tmp_path, IDS))


def test_logits_are_part_of_a_product(weights: Path, tmp_path: Path) -> None:
    text = program("layer_norm")
    rows = reference(text, weights, tmp_path, IDS)
    wide = load_file(weights / "model.safetensors")["wide"].astype(np.float64)
    text = text.replace(
        "return %rows, %cache",
        """
    %all = llm.linear %rows, %wide
      : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
    %c0 = arith.constant 0 : index
    %t = tensor.dim %all, %c0 : tensor<?x96xf32>
    %part = tensor.extract_slice %all[0, 32] [%t, 64] [1, 1]
      : tensor<?x96xf32> to tensor<?x64xf32>
    return %part, %cache""",
    )
    check(text, weights, tmp_path, rows @ wide[32:].T)
