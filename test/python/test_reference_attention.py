# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What attention over given keys and values means, in every combination of its parts.

The formula is written down a second time in `reference.attention`, in float64, and
that is compared with the attention of Transformers' models that have these parts.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BloomConfig
from transformers.masking_utils import sliding_window_causal_mask_function
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gpt_oss import modeling_gpt_oss

from reference import (
    Array,
    Program,
    assert_close,
    attention,
    load,
    normal,
    one_op,
    shaped,
    store,
)

HEADS = [(4, 4), (6, 2), (5, 1)]
DIM = 7
# Sequences, queries and positions.
SHAPES = [(2, 3, 11), (1, 1, 1), (3, 5, 5)]


def attention_op(
    heads: tuple[int, int],
    dtypes: tuple[str, str] = ("f32", "f32"),
    attributes: list[str] | None = None,
    operands: dict[str, str] | None = None,
) -> str:
    """Return a program of one attention, of dynamic sizes.

    dtypes: of the operands and of the result.
    operands: the types of the optional ones, in the order of the op.
    """
    op = "llm.attention %0, %1, %2"
    query = shaped(f"?x?x{heads[0]}x{DIM}", dtypes[0])
    context = shaped(f"?x?x{heads[1]}x{DIM}", dtypes[0])
    types = [query, context, context]
    for name, type_ in (operands or {}).items():
        op += f" {name} %{len(types)}"
        types.append(type_)
    result = shaped(f"?x?x{heads[0]}x{DIM}", dtypes[1])
    return one_op(op, types, result, f"{{{', '.join(attributes or [])}}}")


def exactly(arguments: list[Array], dtype: str, **options: Any) -> Array:
    """Return the attention of each sequence; a mask is given for all of them."""
    mask = options.pop("mask", None)
    return np.stack(
        [
            attention(
                *(load(x[b], dtype) for x in arguments[:3]),
                mask=None if mask is None else mask[b if len(mask) > 1 else 0],
                **options,
            )
            for b in range(len(arguments[0]))
        ]
    )


