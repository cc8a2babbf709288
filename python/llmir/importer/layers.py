# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Parts of which families put their layers together.

They read the arguments that every layer function has (see
`llmir.importer.decoder`) and name the values that they write after what they are.
"""

from __future__ import annotations

from llmir.importer.builder import FunctionBuilder
from llmir.importer.types import Value


def self_attention(
    f: FunctionBuilder,
    x: Value,
    *,
    num_heads: int,
    num_kv_heads: int,
    scale: float,
    dtype: str,
) -> tuple[Value, Value]:
    """Write rotary self-attention over the paged cache.

    x: the normed input, [tokens, hidden]. Reads the arguments `q_proj`, `k_proj`,
    `v_proj` and `o_proj`. Returns the projected output, [tokens, hidden] in
    float32, and the cache with the new tokens.
    """
    table, positions = f.argument("rope_table"), f.argument("positions")
    q = f.linear("q", x, f.argument("q_proj"))
    k = f.linear("k", x, f.argument("k_proj"))
    v = f.linear("v", x, f.argument("v_proj"))
    q_heads = f.split_heads("q_heads", q, num_heads)
    k_heads = f.split_heads("k_heads", k, num_kv_heads)
    v_heads = f.split_heads("v_heads", v, num_kv_heads)
    q_rot = f.rope("q_rot", q_heads, table, positions)
    k_rot = f.rope("k_rot", k_heads, table, positions)
    cache = f.append_kv(
        "cache_out",
        f.argument("cache"),
        k_rot,
        v_heads,
        f.argument("slots"),
        f.argument("layer"),
    )
    heads = f.paged_attention(
        "attn",
        q_rot,
        cache,
        f.argument("block_table"),
        f.argument("context_lens"),
        f.argument("row_starts"),
        f.argument("layer"),
        scale,
        dtype,
    )
    flat = f.merge_heads("attn_flat", heads)
    return f.linear("o", flat, f.argument("o_proj")), cache


def gated_mlp(f: FunctionBuilder, x: Value, *, activation: str, dtype: str) -> Value:
    """Write a gated feed-forward network.

    x: the normed input, [tokens, hidden]. Reads the arguments `gate_proj`,
    `up_proj` and `down_proj`. Returns [tokens, hidden] in float32.
    """
    gate = f.linear("gate", x, f.argument("gate_proj"))
    up = f.linear("up", x, f.argument("up_proj"))
    act = f.activation("act", activation, gate, up, dtype)
    return f.linear("down", act, f.argument("down_proj"))
