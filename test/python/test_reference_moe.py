# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a mixture of experts means, against NumPy and against Transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import DeepseekV3Config, MixtralConfig, Qwen3MoeConfig
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from reference import Array, Program, assert_close, load, normal, one_op, shaped, store
from test_reference import ACTIVATIONS

EXPERTS, INNER, SIZE = 6, 10, 12


def program(
    top_k: int,
    attributes: str = "",
    *,
    kind: str = "silu",
    x: str = "f32",
    w: str = "f32",
    y: str = "f32",
    biased: bool = False,
) -> Program:
    """Return a program that is one mixture of experts."""
    types = [
        shaped(f"?x{SIZE}", x),
        shaped(f"?x{EXPERTS}", "f32"),
        shaped(f"{EXPERTS}x{INNER}x{SIZE}", w),
        shaped(f"{EXPERTS}x{INNER}x{SIZE}", w),
        shaped(f"{EXPERTS}x{SIZE}x{INNER}", w),
    ]
    op = f"llm.moe {kind} %0, %1, %2, %3, %4"
    if biased:
        op += " selection_bias %5"
        types.append(shaped(f"{EXPERTS}", "f32"))
    attributes = ", ".join(part for part in [f"top_k = {top_k}", attributes] if part)
    return Program(one_op(op, types, shaped(f"?x{SIZE}", y), f"{{{attributes}}}"))


def moe(
    x: Array,
    logits: Array,
    gate: Array,
    up: Array,
    down: Array,
    top_k: int,
    *,
    kind: str = "silu",
    sigmoid: bool = False,
    normalize: bool = False,
    scale: float = 1.0,
    bias: Array | None = None,
    hidden: str = "f32",
) -> Array:
    """Return a mixture of experts in float64, token by token.

    hidden: the type that inner numbers are rounded to.
    """
    result = np.zeros_like(x)
    for t in range(len(x)):
        if sigmoid:
            scores = 1 / (1 + np.exp(-logits[t]))
        else:
            scores = np.exp(logits[t] - logits[t].max())
            scores /= scores.sum()
        order = scores if bias is None else scores + bias
        chosen = np.argsort(-order, kind="stable")[:top_k]
        weights = scores[chosen]
        if normalize:
            weights = weights / weights.sum()
        for e, weight in zip(chosen, weights, strict=True):
            inner = ACTIVATIONS[kind](gate[e] @ x[t]) * (up[e] @ x[t])
            if hidden != "f32":
                inner = load(store(inner, hidden), hidden)
            result[t] += scale * weight * (down[e] @ inner)
    return result


def arguments(
    tokens: int, seed: int = 0, x: str = "f32", w: str = "f32"
) -> tuple[Array, ...]:
    """Return random operands."""
    random = np.random.default_rng(seed)
    return (
        normal(random, (tokens, SIZE), x),
        normal(random, (tokens, EXPERTS)),
        normal(random, (EXPERTS, INNER, SIZE), w),
        normal(random, (EXPERTS, INNER, SIZE), w),
        normal(random, (EXPERTS, SIZE, INNER), w),
    )


@pytest.mark.parametrize("top_k", [1, 2, EXPERTS])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_choice_and_weights(top_k: int, normalize: bool, sigmoid: bool) -> None:
    attributes = ", ".join(
        ["normalize_topk"] * normalize
        + ["scoring = #llm<router_scoring sigmoid>"] * sigmoid
    )
    compiled = program(top_k, attributes)
    for tokens in (7, 1):
        operands = arguments(tokens, tokens)
        exact = [operand.astype(np.float64) for operand in operands]
        expected = moe(*exact, top_k, normalize=normalize, sigmoid=sigmoid)
        assert_close(compiled.run(*operands), expected, "f32")


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "relu"])
def test_kinds(kind: str) -> None:
    operands = arguments(5)
    exact = [operand.astype(np.float64) for operand in operands]
    actual = program(2, kind=kind).run(*operands)
    assert_close(actual, moe(*exact, 2, kind=kind), "f32")


@pytest.mark.parametrize(
    ("x", "w", "y"),
    [("bf16", "bf16", "f32"), ("f16", "f16", "f16"), ("f32", "bf16", "bf16")],
)
def test_dtypes(x: str, w: str, y: str) -> None:
    operands = arguments(5, 0, x, w)
    dtypes = (x, "f32", w, w, w)
    exact = [load(o, dtype) for o, dtype in zip(operands, dtypes, strict=True)]
    actual = program(2, x=x, w=w, y=y).run(*operands)
    # An inner number that lies between two of bf16 may be rounded to either.
    tolerance = {"bf16": 2.0**-10, "f16": 2.0**-13, "f32": 2e-6}[x]
    assert_close(actual, moe(*exact, 2, hidden=x), y, tolerance)