class TestAttention:
    @pytest.mark.capability("Operations", "llm.attention", "{dtype}", "{result}")
    @pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize(
        ("dtype", "result"), [("f32", "f32"), ("bf16", "bf16"), ("f16", "f32")]
    )
    def test_formula(
        self,
        heads: int,
        kv_heads: int,
        causal: bool,
        dtype: str,
        result: str,
    ) -> None:
        # The default scale, and another one.
        attributes = ["causal"] if causal else []
        attributes += ["scale = 0.7 : f32"] if heads == 6 else []
        program = Program(attention_op((heads, kv_heads), (dtype, result), attributes))
        scale = 0.7 if heads == 6 else DIM**-0.5
        for seed, (batch, t, s) in enumerate(SHAPES):
            random = np.random.default_rng(seed)
            query = normal(random, (batch, t, heads, DIM), dtype)
            keys, values = normal(random, (2, batch, s, kv_heads, DIM), dtype)
            expected = exactly([query, keys, values], dtype, scale=scale, causal=causal)
            assert_close(program.run(query, keys, values), expected, result)

    # Windows of one key, of some, and of more than there are; masks of truths and
    # of numbers, for each sequence and head or for all of them.
    @pytest.mark.parametrize(
        ("causal", "window"),
        [(False, None), (True, None), (True, 1), (True, 4), (True, 100)],
    )
    @pytest.mark.parametrize("softcap", [None, 1.5])
    @pytest.mark.parametrize("sinks", [None, "f32"])
    @pytest.mark.parametrize("alibi", [None, "bf16"])
    @pytest.mark.parametrize("mask", [None, "i1", "f16"])
    def test_combinations(
        self,
        causal: bool,
        window: int | None,
        softcap: float | None,
        sinks: str | None,
        alibi: str | None,
        mask: str | None,
    ) -> None:
        parts = (window, softcap, sinks, alibi, mask)
        heads = HEADS[sum(part is not None for part in parts) % 3]
        # Whether a mask serves all sequences, and all heads.
        shared = (mask == "f16" and not alibi, mask == "i1" and not sinks)
        attributes = ["causal"] if causal else []
        if window is not None:
            attributes.append(f"window = {window} : i64")
        if softcap is not None:
            attributes.append(f"softcap = {softcap} : f32")
        types = {}
        if sinks:
            types["sinks"] = shaped(str(heads[0]), sinks)
        if alibi:
            types["alibi"] = shaped("?", alibi)
        if mask:
            sizes = f"{1 if shared[0] else '?'}x{1 if shared[1] else heads[0]}x?x?"
            types["mask"] = shaped(sizes, mask)
        program = Program(attention_op(heads, ("f32", "f32"), attributes, types))
        for seed, (batch, t, s) in enumerate(SHAPES):
            random = np.random.default_rng(seed)
            query = normal(random, (batch, t, heads[0], DIM))
            keys, values = normal(random, (2, batch, s, heads[1], DIM))
            arguments = [query, keys, values]
            options: dict[str, Any] = {"window": window, "softcap": softcap}
            if sinks:
                arguments.append(normal(random, heads[:1], sinks))
                options["sinks"] = load(arguments[-1], sinks)
            if alibi:
                arguments.append(normal(random, heads[:1], alibi))
                options["alibi"] = load(arguments[-1], alibi)
            if mask:
                outer = (1 if shared[0] else batch, 1 if shared[1] else heads[0])
                given = random.standard_normal((*outer, t, s))
                if mask == "i1":
                    # Each query sees itself.
                    given = (given > 0) | np.eye(t, s, s - t, dtype=bool)
                arguments.append(store(given, mask))
                options["mask"] = given if mask == "i1" else load(arguments[-1], mask)
            expected = exactly(
                arguments, "f32", scale=DIM**-0.5, causal=causal, **options
            )
            assert_close(program.run(*arguments), expected, "f32")

    def test_a_row_that_sees_nothing(self) -> None:
        """A row before the first position, and one that a mask hides all from."""
        random = np.random.default_rng(7)
        query = normal(random, (1, 4, 4, DIM))
        keys, values = normal(random, (2, 1, 3, 4, DIM))
        sinks, mask = normal(random, (4,)), np.ones((1, 1, 4, 3), np.bool_)
        mask[0, 0, 2] = False
        seen = {"sinks": "tensor<4xf32>", "mask": "tensor<?x1x?x?xi1>"}
        with_sinks = Program(attention_op((4, 4), attributes=["causal"], operands=seen))
        found = with_sinks.run(query, keys, values, sinks, mask)
        assert (found[0, [0, 2]] == 0).all()
        assert (found[0, [1, 3]] != 0).all()
        seen.pop("sinks")
        without = Program(attention_op((4, 4), attributes=["causal"], operands=seen))
        found = without.run(query, keys, values, mask)
        assert np.isnan(found[0, [0, 2]]).all()
        assert np.isfinite(found[0, [1, 3]]).all()

    def test_large_scores(self) -> None:
        type_ = "tensor<1x4x1x2xf32>"
        text = one_op(
            "llm.attention %0, %1, %2", [type_] * 3, type_, "{scale = 1.0e+03 : f32}"
        )
        random = np.random.default_rng(0)
        query, keys, values = normal(random, (3, 1, 4, 1, 2))
        exact = (x[0].astype(np.float64) for x in (query, keys, values))
        expected = attention(*exact, scale=1e3, causal=False)
        actual = Program(text).run(query, keys, values)
        assert_close(actual, expected[None], "f32", tolerance=1e-3)

    def test_large_sinks(self) -> None:
        """The largest score may be the sink's, or far below it."""
        type_ = "tensor<1x2x1x2xf32>"
        text = one_op(
            "llm.attention %0, %1, %2 sinks %3", [type_] * 3 + ["tensor<1xf32>"], type_
        )
        program = Program(text)
        random = np.random.default_rng(0)
        query, keys, values = normal(random, (3, 1, 2, 1, 2))
        for sink in (-1e4, 20.0, 1e4):
            exact = (x[0].astype(np.float64) for x in (query, keys, values))
            expected = attention(
                *exact, scale=2**-0.5, causal=False, sinks=np.array([sink])
            )
            actual = program.run(query, keys, values, np.full(1, sink, np.float32))
            assert_close(actual, expected[None], "f32")


