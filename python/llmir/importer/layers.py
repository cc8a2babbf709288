# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Parts of which families put their layers together.

They read the arguments that every layer function has (see
`llmir.importer.decoder`) and name the values that they write after what they are.
What a part does not always have, as a bias, or the table of a rotation, it uses if
the function has an argument for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmir.importer.builder import FunctionBuilder
from llmir.importer.types import Value


class Operand:
    """What products read: written once in each dtype that their weights have."""

    def __init__(self, write: Callable[[str], Value]) -> None:
        """Hold `write`, which writes the value in a dtype."""
        self._write = write
        self._values: dict[str, Value] = {}

    def for_weight(self, weight: Value) -> Value:
        """Return the value in the dtype of `weight`."""
        dtype = weight.tensor.dtype
        if dtype not in self._values:
            self._values[dtype] = self._write(dtype)
        return self._values[dtype]


def rms_normed(
    f: FunctionBuilder, name: str, x: Value, norm: Value, epsilon: float
) -> Operand:
    """Return the normed rows of `x` as products read them."""
    return Operand(lambda dtype: f.rms_norm(name, x, norm, epsilon, dtype))


def rounded(f: FunctionBuilder, name: str, x: Value) -> Operand:
    """Return the rows of `x`, which is float32, as products read them."""
    return Operand(
        lambda dtype: (
            x if dtype == "f32" else f.activation(name, "identity", x, None, dtype)
        )
    )


def projection(f: FunctionBuilder, name: str, x: Operand) -> Value:
    """Write the product with `NAME_proj`, plus `NAME_bias` if there is one."""
    weight = f.argument(f"{name}_proj")
    return f.linear(name, x.for_weight(weight), weight, f.find(f"{name}_bias"))


@dataclass(frozen=True)
class Attention:
    """Self-attention over the paged cache, rotary if there is a `rope_table`.

    num_heads, num_kv_heads, head_dim: its sizes.
    scale: what scores are multiplied by.
    epsilon: that of the norms of queries and keys, which are there if the function
        has `q_norm` and `k_norm`.
    norm_heads: whether these norms are those of single heads, or of all together.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    epsilon: float
    norm_heads: bool = True

    def write(
        self, f: FunctionBuilder, x: Operand, window: int | None
    ) -> tuple[Value, Value]:
        """Write the attention of the normed input `x`, [tokens, hidden].

        Reads the arguments `q_proj`, `k_proj`, `v_proj`, or all in one as `qkv_proj`,
        and `o_proj`. `window` is how many positions a token sees, itself included;
        None is all. Returns the projected output, [tokens, hidden] in float32, and
        the cache with the new tokens.
        """
        q, k, v = self._projections(f, x)
        q_rot = self._rotated(f, "q", q, self.num_heads)
        k_rot = self._rotated(f, "k", k, self.num_kv_heads)
        cache = f.append_kv(
            "cache_out",
            f.argument("cache"),
            k_rot,
            f.split_heads("v_heads", v, self.num_kv_heads),
            f.argument("slots"),
            f.argument("layer"),
        )

        def attention(dtype: str) -> Value:
            heads = f.paged_attention(
                "attn",
                q_rot,
                cache,
                f.argument("block_table"),
                f.argument("context_lens"),
                f.argument("row_starts"),
                f.argument("layer"),
                scale=self.scale,
                window=window,
                query_dtype=self._query_dtype(f),
                dtype=dtype,
            )
            return f.merge_heads("attn_flat", heads)

        return projection(f, "o", Operand(attention)), cache

    @staticmethod
    def _query_dtype(f: FunctionBuilder) -> str:
        """What the query is rounded to: bf16 in a layer all of whose weights are bf16.

        Transformers rounds it there as well. A layer with weights of another dtype
        is meant to be more exact.
        """
        weights = [
            argument.tensor.dtype
            for argument in f.arguments
            if argument.name.endswith(("_proj", "_norm", "_bias"))
        ]
        return "bf16" if set(weights) == {"bf16"} else "f32"

    def _projections(self, f: FunctionBuilder, x: Operand) -> list[Value]:
        if f.find("qkv_proj") is None:
            return [projection(f, name, x) for name in ("q", "k", "v")]
        heads = {"q": self.num_heads, "k": self.num_kv_heads, "v": self.num_kv_heads}
        parts = {name: count * self.head_dim for name, count in heads.items()}
        return f.split_columns(parts, projection(f, "qkv", x))

    def _rotated(self, f: FunctionBuilder, name: str, x: Value, heads: int) -> Value:
        norm = f.find(f"{name}_norm")
        if norm is not None and not self.norm_heads:
            x = f.rms_norm(f"{name}_normed", x, norm, self.epsilon, "f32")
        x = f.split_heads(f"{name}_heads", x, heads)
        if norm is not None and self.norm_heads:
            x = f.rms_norm(f"{name}_normed", x, norm, self.epsilon, "f32")
        table = f.find("rope_table")
        if table is None:
            return x
        return f.rope(f"{name}_rot", x, table, f.argument("positions"))


def gated_mlp(f: FunctionBuilder, x: Operand, *, activation: str) -> Value:
    """Write a gated feed-forward network of the normed input `x`, [tokens, hidden].

    Reads the arguments `gate_proj` and `up_proj`, or both in one as `gate_up_proj`,
    and `down_proj`. Returns [tokens, hidden] in float32.
    """
    if f.find("gate_up_proj") is None:
        gate, up = projection(f, "gate", x), projection(f, "up", x)
    else:
        both = projection(f, "gate_up", x)
        columns = both.tensor.shape[1]
        assert columns is not None
        half = columns // 2
        gate, up = f.split_columns({"gate": half, "up": half}, both)
    act = Operand(lambda dtype: f.activation("act", activation, gate, up, dtype))
    return projection(f, "down", act)