def test_bias_decides_about_the_choice_alone() -> None:
    compiled = program(2, "normalize_topk, scale = 2.5 : f32", biased=True)
    operands = arguments(5)
    bias = np.array([0, 9, 0, 0, -9, 0.1], np.float32)
    exact = [operand.astype(np.float64) for operand in operands]
    expected = moe(*exact, 2, normalize=True, scale=2.5, bias=bias)
    assert_close(compiled.run(*operands, bias), expected, "f32")
    assert not np.allclose(expected, moe(*exact, 2, normalize=True, scale=2.5))


def test_of_equal_experts_the_first() -> None:
    x, logits, *weights = arguments(4)
    logits[:] = [1, 2, 2, 2, 2, 0]
    exact = [operand.astype(np.float64) for operand in (x, logits, *weights)]
    expected = moe(*exact, 2)
    assert_close(program(2).run(x, logits, *weights), expected, "f32")
    # The same choice, made plain.
    exact[1] = exact[1] + [0, 1e-9, 1e-9, 0, 0, 0]
    assert np.allclose(moe(*exact, 2), expected)


def test_a_token_is_the_same_in_any_company() -> None:
    compiled = program(2)
    x, logits, *weights = arguments(9)
    together = compiled.run(x, logits, *weights)
    for t in range(len(x)):
        alone = compiled.run(x[t : t + 1].copy(), logits[t : t + 1].copy(), *weights)
        assert np.array_equal(alone[0], together[t])


def test_what_is_not_chosen_does_not_count() -> None:
    x, logits, gate, up, down = arguments(4)
    logits[:, 3] = -20
    clean = program(2).run(x, logits, gate, up, down)
    gate[3] = np.nan
    up[3] = np.inf
    assert np.array_equal(program(2).run(x, logits, gate, up, down), clean)


def test_a_nan_reaches_its_own_token_alone() -> None:
    x, logits, *weights = arguments(4)
    clean = program(2).run(x, logits, *weights)
    logits[1, 2] = np.nan
    actual = program(2).run(x, logits, *weights)
    assert np.isnan(actual[1]).all()
    assert np.array_equal(actual[[0, 2, 3]], clean[[0, 2, 3]])


CONFIG: dict[str, Any] = {
    "hidden_size": SIZE,
    "num_attention_heads": 2,
    "num_experts_per_tok": 2,
}


def transformers_block(name: str) -> tuple[torch.nn.Module, str]:
    """Return a block with random weights, and the op's attributes for it."""
    if name == "mixtral":
        config = MixtralConfig(
            intermediate_size=INNER, num_local_experts=EXPERTS, **CONFIG
        )
        return MixtralSparseMoeBlock(config), "normalize_topk"
    if name == "deepseek":
        # With one group, groups do not restrict the choice.
        config = DeepseekV3Config(
            moe_intermediate_size=INNER,
            n_routed_experts=EXPERTS,
            n_group=1,
            topk_group=1,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
            **CONFIG,
        )
        sigmoid = "scoring = #llm<router_scoring sigmoid>"
        return DeepseekV3MoE(config), f"normalize_topk, scale = 2.5 : f32, {sigmoid}"
    normalize = name == "qwen3-normalized"
    config = Qwen3MoeConfig(
        moe_intermediate_size=INNER,
        num_experts=EXPERTS,
        norm_topk_prob=normalize,
        **CONFIG,
    )
    return Qwen3MoeSparseMoeBlock(config), "normalize_topk" * normalize


@pytest.mark.parametrize("name", ["mixtral", "qwen3", "qwen3-normalized", "deepseek"])
def test_transformers(name: str) -> None:
    block, attributes = transformers_block(name)
    torch.manual_seed(0)
    for tensor in (*block.parameters(), *block.buffers()):
        torch.nn.init.normal_(tensor, std=0.5)
    block = block.double()
    gate_up = block.experts.gate_up_proj.detach()
    weights = [
        gate_up[:, :INNER],
        gate_up[:, INNER:],
        block.experts.down_proj.detach(),
    ]
    random = np.random.default_rng(0)
    x = normal(random, (7, SIZE))
    rows = torch.from_numpy(x).double()
    logits = rows @ block.gate.weight.detach().T
    with torch.no_grad():
        expected = block(rows[None])[0]
        if name == "deepseek":
            # Experts that all tokens share are the program's own business.
            expected = expected - block.shared_experts(rows)
    operands = [np.ascontiguousarray(w.numpy(), np.float32) for w in (logits, *weights)]
    biased = name == "deepseek"
    if biased:
        bias = block.gate.e_score_correction_bias.numpy()
        operands.append(bias.astype(np.float32))
    actual = program(2, attributes, biased=biased).run(x, *operands)
    assert_close(actual, expected.numpy(), "f32", 5e-6)