class TestTransformers:
    """`reference.attention` against models that have its parts, in float64."""

    T, S = 5, 9

    def operands(self, heads: int, kv_heads: int) -> tuple[Array, Array, Array]:
        random = np.random.default_rng(heads)
        query = random.standard_normal((self.T, heads, DIM))
        keys, values = random.standard_normal((2, self.S, kv_heads, DIM))
        return query, keys, values

    def mask(self, window: int | None) -> torch.Tensor:
        """What Transformers adds to the scores of queries at the end."""
        sees = sliding_window_causal_mask_function(window or self.S)
        seen = [
            [bool(sees(0, 0, torch.tensor(p), torch.tensor(j))) for j in range(self.S)]
            for p in range(self.S - self.T, self.S)
        ]
        zero = torch.zeros(self.T, self.S, dtype=torch.float64)
        return zero.masked_fill(~torch.tensor(seen), -torch.inf)[None, None]

    @staticmethod
    def tensors(operands: tuple[Array, ...]) -> list[torch.Tensor]:
        return [torch.tensor(x).transpose(0, 1)[None] for x in operands]

    @pytest.mark.capability("Attention", "softcap")
    @pytest.mark.capability("Attention", "window")
    @pytest.mark.parametrize("heads", HEADS)
    @pytest.mark.parametrize("window", [None, 1, 3, 20])
    def test_softcap_and_window(
        self, heads: tuple[int, int], window: int | None
    ) -> None:
        operands = self.operands(*heads)
        module: Any = SimpleNamespace(
            num_key_value_groups=heads[0] // heads[1], training=False
        )
        # Their softmax is in float32.
        theirs, _ = modeling_gemma2.eager_attention_forward(
            module, *self.tensors(operands), self.mask(window), scaling=0.6, softcap=1.3
        )
        ours = attention(*operands, 0.6, causal=True, window=window, softcap=1.3)
        assert np.abs(ours - theirs[0].numpy()).max() < 1e-6

    @pytest.mark.capability("Attention", "sinks")
    @pytest.mark.parametrize("heads", HEADS)
    @pytest.mark.parametrize("window", [None, 1, 3, 20])
    def test_sinks(self, heads: tuple[int, int], window: int | None) -> None:
        operands = self.operands(*heads)
        sinks = np.random.default_rng(3).standard_normal(heads[0])
        module: Any = SimpleNamespace(
            num_key_value_groups=heads[0] // heads[1],
            training=False,
            sinks=torch.tensor(sinks),
        )
        theirs, _ = modeling_gpt_oss.eager_attention_forward(
            module, *self.tensors(operands), self.mask(window), scaling=0.6
        )
        ours = attention(*operands, 0.6, causal=True, window=window, sinks=sinks)
        assert np.abs(ours - theirs[0].numpy()).max() < 1e-12

    @pytest.mark.capability("Attention", "ALiBi")
    def test_alibi(self) -> None:
        heads = 6
        config = BloomConfig(n_head=heads)
        query, keys, values = self.operands(heads, heads)
        # Slopes times positions: the distance but for what a softmax takes away.
        bias = build_alibi_tensor(
            torch.ones(1, self.S), config.n_head, torch.float64
        ).reshape(1, heads, 1, self.S)
        slopes = bias[0, :, 0, 1].numpy()
        assert len(set(slopes)) == heads
        q, k, v = self.tensors((query, keys, values))
        weights = torch.softmax(
            0.6 * q @ k.transpose(2, 3) + bias + self.mask(None), dim=-1
        )
        theirs = (weights @ v)[0].transpose(0, 1).numpy()
        ours = attention(query, keys, values, 0.6, causal=True, alibi=slopes)
        assert np.abs(ours - theirs).max() < 1e-12

    @pytest.mark.capability("Attention", "masks")
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("shared", [False, True])
    def test_masks(self, causal: bool, shared: bool) -> None:
        query, keys, values = self.operands(6, 2)
        random = np.random.default_rng(1)
        truths = random.random((1 if shared else 6, self.T, self.S)) < 0.6
        truths[:, np.arange(self.T), np.arange(self.S - self.T, self.S)] = True
        for mask in (truths, random.standard_normal(truths.shape)):
            whole = torch.tensor(mask)[None].expand(1, 6, self.T, self.S)
            if causal:
                behind = self.mask(None) < 0
                whole = (
                    whole & ~behind
                    if mask is truths
                    else whole.masked_fill(behind, -torch.inf)
                )
            q, k, v = self.tensors((query, keys, values))
            theirs = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=whole, scale=0.6, enable_gqa=True
            )
            ours = attention(query, keys, values, 0.6, causal, mask=mask)
            assert np.abs(ours - theirs[0].transpose(0, 1).numpy()).max() < 1e-12
